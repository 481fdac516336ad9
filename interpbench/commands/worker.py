"""The process that a supervised run does its cells in; see `running.local_pool`.

It reads one line, the request, and answers on what was its standard output. It ends with the
process that asked, which closes its standard input by ending itself.
"""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from os import _exit as end_at_once  # before anybody replaces it
from pathlib import Path
from typing import IO, Any

from interpbench.core.errors import InterpBenchError, RunFolderError, in_one_line, said


def main() -> None:
    """Does the cells that it is asked for."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what plugins print
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    request = json.loads(requests.readline())
    threading.Thread(target=_end_with, args=(requests,), daemon=True).start()

    def say(**answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")

    try:
        _work(request, say)
    except InterpBenchError as error:
        say(refused=said(error))
    except Exception as error:
        say(refused=f"The process that runs the cells failed: {in_one_line(error)}.")
    answers.flush()
    end_at_once(0)  # whatever plugins have left running


def _work(request: dict[str, Any], say: Callable[..., None]) -> None:
    """Rebuilds the plan, and says what comes of each cell.

    Raises:
        InterpBenchError: if the plan is another than that of the run, or the disk is full.
    """
    import torch

    from interpbench import api
    from interpbench.results.cell_results import CellResult, ModelResult
    from interpbench.results.run_folder import RunFolder
    from interpbench.running.gathering import Gathering
    from interpbench.running.record import identity_of
    from interpbench.running.resume import kept
    from interpbench.running.runner import DamagedProcessError, run_until_damaged
    from interpbench.suite.cells import Cell

    torch.set_num_threads(request["threads"])
    folder = RunFolder(Path(request["folder"]))
    plan = api.rebuilt(request["arguments"])
    differing = identity_of(plan).differences(folder.info().identity)
    if differing:
        raise RunFolderError(
            f"What is run has changed since the run began: {', '.join(differing)}. Start afresh."
        )
    old = kept(folder, plan)
    asked = {Cell(*names) for names in request["todo"]}
    todo = old.todo(plan)
    todo = replace(todo, cells=[cell for cell in todo.cells if cell in asked])

    def finished(result: CellResult) -> None:
        say(cell=result.record.contents())

    def progress(cell: Cell, images: int) -> None:
        say(at=list(cell.as_dict().values()), images=images)

    gathering = Gathering(plan, folder, todo, finished)
    say(ready=True)
    try:
        for result in run_until_damaged(plan, todo, progress, gathering.is_enough):
            if isinstance(result, ModelResult):
                old.refuse_another(result.record)
            gathering.take(result)
            if isinstance(result, ModelResult):
                say(measured=result.record.model)
    except DamagedProcessError as damage:
        say(damaged=str(damage))


def _end_with(requests: IO[str]) -> None:
    """Waits until the process that asked has ended."""
    requests.read()
    end_at_once(1)
