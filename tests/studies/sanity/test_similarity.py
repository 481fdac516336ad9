"""Rank correlation against slow loops, and which maps are compared."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from interpbench.studies.sanity.comparing import comparable, complexities, similarities
from interpbench.studies.sanity.similarity import spearman
from tests.toolbox.test_similarity import noise, slow_ssim


def slow_ranks(values: np.ndarray) -> np.ndarray:
    """1 + how many are less, and half of the others that are equal."""
    return np.array([1 + (values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])


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


def test_equal_maps_correlate_exactly() -> None:
    maps = noise(5, 4, 13, 13)
    assert (spearman(maps, maps) == 1).all()


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
