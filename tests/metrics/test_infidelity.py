"""Infidelity: a linear model's closed form, and captum on the perturbations that the model was given."""

import pytest
import torch
from captum.metrics import infidelity as captums
from torch import Tensor

from interpbench import baseline
from interpbench.scoring.explanation import Explanation
from tests.metrics.subjects import degraded, images, linear, score, small, weights, with_map

SAMPLES = 12
KINDS = pytest.mark.parametrize("perturbation", ["squares", "gaussian"])


def exact(perturbation: str, count: int = 6) -> Explanation:
    """A linear model's exact map: what positions contribute, or the gradient, summed over colours."""
    explanation = linear(x=images(count))
    if perturbation == "squares":
        return explanation
    return with_map(explanation, weights()[1].sum(0).expand(count, -1, -1))


def found(explanation: Explanation, perturbation: str, **values: object) -> Tensor:
    return score(
        "infidelity",
        explanation,
        **{"perturbation": perturbation, "samples": SAMPLES, "baseline": "zero", **values},
    )


@KINDS
def test_the_exact_map_of_a_linear_model_has_0(perturbation: str) -> None:
    explanation = exact(perturbation)
    assert found(explanation, perturbation, scaled=False).max() < 1e-9
    assert found(explanation, perturbation).max() < 1e-9


@KINDS
def test_a_scale_counts_unless_the_best_is_taken(perturbation: str) -> None:
    """Without scaling, 3 times the exact map errs by twice the drop; a map of zeros, by the drop."""
    explanation = exact(perturbation)
    threefold = with_map(explanation, 3 * explanation.saliency)
    zero = with_map(explanation, torch.zeros_like(explanation.saliency))
    drops = found(zero, perturbation, scaled=False)
    erred = found(threefold, perturbation, scaled=False)
    torch.testing.assert_close(erred, 4 * drops, rtol=1e-4, atol=0)
    assert found(threefold, perturbation).max() < 1e-9
    assert found(with_map(explanation, -explanation.saliency), perturbation).max() < 1e-9
    assert found(zero, perturbation).isnan().all()


@KINDS
@pytest.mark.parametrize("scaled", [False, True])
def test_scores_grow_as_the_exact_map_is_spoilt(perturbation: str, scaled: bool) -> None:
    explanation = exact(perturbation, 30)
    maps = [degraded(explanation.saliency, share) for share in (0, 0.3, 0.8)]
    means = [
        found(with_map(explanation, each), perturbation, scaled=scaled).mean() for each in maps
    ]
    assert means[0] * 1000 < means[1] < means[2] * 0.95


def given(explanation: Explanation, perturbation: str, **values: object) -> Tensor:
    """The perturbed images that the model is asked about, [B,K,C,H,W]."""
    asked: list[Tensor] = []
    network = explanation.model.network
    hook = network.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[0].clone()))
    found(explanation, perturbation, **values)
    hook.remove()
    every = torch.cat(asked).unflatten(0, (-1, len(explanation.x)))
    untouched = (every == explanation.x).flatten(1).all(1)
    assert int(untouched.sum()) == 1
    return every[~untouched].transpose(0, 1)


@KINDS
@pytest.mark.parametrize("scaled", [False, True])
def test_it_is_captum_s(perturbation: str, scaled: bool) -> None:
    """Captum's map has colours: ours stands in the first, and 0 in the others."""
    explanation = small()
    perturbed = given(explanation, perturbation).flatten(0, 1)
    away = explanation.x.repeat_interleave(SAMPLES, 0) - perturbed
    said = (away != 0).float() if perturbation == "squares" else away
    colours = torch.zeros_like(explanation.x)
    colours[:, 0] = explanation.saliency
    expected = captums(
        explanation.model.network,
        lambda inputs: (said, perturbed),
        explanation.x,
        colours,
        target=explanation.target,
        n_perturb_samples=SAMPLES,
        normalize=scaled,
    )
    values = found(explanation, perturbation, scaled=scaled)
    torch.testing.assert_close(values, expected.double(), rtol=1e-4, atol=1e-9)


def test_squares_are_squares_within_the_image_of_all_sides_up_to_the_longest() -> None:
    explanation = small(x=images(20))
    changed = (given(explanation, "squares") != explanation.x[:, None]).all(2).flatten(0, 1)
    sides = set()
    for square in changed:
        rows, columns = square.any(1).sum(), square.any(0).sum()
        assert rows == columns
        assert square.sum() == rows * columns
        sides.add(int(rows))
    assert sides == {1, 2, 3}  # 0.36 of 8
    assert changed.any(0).all()  # borders and corners too


def test_noise_has_its_deviation_and_is_one_value_a_position() -> None:
    explanation = small(x=images(20))
    away = explanation.x[:, None] - given(explanation, "gaussian")
    torch.testing.assert_close(away[:, :, 0], away[:, :, 2], rtol=0, atol=1e-6)
    assert float(away.std()) == pytest.approx(0.2, rel=0.02)
    assert abs(float(away.mean())) < 0.005


def test_a_square_that_does_not_fit_is_refused() -> None:
    with pytest.raises(AssertionError, match="largest=9: no such square fits on 8x8 positions"):
        found(small(), "squares", largest=9)


def test_a_square_becomes_the_baseline() -> None:
    explanation = small()
    white = baseline("white", explanation.x, explanation.model.card)
    perturbed = given(explanation, "squares", baseline="white")
    changed = perturbed != explanation.x[:, None]
    assert torch.equal(perturbed[changed], white[:, None].expand_as(perturbed)[changed])
