"""Axioms on models that keep them exactly, beside loops, and on maps that break them."""

from dataclasses import replace

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

import interpbench
from interpbench.core.types import Model
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.patches import patch_map
from tests.metrics.subjects import (
    COUNT,
    SIDE,
    degraded,
    images,
    linear,
    noise,
    only,
    score,
    small,
    subject,
    with_map,
)
from tests.tiny_models import Linear, convolutional

GRID = 4


def partly_dead() -> Explanation:
    """A linear model whose left half has no weights, by its exact map."""
    weight = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    weight[..., : SIDE // 2] = 0
    x = images()
    return subject(Linear(weight), (weight[1] * x).sum(1), x)


def test_a_linear_models_map_is_complete() -> None:
    exact = linear()
    assert (score("completeness", exact) < 1e-4).all()
    for factor, error in ((0.0, 1.0), (0.5, 0.5), (3.0, 2.0), (-1.0, 2.0)):
        found = score("completeness", with_map(exact, factor * exact.saliency))
        assert found.tolist() == pytest.approx([error] * COUNT, abs=1e-3)


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("baseline", ["zero", "white", "blur"])
def test_completeness_beside_the_formula(baseline: str, output: str) -> None:
    random = small()
    network = random.model.network
    start = interpbench.baseline(baseline, random.x, random.model.card)  # type: ignore[arg-type]
    with torch.no_grad():
        both = [network(image.clone()) for image in (random.x, start)]
    of_image, of_start = ((v.softmax(1) if output == "probability" else v)[:, 1] for v in both)
    sums = random.saliency.flatten(1).sum(1)
    expected = [
        abs(float(s) - float(a - b)) / abs(float(a - b))
        for s, a, b in zip(sums, of_image, of_start, strict=True)
    ]
    found = score("completeness", random, baseline=baseline, output=output)
    assert found.tolist() == pytest.approx(expected, rel=2e-2)


def test_captums_integrated_gradients_are_complete() -> None:
    plain = small()
    maps = IntegratedGradients(plain.model.network).attribute(
        plain.x, torch.zeros_like(plain.x), target=1, n_steps=200
    )
    found = score("completeness", with_map(plain, maps.sum(1).float()))
    assert (found < 0.05).all()
    assert (score("completeness", with_map(plain, noise(plain.x))) > 0.5).all()


def test_where_outputs_do_not_differ_there_is_no_error() -> None:
    x = images()
    x[0] = 0
    assert score("completeness", linear(x=x)).isnan().tolist() == [True] + [False] * 5


def test_a_map_that_is_zero_where_the_model_does_not_look_agrees() -> None:
    exact = partly_dead()
    assert score("non-sensitivity", exact, grid=GRID).tolist() == [0] * COUNT
    swapped = with_map(exact, exact.saliency.flip(2))
    assert score("non-sensitivity", swapped, grid=GRID).tolist() == [1] * COUNT
    everywhere = with_map(exact, torch.ones_like(exact.saliency))
    assert score("non-sensitivity", everywhere, grid=GRID).tolist() == [0.5] * COUNT
    nothing = with_map(exact, torch.zeros_like(exact.saliency))
    assert score("non-sensitivity", nothing, grid=GRID).isnan().all()


def test_the_more_positions_have_changed_places_the_less_they_agree() -> None:
    exact = partly_dead()
    found = [
        score("non-sensitivity", with_map(exact, degraded(exact.saliency, share)), grid=SIDE).mean()
        for share in (0, 0.2, 0.5, 1)
    ]
    assert found[0] == 0
    assert found[0] < found[1] < found[2] < found[3]


@pytest.mark.parametrize("grid", [1, 3, SIDE])
def test_non_sensitivity_beside_loops(grid: int) -> None:
    """With a tolerance that many cells are under."""
    random = small()
    network = random.model.network
    parts = patch_map(SIDE, SIDE, grid)
    magnitudes, effects = torch.zeros(2, COUNT, grid**2)
    with torch.no_grad():
        before = network(random.x.clone())[:, 1]
        for cell in range(grid**2):
            inside = parts == cell
            changed = torch.where(inside, torch.zeros(()), random.x)
            effects[:, cell] = (network(changed)[:, 1] - before).abs()
            magnitudes[:, cell] = random.saliency[:, inside].abs().amax(1)
    dead, zero = (v <= 0.4 * v.amax(1, keepdim=True) for v in (effects, magnitudes))
    found = score("non-sensitivity", random, grid=grid, tolerance=0.4)
    torch.testing.assert_close(found, (dead != zero).double().mean(1), rtol=0, atol=1e-9)
    assert grid == 1 or (found > 0).any()


def test_where_no_cell_counts_there_is_no_agreement() -> None:
    x = images()
    x[0] = 0
    found = score("non-sensitivity", linear(noise(x), x), grid=GRID)
    assert found.isnan().tolist() == [True] + [False] * 5


def gradient(x: Tensor, target: Tensor, model: Model) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        score = model.network(leaf).gather(1, target[:, None]).sum()
    return torch.autograd.grad(score, leaf)[0].abs().amax(1)


def test_a_gradient_is_invariant_and_gradient_x_input_is_not() -> None:
    plain = small()
    asked = replace(
        plain,
        explainer=lambda x, target, model=None: gradient(x, target, model or plain.model),
    )
    invariant = with_map(asked, asked.explain(asked.x))
    assert (score("input-invariance", invariant) < 1e-5).all()
    signed = with_map(plain, plain.explain(plain.x))
    assert (score("input-invariance", signed) > 0.1).all()


@pytest.mark.parametrize("shift", [-1.0, 0.25])
@pytest.mark.parametrize("sign", ["signed", "absolute"])
def test_a_linear_layers_invariance_has_a_closed_form(sign: str, shift: float) -> None:
    """Gradient x input changes from w x to w (x + s)."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 5)).requires_grad_(False)
    plain = subject(network, torch.zeros(COUNT, SIDE, SIDE), images())
    plain = with_map(plain, plain.explain(plain.x))
    weight = network[1].weight[1].view(3, SIDE, SIDE)
    before, after = ((weight * x).sum(1) for x in (plain.x, plain.x + shift))
    if sign == "absolute":
        before, after = before.abs(), after.abs()
    expected = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
    found = score("input-invariance", plain, shift=shift, sign=sign)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_the_invariance_of_a_map_of_zeros_or_one_that_is_not_finite_is_unknown() -> None:
    plain = small()

    def broken(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
        maps = x.sum(1)
        if model is not None:
            maps[1, 0, 0] = torch.inf
        return maps

    maps = plain.x.sum(1)
    maps[0] = 0
    found = score("input-invariance", with_map(replace(plain, explainer=broken), maps))
    assert found.isnan().tolist() == [True, True] + [False] * 4


def test_the_invariance_of_a_model_that_begins_otherwise_is_refused() -> None:
    plain = subject(nn.Sequential(nn.ReLU(), convolutional(SIDE)), noise(images()), images())
    with pytest.raises(AssertionError, match="sees the image first"):
        score("input-invariance", plain)


@pytest.mark.parametrize("name", ["completeness", "non-sensitivity", "input-invariance"])
def test_neither_the_batch_size_nor_neighbours_count(name: str) -> None:
    values = {"grid": GRID} if name == "non-sensitivity" else {}
    whole = score(name, small(), **values)
    for batch in (1, 3):
        torch.testing.assert_close(
            score(name, small(batch=batch), batch, **values), whole, rtol=1e-3, atol=1e-6
        )
    for row in range(2):
        torch.testing.assert_close(
            score(name, only(small(), [row]), **values), whole[[row]], rtol=1e-3, atol=1e-6
        )


def test_a_grid_finer_than_the_image_is_refused() -> None:
    with pytest.raises(AssertionError, match="grid=9"):
        score("non-sensitivity", small(), grid=9)
