"""What a run records of its scores' scale and of its maps' sign, and where that is told."""

import math

import pytest
from rich.console import Console

import interpbench
from interpbench.report.page.render import page
from interpbench.report.terminal import print_report
from interpbench.report.verdict.evidence import of_run
from interpbench.suite.protocol import SIGN
from tests.paths import TINY

PLUGIN = """
import torch
from interpbench import Perturbation, method, metric


@method("even-images-signed", gradients=False)
def even_images_signed(model, x, target):
    "Negative in one corner, for targets of even number."
    maps = x.mean(1).abs() + 1
    maps[target % 2 == 0, 0, 0] = -1
    return maps


@method("one-constant", gradients=False)
def one_constant(model, x, target):
    "Signed, but for the targets of number 3, of which it says nothing."
    maps = x.mean(1) - x.mean(1).mean((1, 2), keepdim=True)
    maps[target == 3] = -1
    return maps


@metric("logits-as-shares", better="lower", curve=True)
def logits_as_shares(explanation):
    "Areas of logits that are said to lie in 0..1."
    return Perturbation(explanation.x, -explanation.x, 2, "logit")
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> interpbench.Run:
    folder = tmp_path_factory.mktemp("signs")
    (folder / "plugin.py").write_text(PLUGIN)
    return interpbench.run(
        dataset="tiny", model="quadrants", method=["random", "even-images-signed", "one-constant"],
        metric=["deletion:output=logit", "insertion:steps=2", "logits-as-shares"], images=8, weights="random",
        ceiling="none", plugin=[TINY, folder / "plugin.py"], device="cpu", plots=False, output=folder / "run",
    )  # fmt: skip


def test_unit_and_range_are_those_of_what_is_read(finished: interpbench.Run) -> None:
    loaded = interpbench.load_run(finished.folder)
    logits, probabilities = (
        loaded.info.metrics[label] for label in ("deletion:output=logit", "insertion:steps=2")
    )
    assert (logits.unit, logits.range) == ("logit", (-math.inf, math.inf))
    assert (probabilities.unit, probabilities.range) == ("probability", (0, 1))


def test_the_legend_says_them(finished: interpbench.Run) -> None:
    console = Console(width=200)
    with console.capture() as captured:
        print_report(finished, console)
    text = captured.get()
    assert "deletion:output=logit ↓ lower is better, logit in (−∞, ∞), protocol" in text
    assert "insertion:steps=2 ↑ higher is better, probability in [0, 1], protocol" in text
    assert "Maps of even-images-signed and one-constant hold negative values." in text


def test_areas_outside_the_range_that_a_metric_states_fail_it_alone(
    finished: interpbench.Run,
) -> None:
    reasons = set(finished.failed["reason"])
    assert len(finished.failed) == 3
    assert all("metric logits-as-shares: returned" in reason for reason in reasons)
    assert all("its range is 0 to 1: mend the metric, or its range" in reason for reason in reasons)
    board = finished.leaderboard
    assert set(board["metric"]) == {"deletion:output=logit", "insertion:steps=2"}
    assert board["n"].min() >= 6


def test_the_board_says_how_many_maps_are_signed(finished: interpbench.Run) -> None:
    board = finished.leaderboard
    assert set(board["sign"]) == {SIGN}
    signed = board.groupby("method")["signed"].agg(["min", "max"])
    targets = finished.scores.query("method == 'random' and metric == 'insertion:steps=2'")[
        "target"
    ]
    assert signed.loc["random"].tolist() == [0, 0]
    assert signed.loc["even-images-signed"].tolist() == [(targets % 2 == 0).mean()] * 2
    assert 0 < (targets % 2 == 0).mean() < 1
    assert (targets == 3).any()
    assert signed.loc["one-constant"].tolist() == [1, 1]  # of those that are an answer
    cells = finished.tables.cells.set_index("method")["signed"]
    assert cells["one-constant"] == (targets != 3).sum()


def test_examples_are_one_of_each_class(finished: interpbench.Run) -> None:
    classes = [example.true_class for example in finished.tables.examples]
    assert sorted(classes) == ["ne", "nw", "se", "sw"]


def test_the_page_names_signed_methods(finished: interpbench.Run) -> None:
    text = page(of_run(finished))
    assert text.count(">signed</span>") == 2 * 2
    assert f"Signed: maps hold negative values ({SIGN})." in text
    assert "(−∞, ∞)" in text
    assert "positions changed; up: logit" in text
