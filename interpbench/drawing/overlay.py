"""A map over the image that it explains: how it is scaled, coloured and blended.

And the outline of the evidence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from PIL import Image

from interpbench.core.errors import ParameterError, unknown_name

SEQUENTIAL, DIVERGING = "inferno", "RdBu_r"
MOST_LOOKS = 8  # of a map, side by side
Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class Look:
    """How maps are drawn.

    Attributes:
        alpha: opacity where a map is strongest, 0..1; a quarter of it where it is weakest.
        cmap: a colour map of matplotlib's instead of our own; for maps drawn from low to high, or
            for all if `signed`.
        signed: True for colours that diverge from 0, False for |s| from low to high, None for what
            the pictures of a run have: diverging where a map has both signs, else from low to high.
    """

    alpha: float = 0.8
    cmap: str | None = None
    signed: bool | None = None

    def diverges(self, values: np.ndarray) -> bool:
        """Whether a map is drawn in colours that diverge from 0."""
        return is_signed(values) if self.signed is None else self.signed

    def colours(self, diverging: bool) -> str:
        """The name of a colour map."""
        if self.cmap is not None and (self.signed or not diverging):
            return self.cmap
        return DIVERGING if diverging else SEQUENTIAL

    def levels(self, values: np.ndarray) -> np.ndarray:
        """The map [H,W] scaled for itself: to -1..1 about 0 if it diverges, else to 0..1.

        By the 99th percentile of its magnitude, or from its 1st to its 99th percentile.
        """
        if self.diverges(values):
            return np.clip(values / (np.percentile(np.abs(values), 99) or 1.0), -1, 1)
        values = np.abs(values) if self.signed is False else values
        low, high = np.percentile(values, [1, 99])
        return np.clip((values - low) / ((high - low) or 1.0), 0, 1)

    def overlay(self, image: np.ndarray, values: np.ndarray, pixels: int) -> np.ndarray:
        """The map in colours over the grey image: RGB in 0..1, at least `pixels` wide.

        Parameters:
            image: uint8 [H,W,3].
            values: the map [H,W].
            pixels: width of the result, at least; each pixel of the image becomes a square.
        """
        factor = max(1, math.ceil(pixels / image.shape[1]))
        grey = enlarged(image @ np.array([0.299, 0.587, 0.114]) / 255, factor)
        diverging = self.diverges(values)
        levels = np.clip(_smooth(self.levels(values), factor), -1 if diverging else 0, 1)
        colours = mpl.colormaps[self.colours(diverging)]((levels + 1) / 2 if diverging else levels)
        opacity = self.alpha * (0.25 + 0.75 * np.abs(levels))[..., None]
        return (1 - opacity) * grey[..., None] + opacity * colours[..., :3]


def look_of(alpha: float, cmap: str | None, signed: bool | None) -> Look:
    """How a user wants maps to be drawn.

    Raises:
        ParameterError: if `alpha` is no share.
        UnknownNameError: if matplotlib has no such colour map.
    """
    if not 0 <= alpha <= 1:
        raise ParameterError(f"--alpha {alpha:g}: expected an opacity, from 0 to 1.")
    if cmap is not None and cmap not in mpl.colormaps:
        forwards = [name for name in mpl.colormaps if not name.endswith("_r")]
        raise unknown_name("colour map", cmap, forwards)
    return Look(alpha, cmap, signed)


def looks_of(
    alpha: float | str | Sequence[float], cmap: str | None, signed: bool | None
) -> tuple[Look, ...]:
    """How a user wants maps to be drawn: once for each opacity, `0.3,0.6,0.9`.

    Raises:
        ParameterError: if one is no share, or there are none, or more than `MOST_LOOKS`.
        UnknownNameError: as `look_of`.
    """
    given = alpha.split(",") if isinstance(alpha, str) else alpha
    try:
        alphas = [float(part) for part in (given if isinstance(given, Sequence) else [given])]
    except ValueError:
        raise ParameterError(
            f"--alpha {alpha}: expected an opacity from 0 to 1, or several with commas between."
        ) from None
    if not 1 <= len(alphas) <= MOST_LOOKS:
        raise ParameterError(f"{len(alphas)} opacities: expected from 1 to {MOST_LOOKS}.")
    return tuple(look_of(each, cmap, signed) for each in alphas)


def is_signed(values: np.ndarray) -> bool:
    """Whether a map has both signs."""
    return bool(values.min() < 0 < values.max())


def outline(cell: Axes, mask: np.ndarray | None, extent: Extent | None = None) -> None:
    """The mask's border, white on black so that it shows on any ground.

    Parameters:
        cell: where its image is drawn.
        mask: bool [H,W], or None for none.
        extent: left, right, bottom and top of the image, where the cell holds more than that.
    """
    if mask is None:
        return
    height, width = mask.shape
    left, right, bottom, top = extent or (-0.5, width - 0.5, height - 0.5, -0.5)
    padded = np.pad(mask, 1).astype(float)  # so that a mask at the image's edge is closed
    columns = left + (np.arange(width + 2) - 0.5) * (right - left) / width
    rows = top + (np.arange(height + 2) - 0.5) * (bottom - top) / height
    line = cell.contour(columns, rows, padded, levels=[0.5], colors="white", linewidths=0.8)
    line.set_path_effects([withStroke(linewidth=1.7, foreground="black")])
    if extent is None:
        cell.set(xlim=(left, right), ylim=(bottom, top))


def enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel of [H,W,...] as a square of `factor` x `factor`."""
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _smooth(levels: np.ndarray, factor: int) -> np.ndarray:
    """[H,W] -> [factor·H,factor·W], bicubic."""
    height, width = levels.shape
    image = Image.fromarray(levels.astype(np.float32))
    return np.asarray(image.resize((factor * width, factor * height), Image.Resampling.BICUBIC))
