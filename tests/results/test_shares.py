"""Shares of the achievable on scores set by hand, and against a slow loop."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from interpbench.results.leaderboard import conclude, leaderboard
from interpbench.results.shares import achieved, by_group, shares
from interpbench.results.tables import RunTables
from tests.synthetic_tables import EMPTY_SCORES, synthetic_tables

FOUR = ("center", "gradcam", "random", "saliency")


def by_hand(metric: str, ceiling: list[float] | None = None, **values: list[float]) -> RunTables:
    """A run of one metric with these scores of `center`, `gradcam`, `random` and `saliency` and this ceiling."""
    count = len(values["gradcam"])
    tables = synthetic_tables(methods=FOUR, metrics=(metric,), images=count)
    scores = tables.scores.assign(value=[v for method in FOUR for v in values[method]])
    ceilings = tables.ceilings.assign(value=ceiling) if ceiling else tables.ceilings
    return replace(tables, scores=scores, ceilings=ceilings)


DELETION = {
    "center": [0.5, 0.7],
    "random": [0.4, 0.9],
    "gradcam": [0.2, 0.5],
    "saliency": [0.6, 0.6],
}


def share_of(tables: RunTables, method: str) -> pd.Series:
    return leaderboard(tables).set_index("method").loc[method]


def test_a_share_is_the_way_from_the_best_control_to_the_ceiling() -> None:
    tables = by_hand("deletion", [0.1, 0.3], **DELETION)
    row = share_of(tables, "gradcam")
    assert row["control"] == "center"  # 0.6 on average, random 0.65
    assert (row["floor"], row["ceiling"]) == pytest.approx((0.6, 0.2))
    assert row["share"] == pytest.approx((0.35 - 0.6) / (0.2 - 0.6))
    images = shares(by_group(tables)).set_index(["method", "sample_id"])["share"]
    assert images["gradcam"].tolist() == pytest.approx([0.3 / 0.4, 0.2 / 0.4])


def test_higher_is_better_turns_nothing_around_in_the_share() -> None:
    turned = {method: [1 - v for v in values] for method, values in DELETION.items()}
    deletion, insertion = (
        by_hand("deletion", [0.1, 0.3], **DELETION),
        by_hand("insertion", [0.9, 0.7], **turned),
    )
    assert share_of(insertion, "gradcam")["share"] == pytest.approx(
        share_of(deletion, "gradcam")["share"]
    )
    assert share_of(insertion, "gradcam")["control"] == "center"
    np.testing.assert_allclose(
        shares(by_group(insertion))["share"], shares(by_group(deletion))["share"]
    )


def test_a_method_that_a_control_beats_has_a_negative_share_and_one_that_beats_the_search_more_than_one() -> (
    None
):
    tables = by_hand("deletion", [0.3, 0.6], **DELETION)
    assert share_of(tables, "saliency")["share"] == pytest.approx(0)  # by chance as good as center
    worse = by_hand("deletion", [0.3, 0.6], **{**DELETION, "saliency": [0.7, 0.7]})
    assert share_of(worse, "saliency")["share"] == pytest.approx(0.1 / -0.15)
    assert share_of(tables, "gradcam")["share"] == pytest.approx(0.25 / 0.15)
    assert share_of(tables, "center")["share"] == 0
    assert share_of(tables, "random")["share"] == pytest.approx(0.05 / -0.15)


def test_where_the_ceiling_is_no_better_than_the_floor_there_is_no_share() -> None:
    tables = by_hand("deletion", [0.1, 0.8], **DELETION)
    images = shares(by_group(tables)).set_index(["method", "sample_id"])["share"]
    assert images["gradcam"].isna().tolist() == [False, True]
    assert share_of(tables, "gradcam")["share"] == pytest.approx(
        0.25 / 0.15
    )  # of the means, 0.6 and 0.45
    nowhere = share_of(by_hand("deletion", [0.9, 0.9], **DELETION), "gradcam")
    assert np.isnan([nowhere["share"], nowhere["share_low"], nowhere["share_high"]]).all()
    assert (nowhere["floor"], nowhere["ceiling"]) == pytest.approx((0.6, 0.9))


def test_images_without_floor_or_ceiling_are_left_out() -> None:
    tables = by_hand("deletion", [0.1, 0.3], **DELETION)
    scores = tables.scores
    kept = scores[(scores["method"] != "center") | (scores["sample_id"] == "image-001")]
    row = share_of(replace(tables, scores=kept, ceilings=tables.ceilings), "gradcam")
    assert row["control"] == "random"  # 0.65; center 0.7 on the image that it has
    kept = tables.ceilings[tables.ceilings["sample_id"] == "image-000"]
    row = share_of(replace(tables, ceilings=kept), "gradcam")
    assert row["share"] == pytest.approx(0.3 / 0.4)
    assert np.isnan(row["share_low"])


@pytest.mark.parametrize("lacking", ["ceiling", "control"])
def test_without_a_ceiling_or_a_control_there_is_no_share(lacking: str) -> None:
    tables = synthetic_tables(methods=FOUR)
    if lacking == "ceiling":
        tables = replace(tables, ceilings=EMPTY_SCORES)
    else:
        tables = replace(tables, cells=tables.cells.assign(role="method"))
    assert shares(by_group(tables)).empty
    assert leaderboard(tables)["share"].isna().all()
    assert set(leaderboard(tables)["control"]) == {""}


def test_metrics_without_a_curve_have_no_share() -> None:
    board = leaderboard(synthetic_tables(methods=FOUR)).set_index("metric")
    assert board.loc["pointing-game", "share"].isna().all()
    assert board.loc["deletion", "share"].notna().all()


def test_the_interval_is_of_the_ratio_of_means_over_the_same_images() -> None:
    """Against percentiles over images drawn again, which are close to it where there is much room above the floor."""
    tables = synthetic_tables(methods=FOUR, metrics=("insertion",), images=60)
    roles = tables.cells["method"].map(
        lambda method: "control" if method == "saliency" else "method"
    )
    tables = replace(tables, cells=tables.cells.assign(role=roles))  # the worst of the four
    found = achieved(tables, by_group(tables))["planted", "resnet18", "insertion", "gradcam"]
    wide = tables.scores.pivot_table(index="sample_id", columns="method", values="value")
    gain = (wide["gradcam"] - wide[found.control]).to_numpy()
    way = tables.ceilings["value"].to_numpy() - wide[found.control].to_numpy()
    rng = np.random.default_rng(0)
    drawn = [gain[rows].mean() / way[rows].mean() for rows in rng.integers(60, size=(4000, 60))]
    assert found.share == pytest.approx(gain.mean() / way.mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.share_low, found.share_high) == pytest.approx(
        (low, high), abs=0.15 * (high - low)
    )


def test_conclusions_hold_the_shares_of_each_image() -> None:
    tables = synthetic_tables(methods=FOUR, images=5)
    found = conclude(tables)["shares"]
    assert len(found) == 2 * 4 * 5
    assert set(found.groupby(["metric", "method"])["sample_id"].nunique()) == {5}
