"""Who beats whom, ranks and letters, and agreement: against scipy called directly and against tables made by hand."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from interpbench.results.comparison import (
    FEWEST_BLOCKS,
    agreement,
    comparisons,
    mean_ranks,
    standings,
)
from interpbench.results.leaderboard import leaderboard
from interpbench.results.tables import RunTables
from tests.synthetic_tables import EMPTY_SCORES, board_of, synthetic_tables

THREE = ("gradcam", "random", "sobel")
MODELS = ("a", "b", "c", "d", "e", "f")


def values(tables: RunTables, metric: str, method: str) -> np.ndarray:
    scores = tables.scores
    return scores.loc[
        (scores["metric"] == metric) & (scores["method"] == method), "value"
    ].to_numpy()


def with_value(tables: RunTables, metric: str, method: str, value: object) -> RunTables:
    """The tables with other scores of a method."""
    scores = tables.scores.copy()
    scores.loc[(scores["metric"] == metric) & (scores["method"] == method), "value"] = value
    return replace(tables, scores=scores)


@pytest.mark.parametrize(("metric", "sign"), [("deletion", -1), ("insertion", 1)])
def test_pairs_are_tested_by_their_mean_with_holms_correction_within_a_metric(
    metric: str, sign: int
) -> None:
    tables = synthetic_tables(metrics=("deletion", "insertion"))
    pairs = comparisons(tables).query("metric == @metric")
    assert len(pairs) == 9 * 8 / 2
    for row in pairs.itertuples():
        differences = values(tables, metric, row.method) - values(tables, metric, row.other)
        assert row.n == 24
        assert row.difference == pytest.approx(differences.mean())
        assert row.sd == pytest.approx(differences.std(ddof=1))
        assert row.low < row.difference < row.high
        student = stats.ttest_1samp(differences, 0)
        skewness = stats.skew(differences)
        if skewness * student.statistic > 0 and student.pvalue > 2**-23:  # where it adds nothing
            assert row.p == pytest.approx(student.pvalue, rel=1e-9)
        else:
            assert row.p >= max(student.pvalue, 2**-23)
        assert sign * row.difference >= 0  # `method` has the better mean
        assert row.p_wilcoxon == pytest.approx(stats.wilcoxon(differences).pvalue, rel=1e-9)
        ranks = stats.rankdata(np.abs(differences))
        assert row.effect == pytest.approx(
            sign * (np.sign(differences) * ranks).sum() / ranks.sum()
        )
    np.testing.assert_allclose(pairs["p_holm"], multipletests(pairs["p"], method="holm")[1])
    told_apart = pairs["p_holm"] < 0.05
    assert 0 < told_apart.sum() < len(pairs)
    assert (pairs["better"] == pairs["method"].where(told_apart, "")).all()


def test_the_level_is_the_run_s() -> None:
    tables = synthetic_tables(metrics=("deletion",))
    pairs = comparisons(tables)
    strict = comparisons(replace(tables, level=0.001))
    pd.testing.assert_series_equal(strict["p_holm"], pairs["p_holm"])
    assert (strict["better"] == strict["method"].where(strict["p_holm"] < 0.001, "")).all()
    assert (strict["better"] != "").sum() < (pairs["better"] != "").sum()
    assert (strict["images_needed"] > pairs["images_needed"]).any()
    board = board_of(models=MODELS, metrics=("deletion", "insertion"), ceiling=False)
    board = board.query("metric == 'deletion'")
    assert (
        agreement(board, 0.001)["critical_difference"].item()
        > agreement(board)["critical_difference"].item()
    )
    letters = [set("".join(mean_ranks(board, level)["letters"])) for level in (0.05, 1e-12)]
    assert len(letters[0]) > len(letters[1]) == 1


def test_the_better_mean_is_better_though_it_is_worse_on_most_images() -> None:
    """Equal means but for a little, and a tail that only one has: ranks say the opposite of means."""
    tables = synthetic_tables(methods=("gradcam", "sobel"), metrics=("deletion",), images=400)
    tail = np.random.default_rng(1).exponential(size=400) ** 2
    first = with_value(tables, "deletion", "gradcam", 0.0)
    [pair] = comparisons(with_value(first, "deletion", "sobel", tail - 1.4)).to_dict("records")
    assert pair["method"] == pair["better"] == "gradcam"
    assert pair["effect"] < 0
    assert pair["p_wilcoxon"] < 0.05


def test_a_pair_is_compared_on_the_images_that_both_scored() -> None:
    tables = synthetic_tables(methods=THREE, metrics=("deletion",))
    gone = (tables.scores["method"] == "sobel") & (tables.scores["sample_id"] < "image-010")
    scores = tables.scores.copy()
    scores.loc[(scores["method"] == "random") & (scores["sample_id"] == "image-020"), "value"] = (
        np.nan
    )
    pairs = comparisons(replace(tables, scores=scores[~gone])).set_index(["method", "other"])
    assert pairs["n"].to_dict() == {
        ("gradcam", "random"): 23,
        ("gradcam", "sobel"): 14,
        ("random", "sobel"): 13,
    }
    both = values(tables, "deletion", "gradcam")[10:] - values(tables, "deletion", "sobel")[10:]
    assert pairs.loc[("gradcam", "sobel"), "difference"] == pytest.approx(both.mean())


def test_identical_scores_are_no_difference() -> None:
    tables = with_value(
        synthetic_tables(methods=THREE, metrics=("deletion",)), "deletion", "random", 0.5
    )
    pairs = comparisons(with_value(tables, "deletion", "sobel", 0.5)).set_index(["method", "other"])
    columns = ["difference", "low", "high", "sd", "effect", "p", "p_wilcoxon", "better"]
    assert pairs.loc[("random", "sobel"), columns].tolist() == [0, 0, 0, 0, 0, 1, 1, ""]
    assert np.isnan(pairs.loc[("random", "sobel"), "images_needed"])


def test_a_method_without_a_score_has_no_pairs() -> None:
    tables = synthetic_tables(methods=THREE, metrics=("deletion",), failed=("random",))
    assert comparisons(tables)[["method", "other"]].to_numpy().tolist() == [["gradcam", "sobel"]]
    assert comparisons(replace(tables, scores=EMPTY_SCORES)).empty


def told_apart(*verdicts: tuple[str, str]) -> pd.DataFrame:
    """Pairs of which the first is better than the second."""
    return pd.DataFrame([(a, b, a) for a, b in verdicts], columns=["method", "other", "better"])


def test_methods_that_nobody_beats_share_rank_1() -> None:
    found = standings(
        told_apart(("a", "c"), ("b", "c"), ("a", "d"), ("b", "d"), ("c", "d")), list("abcd")
    )
    assert found["rank"].tolist() == [1, 1, 3, 4]
    assert found["rank_to"].tolist() == [2, 2, 3, 4]
    assert found["letters"].tolist() == ["a", "a", "b", "c"]


def test_letters_show_that_being_alike_is_not_transitive() -> None:
    found = standings(told_apart(("a", "c")), list("abc"))
    assert found["rank"].tolist() == [1, 1, 2]
    assert found["rank_to"].tolist() == [2, 3, 3]
    assert found["letters"].tolist() == ["a", "ab", "b"]


@pytest.mark.parametrize("seed", range(20))
def test_two_methods_share_a_letter_exactly_if_they_cannot_be_told_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"m{i}" for i in range(8)]
    verdicts = [pair for pair in itertools.combinations(names, 2) if rng.random() < 0.6]
    letters = standings(told_apart(*verdicts), names)["letters"]
    for first, second in itertools.combinations(names, 2):
        assert bool(set(letters[first]) & set(letters[second])) == ((first, second) not in verdicts)


def test_more_groups_than_letters_leave_the_letters_out() -> None:
    names = [f"m{i:02d}" for i in range(60)]
    found = standings(told_apart(*itertools.combinations(names, 2)), names)
    assert found["rank"].tolist() == list(range(1, 61))
    assert set(found["letters"]) == {""}


def test_mean_ranks_are_of_the_models_means() -> None:
    board = board_of(models=MODELS, metrics=("deletion", "insertion"), ceiling=False)
    found = mean_ranks(board)
    means = board[board["metric"] == "insertion"].pivot_table(
        index="model", columns="method", values="mean"
    )
    expected = (-means).rank(axis=1).mean().sort_values()
    mine = found[found["metric"] == "insertion"].set_index("method")
    assert mine["mean_rank"].tolist() == expected.tolist()
    assert (mine["blocks"] == 6).all()
    critical = agreement(board).query("metric == 'insertion'")["critical_difference"].item()
    for first, second in itertools.combinations(mine.index, 2):
        apart = abs(mine.loc[first, "mean_rank"] - mine.loc[second, "mean_rank"]) > critical
        assert bool(set(mine.loc[first, "letters"]) & set(mine.loc[second, "letters"])) == (
            not apart
        )
    assert len(set(mine["letters"])) > 1


def test_agreement_across_models_is_friedmans_and_kendalls() -> None:
    board = board_of(models=MODELS, metrics=("deletion", "insertion"), ceiling=False).query(
        "metric == 'deletion'"
    )
    [row] = agreement(board).to_dict("records")
    means = board.pivot_table(index="model", columns="method", values="mean")
    chi2 = stats.friedmanchisquare(*means.to_numpy().T).statistic
    assert (row["across"], row["metric"], row["judges"], row["methods"]) == (
        "models",
        "deletion",
        6,
        9,
    )
    assert row["w"] == pytest.approx(chi2 / (6 * 8))
    assert row["friedman_p"] < 1e-6
    assert row["note"] == ""


def test_few_models_are_ranked_and_not_tested() -> None:
    board = board_of(models=MODELS[: FEWEST_BLOCKS - 1], metrics=("deletion",), ceiling=False)
    [row] = agreement(board).to_dict("records")
    assert np.isnan([row["friedman_p"], row["critical_difference"]]).all()
    assert 0 < row["w"] <= 1
    assert row["low"] <= row["correlation"] <= row["high"] <= 1
    assert row["note"] == "too few models for a test, which needs 5"
    assert set(mean_ranks(board)["letters"]) == {""}


def test_agreement_across_metrics_compares_orders_not_directions() -> None:
    board = board_of()
    [row] = agreement(board).to_dict("records")
    assert (row["across"], row["dataset"], row["model"], row["judges"]) == (
        "metrics",
        "planted",
        "resnet18",
        4,
    )
    assert row["correlation"] > 0.8  # one quality stands behind all four
    assert np.isnan(row["friedman_p"])
    turned = board["mean"].where(board["metric"].isin(["deletion", "insertion"]), -board["mean"])
    assert agreement(board.assign(mean=turned))["correlation"].item() < -0.2


def test_methods_that_some_model_could_not_score_are_left_out_and_named() -> None:
    tables = synthetic_tables(models=MODELS, metrics=("deletion",), ceiling=False)
    gone = (tables.scores["model"] == "c") & (tables.scores["method"] == "rise:masks=500")
    board = leaderboard(replace(tables, scores=tables.scores[~gone]))
    [row] = agreement(board).to_dict("records")
    assert (row["methods"], row["left_out"]) == (8, "rise:masks=500")
    assert "rise:masks=500" not in set(mean_ranks(board)["method"])


def test_models_that_rank_by_chance_are_not_told_apart() -> None:
    tables = synthetic_tables(models=MODELS, metrics=("deletion",), methods=THREE)
    noise = np.random.default_rng(0).random(len(tables.scores))
    ranks = mean_ranks(leaderboard(replace(tables, scores=tables.scores.assign(value=noise))))
    assert set(ranks["letters"]) == {"a"}


def test_one_model_has_no_ranks_across_models() -> None:
    board = board_of(metrics=("deletion",))
    assert mean_ranks(board).empty
    assert agreement(board).empty
    assert list(agreement(board).columns)
