"""A network, images and methods as a user has them in a notebook."""

from typing import Any

import torch
from torch import Tensor, nn

SOURCE = '''
import torch
from torch import nn


class Net(nn.Module):
    """Smooth, so that no two positions of a map are equal."""

    def __init__(self, classes=3, channels=3):
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        x = nn.functional.gelu(self.first(x))
        return self.head(nn.functional.gelu(self.norm(self.second(x))).mean((2, 3)))


def build():
    torch.manual_seed(7)
    return Net()
'''
_module: dict[str, Any] = {"__name__": "in_memory"}
exec(compile(SOURCE, "in_memory", "exec"), _module)
Net = _module["Net"]
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
KEYWORDS: dict[str, Any] = {"mean": MEAN, "std": STD}
QUICK: dict[str, Any] = {
    **KEYWORDS,
    "metric": "deletion",
    "steps": 3,
    "ceiling": "none",
    "device": "cpu",
    "plots": False,
}
BYTES = torch.randint(
    0, 256, (4, 3, 10, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)
LABELS = [0, 0, 1, 2]


def network() -> nn.Module:
    """The network that `build` of SOURCE builds."""
    net: nn.Module = _module["build"]()
    return net


def gradient(model: nn.Module, x: Tensor, target: Tensor, *, power: float = 1.0) -> Tensor:
    """The greatest gradient over the channels, as anybody writes it."""
    x = x.requires_grad_()
    score = model(x).gather(1, target[:, None]).sum()
    return torch.autograd.grad(score, x)[0].abs().amax(1) ** power
