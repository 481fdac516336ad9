"""Small models whose outputs are known or quick to compute."""

import torch
from torch import Tensor, nn

from interpbench.contracts import Model, ModelCard

# Parameters that make the bundled architectures quick; those that are not here take a width of 8 channels.
NARROW = {
    "mobilenet_v2": {"width": 0.25},
    "mobilenet_v3_large": {"width": 0.25},
    "mobilenet_v3_small": {"width": 0.25},
    "vit_small": {"width": 64, "depth": 2},
}


def card(size: int, classes: int, target_layer: str | None = None) -> ModelCard:
    """A card for a model without data or weights' file."""
    return ModelCard(
        name="tiny",
        parameters={},
        dataset="none",
        classes=classes,
        size=size,
        resize=size,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
        logit_of_label=tuple(range(classes)),
        target_layer=target_layer,
        weights="random",
        weights_sha256="",
    )


def wrap(
    network: nn.Module, size: int = 8, classes: int = 5, batch_size: int = 16, target_layer: str | None = None
) -> Model:
    """A network as the runner would hand it to a method."""
    network.eval().requires_grad_(False)
    return Model(network, card(size, classes, target_layer), batch_size).eval()


def calibrate(network: nn.Module, size: int) -> nn.Module:
    """Gives batch norms the statistics of random images; otherwise a deep untrained network answers almost nothing."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(32, 3, size, size, generator=torch.Generator().manual_seed(2)))
    return network.eval()


def convolutional(size: int = 8, classes: int = 5, seed: int = 0, *, inplace: bool = True) -> nn.Module:
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


class Linear(nn.Module):
    """Logit k is <weight[k], x>: everything about it has a closed form."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.weight)
