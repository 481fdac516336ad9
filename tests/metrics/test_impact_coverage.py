"""Impact coverage beside maps whose overlap is known, and the patch beside a linear model's closed form."""

from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch import Tensor

from interpbench.core.errors import MethodError, ParameterError
from interpbench.registry.discovery import discover
from interpbench.scoring.explanation import Explanation
from tests.metrics.subjects import Linear, images, only, score, small, subject, weights
from tests.tiny_models import convolutional

PLUGIN = discover().get("metric", "impact-coverage")
PATCHED = PLUGIN.call.__globals__["_patched"]
DEFAULTS = {"size": 0.1, "steps": 50, "towards": "random"}
SIDE, COUNT = 16, 6


def of(network: torch.nn.Module, x: Tensor | None = None) -> Explanation:
    x = images(COUNT, SIDE) if x is None else x
    return subject(network, torch.zeros(len(x), *x.shape[2:]), x)


def explained_by(explanation: Explanation, maps: Callable[[Tensor], Tensor]) -> Explanation:
    """With a method that makes these maps of inputs; it may compare them with the images."""
    return replace(explanation, explainer=lambda x, target: maps(x))


def undecided(classes: int = 5) -> torch.nn.Module:
    """A network that an image of noise can make predict any class."""
    network = convolutional(SIDE, classes)
    with torch.no_grad():
        network[-1].weight *= 20
        network[-1].bias -= network(images(COUNT, SIDE)).mean(0)
    return network


@pytest.fixture(scope="module")
def conv() -> Explanation:
    return of(undecided())


def changed(explanation: Explanation) -> Callable[[Tensor], Tensor]:
    return lambda x: (x != explanation.x).any(1).float()


def test_the_patch_as_a_map_is_perfect_and_all_but_it_the_worst(conv: Explanation) -> None:
    where = changed(conv)
    best = score("impact-coverage", explained_by(conv, where))
    worst = score("impact-coverage", explained_by(conv, lambda x: 1 - where(x)))
    assert best.isfinite().sum() >= 3
    assert torch.equal(best.isfinite(), worst.isfinite())
    assert set(best[best.isfinite()].tolist()) == {1.0}
    assert set(worst[worst.isfinite()].tolist()) == {0.0}


def test_the_overlap_is_that_of_the_two_sets(conv: Explanation) -> None:
    """A map of noise, by a loop over positions."""
    noise = torch.randn(COUNT, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    found = score("impact-coverage", explained_by(conv, lambda x: noise))
    _, _, patch, fooled = PATCHED(conv, **DEFAULTS)
    for i in range(COUNT):
        inside = {p for p in range(SIDE**2) if patch[i].flatten()[p]}
        values = noise[i].flatten().tolist()
        first = set(sorted(range(SIDE**2), key=lambda p: -values[p])[: len(inside)])
        expected = len(first & inside) / len(first | inside) if fooled[i] else float("nan")
        assert found[i].item() == pytest.approx(expected, nan_ok=True)


def test_a_patch_is_where_and_what_it_may_be_and_the_model_predicts_its_class(
    conv: Explanation,
) -> None:
    x, target, patch, fooled = PATCHED(conv, **DEFAULTS)
    assert torch.equal((x != conv.x).any(1) & ~patch, torch.zeros_like(patch))
    assert patch.flatten(1).sum(1).tolist() == [25] * COUNT  # of 256: the square nearest to a tenth
    assert len({tuple(where.flatten().tolist()) for where in patch}) > 1
    card = conv.model.card
    pixels = x * torch.tensor(card.std)[:, None, None] + torch.tensor(card.mean)[:, None, None]
    inside = pixels.movedim(1, -1)[patch]
    assert -1e-5 < inside.min() < inside.max() < 1 + 1e-5
    assert torch.equal(conv.model(x).argmax(1) == target, fooled)
    assert fooled.sum() >= 3
    assert not (target == conv.target).any()


def test_of_a_linear_model_the_patch_is_as_far_as_pixels_go() -> None:
    """Of two classes the gradient is the difference of their weights: each value ends at 0 or 1, by its sign."""
    small_weights = weights(SIDE) * 1e-3  # so that no patch is good enough before
    explanation = of(Linear(small_weights))
    x, target, patch, _ = PATCHED(explanation, **DEFAULTS)
    assert target.tolist() == [0] * COUNT
    card = explanation.model.card
    extreme = (small_weights[0] > small_weights[1]).float()
    expected = (extreme - torch.tensor(card.mean)[:, None, None]) / torch.tensor(card.std)[
        :, None, None
    ]
    torch.testing.assert_close(x, torch.where(patch[:, None], expected, explanation.x))


def test_it_goes_no_further_than_it_must(conv: Explanation) -> None:
    x, target, _, fooled = PATCHED(conv, **DEFAULTS)
    some = PATCHED(conv, **{**DEFAULTS, "steps": 3})[3]
    assert fooled.sum() >= some.sum()
    sure = conv.model(x).softmax(1).gather(1, target[:, None])[:, 0]
    assert (sure[fooled] < 0.99).any()  # where it is good enough, it stops


def test_the_class_may_be_the_one_after_the_explained_one(conv: Explanation) -> None:
    _, target, _, _ = PATCHED(conv, **{**DEFAULTS, "towards": "runner-up", "steps": 1})
    logits = conv.model(conv.x).scatter(1, conv.target[:, None], -torch.inf)
    assert torch.equal(target, logits.argmax(1))
    drawn = PATCHED(of(undecided(), images(40, SIDE)), **{**DEFAULTS, "steps": 1})[1]
    assert set(drawn.tolist()) == {0, 2, 3, 4}


def test_an_image_s_patch_is_its_own(conv: Explanation) -> None:
    whole = PATCHED(conv, **DEFAULTS)
    for rows in ([2], [5, 0]):
        part = PATCHED(only(conv, rows), **DEFAULTS)
        for of_all, of_some in zip(whole, part, strict=True):
            assert torch.equal(of_all[rows], of_some)
    assert not torch.equal(whole[0], PATCHED(replace(conv, seed=1), **DEFAULTS)[0])


def test_patches_are_made_once_for_all_methods() -> None:
    conv = of(undecided())
    asked = mock.Mock(side_effect=conv.model.network.forward)
    with mock.patch.object(conv.model.network, "forward", asked):
        first = score("impact-coverage", explained_by(conv, changed(conv)))
        passes = asked.call_count
        assert passes > COUNT
        noise = torch.randn(COUNT, SIDE, SIDE)
        PLUGIN.call(explained_by(conv, lambda x: noise))
        made = asked.call_count
        PLUGIN.call(explained_by(conv, changed(conv)))
        assert asked.call_count == made
    assert first.isfinite().any()


@pytest.mark.parametrize(
    "maps",
    [
        lambda x: torch.ones(len(x), SIDE, SIDE),
        lambda x: torch.full((len(x), SIDE, SIDE), torch.nan),
    ],
)
def test_what_is_no_map_has_no_score(conv: Explanation, maps: Callable[[Tensor], Tensor]) -> None:
    assert score("impact-coverage", explained_by(conv, maps)).isnan().all()


def test_where_no_patch_succeeds_there_is_no_score() -> None:
    decided = undecided()
    with torch.no_grad():
        decided[-1].weight *= 1e-3
        decided[-1].bias.copy_(torch.tensor([0.0, 2.0, 0.0, 0.0, 0.0]))
    stubborn = of(decided)
    assert score("impact-coverage", explained_by(stubborn, changed(stubborn))).isnan().all()


def test_a_model_that_no_patch_can_be_made_for_is_refused() -> None:
    conv = small()
    conv.model.gradients = False
    with pytest.raises(MethodError, match="needs gradients to make a patch"):
        PLUGIN.call(conv)
    single = small()
    single.model.card = replace(single.model.card, classes=1)
    with pytest.raises(ParameterError, match="several classes, and this has one"):
        PLUGIN.call(single)
