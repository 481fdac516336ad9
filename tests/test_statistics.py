"""Intervals against scipy called directly, against known answers, and against what they promise."""

import warnings

import numpy as np
import pytest
from scipy import stats

from interpbench.seeding import derive
from interpbench.statistics import bootstrap_band, bootstrap_interval


@pytest.mark.parametrize("count", [2, 3, 24, 200])
def test_interval_is_scipys_bca(count: int) -> None:
    values = np.random.default_rng(count).exponential(size=count)
    expected = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(11)).confidence_interval
    assert bootstrap_interval(values, seed=11) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_blocks_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=50)
    whole = bootstrap_interval(values, seed=1)
    monkeypatch.setattr("interpbench.statistics._BLOCK", 700)
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


def test_where_bca_is_undefined_the_percentile_interval_is_given() -> None:
    values = np.zeros(2000)
    values[0] = 1e-300  # its square underflows, and with it BCa's acceleration
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=99, rng=np.random.default_rng(0)
    ).confidence_interval
    found = bootstrap_interval(values, seed=0, resamples=99)
    assert found == pytest.approx((expected.low, expected.high))


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


def test_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for trial in range(300):
        low, high = bootstrap_interval(rng.beta(2, 5, size=40), seed=trial, resamples=999)
        hits += low <= 2 / 7 <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_band_is_the_percentile_interval_at_each_point() -> None:
    curves = np.random.default_rng(0).random((24, 5))
    low, high = bootstrap_band(curves, seed=0, resamples=20_000)
    for point in range(5):
        expected = stats.bootstrap(
            (curves[:, point],), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
        ).confidence_interval
        assert (low[point], high[point]) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_band_in_blocks_is_a_band(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = np.random.default_rng(0).random((24, 5))
    monkeypatch.setattr("interpbench.statistics._BLOCK", 24 * 7)
    low, high = bootstrap_band(curves, seed=0, resamples=100)
    assert (low < curves.mean(axis=0)).all()
    assert (curves.mean(axis=0) < high).all()


def test_band_of_one_curve_is_the_curve() -> None:
    curve = np.random.default_rng(0).random((1, 5))
    low, high = bootstrap_band(curve, seed=0)
    np.testing.assert_allclose(low, curve[0])
    np.testing.assert_allclose(high, curve[0])
