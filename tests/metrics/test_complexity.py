"""Complexity beside slow definitions, and maps whose score is known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from torch import Tensor

from interpbench.core.errors import ParameterError
from interpbench.registry.discovery import discover
from tests.metrics.subjects import SIDE, linear, noise, only, score

ALL = ("sparseness", "entropy", "effective-complexity")
N = SIDE * SIDE
MAPS = noise(torch.zeros(6, 3, SIDE, SIDE))


def of(maps: Tensor, name: str, **values: object) -> list[float]:
    return score(name, linear(maps, torch.zeros(len(maps), 3, SIDE, SIDE)), **values).tolist()


def gini(values: np.ndarray) -> float:
    """Half of the mean difference of all pairs, as a share of the mean."""
    return float(np.abs(values[:, None] - values).mean() / 2 / values.mean())


def test_one_position_wins_and_a_constant_map_loses() -> None:
    maps = torch.zeros(2, SIDE, SIDE)
    maps[0, 3, 4], maps[1] = -2, 0.1
    assert of(maps, "sparseness") == pytest.approx([1 - 1 / N, 0], abs=1e-12)
    assert of(maps, "entropy") == pytest.approx([0, math.log(N)])
    assert of(maps, "entropy", scaled=True) == pytest.approx([0, 1])
    assert of(maps, "effective-complexity") == pytest.approx([1 / N, 1])


@pytest.mark.parametrize("sign", ["absolute", "positive"])
def test_beside_slow_definitions(sign: str) -> None:
    flat = MAPS.flatten(1).double().numpy()
    rows = np.abs(flat) if sign == "absolute" else flat.clip(min=0)
    assert of(MAPS, "sparseness", sign=sign) == pytest.approx([gini(row) for row in rows])
    assert of(MAPS, "entropy", sign=sign) == pytest.approx(scipy_entropy(rows, axis=1))
    for threshold in (0, 0.01, 0.5):
        counts = [sum(value > threshold * max(row) for value in row) / N for row in rows.tolist()]
        found = of(MAPS, "effective-complexity", threshold=threshold, sign=sign)
        assert found == pytest.approx(counts)


@pytest.mark.parametrize("name", ALL)
def test_neither_scale_nor_neighbours_count(name: str) -> None:
    alone = [
        score(name, only(linear(MAPS, torch.zeros(6, 3, SIDE, SIDE)), [i])).item() for i in range(6)
    ]
    assert of(MAPS, name) == alone
    loud = MAPS * 10.0 ** torch.arange(-18, 18, 6)[:, None, None]
    assert of(loud, name) == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_sharper_map_is_simpler(name: str) -> None:
    [found] = zip(*(of(MAPS[:1].abs() ** power, name) for power in (1, 2, 4, 8)), strict=True)
    direction = discover().configure("metric", name)
    rising = direction.plugin.better == "higher"
    assert list(found) == sorted(found, reverse=not rising)
    assert len(set(found)) == 4


@pytest.mark.parametrize("name", ALL)
def test_a_map_without_any_value_has_no_score(name: str) -> None:
    assert np.isnan(of(torch.zeros(1, SIDE, SIDE), name)).all()
    assert np.isnan(of(-MAPS.abs(), name, sign="positive")).all()
    with pytest.raises(ParameterError, match="sign"):
        of(MAPS, name, sign="signed")


def test_a_threshold_of_all_is_refused() -> None:
    with pytest.raises(ParameterError, match="threshold"):
        of(MAPS, "effective-complexity", threshold=1)
