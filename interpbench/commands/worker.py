"""The process that a run in workers does its jobs in; see `running.local_pool`.

It reads a line, what is run, and then a line a job, and answers on what was its standard output. It
ends with the process that asked, which closes its standard input by ending itself.
"""

import json
import os
import queue
import threading
from collections.abc import Callable
from os import _exit as end_at_once  # before anybody replaces it
from typing import IO

import torch

from interpbench import api
from interpbench.core.errors import InterpBenchError, in_one_line, said
from interpbench.results.run_info import Identity
from interpbench.running.messages import answer_line, job_of
from interpbench.running.scheduler import Answer, Refused
from interpbench.running.serving import serve


def main() -> None:
    """Does the jobs that it is asked for."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what plugins print
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(requests, lines), daemon=True).start()

    def say(answer: Answer) -> None:
        answers.write(answer_line(answer) + "\n")

    try:
        _work(lines, say)
    except InterpBenchError as error:
        say(Refused(said(error)))
    except Exception as error:
        say(Refused(f"The process that runs the cells failed: {in_one_line(error)}."))
    answers.flush()
    end_at_once(0)  # whatever plugins have left running


def _work(lines: "queue.Queue[str]", say: Callable[[Answer], None]) -> None:
    """Rebuilds the plan, and does one job after the other, without an end.

    Raises:
        InterpBenchError: if the plan is another than that of the run, or the images have changed.
    """
    begin = json.loads(lines.get())
    torch.set_num_threads(begin["threads"])
    plan = api.rebuilt(begin["arguments"])
    identity = Identity.model_validate(begin["identity"])
    serve(plan, identity, lambda: job_of(lines.get()), say)


def _read(requests: IO[str], lines: "queue.Queue[str]") -> None:
    """Takes in jobs until the process that gives them has ended."""
    for line in requests:
        lines.put(line)
    end_at_once(1)
