"""Convolutions by tiles: the output of the plain ones, for less work."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from interpbench.fast.tiled_convolutions import Convolution


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 0)])
@pytest.mark.parametrize("size", [(4, 4), (7, 7), (12, 9), (3, 8), (13, 14), (3, 3)])
@pytest.mark.parametrize("channels", [(256, 320), (512, 256)])
def test_tiles_give_a_convolutions_output(
    channels: tuple[int, int], size: tuple[int, int], padding: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(*channels, 3, padding=padding).requires_grad_(False)
    x = torch.randn(3, channels[0], *size).relu().to(memory_format=torch.channels_last)
    tiles = Convolution.of(module)
    assert tiles is not None
    exact = copy.deepcopy(module).double()(x.double())
    height, width = exact.shape[2:]
    assert tiles.outputs(x, padding) == (height, width)
    with FlopCounterMode(display=False) as counted:
        found = tiles(x, padding)
    with FlopCounterMode(display=False) as plain:
        module(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert float((found - exact).abs().max()) <= 1e-5 * float(exact.abs().max())
    directly = module.weight.numel() * height * width
    assert tiles.work(height, width) <= directly
    if not tiles.pays(height, width):
        assert tiles.work(height, width) == directly
        assert counted.get_total_flops() == plain.get_total_flops()
    else:
        products = 36 * math.ceil(height / 4) * math.ceil(width / 4) / (9 * height * width)
        assert products <= counted.get_total_flops() / plain.get_total_flops() <= 1.3 * products


def test_tiles_pay_for_whole_tiles_of_many_channels() -> None:
    tiles = Convolution.of(nn.Conv2d(512, 512, 3))
    assert tiles is not None
    assert tiles.pays(4, 4)
    assert tiles.work(8, 8) < 0.6 * tiles.module.weight.numel() * 64
    assert not tiles.pays(1, 1)
    assert not tiles.pays(1, 8)


@pytest.mark.parametrize(
    "other",
    [
        {"kernel_size": 1},
        {"stride": 2},
        {"dilation": 2},
        {"groups": 2},
        {"out_channels": 8},
        {"dtype": torch.float64},
    ],
)
def test_other_convolutions_are_not_computed_by_tiles(other: dict[str, Any]) -> None:
    assert (
        Convolution.of(
            nn.Conv2d(**{"in_channels": 128, "out_channels": 128, "kernel_size": 3, **other})
        )
        is None
    )
