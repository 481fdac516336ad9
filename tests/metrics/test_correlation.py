"""Correlations over sets: a linear model's closed form, and a slow twin."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from interpbench import ParameterError, Size, baseline, each_part, random_sets
from interpbench.scoring.explanation import Explanation
from tests.metrics import subjects
from tests.metrics.subjects import REGISTRY, degraded, linear, noise, small, subject, with_map

# As few as a test needs, with a baseline for which the linear model loses what its exact map says.
METRICS: dict[str, dict[str, object]] = {
    "faithfulness-correlation": {"sets": 30, "baseline": "zero"},
    "mu-fidelity": {"sets": 30, "grid": 4},
    "sensitivity-n": {"sets": 20, "sizes": 3},
    "single-deletion": {},
    "faithfulness-estimate": {"baseline": "zero"},
}
each = pytest.mark.parametrize("name", METRICS)


def score(name: str, explanation: Explanation, batch: int = 16, **values: object) -> Tensor:
    return subjects.score(name, explanation, batch, **{**METRICS[name], **values})


@each
def test_the_exact_map_of_a_linear_model_has_1_and_its_negative_minus_1(name: str) -> None:
    exact = linear()
    ones = torch.ones(len(exact.x)).double()
    torch.testing.assert_close(score(name, exact), ones, rtol=0, atol=1e-6)
    negative = with_map(exact, -exact.saliency)
    torch.testing.assert_close(score(name, negative), -ones, rtol=0, atol=1e-6)


@each
def test_scores_fall_to_0_as_the_exact_map_is_spoilt(name: str) -> None:
    exact = linear(x=subjects.images(30))
    maps = [degraded(exact.saliency, share) for share in (0, 0.3, 0.6)] + [noise(exact.x)]
    means = torch.stack([score(name, with_map(exact, each)).mean() for each in maps])
    assert (means.diff() < -0.03).all(), means
    assert abs(means[-1]) < 0.15


def without(explanation: Explanation, i: int, mask: Tensor, fill: Tensor) -> float:
    """The logit of image i alone, with these positions replaced one by one."""
    image = explanation.x[i].clone()
    for row, column in mask.nonzero().tolist():
        image[:, row, column] = fill[i, :, row, column]
    with torch.no_grad():
        return float(explanation.model.network(image[None])[0, 1])


def slow(
    explanation: Explanation, i: int, masks: list[Tensor], fill: Tensor, by_ranks: bool
) -> float:
    """The correlation of image i over some sets, by loops and scipy."""
    untouched = without(explanation, i, torch.zeros(8, 8, dtype=torch.bool), fill)
    sums = [sum(explanation.saliency[i][mask].tolist()) for mask in masks]
    drops = [untouched - without(explanation, i, mask, fill) for mask in masks]
    return float((stats.spearmanr if by_ranks else stats.pearsonr)(sums, drops).statistic)


def masks_of(name: str, explanation: Explanation) -> list[list[list[Tensor]]]:
    """The sets of each image, for each of the correlations whose mean is the score."""

    def drawn(sets: int, size: Size, grid: int | None = None) -> Tensor:
        return torch.stack(list(random_sets(explanation, sets, size, grid).masks()), 1)

    if name == "faithfulness-correlation":
        found = [drawn(30, 0.05)]
    elif name == "mu-fidelity":
        found = [drawn(30, 3, 4)]  # 0.2 of 16 cells
    elif name == "sensitivity-n":
        found = [drawn(20, size) for size in (1, 7, 51)]  # 0.01 to 0.8 of 64, by a factor of 7.14
    elif name == "single-deletion":
        found = [torch.stack(list(each_part(explanation, 4).masks()), 1)]
    else:
        groups = explanation.rank // 8
        found = [torch.stack([groups == k for k in range(8)], 1)]
    return [[list(masks[i]) for masks in found] for i in range(len(explanation.x))]


@each
def test_it_is_what_a_slow_twin_makes_of_the_same_sets(name: str) -> None:
    explanation = small()
    fill = baseline("zero", explanation.x, explanation.model.card)
    by_ranks = name in ("mu-fidelity", "single-deletion")
    expected = [
        np.mean([slow(explanation, i, masks, fill, by_ranks) for masks in of_image])
        for i, of_image in enumerate(masks_of(name, explanation))
    ]
    assert score(name, explanation).tolist() == pytest.approx(expected, abs=2e-4)


class Mean(nn.Module):
    """Two logits: nothing, and the sum of the upper left cell of a 2x2 grid."""

    def forward(self, x: Tensor) -> Tensor:
        found = x[:, :, :4, :4].sum((1, 2, 3))
        return torch.stack([torch.zeros_like(found), found], 1)


def test_a_map_whose_sums_are_all_the_same_has_no_correlation() -> None:
    x = subjects.images(2)
    one_cell = torch.zeros(2, 8, 8)
    one_cell[1, 0, 0] = 1
    found = score("single-deletion", subject(Mean(), one_cell, x), grid=2)
    assert found[0].isnan()
    assert found[1] == x[1, :, :4, :4].sum().sign()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "faithfulness-correlation",
            {"size": 64},
            "set of 64 parts cannot be drawn of 64: give a size from 1 to 63",
        ),
        ("mu-fidelity", {"grid": 9}, "grid=9: so many cells do not fit on 8x8"),
        (
            "sensitivity-n",
            {"smallest": 40, "largest": 0.5},
            "smallest=40 is 40 of 64 parts, and largest=0.5 is 32",
        ),
        ("single-deletion", {"grid": 9}, "do not fit"),
        ("faithfulness-estimate", {"groups": 65}, "65 groups cannot be made of 8x8 positions"),
    ],
)
def test_what_cannot_be_is_told(name: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        score(name, linear(), **values)


@pytest.mark.parametrize("size", ["0", "1.5", "-0.1", "many"])
def test_a_size_is_a_number_or_a_share(size: str) -> None:
    with pytest.raises(ParameterError, match="size"):
        REGISTRY.configure("metric", "faithfulness-correlation", {"size": size})
    for text, value in (("224", 224), ("0.05", 0.05)):
        choice = REGISTRY.configure("metric", "faithfulness-correlation", {"size": text})
        assert choice.values["size"] == value


def test_a_grid_removes_whole_cells() -> None:
    explanation = small()
    expected = subjects.score("mu-fidelity", explanation, sets=30, size=3, grid=4)
    found = score("faithfulness-correlation", explanation, size=3, grid=4)
    assert stats.pearsonr(expected, found).statistic > 0.8  # by ranks, and as they are
