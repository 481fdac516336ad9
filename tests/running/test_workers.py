"""Blocks in several worker processes: the same bytes as in one process, whatever happens to the workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import interpbench
from interpbench.core.errors import ParameterError, RunFolderError
from interpbench.running.execute import Listener
from interpbench.suite.cells import Cell
from tests.paths import TINY


def settings(output: Path | str, **changes: Any) -> dict[str, Any]:
    return {
        "dataset": "tiny", "model": "quadrants", "method": ["center", "gradient", "random"],
        "metric": ["deletion", "pointing-game"], "images": 12, "steps": 3, "ceiling": 2, "batch_size": 2,
        "block_size": 4, "weights": "random", "plugin": TINY, "device": "cpu", "plots": False, "output": output,
    } | changes  # fmt: skip


def tables(folder: Path) -> dict[str, bytes]:
    names = ["scores.csv", "scores.parquet", "curves.parquet", "leaderboard.csv"]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    interpbench.run(**settings(folder))
    return folder


def test_two_workers_write_what_one_process_writes(whole: Path, tmp_path: Path) -> None:
    finished = interpbench.run(**settings(tmp_path / "run", device="cpu,cpu"))
    assert finished.info.isolation == "cell"
    assert finished.info.workers_lost == ()
    assert tables(tmp_path / "run") == tables(whole)
    assert not (tmp_path / "run" / "blocks").exists()


def children(parent: int | None = None) -> list[int]:
    """The workers of a process; of this one by default."""
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent or os.getpid())],
        capture_output=True,
        text=True,
    ).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "commands.worker" in line]


class Killer(Listener):
    """Kills a worker after so many batches."""

    def __init__(self, after: int) -> None:
        self.after, self.batches, self.killed = after, 0, 0

    def images(self, cell: Cell, count: int) -> None:
        self.batches += count > 0
        if count > 0 and self.batches == self.after:
            for pid in children()[:1]:
                os.kill(pid, signal.SIGKILL)
                self.killed += 1


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing(whole: Path, tmp_path: Path) -> None:
    killer = Killer(2)
    finished = interpbench.run(**settings(tmp_path / "run", workers=2, listener=killer))
    assert killer.killed == 1
    assert finished.failed.empty
    assert any("was killed by SIGKILL" in lost for lost in finished.info.workers_lost)
    assert tables(tmp_path / "run") == tables(whole)


@pytest.mark.slow
def test_begun_in_workers_and_gone_on_with_in_one_process(whole: Path, tmp_path: Path) -> None:
    class Stop(Listener):
        begun = 0

        def images(self, cell: Cell, count: int) -> None:
            self.begun += not count
            if self.begun > 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interpbench.run(**settings(tmp_path / "run", workers=2, listener=Stop()))
    assert not children()
    interpbench.run(**settings(tmp_path / "run"), resume=True)
    assert tables(tmp_path / "run") == tables(whole)


HANGS = """
import time
from interpbench import method

@method("hangs", reference="none")
def hangs(model, x, target):
    "Never answers."
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_cell_that_hangs_is_lost_alone(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    changes = {
        "method": ["center", "hangs", "gradient", "random"],
        "plugin": [TINY, tmp_path / "hangs.py"],
    }
    finished = interpbench.run(**settings(tmp_path / "run", workers=2, timeout=6, **changes))
    [reason] = finished.failed["reason"]
    assert reason == "the process that ran it took more than 6 seconds and was ended"
    scores = pd.read_parquet(tmp_path / "run" / "scores.parquet")
    assert set(scores["method"]) == {"center", "gradient", "random"}
    pd.testing.assert_frame_equal(scores, pd.read_parquet(whole / "scores.parquet"))


@pytest.mark.slow
def test_no_worker_outlives_a_process_that_is_killed(tmp_path: Path) -> None:
    asked = settings(str(tmp_path / "run"), workers=2, images=16, block_size=2)
    asked["plugin"] = str(TINY)
    run = subprocess.Popen(
        [sys.executable, "-c", f"import interpbench; interpbench.run(**{asked!r})"]
    )
    try:
        end = time.monotonic() + 120
        while not (workers := children(run.pid)):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        run.kill()
        run.wait()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < end, f"{workers} are left"
        time.sleep(0.1)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for workers in (0, -1, 10**6):
        with pytest.raises(ParameterError, match="expected a number from 1 to"):
            interpbench.run(**settings(tmp_path / "run", workers=workers))
    with pytest.raises(ParameterError, match="leave isolation=none out, or workers"):
        interpbench.run(**settings(tmp_path / "run", workers=2, isolation="none"))


def test_shards_are_put_together_to_the_same_run(whole: Path, tmp_path: Path) -> None:
    """Three blocks in two shards."""
    parts = [tmp_path / "a", tmp_path / "b"]
    for i, part in enumerate(parts):
        finished = interpbench.run(**settings(part), shard=f"{i + 1}/2")
        assert not finished.info.is_finished
    assert len(list((parts[0] / "blocks").glob("*/*"))) == 2 * 4
    assert len(list((parts[1] / "blocks").glob("*/*"))) == 1 * 4
    merged = interpbench.merge(parts, tmp_path / "run")
    assert merged.files == 3 * 4
    begun: list[Cell] = []

    class Listening(Listener):
        def images(self, cell: Cell, count: int) -> None:
            begun.append(cell)

    finished = interpbench.run(**settings(tmp_path / "run", listener=Listening()), resume=True)
    assert begun == []  # nothing is computed again
    assert finished.info.is_finished
    assert not any("shard" in notice for notice in finished.info.notices)
    assert tables(tmp_path / "run") == tables(whole)


def test_what_are_no_shards_of_one_run_are_refused(tmp_path: Path) -> None:
    one = interpbench.run(**settings(tmp_path / "one"), shard="1/2").folder
    other = interpbench.run(**settings(tmp_path / "other", seed=5), shard="2/2").folder
    smaller = interpbench.run(**settings(tmp_path / "smaller", block_size=2), shard="2/2").folder
    with pytest.raises(RunFolderError, match="is a shard of another run than"):
        interpbench.merge([one, other], tmp_path / "run")
    with pytest.raises(RunFolderError, match="cut into other blocks"):
        interpbench.merge([one, smaller], tmp_path / "run")
    with pytest.raises(RunFolderError, match="Name the shards"):
        interpbench.merge([], tmp_path / "run")
    with pytest.raises(RunFolderError, match="is no run folder"):
        interpbench.merge([tmp_path], tmp_path / "run")
    for shard in ("0/2", "3/2", "2", "a/b", "1/2/3", "-1/2", ""):
        with pytest.raises(ParameterError, match="expected which of how many"):
            interpbench.run(**settings(tmp_path / "run"), shard=shard)
    assert not (tmp_path / "run").exists()
