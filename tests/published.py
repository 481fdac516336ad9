"""A suite of four images, runs of it, and what they publish."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from interpbench import api
from interpbench.publish.publishing import publish
from interpbench.publish.submission import SubmissionRecord, read_submission, write_tables
from interpbench.results.cell_folder import read_cell
from interpbench.results.finished_run import Run
from interpbench.suite.cells import safe_name
from interpbench.suite.suite import Suite, load_suite
from tests.run_folders import change_cell, write_cell

SUITE = """
name = "few"
version = 1
dataset = "planted"
models = ["resnet18", "alexnet"]
methods = ["random", "center", "saliency"]
metrics = ["deletion", "pointing-game"]
images = 4
steps = 6
ceiling = 2
seed = 3
"""
MINE = '''
from interpbench import method

@method("mine")
def mine(model, x, target, *, power: float = 1.0):
    """The images' own values."""
    return x.abs().amax(1) ** power
'''


@pytest.fixture(scope="session")
def suite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "few.toml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="session")
def suite(suite_file: Path) -> Suite:
    return load_suite(str(suite_file))


@pytest.fixture(scope="session")
def finished(suite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the suite."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    return api.run(str(suite_file), output=folder, device="cpu", plots=False)


@pytest.fixture(scope="session")
def plugin_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture(scope="session")
def finished_with_mine(
    suite_file: Path, plugin_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run of the suite with the controls and somebody's own method, on one of its models."""
    folder = tmp_path_factory.mktemp("runs") / "second"
    return api.run(
        str(suite_file), plugin=plugin_file, method=["random", "center", "mine"], model="resnet18", output=folder,
        device="cpu", plots=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def published(finished: Run, suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with one submission, `few/ada`; no test may change it."""
    folder = tmp_path_factory.mktemp("published") / "results"
    publish(finished, "Ada", results=folder, suite=suite)
    return folder


@pytest.fixture
def results(published: Path, tmp_path: Path) -> Path:
    """A copy of what was published, for a test to change."""
    return shutil.copytree(published, tmp_path / "results")


def copy_of(run: Run, folder: Path, change: Callable[[dict[str, Any]], None]) -> Run:
    """A run with another run.json."""
    shutil.copytree(run.folder, folder)
    info = json.loads((folder / "run.json").read_text())
    change(info)
    (folder / "run.json").write_text(json.dumps(info))
    return api.load_run(folder)


def with_failed_cell(run: Run, folder: Path, model: str, method: str) -> Run:
    """A run in which a cell has failed."""
    copy_of(run, folder, lambda info: None)
    cell = folder / "cells" / safe_name("planted", model, method)
    empty = read_cell(cell).scores.iloc[:0]
    write_cell(cell, replace(read_cell(cell), scores=empty))
    change_cell(cell, status="failed", reason="it broke")
    return api.load_run(folder)


def reseal(
    folder: Path, change: Callable[[dict[str, Any], pd.DataFrame, pd.DataFrame], Any]
) -> None:
    """Forges a submission by somebody who knows the format: all its hashes fit again."""
    submission = read_submission(folder)
    said = submission.record.model_dump(mode="json")
    scores, ceilings = submission.scores.copy(), submission.ceilings.copy()
    changed = change(said, scores, ceilings)
    scores = scores if changed is None else changed
    said["files"] = write_tables(scores, ceilings, folder)
    (folder / "run.json").write_text(SubmissionRecord.model_validate(said).sealed().text())
