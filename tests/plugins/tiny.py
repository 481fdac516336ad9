"""A data set and a model small enough for hundreds of runs, and methods that misbehave."""

import os
import time

import numpy as np
import torch
from torch import Tensor, nn

from interpbench import (
    Dataset,
    DatasetCard,
    Explanation,
    Model,
    Sample,
    UnreadableImageError,
    dataset,
    method,
    metric,
)
from interpbench import model as register_model


class Tiny:
    """Coloured squares on noise: class k is brightest in quadrant k."""

    def __init__(self, count: int, broken: int) -> None:
        self.card = DatasetCard(
            "tiny",
            ("nw", "ne", "sw", "se"),
            "tiny-1",
            size=16,
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            has_masks=True,
        )
        self.ids = [f"tiny-{i:03d}" for i in range(count)]
        self.labels = [i % 4 for i in range(count)]
        self._broken = broken

    def __getitem__(self, index: int) -> Sample:
        if index < self._broken:
            raise UnreadableImageError(f"{self.ids[index]}: truncated")
        rng = np.random.default_rng(index)
        image = rng.integers(0, 120, (16, 16, 3), dtype=np.uint8)
        row, column = divmod(self.labels[index], 2)
        mask = np.zeros((16, 16), dtype=bool)
        mask[8 * row + 2 : 8 * row + 6, 8 * column + 2 : 8 * column + 6] = True
        image[mask] = 255
        return Sample(self.ids[index], image, self.labels[index], mask)


@dataset("tiny")
def tiny(*, count: int = 40, broken: int = 0, split: str = "test") -> Dataset:
    """Squares whose place is the class."""
    return Tiny(count, broken)


@register_model("quadrants", target_layer="0")
def quadrants(classes: int, size: int, *, gain: float = 4.0) -> nn.Module:
    """Reads the class off by construction: mean brightness of each quadrant."""
    convolution = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.constant_(convolution.weight, gain)
    return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())


class Viewing(nn.Module):
    """Flattens with `view`, which refuses images in the order channels_last."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        nn.init.dirac_(self.convolution.weight)
        self.pool = nn.AvgPool2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return 4 * self.pool(self.convolution(x)).view(len(x), 3, 4).sum(1)


@register_model("viewing")
def viewing(classes: int, size: int) -> nn.Module:
    """Quadrants without a convolution."""
    return Viewing()


class Cramped(nn.Module):
    """Runs out of memory for more images than a few."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(x)


@register_model("cramped")
def cramped(classes: int, size: int) -> nn.Module:
    """The same as quadrants, on a device with little memory."""
    return Cramped(quadrants(classes, size))


@register_model("unsound")
def unsound(classes: int, size: int) -> nn.Module:
    """Builds, but cannot take an image."""
    return nn.Linear(7, classes)


@register_model("unbuildable")
def unbuildable(classes: int, size: int) -> nn.Module:
    """Cannot even be built."""
    raise KeyError("no such block")


@method("gradient")
def gradient(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """|d logit_target / d x|."""
    x = x.requires_grad_()
    (grad,) = torch.autograd.grad(model(x).gather(1, target[:, None]).sum(), x)
    return (grad * x).sum(1).detach()


@method("slow")
def slow(model: Model, x: Tensor, target: Tensor, *, seconds: float = 0.3) -> Tensor:
    """Brightness, after a while."""
    time.sleep(seconds)
    return x.mean(1)


@method("raises")
def raises(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Always fails, unless told otherwise, and leaves a hook behind."""
    model.register_forward_hook(lambda *arguments: None)
    if os.environ.get("TINY_MENDED"):
        return x.mean(1)
    raise RuntimeError("this method is [red]broken[/]")


@method("exits")
def exits(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Wants to end the program."""
    raise SystemExit(3)


@method("nan")
def nan(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """NaN for the first image of each batch."""
    saliency = x.mean(1)
    saliency[0, 0, 0] = torch.nan
    return saliency


@method("constant")
def constant(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The same value everywhere."""
    return torch.ones_like(x[:, 0])


@method("sometimes-constant")
def sometimes_constant(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Constant for every class but the first."""
    return x.mean(1) * (target == 0).float()[:, None, None]


@method("wrong-shape")
def wrong_shape(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Forgets to reduce the channels."""
    return x


@method("list")
def list_(model: Model, x: Tensor, target: Tensor) -> list[float]:
    """No tensor at all."""
    return [0.0]


@method("sneaky")
def sneaky(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Changes the model's weights behind autograd's back."""
    for parameter in model.parameters():
        parameter.data.mul_(2)
    return x.mean(1)


@metric("half-broken", better="higher")
def half_broken(explanation: Explanation) -> Tensor:
    """Fails on images of the second class."""
    if (explanation.label == 1).any():
        raise ValueError("no second class please")
    return torch.ones(len(explanation.ids))
