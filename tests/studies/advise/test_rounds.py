"""Who stays where a round ends before its time, and what an image costs."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from interpbench.core.errors import ParameterError
from interpbench.results.run_info import MetricInfo
from interpbench.results.tables import RunTables
from interpbench.studies.advise import rounds as module
from interpbench.studies.advise.race import FAILED, TIME
from interpbench.studies.advise.rounds import Rounds


def tables_of(images: list[str], **cells: tuple[str, str, float]) -> RunTables:
    """Method -> role, status and seconds, half of them for maps; all score 1."""
    names = {"dataset": "d", "model": "m"}
    frame = pd.DataFrame(
        [
            {**names, "method": method, "role": role, "status": status, "reason": "" if status == "ok" else "broken",
             "images": len(images)}
            for method, (role, status, _) in cells.items()
        ]
    )  # fmt: skip
    timings = pd.DataFrame(
        [
            {**names, "method": method, "attribution_seconds": seconds / 2, "scoring_seconds": seconds / 2,
             "images": len(images) if status == "ok" else 0}
            for method, (_, status, seconds) in cells.items()
        ]
    )  # fmt: skip
    scores = pd.DataFrame(
        [
            {**names, "method": method, "metric": "up", "sample_id": image, "value": 1.0}
            for method, (_, status, _) in cells.items()
            if status == "ok"
            for image in images
        ],
        columns=[*names, "method", "metric", "sample_id", "value"],
    )
    return RunTables(scores, {}, frame, timings, {"up": MetricInfo(better="higher")}, {}, [], 0)


@dataclass
class Bench:
    """Gives one table after the other."""

    tables: list[RunTables]
    asked: list[Any] = field(default_factory=list)

    def score(self, asked: Any, folder: Path) -> RunTables:
        self.asked.append(asked)
        return self.tables[len(self.asked) - 1]

    def labels(self, methods: list[str]) -> list[str]:
        return list(methods)


def race(monkeypatch: pytest.MonkeyPatch, *tables: RunTables, finished: bool) -> Rounds:
    info = SimpleNamespace(info=lambda: SimpleNamespace(is_finished=finished))
    monkeypatch.setattr(module, "RunFolder", lambda path: info)
    folder = SimpleNamespace(path=Path("nowhere"))
    return Rounds(Bench(list(tables)), folder, 100, 0.0)  # type: ignore[arg-type]


CONTROL = ("control", "ok", 2.0)


def test_whose_turn_did_not_come_is_not_followed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    first = tables_of(
        ["a", "b"], random=CONTROL, fast=("method", "ok", 4.0), odd=("method", "failed", 0.0)
    )
    second = tables_of(["c"], random=CONTROL)
    rounds = race(monkeypatch, first, second, finished=False)
    rounds.play("1", ["random", "fast", "odd", "late"], ["a", "b"], 50)
    assert {name: each.why for name, each in rounds.dropped.items()} == {
        "odd": FAILED,
        "late": TIME,
    }
    rounds.play("2", ["random", "fast"], ["c"], 50)
    assert "fast" not in rounds.dropped  # it has its scores of before
    assert rounds.cells.set_index("method").loc["late", ["role", "images"]].tolist() == [
        "method",
        0,
    ]


def test_what_a_finished_round_leaves_out_does_not_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = race(monkeypatch, tables_of(["a"], random=CONTROL), finished=True)
    rounds.play("1", ["random", "blind"], ["a"], 50)
    assert (rounds.dropped["blind"].why, rounds.dropped["blind"].reason) == (
        FAILED,
        "does not apply to the model",
    )


def test_an_image_costs_what_it_did_where_most_were_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = tables_of(["a"], random=CONTROL, fast=("method", "ok", 9.0))
    second = tables_of(["b", "c"], random=CONTROL, fast=("method", "ok", 4.0))
    rounds = race(monkeypatch, first, second, finished=True)
    for name, ids in (("1", ["a"]), ("2", ["b", "c"])):
        rounds.play(name, ["random", "fast"], ids, 50)
    means = rounds.means(50, scoring=3)
    assert means.each["fast"] == 4.0  # (2 + 3·2) / 2
    assert means.controls == 2.0
    assert means.once == 0  # the stub is faster than what it says
    assert len(rounds.scores) == 6


def test_no_score_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = race(monkeypatch, tables_of(["a"], odd=("method", "failed", 0.0)), finished=True)
    with pytest.raises(ParameterError, match=r"raise --budget.*broken"):
        rounds.play("1", ["odd"], ["a"], 50)
