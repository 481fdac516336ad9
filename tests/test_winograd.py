"""Convolutions by tiles: the output of the plain ones, for less work."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from interpbench.winograd import Convolution


@pytest.mark.parametrize("size", [(2, 2), (7, 7), (12, 9), (1, 8), (13, 14)])
@pytest.mark.parametrize("channels", [(128, 160), (256, 128)])
def test_tiles_give_a_convolutions_output_with_no_greater_error(
    channels: tuple[int, int], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(*channels, 3).requires_grad_(False)
    x = torch.randn(3, channels[0], size[0] + 2, size[1] + 2).relu().to(memory_format=torch.channels_last)
    tiles = Convolution.of(module)
    assert tiles is not None
    found, direct, exact = tiles(x), module(x), copy.deepcopy(module).double()(x.double())
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert float((found - exact).abs().max()) <= max(1e-6, 1.5 * float((direct - exact).abs().max()))
    with FlopCounterMode(display=False) as counted:
        tiles(x)
    with FlopCounterMode(display=False) as plain:
        module(x)
    even = (size[0] + size[0] % 2) * (size[1] + size[1] % 2)
    tiled = counted.get_total_flops() * 36 * size[0] * size[1] == plain.get_total_flops() * 16 * even
    assert tiled or counted.get_total_flops() == plain.get_total_flops()
    assert tiled == (tiles.work(*size) < module.weight.numel() * size[0] * size[1])


@pytest.mark.parametrize(
    "other",
    [{"kernel_size": 1}, {"stride": 2}, {"dilation": 2}, {"groups": 2}, {"out_channels": 8}, {"dtype": torch.float64}],
)
def test_other_convolutions_are_not_computed_by_tiles(other: dict[str, Any]) -> None:
    assert Convolution.of(nn.Conv2d(**{"in_channels": 128, "out_channels": 128, "kernel_size": 3, **other})) is None
