"""Rank correlation, SSIM and entropy against slow loops and values known in advance."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from interpbench.studies.sanity.comparing import comparable, complexities, similarities
from interpbench.studies.sanity.similarity import BINS, entropy, spearman, ssim


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def slow_ranks(values: np.ndarray) -> np.ndarray:
    """1 + how many are less, and half of the others that are equal."""
    return np.array([1 + (values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])


def slow_ssim(a: np.ndarray, b: np.ndarray, side: int, value_range: float) -> float:
    """Equation 13 of Wang et al. at each place where the window fits, and their mean."""
    radius = side // 2
    bell = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / bell.sum() ** 2
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    found = []
    for row in range(radius, len(a) - radius):
        for column in range(radius, a.shape[1] - radius):
            x, y = (
                m[row - radius : row + radius + 1, column - radius : column + radius + 1]
                for m in (a, b)
            )
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            both = (window * (x - mx) * (y - my)).sum()
            found.append(
                (2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            )
    return float(np.mean(found))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=12, max_size=12))
def test_rank_correlation_is_pearsons_of_slow_ranks_with_ties(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=np.float32).T.reshape(2, 1, 3, 4)
    [found] = spearman(a, b)
    if a.min() == a.max() or b.min() == b.max():
        assert math.isnan(found)
        return
    assert found == pytest.approx(
        np.corrcoef(slow_ranks(a.ravel()), slow_ranks(b.ravel()))[0, 1], abs=1e-12
    )
    assert found == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-12)


def test_rank_correlation_knows_no_scale_but_a_sign() -> None:
    maps = noise(0, 3, 8, 8)
    assert spearman(maps, np.exp(maps)).tolist() == [1, 1, 1]
    assert spearman(maps, -maps).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("signed", [False, True])
def test_ssim_is_that_of_a_slow_loop(signed: bool) -> None:
    a, b = noise(1, 2, 16, 18), noise(2, 2, 16, 18)
    b = 0.5 * a + b
    if not signed:
        a, b = np.abs(a), np.abs(b)
    found = ssim(3 * a, b)
    for i in range(2):
        scaled = [m[i].astype(np.float64) / np.abs(m[i]).max() for m in (a, b)]
        assert found[i] == pytest.approx(slow_ssim(*scaled, 11, 2 if signed else 1), abs=1e-6)


@pytest.mark.parametrize("side", [1, 2, 7, 8, 11])
def test_maps_smaller_than_the_window_have_a_similarity_too(side: int) -> None:
    a, b = np.abs(noise(3, 1, side, side)), np.abs(noise(4, 1, side, side))
    assert -1 <= ssim(a, b)[0] <= 1
    assert ssim(a, a)[0] == 1


def test_equal_maps_are_exactly_equal() -> None:
    maps = noise(5, 4, 13, 13)
    assert (spearman(maps, maps) == 1).all()
    assert (ssim(maps, maps) == 1).all()


def test_entropy_of_known_histograms() -> None:
    each_once = np.arange(100.0).reshape(1, 10, 10)
    assert entropy(each_once)[0] == pytest.approx(math.log(BINS))
    halves = np.repeat([[0.0, 1.0]], 50, axis=0).reshape(1, 10, 10)
    assert entropy(halves)[0] == pytest.approx(math.log(2))
    one_of_100 = np.zeros((1, 10, 10))
    one_of_100[0, 0, 0] = -7
    assert entropy(one_of_100)[0] == pytest.approx(-0.99 * math.log(0.99) - 0.01 * math.log(0.01))
    assert math.isnan(entropy(np.ones((1, 10, 10)))[0])
    assert entropy(2.0**20 * each_once - 5)[0] == pytest.approx(math.log(BINS))


def test_the_rise_in_complexity_is_a_share_of_the_first() -> None:
    halves = np.repeat([[0.0, 1.0]], 50, axis=0).reshape(1, 10, 10)
    rise = complexities(halves, np.arange(100.0).reshape(1, 10, 10))["as given", "entropy-rise"]
    assert rise[0] == pytest.approx(math.log(100) / math.log(2) - 1)
    assert complexities(halves, halves)["as given", "entropy-rise"][0] == 0


def test_maps_that_are_no_answer_are_left_out() -> None:
    first, second = np.abs(noise(6, 4, 12, 12)), np.abs(noise(7, 4, 12, 12))
    first[1], second[2, 3, 3], second[3] = 2, np.nan, 0
    assert comparable(first).tolist() == [True, False, True, True]
    assert comparable(second).tolist() == [True, True, False, False]
    compared = similarities(first, second)
    assert set(compared) == {("absolute", "spearman"), ("absolute", "ssim")}
    for values in compared.values():
        assert np.isfinite(values).tolist() == [True, False, False, False]


def test_signs_are_compared_where_the_trained_models_map_has_them() -> None:
    maps = noise(8, 2, 12, 12)
    compared = similarities(maps, -maps)
    assert compared["absolute", "spearman"].tolist() == [1, 1]
    assert compared["absolute", "ssim"].tolist() == [1, 1]
    assert compared["signed", "spearman"].tolist() == [-1, -1]
    scaled = maps[0] / np.abs(maps[0]).max()
    assert compared["signed", "ssim"][0] == pytest.approx(
        slow_ssim(scaled, -scaled, 11, 2), abs=1e-6
    )
    assert ("signed", "ssim") not in similarities(np.abs(maps), maps)
