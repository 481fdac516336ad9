"""Small models whose outputs are known or quick to compute."""

import functools

import torch
from torch import Tensor, nn

from interpbench.testing.models import Linear, calibrate, card, wrap

__all__ = [
    "NARROW",
    "Constant",
    "Linear",
    "calibrate",
    "card",
    "convolutional",
    "fuses_bfloat16",
    "wrap",
]


# Parameters that make the bundled architectures quick; those that are not here take a width of 8 channels.
NARROW: dict[str, dict[str, object]] = {
    "efficientnet_lite0": {},  # has one width
    "mobilenet_v2": {"width": 0.25},
    "mobilenet_v3_large": {"width": 0.25},
    "mobilenet_v3_small": {"width": 0.25},
    "vit_small": {"width": 64, "depth": 2},
}


@functools.cache
def fuses_bfloat16() -> bool:
    """Whether this processor computes fused convolutions in bfloat16; those without AVX-512 do not."""
    x = torch.zeros(1, 8, 4, 4, dtype=torch.bfloat16)
    try:
        torch.ops.mkldnn._convolution_pointwise(
            x,
            torch.zeros(8, 8, 1, 1, dtype=torch.bfloat16),
            None,
            [0, 0],
            [1, 1],
            [1, 1],
            1,
            "relu",
            [],
            "",
        )
    except RuntimeError:
        return False
    return True


def convolutional(
    size: int = 8, classes: int = 5, seed: int = 0, *, inplace: bool = True
) -> nn.Module:
    """Two convolutions with ReLUs, pooling, and a linear layer, randomly initialised."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(inplace=inplace),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.ReLU(inplace=inplace),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, classes),
    )


class Constant(nn.Module):
    """Ignores its input."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)
