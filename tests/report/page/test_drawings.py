"""Where lines and dots are drawn, against the numbers they stand for."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench.report.page.charts import Chart, charts, rank_diagrams, scales, ticks
from tests.report.page.pages import board_evidence, run_evidence


def points(path: str) -> np.ndarray:
    """The points [P,2] of a path of straight lines."""
    return np.array([pair.split(",") for pair in re.findall(r"[-\d.]+,[-\d.]+", path)], dtype=float)


def values(chart: Chart, path: str) -> np.ndarray:
    """Fraction and value [P,2] at the points of a path."""
    found = points(path)
    fraction = (found[:, 0] - chart.left) / (chart.right - chart.left)
    value = chart.low + (chart.bottom - found[:, 1]) / (chart.bottom - chart.top) * (
        chart.high - chart.low
    )
    return np.stack([fraction, value], axis=1)


def test_curves_are_drawn_where_their_means_lie_and_bands_hold_them() -> None:
    evidence = run_evidence(methods=("gradcam", "random"), images=12)
    assert evidence.tables is not None
    found = charts(evidence)
    assert [chart.metric for chart in found] == ["deletion", "insertion"]
    for chart in found:
        assert {curve.method for curve in chart.curves} == {"gradcam", "random"}
        for curve in chart.curves:
            mine = evidence.tables.curves["planted", "resnet18", chart.metric, curve.method]
            expected = mine.mean
            drawn = values(chart, curve.line)
            resolution = (chart.high - chart.low) / (
                chart.bottom - chart.top
            )  # of a tenth of a unit, and rounding
            np.testing.assert_allclose(drawn[:, 0], mine.fraction, atol=1e-3)
            np.testing.assert_allclose(drawn[:, 1], expected, atol=0.1 * resolution)
            np.testing.assert_allclose(curve.means, expected, atol=1e-4)
            upper, lower = np.split(values(chart, curve.band)[:, 1], 2)
            assert (upper >= drawn[:, 1] - 0.1 * resolution).all()
            assert (lower[::-1] <= drawn[:, 1] + 0.1 * resolution).all()


def test_the_best_curve_is_on_top_and_long_ones_are_thinned() -> None:
    evidence = run_evidence(methods=("gradcam", "random", "sobel"), images=12, steps=300)
    board = evidence.board
    for chart in charts(evidence):
        mine = board[board["metric"] == chart.metric]
        assert chart.curves[-1].method == mine["method"].iloc[0]
        assert len(chart.fractions) == 65
        assert (chart.fractions[0], chart.fractions[-1]) == (0, 1)
        assert f"mean {mine['mean'].iloc[0]:.3f}" in chart.curves[-1].label


def test_an_interval_lies_on_the_scale_of_its_metric() -> None:
    evidence = board_evidence(
        ("a", "deletion", "x", 0.1, 1, "a"),
        ("b", "deletion", "x", 0.5, 1, "a"),
        ("a", "insertion", "x", 7.0, 1, "a"),
    )
    scale = scales(evidence.board)["deletion"]
    assert scale.at(0.3) == pytest.approx(50)
    low, high = scale.at(0.09), scale.at(0.51)
    assert low is not None
    assert high is not None
    assert 0 < low < high < 100
    assert scale.at(float("nan")) is None


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_few_and_within(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    assert len(found) <= 7
    margin = 1e-6 * max(abs(low), abs(high), span)
    assert all(low - margin <= tick <= high + margin for tick in found)
    assert found == sorted(found)


def test_ticks_of_a_common_range() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(0.07, 0.33) == [0.1, 0.2, 0.3]


def test_without_tables_or_models_there_is_nothing_to_draw() -> None:
    evidence = board_evidence(("a", "deletion", "x", 0.1, 1, "a"))
    assert charts(evidence) == []
    assert rank_diagrams(evidence) == []


def test_bars_join_exactly_the_methods_that_share_a_letter() -> None:
    evidence = run_evidence(
        models=tuple("abcdef"), metrics=("deletion", "insertion"), images=10, ceiling=False
    )
    found = rank_diagrams(evidence)
    assert len(found) == 2
    for diagram in found:
        ranks = evidence.ranks[evidence.ranks["metric"] == diagram.metric]
        at = {mark.method: mark.x for mark in diagram.marks}
        assert list(at) == ranks["method"].tolist()
        assert sorted(at.values()) == list(at.values())
        joined = {
            frozenset(method for method, x in at.items() if bar.x0 <= x <= bar.x1)
            for bar in diagram.bars
        }
        letters = dict(zip(ranks["method"], ranks["letters"], strict=True))
        groups = {
            frozenset(method for method, mine in letters.items() if letter in mine)
            for letter in set("".join(letters.values()))
        }
        assert joined == {group for group in groups if len(group) > 1}
        assert len(joined) >= 2
        assert diagram.critical is not None
        unit = (diagram.right - diagram.left) / (len(ranks) - 1)
        test = evidence.agreement.set_index("metric").loc[diagram.metric]
        assert diagram.critical.x1 - diagram.critical.x0 == pytest.approx(
            test["critical_difference"] * unit, abs=0.02
        )


def test_few_models_are_ranked_but_not_joined() -> None:
    [diagram] = rank_diagrams(run_evidence(models=("a", "b"), metrics=("deletion",), images=10))
    assert diagram.bars == ()
    assert diagram.critical is None
    assert "too few models" in diagram.verdict
