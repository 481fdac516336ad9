"""Who answers for a model: the same outputs and gradients while nobody lays hands on it, else the model itself."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp

from interpbench.attribution.attribute import Batch, attribute
from interpbench.core.batch_size import BatchSize
from interpbench.core.model_guard import Guard
from interpbench.core.passes_counted import counting
from interpbench.core.stand_ins import StandIn, StandIns, standing_in
from interpbench.core.types import Model
from interpbench.fast.method_copies import (
    TOLERANCE,
    _SameGradients,
    image_gradients,
    stand_ins,
)
from interpbench.fast.scoring_copy import prepare
from interpbench.registry.discovery import discover
from interpbench.toolbox.backward_rules import Operation, run_with_rules
from tests.fast.test_scoring_copy import SIDE, images, model, normed


class Marked(nn.Module):
    """Gives other logits than the model, so that one sees who has answered."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)).repeat(1, 2)[:, :5] + 1000


MARKED = StandIns(StandIn(Marked()), StandIn(Marked()), StandIn(Marked()))


def copies_of(subject: Model, x: Tensor) -> tuple[StandIns, str]:
    fastest = x.contiguous(memory_format=torch.channels_last)
    return stand_ins(subject, prepare(subject, fastest), x, fastest)


def test_gradients_come_from_a_folded_network_and_are_those_of_double_precision() -> None:
    subject, x = model(normed()), images()
    copies, said = copies_of(subject, x)
    assert said.startswith("folded, in channels last; apart by up to ")
    assert not any(
        isinstance(module, nn.BatchNorm2d) for module in copies.gradients.network.modules()
    )
    new = images(7, seed=1)
    exact = image_gradients(copy.deepcopy(subject.network).double(), new.double())
    assert torch.allclose(image_gradients(copies.gradients, new).double(), exact, atol=1e-5)


def with_maximum(network: nn.Sequential) -> nn.Module:
    return nn.Sequential(*network[:3], nn.MaxPool2d(2), *network[3:])


def with_median(network: nn.Sequential) -> nn.Module:
    class Clipped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.flatten(2).median(2).values[:, :, None, None]

    return nn.Sequential(*network[:3], Clipped(), *network[3:])


def with_sums_that_may_be_zero(network: nn.Sequential) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.ReLU(), *network)


def with_clamps_and_softmax(network: nn.Sequential) -> nn.Module:
    class Clamped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(min=-1e6).clamp_max(1e6) + x.softmax(1)

    return nn.Sequential(*network[:3], Clamped(), *network[3:])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (with_maximum, torch.contiguous_format),
        (with_median, torch.contiguous_format),
        (with_sums_that_may_be_zero, torch.contiguous_format),
        (with_clamps_and_softmax, torch.channels_last),
    ],
)
def test_channels_last_only_where_rounding_chooses_nothing(
    changed: Callable[[nn.Sequential], nn.Module], expected: torch.memory_format
) -> None:
    network = changed(normed()).eval().requires_grad_(False)
    copies, said = copies_of(model(network), images())
    assert copies.gradients.memory_format == expected
    assert ("channels last" in said) == (expected == torch.channels_last)


def test_gradients_come_in_the_format_of_the_images() -> None:
    copies, _ = copies_of(model(normed()), images())
    assert copies.gradients.memory_format == torch.channels_last
    assert image_gradients(copies.gradients, images()).is_contiguous()


def test_what_was_decided_is_not_proven_once_more() -> None:
    subject, x = model(normed()), images()
    scorer, fastest = prepare(subject, x), x.contiguous(memory_format=torch.channels_last)
    copies, said = stand_ins(subject, scorer, x, fastest, "folded; apart by up to 7")
    assert (copies.gradients.memory_format, said) == (
        torch.contiguous_format,
        "folded; apart by up to 7",
    )
    copies, said = stand_ins(subject, scorer, x, fastest, "of the plain network: of old")
    assert (copies.gradients, said) == (None, "of the plain network: of old")


def test_a_lower_precision_answers_in_single_precision() -> None:
    subject, x = model(normed()), images()
    fastest = x.contiguous(memory_format=torch.channels_last)
    copies, said = stand_ins(subject, prepare(subject, fastest, "bf16"), x, fastest)
    assert said.startswith("bfloat16; apart by up to ")
    assert {copies.forwards.dtype, copies.gradients.dtype} == {torch.bfloat16}
    expected = subject(x)
    with torch.no_grad():
        found = copies.answer(x)
    assert found.dtype == torch.float32
    apart = (found - expected).abs().max() / expected.abs().max()
    assert 0 < apart < 0.05
    gradient = image_gradients(copies.gradients, x)
    exact = image_gradients(subject.network, x)
    assert gradient.dtype == torch.float32
    assert torch.cosine_similarity(gradient.flatten(1), exact.flatten(1)).min() > 0.9


def test_without_batch_norms_gradients_are_of_the_plain_network() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    copies, said = copies_of(model(network), images())
    assert (copies.gradients, said) == (None, "of the plain network")


def test_gradients_that_differ_are_refused() -> None:
    class Stopped(nn.Module):
        """Has the same outputs once its batch norm is folded, since torch.fx keeps only what it has seen."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = normed()

        def forward(self, x: Tensor) -> Tensor:
            scaled = x if isinstance(x, torch.fx.Proxy) else 2 * x - x.detach()
            return self.norm(scaled)

    copies, said = copies_of(model(Stopped()), images())
    assert copies.gradients is None
    assert said.startswith("of the plain network: those of a copy, folded, are apart by 0.5")


class Rounding(nn.Module):
    """Is off by a share of its logits in single precision, as where rounding turns a ReLU."""

    def __init__(self, off: float) -> None:
        super().__init__()
        self.off, self.pool = off, nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x).flatten(1) * (1 if x.dtype == torch.float64 else 1 + self.off)


@pytest.mark.parametrize(
    ("off", "copys", "accepted"),
    [
        (0.002, 0.0, True),  # nearer to what is exact
        (0.002, -0.0019, True),  # as far from it, and twice as far from the network
        (0.002, -0.003, False),
        (0.0, 0.0009, True),
        (0.0, 0.003, False),
        (0.0009, -0.0008, False),  # the network's own are exact enough
        (0.9, 0.0, False),  # whatever that is, it is no rounding
    ],
)
def test_gradients_that_rounding_moves_are_judged_by_double_precision(
    off: float, copys: float, accepted: bool
) -> None:
    x = images()
    proof = _SameGradients(Rounding(off), x)
    assert proof.accepts(image_gradients(Rounding(copys), x), TOLERANCE) == accepted


def hooked(subject: Model) -> None:
    subject.network[2].register_forward_hook(lambda module, inputs, output: output)


def hooked_everywhere(subject: Model) -> None:
    nn.modules.module.register_module_forward_hook(lambda module, inputs, output: None)


def patched(subject: Model) -> None:
    subject.network[2].forward = torch.abs


def replaced(subject: Model) -> None:
    subject.network[2] = nn.ReLU()


def patched_class(subject: Model) -> None:
    nn.ReLU.forward = lambda self, x: x.abs()  # type: ignore[method-assign]


def written(subject: Model) -> None:
    with torch.no_grad():
        subject.network[0].weight.mul_(2)


def written_by_data(subject: Model) -> None:
    subject.network[0].weight.data.mul_(2)


def exchanged_data(subject: Model) -> None:
    subject.network[0].bias.data = subject.network[0].bias.data + 1


def wanting_gradients_of_weights(subject: Model) -> None:
    subject.requires_grad_(True)


def training(subject: Model) -> None:
    subject.network[1].train()


@pytest.mark.parametrize(
    "lay_hands_on",
    [
        hooked, hooked_everywhere, patched, replaced, patched_class, written, written_by_data, exchanged_data,
        wanting_gradients_of_weights, training,
    ],
)  # fmt: skip
def test_the_model_answers_itself_once_somebody_has_laid_hands_on_it(
    lay_hands_on: Callable[[Model], None],
) -> None:
    subject, x = model(normed()), images()
    guard = Guard(subject)
    with guard.watching(0), standing_in(subject, MARKED, guard.untouched):
        with torch.inference_mode():
            assert (subject(x) > 500).all()
        assert (subject(x.clone().requires_grad_()) > 500).all()
        lay_hands_on(subject)
        with torch.inference_mode():
            assert (subject(x) < 500).all()
        assert (subject(x.clone().requires_grad_()) < 500).all()


def with_swapped_weights(subject: Model, x: Tensor) -> Any:
    weights = {name: 2 * weight for name, weight in subject.named_parameters()}
    return functional_call(subject, weights, (x,))


def by_jax_like_gradients(subject: Model, x: Tensor) -> Any:
    return vjp(subject, x)[0]


def with_forward_derivatives(subject: Model, x: Tensor) -> Any:
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        return subject(torch.autograd.forward_ad.make_dual(x, x))


def in_half_precision(subject: Model, x: Tensor) -> Any:
    with torch.no_grad(), torch.autocast("cpu"):
        return subject(x)


def of_a_copy(subject: Model, x: Tensor) -> Any:
    with torch.no_grad():
        return copy.deepcopy(subject)(x)


def with_gradients_of_nothing(subject: Model, x: Tensor) -> Any:
    return subject(x)  # weights may be frozen, but who knows what is asked for


@pytest.mark.parametrize(
    "ask",
    [
        with_swapped_weights, by_jax_like_gradients, with_forward_derivatives, in_half_precision, of_a_copy,
        with_gradients_of_nothing,
    ],
)  # fmt: skip
def test_the_model_answers_itself_where_more_is_asked_for(
    ask: Callable[[Model, Tensor], Any],
) -> None:
    subject, x = model(normed()), images()
    guard = Guard(subject)
    with guard.watching(0), standing_in(subject, MARKED, guard.untouched):
        assert (ask(subject, x) < 500).all()


def plainly(operation: Operation) -> Tensor:
    return operation(*operation.arguments)


@pytest.mark.parametrize(
    ("ruled", "by_stand_in"),
    [(["relu", "max_pool2d"], True), (["relu", "conv2d"], False), (["batch_norm"], False)],
)
def test_rules_are_carried_out_on_the_stand_in_unless_they_are_for_what_it_has_folded(
    ruled: list[str], by_stand_in: bool
) -> None:
    subject, x = model(normed()), images().requires_grad_()
    rules = dict.fromkeys(ruled, plainly)
    guard = Guard(subject)
    with guard.watching(0), standing_in(subject, MARKED, guard.untouched), counting() as passes:
        logits = run_with_rules(subject, x, rules)
        assert bool((logits > 500).all()) == by_stand_in
        torch.autograd.grad(logits.sum(), x)
        assert (passes.forwards, passes.backwards) == (len(x), len(x))
        hooked(subject)
        assert (run_with_rules(subject, x, rules) < 500).all()
    assert (run_with_rules(subject, x, rules) < 500).all()


def test_rules_get_each_activation_of_a_network_that_has_no_batch_norms() -> None:
    subject, x = model(normed()), images()
    copies, _ = copies_of(subject, x)
    assert copies.under_rules is not None
    assert copies.under_rules.memory_format == torch.contiguous_format

    def seen(network: Callable[[Tensor], Tensor]) -> list[tuple[str, torch.Size]]:
        found: list[tuple[str, torch.Size]] = []

        def see(operation: Operation) -> Tensor:
            found.append((operation.name, operation.arguments[0].shape))
            return plainly(operation)

        names = ("relu", "batch_norm", "conv2d", "linear")
        run_with_rules(network, x.clone().requires_grad_(), dict.fromkeys(names, see))
        return found

    plain = seen(subject)
    assert [name for name, _ in plain].count("batch_norm") == 2
    assert seen(copies.under_rules.network) == [each for each in plain if each[0] != "batch_norm"]


def test_no_rules_in_a_lower_precision() -> None:
    subject, x = model(normed()), images()
    fastest = x.contiguous(memory_format=torch.channels_last)
    copies, _ = stand_ins(subject, prepare(subject, fastest, "bf16"), x, fastest)
    assert copies.gradients is not None
    assert copies.under_rules is None


def test_nobody_stands_in_outside_of_a_call() -> None:
    subject, x = model(normed()), images()
    guard = Guard(subject)
    with guard.watching(0), standing_in(subject, MARKED, guard.untouched):
        pass
    with torch.no_grad():
        assert (subject(x) < 500).all()
    assert not guard.untouched()  # nobody watches


METHODS = discover().names("method")


@pytest.mark.parametrize("name", METHODS)
def test_each_method_gives_the_same_maps(name: str) -> None:
    """Up to rounding; where that turns a ReLU a gradient changes at once, and what follows from it step by step."""
    if name in ("attention-rollout", "attention-gradient"):
        pytest.skip("for networks with attention, which have no batch norms")
    subject, x = model(normed()), images()
    subject.card = subject.card.__class__(**{**vars(subject.card), "target_layer": "3"})
    copies, _ = copies_of(subject, x)
    method = discover().configure("method", name, {})
    batch = Batch(x, subject(x).argmax(1), tuple("abcd"))

    def maps(by: StandIns | None) -> Tensor:
        guard = Guard(subject)
        attempt = attribute(method, subject, guard, batch, 0, BatchSize(8), by)
        assert attempt.maps is not None, attempt.error
        assert not attempt.left_behind
        return attempt.maps.saliency

    plain, answered = maps(None), maps(copies)
    assert plain.shape[1] == SIDE
    apart = (answered - plain).flatten(1).norm(dim=1) / plain.flatten(1).norm(dim=1).clamp(
        min=1e-30
    )
    assert apart.median() < 1e-3
    assert apart.max() < 0.05
