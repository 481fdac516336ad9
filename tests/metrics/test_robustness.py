"""Robustness beside loops over the changed images, captum, and maps whose change is known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max
from torch import Tensor

from interpbench.core.errors import MethodError, ParameterError
from interpbench.scoring.explanation import Explanation
from tests.metrics.subjects import SIDE, images, linear, only, score, small, with_map

NOISY = ("max-sensitivity", "average-sensitivity", "lipschitz")
RELATIVE = (
    "relative-input-stability",
    "relative-output-stability",
    "relative-representation-stability",
)
ALL = (*NOISY, *RELATIVE, "continuity")
RADIUS, SAMPLES, FLOOR = 0.3, 4, 0.001


def explained(subject: Explanation) -> Explanation:
    """With the maps that its method gives."""
    return with_map(subject, subject.explain(subject.x))


def convolutional(batch: int = 16) -> Explanation:
    """Gradient x input of a small network, whose first layer counts as its target layer."""
    subject = small(batch=batch)
    card = replace(subject.model.card, target_layer="0")
    object.__setattr__(subject.model, "card", card)
    return explained(subject)


def parameters(name: str) -> dict[str, object]:
    return {"steps": 5} if name == "continuity" else {"radius": RADIUS, "samples": SAMPLES}


def neighbours(subject: Explanation) -> list[Tensor]:
    """The images with noise, image by image: each draws in its own order."""
    return [
        torch.stack(
            [
                torch.empty_like(x).uniform_(-RADIUS, RADIUS, generator=chance)
                for _ in range(SAMPLES)
            ]
        )
        + x
        for x, chance in zip(subject.x, subject.generators("neighbours"), strict=True)
    ]


def norm(values: Tensor, p: float = 2) -> float:
    return float(np.linalg.norm(values.double().numpy().ravel(), p))


def ratio(after: Tensor, before: Tensor) -> float:
    """The norm of the change, value by value."""
    before, after = before.double().flatten(), after.double().flatten()
    least = FLOOR * before.abs().max()
    parts = [(b - a) / max(abs(b), least) for b, a in zip(before, after, strict=True)]
    return norm(torch.stack(parts))


def slow(name: str, subject: Explanation, row: int) -> float:
    """One image's score by loops."""
    x, before = subject.x[row], subject.saliency[row]

    def explain(image: Tensor) -> Tensor:
        return subject.explain(image[None].expand_as(subject.x).contiguous())[row]

    def read(read_off: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        with torch.no_grad():
            return read_off(image[None].clone())[0]

    if name == "continuity":
        moved = [x] + [torch.cat([torch.zeros(3, SIDE, k), x[..., :-k]], 2) for k in range(1, 6)]
        maps = [explain(image) for image in moved]
        return max(
            norm(maps[k] - maps[k - 1], 1) / norm(moved[k] - moved[k - 1]) for k in range(1, 6)
        ) / norm(before, 1)
    changed = neighbours(subject)[row]
    changes = [norm(explain(image) - before) / norm(before) for image in changed]
    if name == "average-sensitivity":
        return sum(changes) / SAMPLES
    if name == "max-sensitivity":
        return max(changes)
    if name == "lipschitz":
        return max(change / norm(image - x) for change, image in zip(changes, changed, strict=True))
    network = subject.model.network
    logits = read(network, x)
    kept = [image for image in changed if read(network, image).argmax() == logits.argmax()]
    found = []
    for image in kept:
        if name == "relative-output-stability":
            move = norm(read(network, image) - logits)
        elif name == "relative-input-stability":
            move = ratio(image, x)
        else:
            layer = network[0]
            move = ratio(read(layer, image), read(layer, x))
        found.append(ratio(explain(image), before) / move)
    return max(found, default=float("nan"))


@pytest.mark.parametrize("name", ALL)
def test_beside_loops(name: str) -> None:
    subject = convolutional()
    found = score(name, subject, **parameters(name))
    expected = [slow(name, subject, row) for row in range(len(subject.ids))]
    assert found.tolist() == pytest.approx(expected, rel=1e-3, nan_ok=True)
    assert found.isfinite().sum() >= 4


def test_max_sensitivity_is_captums() -> None:
    subject = convolutional()

    def explain(x: Tensor | tuple[Tensor]) -> Tensor | tuple[Tensor]:
        if isinstance(x, tuple):
            return (explain(x[0]),)
        assert subject.explainer is not None
        return subject.explainer(x, torch.ones(len(x), dtype=torch.int64))

    def changed(x: Tensor, radius: float) -> Tensor:
        return torch.cat(neighbours(subject))

    expected = sensitivity_max(explain, subject.x, changed, RADIUS, n_perturb_samples=SAMPLES)
    found = score("max-sensitivity", subject, radius=RADIUS, samples=SAMPLES)
    torch.testing.assert_close(found, expected.double(), rtol=1e-4, atol=0)


def test_a_linear_models_map_changes_as_its_input_does() -> None:
    """Gradient x input of one channel that counts with weight 1: the map is that channel."""
    weight = torch.zeros(2, 3, SIDE, SIDE)
    weight[1, 0] = 1
    x = images()
    x[:, 1:] = 0
    subject = linear(x[:, 0], x)
    only_red = replace(subject, explainer=lambda x, target: x[:, 0])
    found = score("lipschitz", only_red, scaled=False, samples=2)
    # A third of the noise is in the channel that the map follows: 3^-1/2 of its norm.
    assert found.tolist() == pytest.approx([3**-0.5] * len(x), abs=0.15)
    assert (found < 1).all()
    # Columns move, and the map with them: the norms of one channel are the image's.
    moved = score("continuity", only_red, scaled=False, steps=5)
    assert (moved >= 1).all()  # |.|_1 is at least |.|_2
    one_at_a_time = score("continuity", only_red, scaled=False, steps=1)
    step = torch.cat([torch.zeros(len(x), SIDE, 1), x[:, 0, :, :-1]], 2) - x[:, 0]
    expected = step.abs().sum((1, 2)) / step.flatten(1).norm(dim=1)
    assert one_at_a_time.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("name", ALL)
def test_a_map_that_never_changes_wins(name: str) -> None:
    subject = convolutional()
    stubborn = replace(subject, explainer=lambda x, target: subject.saliency)
    found = score(name, stubborn, **parameters(name))
    assert set(found[~found.isnan()].tolist()) == {0.0}
    assert (score(name, subject, **parameters(name)) > 0).any()


@pytest.mark.parametrize("name", ALL)
def test_the_less_a_map_changes_the_better(name: str) -> None:
    subject = convolutional()

    def damped(share: float) -> Explanation:
        def explain(x: Tensor, target: Tensor) -> Tensor:
            return subject.saliency + share * (subject.explain(x) - subject.saliency)

        return replace(subject, explainer=explain)

    found = [score(name, damped(share), **parameters(name)).nanmean() for share in (0.1, 0.5, 1)]
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("name", ALL)
def test_the_scale_of_maps_means_nothing(name: str) -> None:
    subject = convolutional()
    loud = replace(
        with_map(subject, 1000 * subject.saliency),
        explainer=lambda x, target: 1000 * subject.explain(x),
    )
    first, second = (score(name, each, **parameters(name)) for each in (subject, loud))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ALL)
def test_signs(name: str) -> None:
    """By magnitude it is the score of the absolute maps."""
    subject = convolutional()
    absolute = replace(
        with_map(subject, subject.saliency.abs()),
        explainer=lambda x, target: subject.explain(x).abs(),
    )
    first = score(name, subject, sign="absolute", **parameters(name))
    second = score(name, absolute, **parameters(name))
    torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ALL)
def test_neither_the_batch_size_nor_neighbours_count(name: str) -> None:
    whole = score(name, convolutional(), **parameters(name))
    for batch in (1, 3):
        again = score(name, convolutional(batch), batch, **parameters(name))
        torch.testing.assert_close(again, whole, rtol=1e-3, atol=0, equal_nan=True)
    for row in range(2):
        alone = score(name, only(convolutional(), [row]), **parameters(name))
        torch.testing.assert_close(alone, whole[[row]], rtol=1e-3, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ALL)
def test_where_a_map_means_nothing_there_is_no_score(name: str) -> None:
    subject = convolutional()

    def explain(x: Tensor, target: Tensor) -> Tensor:
        maps = subject.explain(x)
        maps[0, 0, 0], maps[1, 0, 0] = torch.nan, -torch.inf
        return maps

    flat = subject.saliency.clone()
    flat[2] = 0
    broken = replace(with_map(subject, flat), explainer=explain)
    for sign in ("signed", "positive"):
        found = score(name, broken, sign=sign, **parameters(name))
        assert found[:3].isnan().all()
        assert found[3:].isfinite().any()


@pytest.mark.parametrize("name", RELATIVE)
def test_where_no_neighbour_keeps_the_class_there_is_no_score(name: str) -> None:
    subject = convolutional()
    kept = score(name, subject, radius=1e-4, samples=2)
    assert kept.isfinite().all()
    # Noise so great that the class changes for some images in one draw.
    lost = score(name, subject, radius=10.0, samples=1)
    with torch.no_grad():
        noise = [torch.empty(3, SIDE, SIDE).uniform_(-10, 10, generator=g) for g in
                 subject.generators("neighbours")]  # fmt: skip
        same = subject.model.network(subject.x + torch.stack(noise)).argmax(
            1
        ) == subject.model.network(subject.x.clone()).argmax(1)
    assert lost.isfinite().tolist() == same.tolist()


def test_an_image_that_moving_does_not_change_has_no_score() -> None:
    x = images()
    x[0] = 0
    subject = explained(linear(x=x))
    found = score("continuity", with_map(subject, torch.ones_like(subject.saliency)), steps=5)
    assert found.isnan().tolist() == [True] + [False] * 5


@pytest.mark.parametrize("name", ALL)
def test_without_a_method_to_ask_it_fails_by_its_reason(name: str) -> None:
    with pytest.raises(AssertionError, match=MethodError.__name__):
        score(name, replace(convolutional(), explainer=None), **parameters(name))


def test_steps_that_leave_nothing_are_refused() -> None:
    with pytest.raises(AssertionError, match="8 columns by 8: nothing of it is left"):
        score("continuity", convolutional(), steps=2, pixels=4)
    with pytest.raises(ParameterError, match="radius"):
        score("max-sensitivity", convolutional(), radius=0)
