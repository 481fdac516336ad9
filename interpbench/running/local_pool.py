"""Workers on this machine: processes that may die or hang without harm to the run.

A worker gets the run's arguments, rebuilds the plan, and does one job after the other. It says what
comes of it, a line of JSON each; this process listens.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

import torch

from interpbench.results.run_folder import RunFolder
from interpbench.running.execute import Executor, Listener, Loss
from interpbench.running.messages import answer_of, job_line
from interpbench.running.plan import Plan
from interpbench.running.record import identity_of
from interpbench.running.resume import Kept
from interpbench.running.scheduler import Answer, Died, Job, Scheduler, Worker

LAST_WORDS = 2.0  # seconds that what a dead worker has said may take to be read
WORKER = "from interpbench.commands.worker import main; main()"


def in_workers(arguments: Sequence[str], timeout: float | None = None) -> Executor:
    """Runs cells in processes of their own on this machine.

    Parameters:
        arguments: of `interpbench.run` as Python literals, one a worker, which differ in the device
            at most. Workers share the threads that this process would compute in.
        timeout: seconds that a block of a cell, or getting a model ready, may take; None is for
            ever.
    """

    def run(plan: Plan, folder: RunFolder, old: Kept, listener: Listener) -> Sequence[Loss]:
        shared = {
            "identity": identity_of(plan).contents(),
            "threads": max(1, torch.get_num_threads() // len(arguments)),
        }
        requests = [json.dumps(shared | {"arguments": text}, default=str) for text in arguments]
        advice = "Run with --isolation none to see why."
        return Scheduler(LocalPool(requests), timeout, advice)(plan, folder, old, listener)

    return run


class LocalPool:
    """Worker processes.

    Parameters:
        requests: what each needs to begin, as JSON.
    """

    def __init__(self, requests: Sequence[str]) -> None:
        self._requests = requests
        self._answers: queue.Queue[tuple[Worker, Answer]] = queue.Queue()

    def room(self) -> int:
        """One a request."""
        return len(self._requests)

    def hire(self, number: int) -> "LocalWorker":
        """A fresh process."""
        return LocalWorker(self._requests[number - 1], self._answers)

    def waits_for(self) -> str:
        """Nothing: a process starts at once."""
        return ""

    def next(self, seconds: float) -> tuple[Worker, Answer] | None:
        """What some worker says, or None if in so many seconds none says anything."""
        try:
            return self._answers.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None


class LocalWorker:
    """A process that does jobs."""

    def __init__(self, request: str, answers: "queue.Queue[tuple[Worker, Answer]]") -> None:
        search_path = f"import sys; sys.path[:] = {sys.path!r}; "
        self._process = subprocess.Popen(
            [sys.executable, "-c", search_path + WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the process that listens
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests = self._process.stdin  # the worker ends when it is closed
        self._say(request)
        reading = (self._process.stdout, answers)
        self._reader = threading.Thread(target=self._read, args=reading, daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, args=(answers,), daemon=True).start()

    def give(self, job: Job) -> None:
        """Hands a job out."""
        self._say(job_line(job))

    def dismiss(self) -> None:
        """Kills it, and the processes that it has started."""
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):  # of one that has ended
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        with suppress(OSError):  # what it has not read
            self._requests.close()

    def _say(self, line: str) -> None:
        with suppress(OSError):  # of one that has died already, which shows when it is listened to
            self._requests.write(f"{line}\n".encode())
            self._requests.flush()

    def _read(self, pipe: IO[bytes], answers: "queue.Queue[tuple[Worker, Answer]]") -> None:
        """Passes on what it says."""
        with pipe:
            for line in pipe:
                with suppress(ValueError, TypeError, KeyError):  # of a plugin that found the pipe
                    answers.put((self, answer_of(line)))

    def _wait(self, answers: "queue.Queue[tuple[Worker, Answer]]") -> None:
        """Says how it ended, after all that it has said."""
        status = self._process.wait()
        self._reader.join(LAST_WORDS)  # a process that it has left behind may hold the pipe open
        answers.put((self, Died(_in_words(status))))


def _in_words(status: int) -> str:
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
