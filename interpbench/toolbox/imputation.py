"""Removed positions filled in from what is around them, by linear imputation.

Each becomes the weighted mean of its eight neighbours, of which some are removed themselves: a
sparse linear system an image. It is solved by conjugate gradients with a multigrid cycle as their
preconditioner, in a few steps whatever the shape of the holes, all images and channels at once.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Of the neighbours beside a position 1/6, of those across its corners 1/12.
NEIGHBOURS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))
# Bilinear interpolation of every second position, the other way round.
TENT = tuple(tuple(row * column / 16 for column in (1, 3, 3, 1)) for row in (1, 3, 3, 1))
COARSEST = 7  # positions a side
MOST_STEPS = 100  # about six are needed
Level = tuple[Tensor, Tensor]  # what is unknown; and 1 / the weight of all its neighbours, or 0


def linear_imputation(x: Tensor, removed: Tensor, tolerance: Tensor) -> Tensor:
    """Images in which removed positions are the mean of their neighbours, float32 [B,C,H,W].

    What lies outside of the image counts as nothing. Each image and channel is iterated until its
    own error is small enough, and then left as it is, whatever the others need (Rong, Leemann,
    Borisov, Kasneci, Kasneci, A Consistent and Efficient Evaluation Strategy for Attribution
    Methods, ICML 2022; there without a tolerance, and noise is added).

    Parameters:
        x: float32 [B,C,H,W].
        removed: bool [B,1,H,W]; not all positions of an image.
        tolerance: float32 [C,1,1], of each channel's values: the greatest error, about.

    Example:
        A ramp of which the middle is missing:

        >>> x = torch.arange(5.0).expand(1, 1, 5, 5)
        >>> removed = torch.zeros(1, 1, 5, 5, dtype=torch.bool)
        >>> removed[..., 1:4, 1:4] = True
        >>> filled = interpbench.linear_imputation(x, removed, torch.full((1, 1, 1), 1e-6))
        >>> torch.allclose(filled, x, atol=1e-5)
        True
    """
    channels, height, width = x.shape[1:]
    halvings = max(0, math.ceil(math.log2(max(height, width) / COARSEST)))
    margin = (0, -width % 2**halvings, 0, -height % 2**halvings)
    # All images' channels side by side in memory, which is how they are fastest.
    missing, there, values = (
        F.pad(part.flatten(0, 1)[None], margin).contiguous(memory_format=torch.channels_last)
        for part in (removed.float(), (~removed).float(), x)
    )
    # The correction is about the error; a quarter, since where little is known it falls short.
    limit = tolerance.expand(len(x), -1, -1, -1).reshape(1, -1, 1, 1) / 4
    weight = _around((missing + there)[:, :1])
    levels = [
        (_for_each(channels, part), _for_each(channels, step))
        for part, step in _levels(missing, there, halvings)
    ]
    unknown, known = levels[0][0], _for_each(channels, there)
    mean = (values * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True)
    values.mul_(known).addcmul_(unknown, mean)
    residual = (_around(values) - weight * values).mul_(unknown)
    direction = correction = _cycle(residual, levels)
    energy = _dot(residual, correction)
    for _ in range(MOST_STEPS):
        active = _greatest(correction) > limit
        if not active.any():
            break
        change = (weight * direction).sub_(_around(direction)).mul_(unknown)
        length = torch.where(active, energy / _dot(direction, change), 0)
        values.addcmul_(length, direction)
        residual.addcmul_(-length, change)
        correction = _cycle(residual, levels)
        before, energy = energy, torch.where(active, _dot(residual, correction), energy)
        direction = torch.addcmul(correction, torch.where(active, energy / before, 0), direction)
    return values[0, :, :height, :width].reshape(x.shape)


def _levels(unknown: Tensor, known: Tensor, halvings: int) -> list[Level]:
    """The system and its coarser versions, where a position is known if any of its four is."""
    level = unknown, torch.where(unknown > 0, 1 / _around(unknown + known), 0)
    if halvings == 0:
        return [level]
    known = F.max_pool2d(known, 2)
    return [level, *_levels(F.max_pool2d(unknown, 2) * (1 - known), known, halvings - 1)]


def _cycle(residual: Tensor, levels: list[Level]) -> Tensor:
    """About the change of the values that the residual asks for.

    A V-cycle with one step of Jacobi's before and one after, undamped: on what the coarser level
    does not see its factor is within -1/3..1/3.
    """
    (unknown, step), *coarser = levels
    first = step * residual
    if not coarser:
        values = first
        for _ in range(4 * COARSEST):
            values = torch.addcmul(first, step, _around(values))
        return values
    left = _around(first).mul_(unknown)
    below = _cycle(_weighted(left, TENT, stride=2), coarser)
    values = torch.addcmul(first, unknown, F.interpolate(below, scale_factor=2, mode="bilinear"))
    return first.addcmul_(step, _around(values))


def _around(values: Tensor) -> Tensor:
    """The weighted sum of each position's neighbours."""
    return _weighted(values, NEIGHBOURS)


def _weighted(values: Tensor, weights: tuple[tuple[float, ...], ...], stride: int = 1) -> Tensor:
    """The values of each channel around every position, weighted; 0 outside."""
    channels = values.shape[1]
    kernel = _kernel(weights, channels, values.dtype, values.device)
    return F.conv2d(values, kernel, stride=stride, padding=1, groups=channels)


@lru_cache(maxsize=16)
def _kernel(
    weights: tuple[tuple[float, ...], ...], channels: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The weights for each channel, [C,1,k,k], laid out once for a thousand uses."""
    with torch.inference_mode(False):
        return (
            torch.tensor(weights, dtype=dtype, device=device)
            .expand(channels, 1, -1, -1)
            .contiguous()
        )


def _for_each(channels: int, part: Tensor) -> Tensor:
    """What is the same for each of an image's channels, [1,B,H,W], repeated: [1,B·C,H,W]."""
    repeated = part.permute(0, 2, 3, 1)[..., None].expand(-1, -1, -1, -1, channels)
    return repeated.flatten(3).permute(0, 3, 1, 2)


def _greatest(values: Tensor) -> Tensor:
    """The greatest magnitude in each channel, in one pass."""
    return torch.linalg.vector_norm(values, math.inf, dim=(2, 3), keepdim=True)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((2, 3), keepdim=True)
