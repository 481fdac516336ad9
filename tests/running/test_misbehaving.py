"""A cell harms only itself: methods that do the worst, each followed by a sound cell, whose bytes must stay."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import interpbench
from interpbench.core.errors import ParameterError, UnknownNameError
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import CellRecord
from interpbench.running import local_pool
from interpbench.running.scheduler import Died, Ready
from tests.paths import ROOT, TESTS, TINY

MISBEHAVING = TESTS / "plugins" / "misbehaving.py"


@pytest.fixture(scope="module")
def plugin() -> dict[str, object]:
    """What the plugin's file says of its methods."""
    from interpbench.registry.discovery import discover

    discover([MISBEHAVING])
    [module] = [
        m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == str(MISBEHAVING)
    ]
    return vars(module)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def settings(folder: Path, methods: list[str]) -> dict[str, Any]:
    """A small run of these methods."""
    return {
        "dataset": "tiny", "model": "quadrants", "metric": "deletion", "weights": "random", "device": "cpu",
        "images": 2, "steps": 4, "ceiling": "none", "plugin": [str(TINY), str(MISBEHAVING)], "output": str(folder),
        "plots": False, "method": methods,
    }  # fmt: skip


def alternating(names: list[str]) -> list[str]:
    return [label for i, name in enumerate(names) for label in (name, f"sound:number={i + 1}")]


def records(folder: Path) -> dict[str, CellRecord]:
    return {record.method: record for record in RunFolder(folder).cell_records()}


def bytes_of(folder: Path, *methods: str) -> dict[str, str]:
    """All that sound cells wrote but for their own labels, every digit of it; all of them if none is named."""
    found, cells = {}, records(folder)
    for method in methods or [name for name in cells if name.startswith("sound")]:
        record = cells[method]
        assert record.status == "ok", record.reason
        assert not record.left_behind, record.left_behind
        tables = [
            pd.read_parquet(folder / "cells" / record.cell.folder / name)
            for name in ("scores.parquet", "curves.parquet")
        ]
        found[method] = "".join(
            table.drop(columns=["method", "parameters"], errors="ignore").to_csv()
            for table in tables
        )
    return found


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the sound method writes in a run in which nobody misbehaves."""
    folder = tmp_path_factory.mktemp("clean") / "run"
    interpbench.run(**settings(folder, ["sound"]))
    return bytes_of(folder)["sound"]


@pytest.mark.slow
def test_whatever_a_method_does_its_own_cell_alone_is_lost(
    plugin: dict[str, dict[str, str]], clean: str, tmp_path: Path
) -> None:
    fails, undone, folder = plugin["FAILS"], plugin["UNDONE"], tmp_path / "run"
    names = [*alternating([*fails, *undone]), "overrides-an-operator", "sound"]
    done = python("-c", f"import interpbench; interpbench.run(**{settings(folder, names)!r})")
    assert done.returncode == 0, done.stderr
    found = records(folder)
    wrong = {
        name: found[name].reason for name, words in fails.items() if words not in found[name].reason
    }
    assert not wrong
    assert all(found[name].status == "failed" for name in fails)
    assert {name: found[name].reason for name in undone if found[name].status != "ok"} == {}
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    # The last one does what nothing can undo in this process, so that nothing can be run after it.
    assert "cannot be brought back" in found["overrides-an-operator"].reason
    after = found["sound"].reason
    assert after.startswith("not run: overrides-an-operator on quadrants has changed how")
    sound = bytes_of(folder, *[f"sound:number={i + 1}" for i in range(len(fails) + len(undone))])
    assert {name for name in sound if sound[name] != clean} == set()


def isolated(folder: Path, reasons: dict[str, str], clean: str, **how: Any) -> None:
    """Runs some in processes of their own: their cells alone are lost, and say why."""
    names = alternating(list(reasons))
    finished = interpbench.run(**settings(folder, names), **how)
    assert finished.info.is_finished
    found = records(folder)
    assert set(found) == set(names)
    wrong = {
        name: record.reason
        for name, record in found.items()
        if reasons.get(name, "") not in record.reason
    }
    assert not wrong
    assert set(finished.failed["method"]) == set(reasons)
    sound = bytes_of(folder)
    assert {name for name in sound if sound[name] != clean} == set()


@pytest.mark.slow
def test_a_process_that_dies_costs_its_cell_alone(
    plugin: dict[str, dict[str, str]], clean: str, tmp_path: Path
) -> None:
    reasons = {"segfault": plugin["KILLS"]["segfault"]}
    isolated(tmp_path / "run", reasons, clean, isolation="cell")


def test_a_worker_that_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_pool, "WORKER", "import time; time.sleep(60)")
    pool = local_pool.LocalPool(["{}"])
    worker = pool.hire(1)
    assert pool.next(0.2) is None
    worker.dismiss()
    assert pool.next(9) == (worker, Died("was killed by SIGKILL"))
    monkeypatch.setattr(
        local_pool, "WORKER", "print('{\"ready\": true}'); print('not ours'); raise SystemExit(3)"
    )
    other = pool.hire(1)
    assert pool.next(9) == (other, Ready())
    assert pool.next(9) == (other, Died("ended with exit code 3"))


def test_what_is_in_memory_is_not_isolated(tmp_path: Path) -> None:
    def bright(model, x, target):
        return x.sum(1)

    plain = {"dataset": "tiny", "model": "quadrants", "plugin": TINY, "output": tmp_path / "run"}
    with pytest.raises(ParameterError, match="method= cannot be sent: it is in memory alone"):
        interpbench.run(method=bright, isolation="cell", **plain)
    with pytest.raises(ParameterError, match="only in a process of its own"):
        interpbench.run(method="random", isolation="none", timeout=3, **plain)
    with pytest.raises(ParameterError, match="expected a number of seconds above 0"):
        interpbench.run(method="random", timeout=0, **plain)
    with pytest.raises(UnknownNameError, match="Did you mean 'cell'"):
        interpbench.run(method="random", isolation="cells", **plain)


@pytest.mark.slow
def test_every_death_costs_its_cell_alone(
    plugin: dict[str, dict[str, str]], clean: str, tmp_path: Path
) -> None:
    assert sum(len(plugin[table]) for table in ("FAILS", "UNDONE", "KILLS")) >= 60
    isolated(tmp_path / "run", plugin["KILLS"], clean, timeout=20)
