"""Small models that methods are tried on.

Three untrained networks, unlike each other, and one whose maps are known.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpbench.core.preparation import Preparation
from interpbench.core.types import Model, ModelCard

SIZE, CLASSES = 16, 4
WIDTH = 16  # channels of the networks
SPREAD = 4.0  # the last layer's weights are multiplied by it: untrained logits hardly differ


def card(size: int, classes: int, target_layer: str | None = None) -> ModelCard:
    """A card for a model without data or weights' file."""
    return ModelCard(
        name="tiny",
        parameters={},
        dataset="none",
        classes=classes,
        preparation=Preparation(
            height=size, width=size, resize=size, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)
        ),
        logit_of_label=tuple(range(classes)),
        target_layer=target_layer,
        weights="untrained",
        weights_sha256="",
    )


def wrap(
    network: nn.Module,
    size: int = 8,
    classes: int = 5,
    batch_size: int = 16,
    target_layer: str | None = None,
) -> Model:
    """A network as the runner would hand it to a method."""
    network.eval().requires_grad_(False)
    return Model(network, card(size, classes, target_layer), batch_size).eval()


def calibrate(network: nn.Module, size: int) -> nn.Module:
    """Gives batch norms the statistics of random images.

    Otherwise a deep untrained network answers almost nothing.
    """
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(32, 3, size, size, generator=torch.Generator().manual_seed(2)))
    return network.eval()


class Linear(nn.Module):
    """Logit k is <weight[k], x>: everything about it has a closed form."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.weight)


def linear_model(weight: Tensor) -> Model:
    """The model whose logit k is the sum of weight[k] · x, so that d logit_k / d x is weight[k].

    Parameters:
        weight: float [classes,3,S,S].
    """
    return wrap(Linear(weight), weight.shape[3], len(weight))


def _plain() -> nn.Module:
    """Convolutions, ReLU modules that work in place, max pooling."""
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * WIDTH, CLASSES),
    )


class _Shortcut(nn.Module):
    """A convolution with batch norm beside a shortcut; its ReLU is called as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv(x)))


class _Residual(nn.Module):
    """Batch norm, a shortcut, functions for ReLU and pooling, a mean over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.block = _Shortcut()
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.relu(self.norm(self.stem(x))), 2)
        return self.fc(self.block(x).mean((2, 3)))


class _Block(nn.Module):
    """Attention and a perceptron, each behind a layer norm and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class _Tokens(nn.Module):
    """A vision transformer: patches of 4 pixels, a class token, two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.class_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.position = nn.Parameter(torch.randn(1, 1 + (SIZE // 4) ** 2, WIDTH))
        self.blocks = nn.Sequential(_Block(), _Block())
        self.norm = nn.LayerNorm(WIDTH)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], 1) + self.position
        return self.fc(self.norm(self.blocks(tokens))[:, 0])


def _small_model(make: Callable[[], nn.Module], target_layer: str) -> Model:
    """An untrained model of `SIZE` pixels and `CLASSES` classes, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = calibrate(make(), SIZE)
    model = wrap(network, SIZE, CLASSES, target_layer=target_layer)
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    last.weight.mul_(SPREAD)
    return model


# Name -> what builds the model. CAM methods look at the last maps, or at the tokens before the last
# attention.
MODELS: dict[str, Callable[[], Model]] = {
    "plain": lambda: _small_model(_plain, "4"),
    "residual": lambda: _small_model(_Residual, "block"),
    "tokens": lambda: _small_model(_Tokens, "blocks.-1.norm1"),
}
