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

    Parameters:
        name:
            `zero`: 0 in normalised space (RISE's deletion), the colour `card.mean`: the mean colour
            of the training set where that is what the model is normalised by, black where it is 0;
            `black`, `white`: pixel values 0 and 1;
            `mean`: each image's own mean colour;
            `blur`: the RISE reference's 11x11 kernel, nearly a box (Petsiuk et al., BMVC 2018);
            `gaussian-blur`: a true Gaussian of sigma 5 with reflected borders.
        x: float32 [B,C,H,W], normalised.
        card: of the model whose normalisation `x` has.

    Raises:
        ParameterError: if there is no such baseline.

    Example:
        A card needs no more here than the mean and the deviation that its model normalises with:

        >>> from types import SimpleNamespace
        >>> card = SimpleNamespace(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        >>> x = torch.zeros(2, 3, 8, 8)
        >>> interpbench.baseline("black", x, card).unique()  # (0 - 0.5) / 0.25
        tensor([-2.])
        >>> interpbench.baseline("white", x, card).unique()  # (1 - 0.5) / 0.25
        tensor([2.])
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
    """Images of noise, float32 [B,C,H,W], normalised.

    Each colour of each pixel is uniform in 0..1 before normalisation.

    Parameters:
        x: float32 [B,C,H,W], whose shape and device they get.
        card: of the model whose normalisation they get.
        generators: CPU generators, one an image.

    Example:
        >>> from types import SimpleNamespace
        >>> card = SimpleNamespace(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        >>> generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        >>> noise = interpbench.uniform_images(torch.zeros(2, 3, 8, 8), card, generators)
        >>> noise.shape
        torch.Size([2, 3, 8, 8])
        >>> bool(noise.min() >= -2) and bool(noise.max() <= 2)  # 0 and 1, normalised
        True
    """
    noise = torch.stack([torch.rand(x.shape[1:], generator=g) for g in generators])
    noise = noise.to(x.device, non_blocking=True)
    mean, std = colour(card.mean, x.device), colour(card.std, x.device)
    return (noise - mean) / std


@lru_cache(maxsize=1)
def _rise_kernel() -> np.ndarray:
    """The RISE reference's kernel, float64 [11,11].

    scipy's gaussian_filter, sigma 5 and reflecting, of a unit impulse.
    """
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
    x = _per_channel(x, weights[:, None], mode="valid")
    return _per_channel(x, weights[None, :], mode="valid")


def _reflected(length: int, margin: int) -> list[int]:
    """Indices that extend 0..length-1 by `margin` on both sides, edges repeated.

    As scipy's "reflect" does it.
    """
    period = 2 * length
    folded = (position % period for position in range(-margin, length + margin))
    return [min(position, period - 1 - position) for position in folded]


def _per_channel(x: Tensor, kernel: np.ndarray, mode: Literal["constant", "valid"]) -> Tensor:
    """Correlates each channel with `kernel`, padded by zeros to the same size or not padded."""
    channels = x.shape[1]
    weight = torch.from_numpy(kernel).to(x.dtype).to(x.device, non_blocking=True)
    weight = weight.expand(channels, 1, *kernel.shape)
    padding = "same" if mode == "constant" else "valid"
    return F.conv2d(x, weight, padding=padding, groups=channels)
