"""How often tests and intervals are wrong, and how often they see what is there: by simulation.

`pytest -m slow -s` prints the tables. Differences have a mean of 0 by their making: chi-squared ones with one degree of
freedom (Wilcoxon's test calls them different in 26, 64 and 90 % of samples of 30, 100 and 200), exponential and
lognormal ones, Student's with three degrees of freedom, whose tails are heavy, and those of real scores
(`data/planted_scores.csv`, see `test_interval_coverage`) less their mean.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from interpbench.results.comparison import agreement_word, comparisons, standings
from interpbench.results.mean_difference import mean_difference
from interpbench.results.statistics import rank_correlation
from tests.paths import TESTS
from tests.synthetic_tables import synthetic_tables

Draw = Callable[[np.random.Generator, int], np.ndarray]
SCORES = pd.read_csv(TESTS / "data" / "planted_scores.csv")
PAIRS = [
    (first, second)
    for first, second in itertools.combinations(SCORES, 2)
    if first.rpartition(" ")[0] == second.rpartition(" ")[0]  # of one model and metric
]
REAL = {f"{a} - {b.split()[-1]}": (SCORES[a] - SCORES[b]).to_numpy() for a, b in PAIRS}
SKEWED: dict[str, Draw] = {
    "chi-squared": lambda rng, count: rng.chisquare(1, count) - 1,
    "exponential": lambda rng, count: rng.exponential(size=count) - 1,
    "lognormal": lambda rng, count: rng.lognormal(0, 0.75, count) - np.exp(0.75**2 / 2),
}
OTHERS: dict[str, Draw] = {
    "normal": lambda rng, count: rng.normal(size=count),
    "Student's": lambda rng, count: rng.standard_t(3, count),
}
HOLM = {"5 %": 0.05, "9 methods": 0.05 / 36, "40 methods": 0.05 / 780}


def drawn_from(population: np.ndarray) -> Draw:
    return lambda rng, count: rng.choice(population, count)


def ps(draw: Draw, count: int, samples: int) -> pd.DataFrame:
    """p of the mean's test, Student's and Wilcoxon's, of samples of so many images."""
    rng, nothing = np.random.default_rng(count), np.zeros(count)
    rows = [draw(rng, count) for _ in range(samples)]
    return pd.DataFrame(
        {
            "mean": [mean_difference(row, nothing).p for row in rows],
            "Student": stats.ttest_1samp(rows, 0, axis=1).pvalue,
            "Wilcoxon": stats.wilcoxon(rows, axis=1, method="asymptotic").pvalue,
        }
    )


def rates(draw: Draw, count: int, samples: int) -> pd.Series:
    """The share of samples in which each test's p is below each level."""
    found = ps(draw, count, samples)
    return pd.concat({name: (found < level).mean() for name, level in HOLM.items()})


@pytest.mark.parametrize(("count", "wilcoxon"), [(30, 0.26), (100, 0.64)])
def test_equal_means_of_skewed_differences_are_seldom_called_different(
    count: int, wilcoxon: float
) -> None:
    found = rates(SKEWED["chi-squared"], count, 1000)["5 %"]
    assert found["mean"] <= 0.06
    assert found["Wilcoxon"] == pytest.approx(wilcoxon, abs=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("count", [30, 100, 200])
def test_false_positives(count: int) -> None:
    """At most 6 % at a level of 5 %; where Holm's correction asks for small p, not many times what it asks."""
    centred = {name: drawn_from(it - it.mean()) for name, it in REAL.items()}
    draws = SKEWED | OTHERS | centred
    table = pd.DataFrame({name: rates(draw, count, 2000) for name, draw in draws.items()}).T
    print(f"\nfalse positives, n = {count}\n{table.round(4).to_string()}")
    of_mean = table.xs("mean", axis=1, level=1)
    made = [*SKEWED, *OTHERS]
    assert (of_mean.loc[made, "5 %"] <= 0.06).all()
    assert (of_mean["5 %"] <= 0.08).all()  # of 30 images, some samples lack the outliers
    assert of_mean["5 %"].mean() <= 0.05
    assert of_mean["9 methods"].mean() <= 2 * HOLM["9 methods"]
    assert (of_mean["9 methods"] <= 0.01).all()
    assert table["5 %", "Wilcoxon"]["chi-squared"] > 4 * of_mean["5 %"]["chi-squared"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, 30, 100, 200])
def test_power(count: int) -> None:
    """Of real differences as they are: what is lost to Wilcoxon's test is little, and not what its errors gain it."""
    table = pd.DataFrame({name: rates(drawn_from(it), count, 1000) for name, it in REAL.items()}).T
    print(f"\npower, n = {count}\n{table.round(3).to_string()}")
    mean = table.mean()
    assert mean["5 %", "mean"] > mean["5 %", "Wilcoxon"] - 0.06
    assert (mean["9 methods", "mean"] == 0) == (count == 10)


def coverage(population: np.ndarray, count: int, samples: int) -> float:
    """The share of samples whose interval holds the population's mean."""
    rng, nothing = np.random.default_rng(count), np.zeros(count)
    found = [mean_difference(rng.choice(population, count), nothing) for _ in range(samples)]
    return float(np.mean([it.low <= population.mean() <= it.high for it in found]))


def test_intervals_of_differences_cover_the_mean_as_often_as_they_say() -> None:
    assert 0.935 <= np.mean([coverage(it, 50, 150) for it in REAL.values()]) <= 0.975


@pytest.mark.slow
@pytest.mark.parametrize("count", [30, 50, 200])
def test_coverage_of_differences(count: int) -> None:
    found = pd.Series({name: coverage(it, count, 1000) for name, it in REAL.items()})
    print(f"\ncoverage, n = {count}\n{found.to_string()}")
    assert found.between(0.92, 0.98).all()
    assert 0.945 <= found.mean() <= 0.965


def chance_of_error(more: float, fewer: float, count: int) -> tuple[float, float]:
    """How often p < 0.05, and how often the interval covers, where hits differ so often upwards and downwards."""
    error = covered = 0.0
    for up, down in itertools.product(range(count + 1), repeat=2):
        same = count - up - down
        if same < 0:
            continue
        first = np.repeat([1.0, 0.0, 0.0], [up, down, same])
        found = mean_difference(first, np.repeat([0.0, 1.0, 0.0], [up, down, same]))
        chance = stats.multinomial.pmf([up, down, same], count, [more, fewer, 1 - more - fewer])
        error += chance * (found.p < 0.05)
        covered += chance * (found.low <= more - fewer <= found.high)
    return error, covered


@pytest.mark.parametrize("count", [10, 20])
def test_of_hits_and_misses_the_error_rates_are_what_they_promise(count: int) -> None:
    """Not simulated but summed up over all outcomes: McNemar's test and its interval are never too bold."""
    for share in (0.1, 0.5, 0.9):
        error, covered = chance_of_error(share / 2, share / 2, count)
        assert error <= 0.05
        assert covered >= 0.95
    assert chance_of_error(0.4, 0.1, count)[1] >= 0.95


def share_of_covered_ranks(count: int, trials: int) -> float:
    """How often all methods' places hold their true ones: of six, three with equal means and skewed scores."""
    names = ("center", "gradcam", "random", "rise:masks=500", "saliency", "sobel")
    truth = np.array([0.0, 0.0, 0.0, 0.3, 0.3, 1.0])
    tables = synthetic_tables(methods=names, metrics=("deletion",), images=count, ceiling=False)
    best, worst = (truth[:, None] > truth).sum(1) + 1, 6 - (truth[:, None] < truth).sum(1)
    rng, covered = np.random.default_rng(count), 0
    for _ in range(trials):
        scores = truth[:, None] + rng.normal(size=count) + rng.chisquare(1, (6, count)) - 1
        pairs = comparisons(replace(tables, scores=tables.scores.assign(value=scores.ravel())))
        places = standings(pairs, list(names))
        covered += bool((places["rank"] <= best).all() and (places["rank_to"] >= worst).all())
    return covered / trials


def test_places_hold_the_true_ones_of_all_methods_at_once() -> None:
    assert share_of_covered_ranks(30, 25) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("count", [30, 100])
def test_coverage_of_places(count: int) -> None:
    found = share_of_covered_ranks(count, 300)
    print(f"\nplaces covered, n = {count}: {found}")
    assert found >= 0.94


def words_by_lot(judges: int, items: int, trials: int) -> pd.Series:
    """How often unrelated orders are said to agree, or to disagree."""
    rng = np.random.default_rng(items)
    found = [rank_correlation(rng.random((judges, items))) for _ in range(trials)]
    words = pd.Series([agreement_word(low, high) for _, low, high in found])
    return words.value_counts(normalize=True).reindex(["agree", "disagree"], fill_value=0.0)


@pytest.mark.parametrize("judges", [2, 4])
def test_unrelated_orders_neither_agree_nor_disagree(judges: int) -> None:
    """W of two unrelated judges is 0.5 in the mean: half of them would agree by that."""
    assert (words_by_lot(judges, 9, 600) <= 0.05).all()


@pytest.mark.slow
@pytest.mark.parametrize("judges", [2, 3, 4, 6])
@pytest.mark.parametrize("items", [3, 4, 5, 6, 9, 20])
def test_orders_by_lot(judges: int, items: int) -> None:
    found = words_by_lot(judges, items, 2000)
    print(f"\n{judges} unrelated orders of {items}: {found.to_dict()}")
    assert (found <= 0.036).all()  # 2.5 % on each side, within 3 standard errors


@pytest.mark.slow
@pytest.mark.parametrize(("judges", "items"), [(2, 9), (2, 20), (4, 9), (6, 9)])
@pytest.mark.parametrize("common", [0.3, 0.6, 0.9])
def test_coverage_of_the_mean_rank_correlation(judges: int, items: int, common: float) -> None:
    """Of normal scores with a common part, whose rank correlation is known (Pearson 1907)."""
    rng, truth, hits = np.random.default_rng(items), 6 / np.pi * np.arcsin(common / 2), 0
    for _ in range(1000):
        own = np.sqrt(1 - common) * rng.normal(size=(judges, items))
        _, low, high = rank_correlation(own + np.sqrt(common) * rng.normal(size=items))
        hits += low <= truth <= high
    print(f"\n{judges} orders of {items} that correlate by {truth:.2f}: covered {hits / 1000}")
    assert hits / 1000 >= 0.9
