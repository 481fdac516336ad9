"""Runs of which nothing is computed but once, so that hundreds of run folders can be written and read."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from interpbench import api
from interpbench.core.devices import Computing
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from interpbench.report import plots
from interpbench.report.page import render
from interpbench.results import leaderboard, run_folder
from interpbench.results.block_files import BlockResult
from interpbench.results.cell_results import ModelResult
from interpbench.results.run_folder import Mode, RunFolder
from interpbench.results.tables import RunTables
from interpbench.running import execute, record, resume, runner
from interpbench.running.plan import Plan, make_plan
from interpbench.suite.selection import Selection
from interpbench.suite.suite import load_suite
from tests.paths import TINY

ASKED = {
    "dataset": "tiny", "models": ["quadrants"], "methods": ["center", "gradient"],
    "metrics": ["deletion", "pointing-game"], "images": 4, "steps": 3, "ceiling": 2,
}  # fmt: skip


@functools.cache
def the_plan() -> Plan:
    """Four images in two blocks."""
    selection = Selection.of(load_suite("quick"), ASKED)
    computing = Computing.of("cpu", batch_size=2, block_size=2)
    return make_plan(selection, discover([TINY]), computing, Sources(weights=("random",)))


@functools.cache
def the_results() -> tuple[runner.Given, ...]:
    return tuple(runner.run_blocks(the_plan(), runner.Todo(the_plan().cells), lambda *_: None))


@pytest.fixture(scope="module", autouse=True)
def computed_once() -> Iterator[None]:
    """Nothing is computed but once: only the disk is tried."""
    the_results()

    def cached(plan: Plan, todo: runner.Todo, *how: Any) -> Iterator[runner.Given]:
        if todo.cells:
            for it in the_results():
                if isinstance(it, ModelResult) or (
                    isinstance(it, BlockResult)
                    and it.cell in todo.cells
                    and it.number not in todo.done.get(it.cell, ())
                ):
                    yield it

    conclude, concluded = execute.conclude, {}

    def conclude_once(tables: RunTables) -> dict[str, pd.DataFrame]:
        key = _told(tables)
        if key not in concluded:
            concluded[key] = conclude(tables)
        return concluded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "run_blocks", cached)
        patch.setattr(execute, "conclude", conclude_once)
        patch.setattr(leaderboard, "conclude", conclude_once)
        for module, name in [
            (run_folder, "files_of_cell"), (run_folder, "files_of_model"), (record, "describe"),
            (record, "git_state"), (record, "versions"), (resume, "versions"),
        ]:  # fmt: skip
            patch.setattr(module, name, functools.cache(getattr(module, name)))
        patch.setattr(render, "page", lambda evidence: "a page\n" * 2000)
        patch.setattr(
            plots,
            "_figures",
            lambda scene: [
                (["a"], lambda: Figure((0.3, 0.2))),
                (["b"], lambda: Figure((0.2, 0.2))),
            ],
        )
        yield


def run(folder: Path, mode: Mode) -> None:
    finished = execute.execute(the_plan(), RunFolder(folder), mode, False, execute.Listener())
    api.redraw(finished)
    api.write_page(finished)


def _told(tables: RunTables) -> tuple[str, ...]:
    """All that conclusions are drawn from."""
    frames = (tables.scores, tables.cells, tables.ceilings)
    return (
        *(frame.to_csv() for frame in frames), repr(tables.metrics), repr(tables.models), str(tables.seed)
    )  # fmt: skip


def content(folder: Path) -> dict[str, bytes]:
    """All files, run.json without its times."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    said = json.loads(files["run.json"])
    assert said.pop("started") <= said.pop("finished")
    return files | {"run.json": json.dumps(said).encode()}
