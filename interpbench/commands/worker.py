"""The process that a run in workers does its jobs in; see `running.local_pool`.

It reads a line, what is run, and then a line a job, and answers on what was its standard output. It
ends with the process that asked, which closes its standard input by ending itself.
"""

import json
import os
import queue
import threading
from base64 import b64encode
from collections.abc import Callable
from os import _exit as end_at_once  # before anybody replaces it
from typing import IO, Any

from interpbench.core.errors import InterpBenchError, RunFolderError, in_one_line, said

Say = Callable[..., None]


def main() -> None:
    """Does the jobs that it is asked for."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what plugins print
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(requests, jobs), daemon=True).start()

    def say(**answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")

    try:
        _work(jobs, say)
    except InterpBenchError as error:
        say(refused=said(error))
    except Exception as error:
        say(refused=f"The process that runs the cells failed: {in_one_line(error)}.")
    answers.flush()
    end_at_once(0)  # whatever plugins have left running


def _work(jobs: "queue.Queue[dict[str, Any]]", say: Say) -> None:
    """Rebuilds the plan, and does one job after the other, without an end.

    Raises:
        InterpBenchError: if the plan is another than that of the run, or the images have changed.
    """
    import torch

    from interpbench import api
    from interpbench.core.devices import exact_arithmetic, memory_kept
    from interpbench.results.run_info import Identity
    from interpbench.running.image_stream import ImageStream
    from interpbench.running.record import identity_of
    from interpbench.running.serving import Server

    begin = jobs.get()
    torch.set_num_threads(begin["threads"])
    plan = api.rebuilt(begin["arguments"])
    differing = identity_of(plan).differences(Identity.model_validate(begin["identity"]))
    if differing:
        raise RunFolderError(
            f"What is run has changed since the run began: {', '.join(differing)}. Start afresh."
        )
    say(ready=True)
    with exact_arithmetic(), memory_kept(), ImageStream(plan) as stream:
        server = Server(plan, stream)
        while True:
            _do(server, jobs.get(), say)


def _do(server: Any, job: dict[str, Any], say: Say) -> None:
    """Does a job and says what comes of it."""
    from interpbench.results.block_files import BlockResult, block_content
    from interpbench.results.cell_folder import files_of_model
    from interpbench.results.cell_results import CellResult, ModelResult
    from interpbench.running.local_pool import model_of
    from interpbench.running.model_at_work import DamagedProcessError
    from interpbench.suite.cells import Cell

    decided = model_of(job["decided"]) if job["decided"] else None
    cells = [Cell(*names) for names in job["cells"]]

    def progress(cell: Cell, images: int) -> None:
        say(at=list(cell.as_dict().values()), images=images)

    damaged = ""
    try:
        for result in server.do(job["model"], job["block"], cells, decided, progress):
            match result:
                case ModelResult():
                    files = files_of_model(result)
                    say(measured={name: b64encode(files[name]).decode() for name in files})
                case BlockResult():
                    say(made=b64encode(block_content(result)).decode())
                case CellResult():
                    say(failed=result.record.contents())
    except DamagedProcessError as damage:
        damaged = str(damage)
    say(done=damaged)


def _read(requests: IO[str], jobs: "queue.Queue[dict[str, Any]]") -> None:
    """Takes in jobs until the process that gives them has ended."""
    for line in requests:
        jobs.put(json.loads(line))
    end_at_once(1)
