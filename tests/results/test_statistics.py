"""Intervals and tests against scipy, known answers and published tables, and against what they promise."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from interpbench.core.seeding import derive
from interpbench.results.statistics import (
    SignedRank,
    _exact_p,
    bootstrap_band,
    bootstrap_interval,
    bootstrap_ratio_interval,
    friedman,
    holm,
    rank_correlation,
    signed_rank,
)


def studentised(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """The textbook's bootstrap-t interval of a mean (Efron and Tibshirani 1993, chapter 12), one resample at a time."""
    rng = np.random.default_rng(seed)
    error = values.std(ddof=1) / np.sqrt(values.size)
    t = []
    for _ in range(resamples):
        drawn = rng.choice(values, values.size)
        t.append((drawn.mean() - values.mean()) / (drawn.std(ddof=1) / np.sqrt(values.size)))
    low, high = np.quantile(t, [0.025, 0.975])
    return values.mean() - high * error, values.mean() - low * error


@pytest.mark.parametrize("count", [12, 50])
def test_interval_is_that_of_a_slow_loop(count: int) -> None:
    values = np.random.default_rng(count).exponential(size=count)
    expected = studentised(values, 20_000, seed=1)
    width = expected[1] - expected[0]
    assert bootstrap_interval(values, seed=11, resamples=40_000) == pytest.approx(
        expected, abs=0.03 * width
    )
    assert bootstrap_interval(values, seed=11)[1] - values.mean() > 1.2 * (
        values.mean() - expected[0]
    )  # it is skewed


def test_interval_moves_and_grows_with_the_values() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    low, high = bootstrap_interval(values, seed=1)
    assert bootstrap_interval(1e6 + 3 * values, seed=1) == pytest.approx(
        (1e6 + 3 * low, 1e6 + 3 * high), rel=1e-12
    )


def test_interval_of_a_ratio_is_that_of_a_slow_loop() -> None:
    rng = np.random.default_rng(5)
    below = rng.uniform(0.5, 1.5, 30)
    above = 0.4 * below + rng.exponential(0.2, 30)
    t = []

    def ratio_and_error(rows: np.ndarray) -> tuple[float, float]:
        ratio = above[rows].mean() / below[rows].mean()
        return ratio, (above[rows] - ratio * below[rows]).std(ddof=1) / below[
            rows
        ].mean() / np.sqrt(30)

    ratio, error = ratio_and_error(np.arange(30))
    for _ in range(20_000):
        drawn, its_error = ratio_and_error(rng.integers(30, size=30))
        t.append((drawn - ratio) / its_error)
    expected = ratio - np.quantile(t, [0.975, 0.025]) * error
    found = bootstrap_ratio_interval(above, below, seed=0, resamples=40_000)
    assert found == pytest.approx(tuple(expected), abs=0.03 * (expected[1] - expected[0]))


@pytest.mark.parametrize("values", [[0.1, 0.4], [0.2, 0.3, 0.9, 0.4], [0.5] * 20 + [0.9]])
def test_few_or_mostly_equal_values_have_students_interval(values: list[float]) -> None:
    t = stats.ttest_1samp(values, 0).confidence_interval()
    assert bootstrap_interval(np.array(values), seed=0) == pytest.approx((t.low, t.high))


def test_blocks_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=50)
    whole = bootstrap_interval(values, seed=1)
    monkeypatch.setattr("interpbench.results.statistics._BLOCK", 700)
    assert bootstrap_interval(values, seed=1) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_values_have_no_interval(values: list[float]) -> None:
    assert np.isnan(bootstrap_interval(np.array(values), seed=0)).all()


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert bootstrap_interval(np.full(24, 0.3), seed=0) == (0.3, 0.3)


def test_all_hits_and_all_misses_have_the_exact_binomial_interval() -> None:
    low, high = bootstrap_interval(np.ones(6), seed=0)
    assert high == 1
    assert low**6 == pytest.approx(0.025)  # six hits in a row, were it the true rate
    assert bootstrap_interval(np.zeros(6), seed=0) == pytest.approx((0, 1 - low))


def test_hits_and_misses_have_the_exact_binomial_interval_too() -> None:
    low, high = bootstrap_interval(np.repeat([1.0, 0.0], [27, 3]), seed=0)
    assert stats.binom.sf(26, 30, low) == pytest.approx(0.025)
    assert stats.binom.cdf(27, 30, high) == pytest.approx(0.025)


def test_ones_that_are_no_hits_have_an_interval_without_width() -> None:
    assert bootstrap_interval(np.ones(6), seed=0, hits=False) == (1, 1)
    low, high = bootstrap_interval(np.repeat([1.0, 0.0], [27, 3]), seed=0, hits=False)
    assert 0.7 < low < 0.9 < high < 1.05


@pytest.mark.parametrize("values", [[0, 0, 0, 1e-300], [1, 1, 1, 0], [0, 1], [1e308, -1e308, 0]])
def test_no_warning_leaks(values: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bootstrap_interval(np.array(values, dtype=float), seed=0)


def test_the_seed_decides() -> None:
    values = np.random.default_rng(0).normal(size=24)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_a_derived_seed_depends_on_the_run_and_on_the_whole_name() -> None:
    seeds = [derive(1, "a", "b"), derive(2, "a", "b"), derive(1, "ab"), derive(1, "b", "a")]
    assert len(set(seeds)) == len(seeds)
    assert derive(1, "a", "b") == seeds[0]


def test_band_is_the_percentile_interval_at_each_point() -> None:
    curves = np.random.default_rng(0).random((24, 5))
    low, high = bootstrap_band(curves, seed=0, resamples=20_000)
    for point in range(5):
        expected = stats.bootstrap(
            (curves[:, point],),
            np.mean,
            method="percentile",
            n_resamples=20_000,
            rng=np.random.default_rng(1),
        ).confidence_interval
        assert (low[point], high[point]) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_band_in_blocks_is_a_band(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = np.random.default_rng(0).random((24, 5))
    monkeypatch.setattr("interpbench.results.statistics._BLOCK", 24 * 7)
    low, high = bootstrap_band(curves, seed=0, resamples=100)
    assert (low < curves.mean(axis=0)).all()
    assert (curves.mean(axis=0) < high).all()


@pytest.mark.parametrize("weights", ["none", "uneven"])
def test_beyond_five_thousand_values_the_interval_is_what_resampling_would_say(
    monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    chance = np.random.default_rng(3)
    values, of = chance.lognormal(sigma=1.2, size=5_000), np.ones(5_000)
    if weights == "uneven":
        of = values + chance.exponential(size=5_000)
    found = np.array(bootstrap_ratio_interval(values, of, seed=0))
    monkeypatch.setattr("interpbench.results.statistics._MANY", 5_001)
    expected = np.array(bootstrap_ratio_interval(values, of, seed=0))
    half = np.ptp(expected) / 2
    # 9,999 resamples know a bound to 1.4 % of that.
    np.testing.assert_allclose(found, expected, atol=0.04 * half)
    centre = values.mean() / of.mean()
    if weights == "none":  # no symmetric interval would do
        assert expected[1] - centre > 1.1 * (centre - expected[0])


def test_beyond_five_thousand_curves_the_band_is_what_resampling_would_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curves = np.random.default_rng(0).exponential(size=(5_000, 3))
    found = np.array(bootstrap_band(curves, seed=0))
    monkeypatch.setattr("interpbench.results.statistics._MANY", 5_001)
    expected = np.array(bootstrap_band(curves, seed=0))
    np.testing.assert_allclose(found, expected, atol=0.05 * np.ptp(expected, axis=0).max())


def test_band_of_one_curve_is_the_curve() -> None:
    curve = np.random.default_rng(0).random((1, 5))
    low, high = bootstrap_band(curve, seed=0)
    np.testing.assert_allclose(low, curve[0])
    np.testing.assert_allclose(high, curve[0])


@pytest.mark.parametrize("count", [1, 2, 5, 12, 30])
def test_without_ties_the_signed_rank_test_is_scipys_exact_one(count: int) -> None:
    differences = np.random.default_rng(count).normal(0.3, 1, count)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank(differences).p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_with_ties_and_zeros_it_equals_all_changes_of_sign(seed: int) -> None:
    differences = np.random.default_rng(seed).integers(-2, 4, 10).astype(float)
    ranks = stats.rankdata(np.abs(differences))
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    signs = signs[:, differences != 0].astype(float)  # a zero's sign means nothing
    sums = np.abs(signs @ ranks[differences != 0])
    observed = abs((np.sign(differences) * ranks).sum())
    assert signed_rank(differences).p == pytest.approx((sums >= observed - 1e-9).mean())


def test_beyond_a_hundred_differences_it_is_pratts_approximation_and_close_to_the_exact_one() -> (
    None
):
    rng = np.random.default_rng(2)
    differences = np.round(rng.normal(0.12, 1, 160), 1)
    differences[rng.random(160) < 0.1] = 0
    found = signed_rank(differences)
    expected = stats.wilcoxon(differences, zero_method="pratt", method="asymptotic").pvalue
    assert found.p == pytest.approx(expected, rel=1e-9)
    signed = np.sign(differences) * stats.rankdata(np.abs(differences))
    assert _exact_p(signed[signed != 0]) == pytest.approx(found.p, rel=0.02)


def test_five_misses_among_thirty_images_are_no_significant_difference() -> None:
    """The normal approximation says p = 0.025; five signs cannot say less than 2/32."""
    assert signed_rank(np.repeat([1.0, 0.0], [5, 25])).p == 2 / 32


def test_zeros_speak_against_a_difference() -> None:
    differences = np.array([3.0, 4, 5, 6, 7, 8, -1, -2])
    with_zeros = np.concatenate([differences, np.zeros(8)])
    assert signed_rank(with_zeros).p > signed_rank(differences).p
    assert abs(signed_rank(with_zeros).effect) < abs(signed_rank(differences).effect)


def test_identical_scores_are_no_difference_and_no_scores_say_nothing() -> None:
    assert signed_rank(np.zeros(30)) == SignedRank(effect=0, p=1)
    nothing = signed_rank(np.array([]))
    assert np.isnan([nothing.effect, nothing.p]).all()


@pytest.mark.parametrize(
    ("values", "effect"), [([1, 2, 3], 1), ([-1, -2, -3], -1), ([1, 2, -3], 0), ([3, 2, -1], 4 / 6)]
)
def test_effect_is_the_difference_of_the_rank_sums_as_a_share(
    values: list[float], effect: float
) -> None:
    assert signed_rank(np.array(values)).effect == pytest.approx(effect)


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    """The example of Holm (1979) by hand: 0.01·4, then 0.015·3, where 0.03·2 and the last are never less."""
    found = holm(np.array([0.03, 0.01, 0.04, np.nan, 0.015]))
    np.testing.assert_allclose(found, [0.06, 0.04, 0.06, np.nan, 0.045])
    assert np.isnan(holm(np.array([np.nan]))).all()
    assert holm(np.array([])).size == 0


@given(
    arrays(
        float, st.integers(1, 40), elements=st.floats(0, 1) | st.sampled_from([0.0, 1e-3, 0.5, 1.0])
    )
)
@settings(max_examples=15)  # each collects garbage in statsmodels, for a tenth of a second
def test_holm_is_that_of_statsmodels(p: np.ndarray) -> None:
    np.testing.assert_array_equal(holm(p), multipletests(p, method="holm")[1])


# Accuracy of C4.5, with m, with cf, with both, on 14 data sets: Demšar (JMLR 2006), table 2 and 6.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.978, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip


def test_friedman_gives_the_numbers_of_demsars_example() -> None:
    found = friedman(-DEMSAR)
    np.testing.assert_allclose(found.mean_ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    chi2 = 12 * 14 / (4 * 5) * ((found.mean_ranks**2).sum() - 4 * 25 / 4)
    assert chi2 == pytest.approx(9.28, abs=0.005)  # his, without the correction for ties
    ties = sum(n**3 - n for row in DEMSAR for n in np.unique(row, return_counts=True)[1])
    corrected = chi2 / (1 - ties / (14 * (4**3 - 4)))
    assert found.w == pytest.approx(corrected / (14 * 3))
    assert found.p == pytest.approx(stats.f.sf(13 * corrected / (14 * 3 - corrected), 3, 39))
    assert friedman(-DEMSAR, level=0.10).critical_difference == pytest.approx(
        2.291 * np.sqrt(20 / 84), abs=0.001
    )


@pytest.mark.parametrize(
    ("methods", "q"),
    [
        (2, 1.960),
        (3, 2.343),
        (4, 2.569),
        (5, 2.728),
        (6, 2.850),
        (7, 2.949),
        (8, 3.031),
        (9, 3.102),
        (10, 3.164),
    ],
)
def test_critical_values_are_those_of_demsars_table_5(methods: int, q: float) -> None:
    found = friedman(np.random.default_rng(0).random((6, methods)))
    assert found.critical_difference == pytest.approx(
        q * np.sqrt(methods * (methods + 1) / 36), rel=5e-4
    )


def test_w_is_1_for_one_order_0_for_opposite_ones_and_kendalls_formula_between() -> None:
    order = np.arange(6.0)
    assert friedman(np.stack([order, order * 2, order**3])).w == pytest.approx(1)
    assert friedman(np.stack([order, order, order])).p == 0
    assert friedman(np.stack([order, -order])).w == pytest.approx(0)
    costs = np.random.default_rng(4).random((5, 7))
    sums = stats.rankdata(costs, axis=1).sum(axis=0)
    expected = 12 * ((sums - sums.mean()) ** 2).sum() / (5**2 * (7**3 - 7))
    assert friedman(costs).w == pytest.approx(expected)


@pytest.mark.parametrize("costs", [[[1, 2, 3]], [[1, 2], [2, 1]], [[1, 1, 1], [2, 2, 2]]])
def test_rankings_that_cannot_agree_or_disagree_have_no_w(costs: list[list[float]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = friedman(np.array(costs, dtype=float))
    assert np.isnan([found.w, found.p, *rank_correlation(np.array(costs, dtype=float))]).all()


def test_rank_correlation_is_the_mean_of_spearmans_with_ties_too() -> None:
    rng = np.random.default_rng(1)
    for judges in (2, 3, 5):
        costs = rng.integers(0, 5, (judges, 8)).astype(float)
        pairs = [stats.spearmanr(a, b).statistic for a, b in itertools.combinations(costs, 2)]
        correlation, low, high = rank_correlation(costs)
        assert correlation == pytest.approx(np.mean(pairs))
        assert low < correlation < high
        untied = rng.random((judges, 8))
        w = friedman(untied).w
        assert rank_correlation(untied)[0] == pytest.approx((judges * w - 1) / (judges - 1))
        indifferent = np.concatenate([costs, np.ones((1, 8))])
        assert rank_correlation(indifferent) == rank_correlation(costs)


def test_one_order_correlates_by_1_and_opposite_ones_by_minus_1() -> None:
    order = np.arange(9.0)
    correlation, low, high = rank_correlation(np.stack([order, order**2]))
    assert (correlation, high) == pytest.approx((1, 1))
    assert 0.8 < low < 0.95
    assert rank_correlation(np.stack([order, -order])) == pytest.approx((-1, -1, -low))
    assert rank_correlation(np.stack([order] * 6))[1] > low  # more judges, less doubt
    assert rank_correlation(np.stack([order[:4], order[:4]]))[1] < 0  # one case in 24 by lot


def test_the_interval_of_a_rank_correlation_is_that_of_an_intra_class_correlation() -> None:
    """Of many items, where the correction for continuity is nothing; by the F distribution (McGraw and Wong 1996)."""
    rng = np.random.default_rng(0)
    costs = rng.normal(size=400) + rng.normal(size=(3, 400))
    ranks = stats.rankdata(costs, axis=1)
    between = 3 * ranks.mean(axis=0).var(ddof=1)
    rest = ranks - ranks.mean(axis=0)
    within = (rest**2).sum() / (399 * 2)
    ratios = between / within / stats.f.ppf([0.975, 0.5, 0.025], 399, 798)
    expected = (ratios - 1) / (ratios + 2)
    correlation, low, high = rank_correlation(costs)
    assert (low, high) == pytest.approx((expected[0], expected[2]), abs=1e-3)
    assert correlation == pytest.approx(expected[1], abs=1e-2)
