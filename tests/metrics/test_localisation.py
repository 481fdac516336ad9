"""Localisation beside loops over positions, scikit-learn's AUC, and maps whose score is known."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from sklearn.metrics import roc_auc_score
from torch import Tensor

from interpbench.core.errors import ParameterError
from interpbench.scoring.explanation import Explanation
from tests.metrics.subjects import SIDE, degraded, linear, only, score

BY_RANK = ("pointing-game", "top-k", "relevance-rank", "iou")
BY_VALUE = ("energy-inside", "relevance-mass", "attribution-localisation", "roc-auc")
ALL = (*BY_RANK, *BY_VALUE)


def subject(saliency: Tensor, mask: Tensor, ignored: Tensor | None = None) -> Explanation:
    """Maps [B,H,W] beside masks."""
    of_maps = linear(saliency, torch.zeros(len(saliency), 3, *saliency.shape[1:]))
    return replace(of_maps, mask=mask, ignored=ignored)


def corner(count: int = 1) -> Tensor:
    """Masks of 8 of 64 positions."""
    mask = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    mask[:, :2, :4] = True
    return mask


def random_maps(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ALL)
def test_the_mask_as_a_map_is_perfect_and_its_complement_the_worst(name: str) -> None:
    # Evidence of more positions than the top k of 2 %, which is one of 64.
    best, worst = (
        score(name, subject(maps, corner(3))) for maps in (corner(3).float(), 1 - corner(3).float())
    )
    highest = 8.0 if name == "attribution-localisation" else 1.0
    assert best.tolist() == [highest] * 3
    assert worst.tolist() == [0] * 3


@pytest.mark.parametrize("name", ALL)
def test_a_flat_map_scores_what_chance_does(name: str) -> None:
    found = score(name, subject(torch.ones(400, SIDE, SIDE), corner(400))).mean().item()
    share = 8 / 64
    chance = {"roc-auc": 0.5, "attribution-localisation": 1.0, "iou": share / (2 - share)}
    expected = chance.get(name, share)
    assert found == pytest.approx(expected, abs=0.06 if name in BY_RANK else 1e-12)


@pytest.mark.parametrize("name", ALL)
def test_scores_fall_as_a_perfect_map_is_mixed_up(name: str) -> None:
    maps = corner(60).float() + 0.1 * random_maps(60).abs()
    means = [
        score(name, subject(degraded(maps, share), corner(60))).mean().item()
        for share in (0, 0.3, 0.6, 1)
    ]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[1] > means[2] > means[3]


@pytest.mark.parametrize("name", ALL)
def test_without_evidence_or_surroundings_there_is_no_score(name: str) -> None:
    nothing, everything = torch.zeros(1, SIDE, SIDE).bool(), torch.ones(1, SIDE, SIDE).bool()
    masks = torch.cat([nothing, everything, corner()])
    found = score(name, subject(random_maps(3), masks))
    assert found.isnan().tolist() == [True, True, False]
    # All but the evidence, or all, is ignored.
    ignored = torch.cat([~corner(), everything, nothing])
    found = score(name, subject(random_maps(3), corner(3), ignored))
    assert found.isnan().tolist() == [True, True, False]


@pytest.mark.parametrize("name", ALL)
def test_each_image_has_its_own_score(name: str) -> None:
    masks = torch.rand(5, SIDE, SIDE, generator=torch.Generator().manual_seed(4)) > 0.7
    ignored = torch.rand(5, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) > 0.9
    together = subject(random_maps(5).round(), masks, ignored)
    alone = [score(name, only(together, [i])).item() for i in range(5)]
    assert score(name, together).tolist() == alone


@pytest.mark.parametrize("name", ALL)
def test_signs(name: str) -> None:
    """By magnitude a map is as good as its absolute values."""
    maps, mask = random_maps(5), corner(5)
    positive, absolute = maps.clamp(min=0), maps.abs()
    for sign, values in (("positive", positive), ("absolute", absolute)):
        torch.testing.assert_close(
            score(name, subject(maps, mask), sign=sign), score(name, subject(values, mask)), rtol=0, atol=0
        )  # fmt: skip
    if name in (*BY_RANK, "roc-auc"):
        signed = score(name, subject(maps, mask), sign="signed").tolist()
        assert signed == score(name, subject(maps, mask)).tolist()
    else:
        with pytest.raises(ParameterError, match="absolute"):
            score(name, subject(maps, mask), sign="signed")


# Evidence is 1, 2 is ignored.
MARKS = of_numpy.arrays(np.int8, (SIDE, SIDE), elements=st.integers(0, 2))


@settings(deadline=None, max_examples=25)
@given(of_numpy.arrays(np.int8, (SIDE, SIDE), elements=st.integers(-3, 9)), MARKS)
def test_beside_loops_over_what_counts(values: np.ndarray, marks: np.ndarray) -> None:
    maps = torch.from_numpy(values).float()[None]
    mask, ignored = torch.from_numpy(marks == 1)[None], torch.from_numpy(marks == 2)[None]
    beside = subject(maps, mask, ignored)
    order = [k for k in beside.rank[0].flatten().argsort().tolist() if marks.flat[k] != 2]
    evidence = {k for k in order if marks.flat[k] == 1}
    if not evidence or len(evidence) == len(order):
        assert all(score(name, beside).isnan().all() for name in ALL)
        return

    def first(k: int) -> int:
        return sum(place in evidence for place in order[:k])

    def amounts(change: Callable[[int], int]) -> float:
        total = sum(change(int(values.flat[k])) for k in order)
        return sum(change(int(values.flat[k])) for k in evidence) / total if total else 0

    def marked(threshold: float) -> float:
        chosen = {k for k in order if values.flat[k] >= threshold}
        return len(chosen & evidence) / len(chosen | evidence)

    k, positive = max(1, round(0.1 * len(order))), amounts(lambda v: max(0, v))
    greatest = max(values.flat[k] for k in order)
    size = len(evidence)
    expected = {
        ("pointing-game", ()): first(1),
        ("top-k", (("share", 0.1),)): first(k) / k,
        ("relevance-rank", ()): first(size) / size,
        ("energy-inside", ()): positive,
        ("relevance-mass", ()): amounts(abs),
        ("attribution-localisation", ()): positive * len(order) / size,
        ("attribution-localisation", (("weighted", False),)): positive,
        ("roc-auc", ()): roc_auc_score(
            [k in evidence for k in order], [values.flat[k] for k in order]
        ),
        ("iou", ()): first(size) / (2 * size - first(size)),
        ("iou", (("threshold", "best"),)): max(marked(values.flat[k]) for k in order),
        ("iou", (("threshold", 0.5),)): marked(greatest / 2) if greatest > 0 else 0,
    }
    for (name, parameters), value in expected.items():
        found = score(name, beside, **dict(parameters)).item()
        assert found == pytest.approx(value, rel=1e-6, abs=1e-7), (name, parameters)
    # Nothing ignored is as if there were no such marks.
    for name in ALL:
        unmarked = score(name, subject(maps, mask, torch.zeros_like(mask)))
        torch.testing.assert_close(unmarked, score(name, subject(maps, mask)), equal_nan=True)


def test_pointing_game_hits_inside_and_misses_outside() -> None:
    maps = torch.zeros(2, SIDE, SIDE)
    maps[0, 1, 3], maps[1, 2, 3] = 2, 2
    assert score("pointing-game", subject(maps, corner(2))).tolist() == [1, 0]


@pytest.mark.parametrize("tolerance", [0, 1, 2, 3, 5, 15])
def test_pointing_game_hits_what_is_nearer_than_the_tolerance(tolerance: int) -> None:
    """As TorchRay has it: evidence at less than the tolerance from the position."""
    maps = torch.eye(SIDE * SIDE).view(-1, SIDE, SIDE)
    found = score("pointing-game", subject(maps, corner(len(maps))), tolerance=tolerance)
    for k, hit in enumerate(found.tolist()):
        row, column = divmod(k, SIDE)
        distance = math.hypot(max(0, row - 1), max(0, column - 3))
        assert hit == (distance < tolerance or distance == 0)


def test_evidence_within_the_tolerance_that_is_ignored_is_no_hit() -> None:
    maps = torch.zeros(1, SIDE, SIDE)
    maps[0, 2, 0] = 1
    ignored = corner()
    ignored[0, 0, 3] = False
    marked = subject(maps, corner(), ignored)
    assert score("pointing-game", marked, tolerance=3).tolist() == [0]
    assert score("pointing-game", marked, tolerance=4).tolist() == [1]


def test_energy_inside_is_the_share_of_positive_saliency() -> None:
    maps = torch.zeros(4, SIDE, SIDE)
    maps[0, 0, 0], maps[0, 7, 7] = 3, 1
    maps[1, 0, 0], maps[1, 7, 7] = 3, -9
    maps[2] = -1
    maps[3] = 1e30
    assert score("energy-inside", subject(maps, corner(4))).tolist() == [0.75, 1, 0, 8 / 64]
    assert score("relevance-mass", subject(maps, corner(4))).tolist() == [
        0.75,
        0.25,
        8 / 64,
        8 / 64,
    ]


def test_energy_of_tiny_values_is_not_lost() -> None:
    maps = torch.zeros(1, SIDE, SIDE)
    maps[0, 0, 0], maps[0, 7, 7] = 1e-38, 1e-38
    assert score("energy-inside", subject(maps, corner())).tolist() == pytest.approx([0.5])


def test_a_share_beyond_one_and_a_threshold_that_there_is_not_are_refused() -> None:
    maps = subject(random_maps(1), corner())
    with pytest.raises(ParameterError, match="share"):
        score("top-k", maps, share=1.5)
    with pytest.raises(ParameterError, match="threshold"):
        score("iou", maps, threshold="otsu")
    assert (
        score("iou", maps, threshold="0.5").tolist() == score("iou", maps, threshold=0.5).tolist()
    )
