"""Small networks for images of other shapes than a square with three colours."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interpbench.core.layers import last_spatial_layer
from interpbench.core.preparation import Preparation
from interpbench.core.types import Model, ModelCard

CLASSES = 3
SLOPE = 0.4  # of the logits, small enough that probabilities do not saturate


@dataclass(frozen=True)
class Kind:
    """A kind of image: channels, height and width in pixels."""

    channels: int
    height: int
    width: int

    @property
    def preparation(self) -> Preparation:
        count = self.channels
        return Preparation(
            height=self.height,
            width=self.width,
            resize=None,
            mean=tuple(0.4 + 0.05 * i for i in range(count)),
            std=tuple(0.2 + 0.02 * i for i in range(count)),
            channels="rgb" if count == 3 else "own",
            stated_by="the test",
        )

    def images(self, count: int = 2) -> Tensor:
        """Normal noise [count,C,H,W]."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(count, self.channels, self.height, self.width, generator=generator)

    def with_corner(self, count: int = 2) -> Tensor:
        """The mean colour, but for noise that is above it in the 8x8 pixels at the top right."""
        x = torch.zeros(count, self.channels, self.height, self.width)
        x[:, :, :8, -8:] = self.images(count)[:, :, :8, -8:].abs() + 0.5
        return x


KINDS = {
    "1 channel": Kind(1, 16, 16),
    "5 channels": Kind(5, 16, 16),
    "wide": Kind(3, 16, 24),
    "tall": Kind(3, 24, 16),
    "1 channel, wide": Kind(1, 16, 24),
    "5 channels, tall": Kind(5, 24, 16),
}


def corner(kind: Kind) -> nn.Module:
    """Convolutions whose logits hang on the cell at the top right alone, of cells of 8x8 pixels."""
    torch.manual_seed(0)
    cells = (kind.height // 8, kind.width // 8)
    linear = nn.Linear(8 * cells[0] * cells[1], CLASSES, bias=False)
    weight = torch.zeros(CLASSES, 8, *cells)
    weight[:, :, 0, -1] = torch.tensor([1.0, -1.0, 0.0])[:, None] + 0.1 * torch.rand(CLASSES, 8)
    linear.weight.data = SLOPE * weight.flatten(1)
    first, second = nn.Conv2d(kind.channels, 8, 1, bias=False), nn.Conv2d(8, 8, 1, bias=False)
    first.weight.data.abs_()
    second.weight.data.abs_()
    pool = nn.AdaptiveAvgPool2d(cells)
    flat = (nn.Flatten(), linear)
    return nn.Sequential(
        first, nn.ReLU(inplace=True), nn.MaxPool2d(2), second, nn.ReLU(inplace=True), pool, *flat
    )


class Tokens(nn.Module):
    """A vision transformer on patches of 4 pixels, with a class token if asked for."""

    def __init__(self, kind: Kind, *, class_token: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(kind.channels, 16, 4, stride=4)
        self.class_token = nn.Parameter(torch.randn(1, int(class_token), 16))
        count = int(class_token) + kind.height * kind.width // 16
        self.position = nn.Parameter(torch.randn(1, count, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.before = layer
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.position
        x = x + self.before.linear2(self.before.linear1(x).relu())
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.fc(x[:, 0] if self.class_token.shape[1] else x.mean(1))


def wrapped(network: nn.Module, kind: Kind, batch_size: int = 16) -> Model:
    """A network as methods get it, its layer for CAM methods found by trying."""
    network.eval()
    card = ModelCard(
        name="tiny",
        parameters={},
        dataset="none",
        classes=CLASSES,
        preparation=kind.preparation,
        logit_of_label=tuple(range(CLASSES)),
        target_layer=last_spatial_layer(network, kind.images()),
        weights="untrained",
        weights_sha256="",
    )
    return Model(network.requires_grad_(False), card, batch_size).eval()
