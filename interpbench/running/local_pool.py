"""Cells in a worker process on this machine, which may die or hang without harm to the run.

The worker gets the run's arguments, rebuilds the plan, and does one cell after the other; it writes
what it finishes into the run folder and says so, a line of JSON each. This process only listens.
Where the worker dies, or a cell takes too long, that cell is lost, and another worker goes on with
the next.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, Any

import torch

from interpbench.core.errors import InterpBenchError
from interpbench.results.cell_results import CellResult
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import CellRecord
from interpbench.running.execute import Listener
from interpbench.running.plan import Plan
from interpbench.running.resume import Kept
from interpbench.running.runner import not_run
from interpbench.suite.cells import Cell

WORKER = "from interpbench.commands.worker import main; main()"
LOOKING = 0.5  # seconds between two looks at a worker that says nothing


class LocalPool:
    """One supervised worker, replaced when it dies.

    Parameters:
        arguments: of `interpbench.run`, as a Python literal.
        timeout: seconds that a cell's block of images, or getting a model ready, may take; None is
            for ever.
    """

    def __init__(self, arguments: str, timeout: float | None = None) -> None:
        self._arguments = arguments
        self._timeout = timeout

    def __call__(self, plan: Plan, folder: RunFolder, old: Kept, listener: Listener) -> None:
        """Runs what is not done, and writes each cell as it is finished or lost.

        Raises:
            InterpBenchError: if a worker cannot begin, or refuses to go on.
        """
        todo = list(old.todo(plan).cells)
        while todo:
            with _Worker(self._request(folder, todo)) as worker:
                lost, reason = self._listen(worker, todo, listener)
            for cell in lost:
                result = not_run(plan, cell, reason)
                folder.write_cell(result)
                listener.cell(result)
                todo.remove(cell)

    def _request(self, folder: RunFolder, todo: list[Cell]) -> str:
        return json.dumps(
            {
                "arguments": self._arguments,
                "folder": str(folder.path),
                "todo": [list(cell.as_dict().values()) for cell in todo],
                "threads": torch.get_num_threads(),
            }
        )

    def _listen(
        self, worker: "_Worker", todo: list[Cell], listener: Listener
    ) -> tuple[list[Cell], str]:
        """Follows a worker to its end; takes from `todo` what is finished.

        Returns:
            The cells that are lost, and why.
        """
        measured: set[str] | None = None  # the models that are ready, once the worker is
        begun: Cell | None = None  # which it is at
        while todo:
            at = begun if begun in todo else todo[0]
            said = worker.next(None if measured is None else self._timeout)
            match said:
                case {"ready": _}:
                    measured = set()
                case {"measured": str(model)} if measured is not None:
                    measured.add(model)
                case {"at": list(names), "images": int(count)}:
                    begun = Cell(*names)
                    listener.images(begun, count)
                case {"cell": text}:
                    record = CellRecord.model_validate(text)
                    todo.remove(record.cell)
                    listener.cell(CellResult(record))
                case {"damaged": _}:  # its process is not fit for another cell
                    return [], ""
                case {"refused": str(reason)}:
                    raise InterpBenchError(reason)
                case {"died": str(how)} if measured is None:
                    raise InterpBenchError(
                        f"The process that the cells were to run in {how} before the first. "
                        "Run with --isolation none to see why."
                    )
                case {"died": str(how)} if at.model in (measured or ()):
                    return [at], f"the process that ran it {how}"
                case {"died": str(how)}:
                    lost = [cell for cell in todo if cell.model == at.model]
                    return lost, f"the model itself fails: the process that made it ready {how}"
        return [], ""


class _Worker:
    """A process that does cells; it ends with this context."""

    def __init__(self, request: str) -> None:
        search_path = f"import sys; sys.path[:] = {sys.path!r}; "
        self._process = subprocess.Popen(
            [sys.executable, "-c", search_path + WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the process that listens
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._request = self._process.stdin  # stays open: the worker ends when it is closed
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._began = time.monotonic()
        reading = (self._process.stdout, self._answers)
        self._reader = threading.Thread(target=_read, args=reading, daemon=True)
        self._reader.start()
        with suppress(OSError):  # of one that has died already, which shows when it is listened to
            self._request.write(f"{request}\n".encode())
            self._request.flush()

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()
        with suppress(OSError):  # what it has not read
            self._request.close()

    def next(self, timeout: float | None) -> dict[str, Any]:
        """What it says next; `died` if nothing more will come, or not in time.

        Parameters:
            timeout: seconds that what it is at may take, all in all.
        """
        while True:
            left = LOOKING
            if timeout is not None:
                left = min(left, timeout - (time.monotonic() - self._began))
            try:
                answer = self._answers.get(timeout=max(0.0, left))
            except queue.Empty:
                if left <= 0:
                    self._end()
                    return {"died": f"took more than {timeout:g} seconds and was ended"}
                # A process that it has left behind may hold the pipe open.
                if self._process.poll() is None or not self._answers.empty():
                    continue
                answer = None
            if answer is None:
                return {"died": _in_words(self._process.wait())}
            if not answer.get("images"):  # something new begins
                self._began = time.monotonic()
            return answer

    def _end(self) -> None:
        """Kills it, and the processes that it has started."""
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):  # of one that has ended
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()


def _read(pipe: IO[bytes], answers: "queue.Queue[dict[str, Any] | None]") -> None:
    """Passes on what a worker says, and None at its end."""
    with pipe:
        for line in pipe:
            try:
                answers.put(dict(json.loads(line)))
            except (ValueError, TypeError):
                continue  # written by a plugin that found the pipe
    answers.put(None)


def _in_words(status: int) -> str:
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
