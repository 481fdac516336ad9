"""A cell harms only itself: methods that do the worst, each followed by a sound cell, whose bytes must stay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import interpbench
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import CellRecord
from tests.paths import ROOT, TESTS, TINY

MISBEHAVING = TESTS / "plugins" / "misbehaving.py"
FLAGS = ["--dataset", "tiny", "--model", "quadrants", "--metric", "deletion", "--weights", "random", "--device", "cpu",
         "--images", "2", "--steps", "4", "--ceiling", "none", "--plugin", str(TINY), "--plugin", str(MISBEHAVING),
         "--quiet"]  # fmt: skip


@pytest.fixture(scope="module")
def plugin() -> dict[str, object]:
    """What the plugin's file says of its methods."""
    from interpbench.registry.discovery import discover

    discover([MISBEHAVING])
    [module] = [
        m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == str(MISBEHAVING)
    ]
    return vars(module)


def command(folder: Path, methods: list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "interpbench", "run", *FLAGS, "--output", str(folder), *flags]
        + [argument for name in methods for argument in ("--method", name)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def alternating(names: list[str]) -> list[str]:
    return [label for i, name in enumerate(names) for label in (name, f"sound:number={i + 1}")]


def records(folder: Path) -> dict[str, CellRecord]:
    return {record.method: record for record in RunFolder(folder).cell_records()}


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What each sound cell wrote, but for its record, which has times."""
    found = {}
    for method, record in records(folder).items():
        if method.startswith("sound"):
            assert record.status == "ok", record.reason
            assert not record.left_behind, record.left_behind
            files = folder / "cells" / record.cell.folder
            found[method] = b"".join(
                (files / name).read_bytes() for name in ("scores.parquet", "curves.parquet")
            )
    return found


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The sound cells of a run in which nobody misbehaves."""
    folder = tmp_path_factory.mktemp("clean") / "run"
    interpbench.run(
        dataset="tiny", model="quadrants", metric="deletion", weights="random", device="cpu", images=2, steps=4,
        ceiling="none", plugin=[TINY, MISBEHAVING], output=folder, plots=False,
        method=[f"sound:number={i + 1}" for i in range(80)],
    )  # fmt: skip
    return bytes_of(folder)


def test_whatever_a_method_does_its_own_cell_alone_is_lost(
    plugin: dict[str, dict[str, str]], clean: dict[str, bytes], tmp_path: Path
) -> None:
    fails, undone = plugin["FAILS"], plugin["UNDONE"]
    done = command(tmp_path / "run", alternating([*fails, *undone]))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    found = records(tmp_path / "run")
    wrong = {
        name: found[name].reason for name, words in fails.items() if words not in found[name].reason
    }
    assert not wrong
    assert all(found[name].status == "failed" for name in fails)
    assert {name: found[name].reason for name in undone if found[name].status != "ok"} == {}
    sound = bytes_of(tmp_path / "run")
    assert len(sound) == len(fails) + len(undone)
    assert {name for name in sound if sound[name] != clean[name]} == set()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"


def test_what_cannot_be_undone_ends_the_run_and_the_other_cells_say_why(tmp_path: Path) -> None:
    names = ["sound:number=1", "overrides-an-operator", "sound:number=2"]
    done = command(tmp_path / "run", names)
    assert done.returncode == 1, done.stderr
    found = records(tmp_path / "run")
    assert found["sound:number=1"].status == "ok"
    assert "cannot be brought back" in found["overrides-an-operator"].reason
    assert found["sound:number=2"].reason.startswith(
        "not run: overrides-an-operator on quadrants has changed"
    )
