"""Faults of many kinds that strike a small run, and what must be so all the same."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import interpbench
from interpbench.running.execute import Listener, Loss
from interpbench.suite.cells import Cell

METHODS = ["center", "saliency", "random"]
CELLS, BLOCKS, BATCHES = 4, 4, 2  # with the search for a ceiling; of a cell; of a block
EVENTS = CELLS * BLOCKS * BATCHES
SECONDS = 8.0  # that a block may take, where something hangs
GONE = 20.0  # seconds after which no worker is left of a run that was killed

# What it does to its process is in the file beside it, since its own text is part of what is run.
FAULTY = """
import ctypes, os, time
from pathlib import Path

import interpbench

@interpbench.method("faulty", reference="none")
def faulty(model, x, target):
    "Ends its process, or never answers."
    match Path(__file__).with_suffix(".fault").read_text():
        case "exits":
            os._exit(7)
        case "segfaults":
            ctypes.string_at(0)
        case "hangs":
            time.sleep(600)
"""
ENDS = ("segfaults", "hangs")  # its process; what only wants to exit fails without its end


def settings(output: Path, **changes: Any) -> dict[str, Any]:
    return {
        "dataset": "planted", "model": "resnet18", "method": METHODS, "metric": "deletion",
        "images": 16, "steps": 4, "ceiling": 2, "batch_size": 2, "block_size": 4, "device": "cpu", "plots": False,
        "compile": "never", "output": str(output),
    } | changes  # fmt: skip


def with_faulty(folder: Path, kind: str) -> dict[str, Any]:
    """What is to be changed for a run with a method that does so."""
    (folder / "faulty.py").write_text(FAULTY)
    (folder / "faulty.fault").write_text(kind)
    methods = [*METHODS[:1], "faulty", *METHODS[1:]]
    slow = {"timeout": SECONDS} if kind == "hangs" else {}
    return {"method": methods, "plugin": str(folder / "faulty.py")} | slow


def tables(folder: Path) -> dict[str, bytes]:
    names = ["scores.csv", "scores.parquet", "curves.parquet", "leaderboard.csv"]
    return {name: (folder / name).read_bytes() for name in names}


class Watch(Listener):
    """Counts what is begun and lost, and strikes once, after so many batches, or as workers begin."""

    def __init__(self, when: int = -1, strike: Callable[[], object] = lambda: None) -> None:
        self._when, self._strike = when, strike
        self.begun: Counter[Cell] = Counter()
        self.losses: list[Loss] = []
        self.batches = 0

    def planned(self, plan: Any, folder: Path, done: int) -> None:
        if self._when == 0:
            threading.Timer(1.5, self._strike).start()

    def images(self, cell: Cell, count: int) -> None:
        self.begun[cell] += count == 0
        self.batches += count > 0
        if count > 0 and self.batches == self._when:
            self._strike()

    def lost(self, loss: Loss) -> None:
        self.losses.append(loss)

    def repeated(self) -> dict[Cell, tuple[int, int]]:
        """Cell -> how many of its blocks were begun again, and how many workers were lost at one."""
        return {
            cell: (
                begun - BLOCKS,
                sum(loss.at.startswith(f"{cell.method} on {cell.model},") for loss in self.losses),
            )
            for cell, begun in self.begun.items()
            if cell.method != "faulty"
        }


def run(watch: Watch, **asked: Any) -> Any:
    """A run to its end: what a lost worker was at was begun again, and nothing else."""
    finished = interpbench.run(**asked, listener=watch)
    repeated = watch.repeated()
    assert len(repeated) == CELLS
    assert all(again == lost for again, lost in repeated.values()), (repeated, watch.losses)
    assert finished.info.workers_lost == tuple(map(str, watch.losses))
    return finished


def run_with_faulty(folder: Path, kind: str, **asked: Any) -> tuple[Any, Watch]:
    """A run with a method that ends its process, which is its own failure alone."""
    watch = Watch()
    finished = run(watch, **settings(folder / "run", **with_faulty(folder, kind), **asked))
    [reason] = finished.failed["reason"]
    assert ("the process that ran it" if kind in ENDS else "os._exit") in reason
    assert bool(watch.losses) == (kind in ENDS)
    assert all(loss.at.startswith("faulty on resnet18") for loss in watch.losses)
    return finished, watch


def same_but_for_faulty(folder: Path, clean: Path) -> None:
    """The tables are those of a clean run without it."""
    for name in ("scores.parquet", "curves.parquet"):
        found, expected = (pd.read_parquet(of / name) for of in (folder, clean))
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    found, expected = (pd.read_csv(of / "leaderboard.csv") for of in (folder, clean))
    found = found[found["method"] != "faulty"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)


DRIVER = """
import sys
import interpbench
from interpbench.running.execute import Listener

class Saying(Listener):
    def images(self, cell, count):
        if count > 0:
            print("batch", flush=True)

interpbench.run(**{asked!r}, listener=Saying())
"""


def kill_driver(when: int, find: Callable[[int], list[int]], **asked: Any) -> None:
    """Kills a run, as a process of its own, after so many batches; none of its workers stays."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER.replace("{asked!r}", repr(asked))],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with driver:
        assert driver.stdout is not None
        for _ in range(when):
            assert driver.stdout.readline() == b"batch\n"
        left = find(driver.pid)
        driver.kill()
    assert left
    end = time.monotonic() + GONE
    while alive := [pid for pid in left if is_alive(pid)]:
        assert time.monotonic() < end, f"{alive} are left"
        time.sleep(0.1)


def resume(folder: Path, **asked: Any) -> None:
    """Goes on with a run: with what was not finished, and no more."""
    done = len(list(folder.glob("cells/*"))) * BLOCKS + len(list(folder.glob("blocks/*/*.block")))
    watch = Watch()
    finished = interpbench.run(**settings(folder, **asked), resume=True, listener=watch)
    assert finished.failed.empty
    assert not watch.losses
    assert sum(watch.begun.values()) == CELLS * BLOCKS - done


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def local_workers(parent: int | None = None) -> list[int]:
    """The workers of a process; of this one by default."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent or os.getpid())], capture_output=True, text=True
    ).stdout
    return [pid for pid in map(int, found.split()) if "commands.worker" in command_line(pid)]


def actors(parent: int | None = None) -> list[int]:
    """The processes of Ray's workers on this machine, whosesoever."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [pid for pid in pids if command_line(pid).startswith("ray::_Actor") and is_alive(pid)]


def kill_one(pids: list[int], choose: Callable[[list[int]], int]) -> int:
    """Kills one of these; how many it has killed."""
    if pids:
        os.kill(choose(sorted(pids)), signal.SIGKILL)
    return len(pids[:1])
