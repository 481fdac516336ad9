"""A folded network with all of its layers: which are the same, and who looks at them."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from interpbench import activations_and_gradients, layer_activations, logits_with_scaled_channels
from interpbench.core.model_guard import Guard
from interpbench.core.passes_counted import counting
from interpbench.core.stand_ins import StandIn, StandIns, standing_in
from interpbench.core.types import Model
from interpbench.fast.folded_layers import equal_layers, folded_in_place
from interpbench.fast.method_copies import stand_ins
from interpbench.fast.scoring_copy import prepare
from tests.fast.test_scoring_copy import images, model, normed


class Block(nn.Module):
    """Two convolutions with batch norms, and what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(x)).relu_()
        return (self.bn2(self.conv2(inner)) + x).relu_()


def residual() -> nn.Sequential:
    torch.manual_seed(1)
    network = nn.Sequential(
        normed()[:3], Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.2, 3)
            nn.init.normal_(module.bias)
    return network.eval().requires_grad_(False)


class Twice(nn.Module):
    """Goes through its convolution twice, or looks at what it gives beside the norm."""

    def __init__(self, *, called: bool) -> None:
        super().__init__()
        self.layers, self.called = residual()[0], called

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self.layers[0], self.layers[1]
        maps = conv(x)
        beside = conv(x.flip(3)) if self.called else maps
        return (norm(maps) + beside).mean((2, 3))[:, :5]


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def equal(network: nn.Module, other: nn.Module) -> set[str]:
    found = equal_layers(network, other, other, images())
    names = {module: name for name, module in network.named_modules()}
    others = {module: name for name, module in other.named_modules()}
    assert all(names[module] == others[its] for module, its in found.items())
    return {names[module] for module in found}


def test_all_layers_are_there_and_only_folded_convolutions_give_something_else() -> None:
    network = residual()
    before = copy.deepcopy(network.state_dict())
    folded = folded_in_place(network)
    assert norms(folded) == 0
    assert norms(network) == 3
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    names = {name for name, _ in network.named_modules()}
    assert names == {name for name, _ in folded.named_modules()}
    assert names - equal(network, folded) == {"0.0", "1.conv1", "1.conv2"}
    x = images(7, seed=1)
    assert torch.allclose(folded(x), network(x), atol=1e-5)


@pytest.mark.parametrize("called", [True, False])
def test_what_something_else_uses_too_is_not_folded(called: bool) -> None:
    network = Twice(called=called).eval().requires_grad_(False)
    assert norms(folded_in_place(network)) == 1


def test_a_norm_that_trains_is_not_folded() -> None:
    network = residual()
    network[0][1].train()
    assert norms(folded_in_place(network)) == 1


def test_layers_of_another_network_are_not_equal() -> None:
    network, other = residual(), residual()
    with torch.no_grad():
        other[1].conv2.weight.mul_(1.01)
    assert equal(network, other) == {"0", "0.0", "0.1", "0.2", "1.conv1", "1.bn1"}


def subject() -> tuple[Model, Tensor]:
    found = model(residual())
    found.card = found.card.__class__(**{**vars(found.card), "target_layer": "1"})
    return found, images()


def looks(model: Model, x: Tensor) -> list[Tensor]:
    target, factors = torch.tensor([0, 1, 2, 3]), torch.linspace(0, 1, 32).view(4, 8)
    return [
        *activations_and_gradients(model, None, x, target),
        *activations_and_gradients(model, "1.bn2", x, target),
        *activations_and_gradients(model, "1.conv2", x, target),
        layer_activations(model, "0.-1", x),
        logits_with_scaled_channels(model, "1", x, factors),
    ]


def test_layers_of_the_stand_in_are_the_models() -> None:
    plain, x = subject()
    fastest = x.contiguous(memory_format=torch.channels_last)
    copies, said = stand_ins(plain, prepare(plain, fastest), x, fastest)
    assert said.endswith("; layers too")
    assert copies.by_layers is not None
    guard = Guard(plain)
    expected = looks(plain, x)
    with guard.watching(0) as left, standing_in(plain, copies, guard.untouched):
        found = looks(plain, x)
    assert not left
    for one, other in zip(expected, found, strict=True):
        assert other.is_contiguous()
        assert torch.allclose(one, other, atol=1e-5)
    assert not any(module._forward_hooks for module in copies.by_layers.network.modules())


def test_who_looks_at_a_layer_is_given_the_stand_ins_unless_it_is_another_there() -> None:
    plain, x = subject()
    doubled = copy.deepcopy(plain.network)
    with torch.no_grad():
        doubled[-1].weight.mul_(2)
    layers = {plain.network[1]: doubled[1]}
    copies, guard = StandIns(by_layers=StandIn(doubled), layers=layers), Guard(plain)
    target = torch.tensor([0, 1, 2, 3])

    def gradient(layer: str | None) -> Tensor:
        return activations_and_gradients(plain, layer, x, target)[1]

    expected, of_another = gradient(None), gradient("0")
    with guard.watching(0), standing_in(plain, copies, guard.untouched), counting() as passes:
        assert torch.allclose(gradient(None), 2 * expected)
        assert (passes.forwards, passes.backwards) == (4, 4)
        assert torch.equal(gradient("0"), of_another)
        plain.network[1].register_forward_hook(lambda module, inputs, output: None)
        assert torch.equal(gradient(None), expected)
    assert torch.equal(gradient(None), expected)


def untraceable(network: nn.Module) -> nn.Module:
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) if x.sum() > -1e9 else x

    return Untraceable()


@pytest.mark.parametrize(
    ("network", "decided", "precision"),
    [
        (lambda: untraceable(residual()), "", "fp32"),
        (residual, "folded; apart by up to 1e-07", "fp32"),
        (residual, "", "bf16"),
    ],
)
def test_layers_are_the_plain_networks_otherwise(
    network: Callable[[], nn.Module], decided: str, precision: str
) -> None:
    plain, x = model(network().eval()), images()
    copies, said = stand_ins(plain, prepare(plain, x, precision), x, x, decided)
    assert copies.by_layers is None
    assert "layers" not in said


def test_what_was_decided_of_layers_stays() -> None:
    plain, x = subject()
    decided = "folded; apart by up to 7; layers too"
    copies, said = stand_ins(plain, prepare(plain, x), x, x, decided)
    assert copies.by_layers is not None
    assert said == decided
