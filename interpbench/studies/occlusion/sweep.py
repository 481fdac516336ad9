"""A window moves over an image, and the model is asked at each place.

Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np
import torch
from torch import Tensor

from interpbench.attribution.explainer import Explainer
from interpbench.core.errors import ParameterError, unknown_name
from interpbench.core.preparation import Preparation
from interpbench.core.types import colour
from interpbench.toolbox.baselines import Baseline, baseline

SHARE = 5  # a window is so many times smaller than the image, where nobody says how large it is
MOST_PLACES = 10_000


def known_fill(name: str) -> Baseline:
    """What a user wants to stand in the window.

    Raises:
        UnknownNameError: if there is no such baseline.
    """
    if name not in get_args(Baseline):
        raise unknown_name("fill", name, get_args(Baseline))
    return cast(Baseline, name)


@dataclass(frozen=True)
class Window:
    """What moves over an image.

    Attributes:
        side: in pixels.
        stride: how far it moves at a time, in pixels.
        fill: what stands in it, see `Baseline`.
    """

    side: int
    stride: int
    fill: Baseline = "zero"

    @classmethod
    def of(
        cls, side: int | None, stride: int | None, fill: Baseline, image: tuple[int, int]
    ) -> "Window":
        """As a user says it; a fifth of the image and half a window where nothing is said.

        Parameters:
            side, stride: in pixels, or None.
            fill: see `Baseline`.
            image: height and width in pixels.

        Raises:
            ParameterError: if it does not fit into the image, leaves gaps, or has too many places.
        """
        height, width = image
        side = max(1, min(image) // SHARE) if side is None else side
        stride = max(1, side // 2) if stride is None else stride
        if not 1 <= side <= min(image):
            raise ParameterError(
                f"window={side} does not fit into an image of {height}x{width}: expected 1 to "
                f"{min(image)} pixels."
            )
        if not 1 <= stride <= side:
            raise ParameterError(
                f"stride={stride} with windows of {side} pixels: expected 1 to {side}, so that no "
                "pixel is left out."
            )
        window = cls(side, stride, fill)
        places = len(window.starts(height)) * len(window.starts(width))
        if places > MOST_PLACES:
            raise ParameterError(
                f"A window of {side} pixels that moves {stride} at a time has {places} places: "
                f"expected at most {MOST_PLACES}. Give a greater --stride."
            )
        return window

    def starts(self, length: int) -> list[int]:
        """Its first positions along a side of the image; the last window may be cut off."""
        count = 1 - (self.side - length) // self.stride
        return [place * self.stride for place in range(count)]


@dataclass(frozen=True, eq=False)
class Sweep:
    """What the model says of an image with the window at each place.

    Attributes:
        tops, lefts: of the places, in pixels.
        window: what moved.
        target: the class that is watched, and its probability for the whole image.
        picture, fill: the image, and what stands in the window, uint8 [H,W,3].
        probability: of the target, float64 [rows,columns].
        predicted: the most probable class, int64 [rows,columns].
        predicted_probability: float64 [rows,columns].
    """

    tops: Sequence[int]
    lefts: Sequence[int]
    window: Window
    target: tuple[int, float]
    picture: np.ndarray
    fill: np.ndarray
    probability: np.ndarray
    predicted: np.ndarray
    predicted_probability: np.ndarray

    @property
    def lowest(self) -> tuple[int, int]:
        """Row and column of the place where the target is least probable, the first of several."""
        row, column = np.unravel_index(self.probability.argmin(), self.probability.shape)
        return int(row), int(column)

    def covered(self, row: int, column: int) -> np.ndarray:
        """The image with the window at a place, uint8 [H,W,3]."""
        top, left, side = self.tops[row], self.lefts[column], self.window.side
        part = np.s_[top : top + side, left : left + side]
        picture = self.picture.copy()
        picture[part] = self.fill[part]
        return picture


def sweep(explainer: Explainer, image: Tensor, target: tuple[int, float], window: Window) -> Sweep:
    """Asks the model with the window at each place.

    Parameters:
        explainer: the model, which has answered for the image itself.
        image: uint8 or float32 in 0..1, [H,W,C], of the model's size.
        target: a logit, and its probability for the whole image.
        window: what moves.

    Raises:
        PluginError: if the model fails.
    """
    height, width = image.shape[:2]
    tops, lefts = window.starts(height), window.starts(width)
    places = [(top, left) for top in tops for left in lefts]
    x = explainer.normalised(image[None])
    fill = baseline(window.fill, x, explainer.model.card)

    def covered(count: int) -> Iterator[Tensor]:
        for first in range(0, len(places), count):
            some = places[first : first + count]
            batch = x.repeat(len(some), 1, 1, 1)
            for one, (top, left) in zip(batch, some, strict=True):
                part = np.s_[:, top : top + window.side, left : left + window.side]
                one[part] = fill[0][part]
            yield batch

    answers = explainer.answers_to(covered)
    shape = len(tops), len(lefts)
    probabilities = answers.probabilities.double()
    predicted = answers.predicted
    best = probabilities.gather(1, predicted[:, None])[:, 0]
    return Sweep(
        tops,
        lefts,
        window,
        target,
        as_picture(x[0], explainer.model.card.preparation),
        as_picture(fill[0], explainer.model.card.preparation),
        probabilities[:, target[0]].reshape(shape).numpy(),
        predicted.reshape(shape).numpy(),
        best.reshape(shape).numpy(),
    )


def as_picture(x: Tensor, preparation: Preparation) -> np.ndarray:
    """A normalised input [C,H,W] as people see it, uint8 [H,W,3]."""
    mean, std = (colour(values, x.device) for values in (preparation.mean, preparation.std))
    pixels = (x * std + mean).clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu()
    pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    pixels = pixels.flip(-1) if preparation.channels == "bgr" else pixels
    picture: np.ndarray = pixels.expand(*pixels.shape[:2], 3).numpy().copy()
    return picture
