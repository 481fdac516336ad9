"""Variants of a layer's maps: the same logits whether the layers before see each image once or each variant."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interpbench import logits_with_scaled_channels
from tests.tiny_models import wrap

IMAGES, VARIANTS, CHANNELS = 2, 3, 4


class Network(nn.Module):
    """A layer before, the layer in question, and what follows by whatever a subclass does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.layer = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU())
        self.after = nn.Conv2d(CHANNELS, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.layer(self.before(x))).mean((2, 3))


class Residual(Network):
    """What was before is added again."""

    def forward(self, x: Tensor) -> Tensor:
        before = self.before(x)
        return self.after((self.layer(before) + before).relu()).mean((2, 3))


class Concatenated(Network):
    """What was before stands beside it, which takes as many images."""

    def __init__(self) -> None:
        super().__init__()
        self.after = nn.Conv2d(2 * CHANNELS, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        before = self.before(x)
        return self.after(torch.cat([self.layer(before), before], 1)).mean((2, 3))


class Counted(Network):
    """Goes by how many images came in."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.after(self.layer(self.before(x)))
        return maps.reshape(len(x), 5, -1).mean(2)


class Mixed(Network):
    """Would take them for positions of one image, and give one answer."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.after(self.layer(self.before(x)))
        return maps.transpose(0, 1).reshape(5, len(x), -1).mean(2).T


def seen(network: Network) -> list[int]:
    """How many images each pass shows the layer before; filled as passes are made."""
    counts: list[int] = []
    network.before.register_forward_hook(lambda module, inputs, output: counts.append(len(output)))
    return counts


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (Network, [1, 1]),
        (Residual, [1, 1]),
        (Concatenated, [1, VARIANTS, 1, VARIANTS]),
        (Counted, [1, VARIANTS, 1, VARIANTS]),
        (Mixed, [1, VARIANTS, 1, VARIANTS]),
    ],
)
def test_variants_have_the_logits_that_each_has_alone(
    kind: type[Network], shown: list[int]
) -> None:
    network = kind().eval().requires_grad_(False)
    model = wrap(network, 8, 5)
    x = torch.randn(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    factors = torch.rand(
        IMAGES, VARIANTS, CHANNELS, generator=torch.Generator().manual_seed(2)
    ).round(decimals=1)
    alone = torch.stack(
        [
            torch.cat(
                [
                    logits_with_scaled_channels(model, "layer", image[None], its[None])
                    for its in of_image
                ]
            )
            for image, of_image in zip(x, factors, strict=True)
        ]
    )
    counts = seen(network)
    found = logits_with_scaled_channels(model, "layer", x, factors)
    assert found.shape == (IMAGES, VARIANTS, 5)
    torch.testing.assert_close(found, alone)
    assert counts == shown


def test_memory_that_is_full_is_not_taken_for_a_network_that_cannot() -> None:
    network = Network().eval().requires_grad_(False)
    counts = seen(network)

    def run_out(module: nn.Module, inputs: Any, output: Tensor) -> None:
        raise torch.OutOfMemoryError

    network.after.register_forward_hook(run_out)
    with pytest.raises(torch.OutOfMemoryError):
        logits_with_scaled_channels(
            wrap(network, 8, 5), "layer", torch.zeros(1, 3, 8, 8), torch.ones(1, VARIANTS, CHANNELS)
        )
    assert counts == [1]
