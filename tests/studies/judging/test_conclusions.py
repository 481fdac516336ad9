"""What follows from scores, held against scipy and against numbers that are known in advance."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from interpbench.registry.discovery import discover
from interpbench.studies.judging.agreement import conclude_agreement
from interpbench.studies.judging.consistency import conclude_consistency
from interpbench.studies.judging.orders import conclude_orders, kendall
from interpbench.studies.judging.scenarios import (
    FOOLED,
    NO_SCORE,
    RIGHT,
    UNDECIDED,
    conclude_scenarios,
    verdict_of_scenario,
)
from interpbench.studies.judging.table import Findings, judged_table
from interpbench.suite.protocol import protocol_of

REGISTRY = discover()
METRICS = {name: REGISTRY.configure("metric", name, {}) for name in ("insertion", "deletion")}
IDS = [f"image-{number}" for number in range(12)]
METHODS = ["a", "b", "c"]
RNG = np.random.default_rng(0)


def subject() -> Any:
    return SimpleNamespace(metrics=METRICS, seed=0)


def test_kendall_is_scipy_s_where_nothing_is_tied_and_ties_count_nothing() -> None:
    scores = RNG.normal(size=(5, 6))
    expected = [stats.kendalltau(range(6), -row).statistic for row in scores]
    np.testing.assert_allclose(kendall(scores), expected)
    assert kendall(np.array([[3.0, 2, 1], [1, 2, 3], [1, 1, 1], [2, 2, 1]])).tolist() == [
        1, -1, 0, pytest.approx(2 / 3),
    ]  # fmt: skip
    assert np.isnan(kendall(np.array([[1.0, np.nan, 2.0]])))


def degradation_scores(falling: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "metric": metric,
                "degradation": "noise",
                "step": step,
                "sample_id": name,
                "score": score,
            }
            for metric, scores in falling.items()
            for name in IDS
            for step, score in enumerate(scores)
        ]
    )


def test_the_direction_of_a_metric_is_taken_into_account() -> None:
    found = conclude_orders(
        subject(), degradation_scores({"insertion": [4, 3, 2], "deletion": [4, 3, 2]})
    ).set_index("metric")
    assert found["tau"].to_dict() == {"insertion": 1, "deletion": -1}
    assert found["orders"].to_dict() == {"insertion": True, "deletion": False}
    assert found["ordered"].to_dict() == {"insertion": 1, "deletion": 0}


def test_images_without_a_score_do_not_count() -> None:
    found = conclude_orders(subject(), degradation_scores({"insertion": [4, np.nan, 2]}))
    assert found.loc[0, "images"] == 0
    assert not found.loc[0, "orders"]


def method_scores(metric: str, values: np.ndarray) -> pd.DataFrame:
    """Of values [images,methods]."""
    return pd.DataFrame(
        [
            {"metric": metric, "method": method, "sample_id": name, "score": values[i, j]}
            for i, name in enumerate(IDS)
            for j, method in enumerate(METHODS)
        ]
    )


def perturbed(metric: str, kind: str, values: np.ndarray, same: np.ndarray) -> pd.DataFrame:
    frame = method_scores(metric, values)
    stays = dict(zip(IDS, same, strict=True))
    return frame.assign(test="images", kind=kind, number=0, same=frame["sample_id"].map(stays))


def test_consistency_is_the_paper_s_four_figures_and_their_mean() -> None:
    before = RNG.normal(size=(12, 3))
    minor = before + 0.3 * RNG.normal(size=(12, 3))
    disruptive = before - 1 + RNG.normal(size=(12, 3))
    stays = np.arange(12) < 9  # under the minor one; the others do not count
    changes = np.arange(12) >= 2
    after = pd.concat(
        [
            perturbed("insertion", "minor", minor, stays),
            perturbed("insertion", "disruptive", disruptive, ~changes),
        ]
    )
    [found] = conclude_consistency(
        subject(), method_scores("insertion", before), after
    ).itertuples()

    def p(values: np.ndarray, rows: np.ndarray) -> list[float]:
        return [
            stats.wilcoxon(values[rows, j], before[rows, j], method="exact").pvalue
            for j in range(3)
        ]

    places = np.argsort(-minor[stays], axis=1) == np.argsort(-before[stays], axis=1)
    assert found.iac_nr == pytest.approx(np.mean(p(minor, stays)))
    assert found.iac_ar == pytest.approx(1 - np.mean(p(disruptive, changes)))
    assert found.iec_nr == pytest.approx(places.mean())
    assert found.iec_ar == pytest.approx((disruptive < before)[changes].mean())
    assert found.mc == pytest.approx(
        np.mean([found.iac_nr, found.iac_ar, found.iec_nr, found.iec_ar])
    )


def test_of_a_metric_where_lower_is_better_higher_is_worse() -> None:
    before, every = np.zeros((12, 3)), np.ones(12, dtype=bool)
    after = pd.concat(
        [
            perturbed("deletion", "minor", before, every),
            perturbed("deletion", "disruptive", before + 1, ~every),
        ]
    )
    [found] = conclude_consistency(subject(), method_scores("deletion", before), after).itertuples()
    assert (found.iac_nr, found.iec_nr, found.iec_ar) == (1, 1, 1)
    assert found.iac_ar == pytest.approx(1 - 2 / 2**12)


def test_no_image_whose_class_changes_leaves_no_figure() -> None:
    values, every = RNG.normal(size=(12, 3)), np.ones(12, dtype=bool)
    after = pd.concat(
        [perturbed("insertion", kind, values, every) for kind in ("minor", "disruptive")]
    )
    [found] = conclude_consistency(
        subject(), method_scores("insertion", values), after
    ).itertuples()
    assert np.isnan(found.iac_ar)
    assert np.isnan(found.mc)


def test_agreement_is_spearman_s_correlation_of_means_with_directions() -> None:
    means = {"insertion": [1.0, 3.0, 2.0], "deletion": [2.0, 0.0, 1.0]}
    scores = pd.concat(
        [
            method_scores(metric, np.array(of) + 0.1 * RNG.normal(size=(12, 3)))
            for metric, of in means.items()
        ]
    )
    found = conclude_agreement(subject(), scores, ["insertion"]).set_index("metric")
    assert found["correlation"].to_dict() == pytest.approx({"insertion": 1, "deletion": 1})
    row = found.loc["deletion", ["low", "high", "methods", "images"]].astype(float)
    assert row.tolist() == pytest.approx([1, 1, 3, 12])
    turned = scores.assign(
        score=scores["score"].where(scores["metric"] == "insertion", -scores["score"])
    )
    correlations = conclude_agreement(subject(), turned, ["insertion"])["correlation"]
    assert correlations.tolist() == pytest.approx([1, -1])


def scenario_scores(truth: list[float], wrong: list[float]) -> pd.DataFrame:
    common = {"metric": "insertion", "scenario": "made", "wrong": "other"}
    return pd.DataFrame(
        [
            {**common, "sample_id": name, "truth_score": right, "wrong_score": false}
            for name, right, false in zip(IDS, truth, wrong, strict=True)
        ]
    )


@pytest.mark.parametrize(
    ("truth", "share", "verdict"),
    [
        ([1.0] * 12, 1.0, RIGHT),
        ([-1.0] * 12, 0.0, FOOLED),
        ([0.0] * 12, 0.5, UNDECIDED),
        ([1.0, -1.0] * 6, 0.5, UNDECIDED),
        ([np.nan] * 12, np.nan, NO_SCORE),
    ],
)
def test_a_scenario_fools_where_the_interval_lies_below_a_half(
    truth: list[float], share: float, verdict: str
) -> None:
    [found] = conclude_scenarios(subject(), scenario_scores(truth, [0.0] * 12)).itertuples()
    assert found.verdict == verdict
    assert found.prefers_truth == pytest.approx(share, nan_ok=True)


def test_one_wrong_map_that_wins_is_enough() -> None:
    assert verdict_of_scenario(pd.Series([RIGHT, RIGHT])) == RIGHT
    assert verdict_of_scenario(pd.Series([RIGHT, FOOLED, NO_SCORE])) == FOOLED
    assert verdict_of_scenario(pd.Series([RIGHT, UNDECIDED])) == UNDECIDED


def test_the_table_has_a_row_for_each_metric_and_says_why_one_was_not_asked() -> None:
    orders = conclude_orders(subject(), degradation_scores({"insertion": [3, 2, 1]}))
    found = Findings(orders, None, None, None, {"deletion": "MethodError: needs a method."})
    table = judged_table(METRICS, found).set_index("metric")
    assert table["status"].to_dict() == {"insertion": "asked", "deletion": "not asked"}
    assert table.loc["deletion", "reason"] == "needs a method."
    assert table.loc["insertion", ["orders", "degradations", "noise"]].tolist() == [1, 5, 1]
    assert table.loc["insertion", "protocol"] == protocol_of(METRICS["insertion"], "predicted").hash
    broken = Findings(orders, None, None, None, {"deletion": "ValueError: no."})
    assert judged_table(METRICS, broken).set_index("metric").loc["deletion", "status"] == "failed"
