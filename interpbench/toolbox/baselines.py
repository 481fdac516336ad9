"""What a removed pixel becomes."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from interpbench.core.errors import ParameterError
from interpbench.core.types import ModelCard, colour

Baseline = Literal["zero", "black", "white", "mean", "blur", "gaussian-blur"]


def baseline(name: Baseline, x: Tensor, card: ModelCard) -> Tensor:
    """The image without information, float32 [B,C,H,W] in normalised space.

    Args:
        name:
            `zero`: 0 in normalised space, the mean colour of the training set (RISE's deletion);
            `black`, `white`: pixel values 0 and 1;
            `mean`: each image's own mean colour;
            `blur`: the RISE reference's 11x11 kernel, nearly a box (Petsiuk et al., BMVC 2018);
            `gaussian-blur`: a true Gaussian of sigma 5 with reflected borders.
        x: float32 [B,C,H,W], normalised.
        card: of the model whose normalisation `x` has.
    """
    if name == "zero":
        return torch.zeros_like(x)
    if name in ("black", "white"):
        mean, std = colour(card.mean, x.device), colour(card.std, x.device)
        return ((float(name == "white") - mean) / std).to(x.dtype).expand_as(x)
    if name == "mean":
        return x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    if name == "blur":
        return _per_channel(x, _rise_kernel(), mode="constant")
    if name == "gaussian-blur":
        return _gaussian_blur(x)
    raise ParameterError(f"Unknown baseline {name!r}.")


def uniform_images(x: Tensor, card: ModelCard, generators: Sequence[torch.Generator]) -> Tensor:
    """Images of noise, each colour of each pixel uniform in 0..1 before normalisation: float32 [B,C,H,W].

    Args:
        x: float32 [B,C,H,W], whose shape and device they get.
        card: of the model whose normalisation they get.
        generators: CPU generators, one an image.
    """
    noise = torch.stack([torch.rand(x.shape[1:], generator=g) for g in generators]).to(x.device, non_blocking=True)
    mean, std = colour(card.mean, x.device), colour(card.std, x.device)
    return (noise - mean) / std


@lru_cache(maxsize=1)
def _rise_kernel() -> np.ndarray:
    """The RISE reference's kernel: scipy's gaussian_filter, sigma 5 and reflecting, of a unit impulse in 11x11."""
    from scipy.ndimage import gaussian_filter

    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel: np.ndarray = gaussian_filter(impulse, 5)
    return kernel


@lru_cache(maxsize=1)
def _gaussian() -> np.ndarray:
    offsets = np.arange(-20, 21)
    weights = np.exp(-0.5 * (offsets / 5) ** 2)
    return weights / weights.sum()


def _gaussian_blur(x: Tensor) -> Tensor:
    """Rows, then columns; the border is reflected as often as the kernel (41 wide) needs."""
    weights = _gaussian()
    height, width = x.shape[-2:]
    x = x[..., _reflected(height, 20), :][..., _reflected(width, 20)]
    return _per_channel(_per_channel(x, weights[:, None], mode="valid"), weights[None, :], mode="valid")


def _reflected(length: int, margin: int) -> list[int]:
    """Indices that extend 0..length-1 by `margin` on both sides, edge repeated (scipy's "reflect")."""
    period = 2 * length
    folded = (i % period for i in range(-margin, length + margin))
    return [min(i, period - 1 - i) for i in folded]


def _per_channel(x: Tensor, kernel: np.ndarray, mode: Literal["constant", "valid"]) -> Tensor:
    """Correlates each channel with `kernel`, padded by zeros to the same size or not padded."""
    channels = x.shape[1]
    weight = torch.from_numpy(kernel).to(x.dtype).to(x.device, non_blocking=True).expand(channels, 1, *kernel.shape)
    padding = "same" if mode == "constant" else "valid"
    return F.conv2d(x, weight, padding=padding, groups=channels)
