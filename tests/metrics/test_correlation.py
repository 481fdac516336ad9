"""Correlations over sets: a linear model's closed form, a slow twin, and what must not matter."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from interpbench import Inputs, ParameterError, Size, baseline, each_part, random_sets
from interpbench.core.batch_size import BatchSize
from interpbench.fast.scoring_copy import Scorer
from interpbench.scoring.evaluate import EndPoints, Passes, evaluate
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.shared_results import SharedResults
from tests.metrics import subjects
from tests.metrics.subjects import REGISTRY, degraded, linear, noise, only, small, subject, with_map
from tests.tiny_models import Constant

# As few as a test needs, with a baseline for which the linear model loses what its exact map says.
METRICS: dict[str, dict[str, object]] = {
    "faithfulness-correlation": {"sets": 30, "baseline": "zero"},
    "mu-fidelity": {"sets": 30, "grid": 4},
    "sensitivity-n": {"sets": 20, "sizes": 3},
    "single-deletion": {},
    "faithfulness-estimate": {"baseline": "zero"},
}
SHARED = [name for name in METRICS if name != "faithfulness-estimate"]
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


@each
def test_a_score_depends_on_its_image_alone(name: str) -> None:
    explanation = small()
    together = score(name, explanation)
    for batch in (1, 3):
        torch.testing.assert_close(score(name, explanation, batch), together, rtol=0, atol=1e-4)
    for rows in ([4], [5, 0]):
        alone = score(name, only(explanation, rows))
        torch.testing.assert_close(alone, together[rows], rtol=0, atol=1e-4)


@each
def test_a_model_that_ignores_the_image_says_nothing_of_a_map(name: str) -> None:
    x = subjects.images(2)
    assert score(name, subject(Constant([1.0, 2.0, 3.0]), noise(x), x)).isnan().all()


@each
def test_sign_is_taken_as_is_said(name: str) -> None:
    explanation = small()
    for sign, values in (
        ("absolute", explanation.saliency.abs()),
        ("positive", explanation.saliency.clamp(min=0)),
    ):
        expected = score(name, with_map(explanation, values))
        torch.testing.assert_close(score(name, explanation, sign=sign), expected)


@pytest.mark.parametrize("name", SHARED)
def test_what_no_map_decides_is_asked_of_the_model_once(name: str) -> None:
    explanation = small()
    asked: list[int] = []
    explanation.model.network.register_forward_pre_hook(
        lambda m, inputs: asked.append(len(inputs[0]))
    )
    metric = {"it": REGISTRY.configure("metric", name, METRICS[name])}
    scorer = Scorer(explanation.model.network, explanation.model)
    passes = Passes(scorer, BatchSize(16), EndPoints(), nullcontext, shared=SharedResults())
    first = evaluate(metric, explanation, passes).scored["it"]
    so_far = sum(asked)
    assert so_far > 0
    other = with_map(explanation, noise(explanation.x, seed=1))
    second = evaluate(metric, other, passes).scored["it"]
    assert sum(asked) == so_far
    torch.testing.assert_close(first, score(name, explanation), equal_nan=True)
    torch.testing.assert_close(second, score(name, other), equal_nan=True)


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


def test_chance_is_the_seed_s_and_the_image_s() -> None:
    explanation = small()

    def drawn(inputs: Inputs) -> Tensor:
        return random_sets(inputs, 4, 5).chosen

    other_seed = Explanation(**{**vars(explanation), "seed": 1})
    assert not torch.equal(drawn(explanation), drawn(other_seed))
    assert torch.equal(drawn(only(explanation, [3])), drawn(explanation)[[3]])
