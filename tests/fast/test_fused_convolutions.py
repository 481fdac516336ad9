"""Convolutions with what follows them in one call: the same output as layer by layer, and only where it may be."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from interpbench.fast.fused_convolutions import fuse_convolutions
from tests.tiny_models import fuses_bfloat16

SIDE = 12


class Network(nn.Module):
    """Two convolutions, wide ones by tiles, and what a function makes of them."""

    def __init__(self, body: Callable[["Network", Tensor], Tensor], channels: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.relu6 = nn.ReLU6()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def fused(network: Network) -> tuple[nn.Module, dict[str, int]]:
    copied, count = fuse_convolutions(copy.deepcopy(network).eval().requires_grad_(False))
    return copied.eval(), count


def images(network: Network) -> Tensor:
    shape = (2, network.first.in_channels, SIDE, SIDE)
    return 4 * torch.randn(shape, generator=torch.Generator().manual_seed(1))


class Called(TorchDispatchMode):
    """Notes the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def added_in_place(network: Network, x: Tensor) -> Tensor:
    y = network.second(network.relu(network.first(x)))
    y += x
    return network.relu(y)


FOLLOWED = {
    "a ReLU": (lambda n, x: n.relu(n.first(x)), 1),
    "a function": (lambda n, x: F.relu(n.first(x), inplace=True), 1),
    "a ReLU6": (lambda n, x: n.relu6(n.first(x)), 1),
    "an addition": (lambda n, x: n.first(x) + x, 1),
    "an addition from the left": (lambda n, x: x + n.first(x), 1),
    "a residual block": (added_in_place, 2),
    "a projected one": (lambda n, x: torch.relu(n.first(x) + n.second(x)), 1),
}
NOT_FOLLOWED = {
    "a ReLU6 after an addition": (lambda n, x: n.relu6(n.first(x) + x), 1),
    "two readers": (lambda n, x: (lambda y: n.relu6(y) - y)(n.first(x)), 0),
    "a number": (lambda n, x: n.first(x) + 1.0, 0),
    "itself": (lambda n, x: (lambda y: y + y)(n.first(x)), 0),
    "an addition by halves": (lambda n, x: torch.add(n.first(x), x, alpha=0.5), 0),
    "a convolution that is called twice": (lambda n, x: n.relu(n.first(n.first(x))), 0),
}


@pytest.mark.parametrize("channels", [8, 160], ids=["directly", "by tiles"])
@pytest.mark.parametrize(
    ("body", "count"), [*FOLLOWED.values(), *NOT_FOLLOWED.values()], ids=[*FOLLOWED, *NOT_FOLLOWED]
)
def test_the_output_stays(
    body: Callable[[Network, Tensor], Tensor], count: int, channels: int
) -> None:
    network = Network(body, channels)
    x = images(network).contiguous(memory_format=torch.channels_last)
    expected, kept = network.double()(x.double()), x.clone()
    network.float()
    faster, found = fused(network)
    assert found["fused"] == count
    with Called() as called, torch.inference_mode():
        answer = faster(x)
    difference = (answer - expected).abs().max()
    assert difference <= 1e-5 * expected.abs().max()
    assert torch.equal(x, kept)  # nobody has written into the input
    if channels == 8:
        assert found["tiled"] == 0
        assert sum("mkldnn::_convolution_pointwise" in name for name in called.names) == count
    else:
        assert found["tiled"] == 2
        assert not any("convolution" in name for name in called.names)


def test_a_network_that_cannot_be_traced_gets_tiles_alone() -> None:
    network = Network(lambda n, x: n.relu(n.first(x)) if x.sum() > -1e9 else x, 160)
    x = images(network)
    expected = network(x)
    faster, found = fused(network)
    assert found == {"tiled": 2, "fused": 0}
    torch.testing.assert_close(faster(x), expected, rtol=1e-4, atol=1e-4)


def test_convolutions_that_somebody_listens_to_or_that_pad_otherwise_are_left() -> None:
    network = Network(lambda n, x: n.relu(n.second(n.first(x))))
    network.first.register_forward_hook(lambda module, inputs, output: output + 1)
    network.second.padding_mode = "circular"
    faster, found = fused(network)
    assert found == {"tiled": 0, "fused": 0}
    assert torch.equal(faster(images(network)), network(images(network)))


@pytest.mark.skipif(not fuses_bfloat16(), reason="this processor has no fused bfloat16")
def test_fused_in_bfloat16_as_exactly_as_layer_by_layer() -> None:
    network = Network(added_in_place).bfloat16()
    x = images(network).bfloat16().contiguous(memory_format=torch.channels_last)
    faster, found = fused(network)
    assert found == {"tiled": 0, "fused": 2}
    exact = copy.deepcopy(network).double()(x.double())
    assert (faster(x) - exact).abs().max() <= 1.1 * (network(x) - exact).abs().max()
