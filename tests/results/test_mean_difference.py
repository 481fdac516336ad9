"""The test of the mean difference and its interval: against scipy, closed forms, and properties of any scores."""

import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from statsmodels.stats.power import TTestPower

from interpbench.results.mean_difference import (
    MeanDifference,
    fewest_images,
    images_needed,
    mean_difference,
)

numbers = arrays.arrays(
    np.float64, st.integers(2, 40), elements=st.floats(-1, 1).map(lambda x: round(x, 3))
)


def of(differences: np.ndarray) -> MeanDifference:
    """The comparison of scores with these differences."""
    differences = np.asarray(differences, dtype=float)
    return mean_difference(differences, np.zeros(differences.size))


def hits(more: int, fewer: int, count: int) -> MeanDifference:
    """The comparison of hits and misses that differ upwards `more` times and downwards `fewer` times."""
    first = np.repeat([1.0, 0.0, 1.0], [more, fewer, count - more - fewer])
    second = np.repeat([0.0, 1.0, 1.0], [more, fewer, count - more - fewer])
    return mean_difference(first, second)


def skewed(count: int, seed: int = 0) -> np.ndarray:
    """Differences with a long tail upwards."""
    return np.random.default_rng(seed).exponential(size=count)


@pytest.mark.parametrize("count", [8, 30, 200])
def test_without_skewness_it_is_students(count: int) -> None:
    half = np.random.default_rng(count).exponential(size=count // 2)
    symmetric = np.concatenate([half, -half]) + 0.4
    student = stats.ttest_1samp(symmetric, 0)
    interval = student.confidence_interval()
    found = of(symmetric)
    assert found.p == pytest.approx(student.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.n, found.difference) == (count, pytest.approx(0.4))
    assert found.sd == pytest.approx(symmetric.std(ddof=1))


def test_with_a_long_tail_it_is_students_on_the_side_of_the_tail_alone() -> None:
    tail = skewed(60)
    upwards, downwards = tail - 0.5, tail - 1.5
    assert of(upwards).difference > 0 > of(downwards).difference
    student = stats.ttest_1samp(upwards, 0)
    assert of(upwards).p == pytest.approx(student.pvalue, rel=1e-9)
    assert of(upwards).low == pytest.approx(student.confidence_interval().low)
    student = stats.ttest_1samp(downwards, 0)
    assert of(downwards).p > 2 * student.pvalue
    assert of(downwards).high > student.confidence_interval().high + 0.05


@pytest.mark.parametrize("count", [40, 100])
def test_on_the_other_side_it_is_what_the_studentised_bootstrap_finds(count: int) -> None:
    """One side of the bootstrap-t test, with 200,000 resamples: also where the difference is large."""
    tail = skewed(count)
    rng = np.random.default_rng(0)
    drawn = (tail - tail.mean())[rng.integers(count, size=(200_000, count))]
    studentised = drawn.mean(axis=1) / drawn.std(axis=1, ddof=1)
    for chance in (0.05, 0.01, 0.001):
        statistic = np.quantile(studentised, chance)
        found = of(tail - tail.mean() + statistic * tail.std(ddof=1))
        assert found.p / 2 == pytest.approx(chance, rel=0.35)
        assert stats.t.cdf(statistic * np.sqrt(count), count - 1) < 0.66 * chance


def test_where_all_images_agree_skewness_does_not_stand_in_the_way() -> None:
    """Hall's polynomial would stop at p = 0.02: 30 differences of about -4 with a tail to -2."""
    differences = skewed(30) / 2 - 4
    assert stats.skew(differences) > 1
    assert (differences < 0).all()
    assert of(differences).p < 1e-5


@settings(deadline=None, max_examples=200)
@given(numbers)
def test_the_interval_excludes_0_exactly_where_p_is_below_5_percent(
    differences: np.ndarray,
) -> None:
    found = of(differences)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    assert found.low <= found.difference <= found.high
    assert np.isfinite([found.low, found.high]).all()


@settings(deadline=None, max_examples=100)
@given(numbers, st.floats(0.01, 100))
def test_it_turns_with_the_direction_and_keeps_to_the_unit(
    differences: np.ndarray, unit: float
) -> None:
    assume(np.ptp(differences) > 0 and not np.isin(differences, (0, 1, -1)).all())
    found, turned, scaled = of(differences), of(-differences), of(differences * unit)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-found.high, -found.low, found.p))
    assert scaled.p == pytest.approx(found.p, rel=1e-6)
    assert (scaled.low, scaled.high, scaled.sd) == pytest.approx(
        (found.low * unit, found.high * unit, found.sd * unit), rel=1e-6, abs=1e-12
    )


@settings(deadline=None, max_examples=100)
@given(numbers, st.floats(-1, 1))
def test_the_interval_holds_what_the_test_does_not_reject(
    differences: np.ndarray, truth: float
) -> None:
    """By its own definition: the interval of differences less a number is the interval less that number."""
    assume(np.ptp(differences) > 0.01 and not np.isin(differences, (0, 1, -1)).all())
    found, moved = of(differences), of(differences - truth)
    assume(np.count_nonzero(differences - truth) > 5)
    inside = found.low < truth < found.high
    assert inside or moved.p < 0.05 + 1e-9


@pytest.mark.parametrize("count", [2, 3, 5])
def test_fewer_than_six_images_that_differ_are_never_significant(count: int) -> None:
    found = of(np.linspace(1, 1.01, count))
    assert found.p == 2 / 2**count
    assert found.low == 0
    assert of(np.concatenate([np.linspace(1, 1.01, count), np.zeros(30)])).p >= 2 / 2**count
    assert of(np.linspace(1, 1.01, 6)).p == 2 / 2**6


def test_few_images_never_say_more_than_all_changes_of_their_signs() -> None:
    """The least p of the exact permutation test by changes of sign (Fisher 1935), here of nine images."""
    rng = np.random.default_rng(0)
    differences = rng.normal(10, 1, 9)
    exact = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert of(differences).p == pytest.approx(exact.pvalue) == 2 / 2**9


def test_no_images_one_image_and_equal_differences() -> None:
    assert np.isnan([*vars(of(np.array([]))).values()][1:]).all()
    one = of(np.array([0.3]))
    assert (one.n, one.difference, one.p) == (1, 0.3, 1)
    assert np.isnan([one.low, one.high, one.sd]).all()
    same = np.full(30, 0.5)
    assert mean_difference(same, same) == MeanDifference(30, 0, 0, 0, 0, 1)
    equal = mean_difference(np.full(30, 0.3), np.full(30, 0.1))
    assert equal.p == 2 / 2**30
    assert (equal.low, equal.high) == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize(("more", "fewer"), [(5, 0), (6, 0), (8, 1), (14, 5), (7, 7), (0, 12)])
def test_hits_and_misses_are_mcnemars_exact_test(more: int, fewer: int) -> None:
    found = hits(more, fewer, 30)
    assert found.p == pytest.approx(stats.binomtest(more, more + fewer).pvalue)
    assert found.difference == pytest.approx((more - fewer) / 30)
    outcomes = np.repeat([1.0, -1.0, 0.0], [more, fewer, 0])
    if outcomes.size <= 12:  # all changes of sign
        exact = stats.permutation_test((outcomes,), np.mean, permutation_type="samples")
        assert found.p == pytest.approx(exact.pvalue)


def test_the_interval_of_hits_and_misses_belongs_to_their_test() -> None:
    for count in (10, 30):
        for more, fewer in itertools.product(range(count + 1), repeat=2):
            if more + fewer <= count:
                found = hits(more, fewer, count)
                assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
                assert -1 <= found.low <= found.difference <= found.high <= 1


def test_methods_that_hit_on_the_same_images_may_differ_on_others() -> None:
    """No difference among 30: the rate at which one is seen in 2.5 % of samples of 30."""
    low, high = hits(0, 0, 30).low, hits(0, 0, 30).high
    assert -low == high == pytest.approx(1 - 0.025 ** (1 / 30))


@pytest.mark.parametrize(("more", "fewer", "count"), [(20, 0, 30), (8, 3, 30), (30, 18, 100)])
def test_the_interval_of_hits_and_misses_is_fay_and_lumbards(
    more: int, fewer: int, count: int
) -> None:
    """Their definition by drawing: 2.5 % quantiles of share · (2·chance - 1), the share farther down."""
    rng = np.random.default_rng(0)
    draws, differing = 400_000, more + fewer

    def least(more: int, fewer: int) -> float:
        if more == 0:
            return -float(np.quantile(rng.beta(differing + 1, count - differing, draws), 0.975))
        chance = rng.beta(more, fewer + 1, draws)
        small = rng.beta(differing, count - differing + 1, draws)
        large = rng.beta(differing + 1, count - differing, draws)
        return float(np.quantile((2 * chance - 1) * np.where(chance > 0.5, small, large), 0.025))

    found = hits(more, fewer, count)
    assert (found.low, found.high) == pytest.approx(
        (least(more, fewer), -least(fewer, more)), abs=0.003
    )


@pytest.mark.parametrize("level", [0.05, 0.05 / 36, 0.05 / 780])
@pytest.mark.parametrize("standardised", [0.1, 0.3, 0.6])
def test_images_needed_are_those_of_the_power_of_the_t_test(
    level: float, standardised: float
) -> None:
    found = images_needed(3 * standardised, 3, level=level)
    power = partial(TTestPower().power, standardised, alpha=level / 2, alternative="larger")
    assert 0.79 < power(found) < 0.83
    assert power(found - 2) < 0.8
    assert images_needed(-3 * standardised, 3, level=level) == found


def test_images_needed_are_at_least_those_with_which_anything_can_be_significant() -> None:
    assert images_needed(1, 0, level=0.05) == 6
    assert images_needed(1, 0.01, level=0.05 / 36) == 11
    for nothing in ((0, 1), (np.nan, 1), (1, np.nan)):
        assert np.isnan(images_needed(*nothing, level=0.05))


@pytest.mark.parametrize("level", [0.05, 0.05 / 36, 0.05 / 780, 0.25, 0.01])
def test_fewest_images_are_the_first_whose_least_p_is_below_the_level(level: float) -> None:
    assert fewest_images(level) == next(n for n in itertools.count(1) if 2 / 2**n < level)
