"""Whoever listens to a run is told of each cell and of the end; several are told alike."""

from pathlib import Path
from typing import Any

import pytest

import interpbench
from interpbench import Listener, ParameterError
from tests.paths import TINY

ASKED: dict[str, Any] = {
    "dataset": "tiny",
    "model": "quadrants",
    "plugin": TINY,
    "weights": "random",
    "method": "center,gradient",
    "metric": "pointing-game",
    "images": 2,
    "ceiling": "none",
    "device": "cpu",
    "plots": False,
    "progress": False,
}


class Notes(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.cells: dict[str, float] = {}
        self.maps = 0
        self.run: Any = None

    def images(self, cell: Any, count: int) -> None:
        self.maps += count

    def cell(self, result: Any) -> None:
        self.cells[result.record.method] = result.scores["value"].mean()

    def finished(self, run: Any) -> None:
        self.run = run


def test_several_are_told_of_cells_and_of_the_finished_run(tmp_path: Path) -> None:
    first, second = Notes(), Notes()
    run = interpbench.run(**ASKED, output=tmp_path / "run", listener=[first, second])
    assert first.run is second.run is run
    assert (first.cells, first.maps) == (second.cells, second.maps)
    assert first.maps == 4
    assert first.cells == run.leaderboard.set_index("method")["mean"].to_dict()
    resumed = Notes()
    again = interpbench.run(**ASKED, output=tmp_path / "run", resume=True, listener=resumed)
    assert (resumed.cells, resumed.run) == ({}, again)  # nothing was left to do


def test_a_shard_is_not_the_end(tmp_path: Path) -> None:
    notes = Notes()
    interpbench.run(**ASKED, output=tmp_path / "run", shard="1/1", listener=notes)
    assert notes.run is None


def test_what_is_no_listener_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="expected Listener, a sequence of Listener"):
        interpbench.run(**ASKED, output=tmp_path / "run", listener=[3])  # type: ignore[list-item]
    assert not (tmp_path / "run").exists()
