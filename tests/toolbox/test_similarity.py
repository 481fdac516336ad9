"""SSIM and the entropy of histograms against slow loops and values known in advance."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from interpbench.toolbox.similarity import BINS, histogram_entropy, ssim


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def of(measure: Callable[..., Tensor], *maps: np.ndarray) -> np.ndarray:
    """What a measure says of maps."""
    return measure(*map(torch.from_numpy, maps)).numpy()


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


@pytest.mark.parametrize("signed", [False, True])
def test_ssim_is_that_of_a_slow_loop(signed: bool) -> None:
    a, b = noise(1, 2, 16, 18), noise(2, 2, 16, 18)
    b = 0.5 * a + b
    if not signed:
        a, b = np.abs(a), np.abs(b)
    found = of(ssim, 3 * a, b)
    for i in range(2):
        scaled = [m[i].astype(np.float64) / np.abs(m[i]).max() for m in (a, b)]
        assert found[i] == pytest.approx(slow_ssim(*scaled, 11, 2 if signed else 1), abs=1e-6)


@pytest.mark.parametrize("side", [1, 2, 7, 8, 11])
def test_maps_smaller_than_the_window_have_a_similarity_too(side: int) -> None:
    a, b = np.abs(noise(3, 1, side, side)), np.abs(noise(4, 1, side, side))
    assert -1 <= of(ssim, a, b)[0] <= 1
    assert of(ssim, a, a)[0] == 1


def test_equal_maps_are_exactly_equal() -> None:
    maps = noise(5, 4, 13, 13)
    assert (of(ssim, maps, maps) == 1).all()


def test_entropy_of_known_histograms() -> None:
    each_once = np.arange(100.0).reshape(1, 10, 10)
    assert of(histogram_entropy, each_once)[0] == pytest.approx(math.log(BINS))
    halves = np.repeat([[0.0, 1.0]], 50, axis=0).reshape(1, 10, 10)
    assert of(histogram_entropy, halves)[0] == pytest.approx(math.log(2))
    one_of_100 = np.zeros((1, 10, 10))
    one_of_100[0, 0, 0] = -7
    assert of(histogram_entropy, one_of_100)[0] == pytest.approx(
        -0.99 * math.log(0.99) - 0.01 * math.log(0.01)
    )
    assert math.isnan(of(histogram_entropy, np.ones((1, 10, 10)))[0])
    assert of(histogram_entropy, 2.0**20 * each_once - 5)[0] == pytest.approx(math.log(BINS))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_maps_that_are_no_answer_have_neither(value: float) -> None:
    maps, broken = noise(6, 3, 12, 12), noise(7, 3, 12, 12)
    broken[0, 3, 3], broken[1] = value, 0
    assert np.isnan(of(ssim, maps, broken)).tolist() == [True, True, False]
    assert np.isnan(of(ssim, broken, maps)).tolist() == [True, True, False]
    assert np.isnan(of(histogram_entropy, broken)).tolist() == [True, True, False]
