"""What images can tell apart, against the pairs that it summarises and counts made by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from interpbench.results.comparison import comparisons
from interpbench.results.leaderboard import leaderboard
from interpbench.results.resolution import RESOLUTION_COLUMNS, resolution
from interpbench.results.tables import RunTables
from tests.synthetic_tables import EMPTY_SCORES, concluded, synthetic_tables


def row_of(tables: RunTables) -> pd.Series:
    """The resolution of tables with one data set, model and metric."""
    pairs = comparisons(tables)
    [row] = resolution(leaderboard(tables, pairs), pairs, tables.level).iloc
    return row


@pytest.mark.parametrize(("images", "possible"), [(10, False), (11, True)])
def test_of_nine_methods_and_ten_images_nothing_can_be_significant(
    images: int, possible: bool
) -> None:
    """36 pairs, and the least p of n images is 2/2^n, though scores here are as far apart as can be."""
    tables = synthetic_tables(metrics=("deletion",), images=images, ceiling=False)
    places = tables.scores["method"].rank(method="dense")
    noise = np.random.default_rng(0).normal(0, 1e-3, len(tables.scores))
    tables = replace(tables, scores=tables.scores.assign(value=places + noise))
    row = row_of(tables)
    assert (row["n"], row["methods"], row["pairs"]) == (images, 9, 36)
    assert row["possible"] == possible == (36 * 2 / 2**images < 0.05)
    assert row["images_possible"] == 11
    assert row["told_apart"] == float(possible)
    strict = row_of(replace(tables, level=0.05 / 2))
    assert (strict["images_possible"], strict["possible"]) == (12, False)


def test_the_best_method_is_held_against_the_best_control_and_the_next() -> None:
    tables, found = concluded()
    rows = found["resolution"].set_index("metric")
    assert list(found["resolution"].columns) == RESOLUTION_COLUMNS
    for metric, of_metric in found["leaderboard"].groupby("metric"):
        row, pairs = rows.loc[metric], found["comparisons"].query("metric == @metric")
        methods = of_metric[of_metric["role"] == "method"]
        controls = of_metric[of_metric["role"] == "control"]
        names = methods["method"].iloc[0], methods["method"].iloc[1], controls["method"].iloc[0]
        assert (row["best"], row["next"], row["control"]) == names
        means = of_metric.set_index("method")["mean"]
        for rival in ("next", "control"):
            apart = means[row["best"]] - means[row[rival]]
            assert row[f"{rival}_difference"] == pytest.approx(apart)
            [pair] = [
                pair
                for pair in pairs.itertuples()
                if {pair.method, pair.other} == {row["best"], row[rival]}
            ]
            assert row[f"{rival}_told_apart"] == (pair.better != "")
            assert row[f"{rival}_images_needed"] == pair.images_needed
        assert row["told_apart"] == (pairs["p_holm"] < tables.level).mean()
    assert rows["control_told_apart"].nunique() == 2  # both are here


def test_without_a_control_or_a_second_method_there_is_no_such_rival() -> None:
    row = row_of(synthetic_tables(methods=("gradcam", "saliency"), metrics=("deletion",)))
    assert (row["best"], row["next"], row["control"]) == ("gradcam", "saliency", "")
    assert np.isnan([row["control_difference"], row["control_images_needed"]]).all()
    assert not row["control_told_apart"]
    row = row_of(synthetic_tables(methods=("center", "saliency"), metrics=("deletion",)))
    assert (row["best"], row["next"], row["control"]) == ("saliency", "", "center")
    assert row["control_difference"] > 0  # lower is better: the control is
    assert row["control_told_apart"]


def test_controls_alone_have_no_best_method() -> None:
    row = row_of(synthetic_tables(methods=("center", "random"), metrics=("deletion",)))
    assert (row["best"], row["control"], row["pairs"]) == ("", "center", 1)
    assert np.isnan(row["control_difference"])


def test_nothing_scored_has_no_row() -> None:
    tables = replace(synthetic_tables(methods=("center", "random")), scores=EMPTY_SCORES)
    pairs = comparisons(tables)
    found = resolution(leaderboard(tables, pairs), pairs, tables.level)
    assert found.empty
    assert list(found.columns) == RESOLUTION_COLUMNS
