"""The exact mask of the evidence as a map, made worse step by step.

Each step is twice the one before; the last is

* `noise`: normal noise of a deviation of 2, where the mask is 1 and its surroundings 0;
* `shift`: by a quarter of the shorter side, in one of the four directions of the axes, what leaves
  the image on one side coming in on the other;
* `dilation`: the evidence grown by an eighth of the shorter side, all around;
* `blur`: by a Gaussian of an eighth of the shorter side as its deviation;
* `permutation`: the values of all positions in other places; of earlier steps, those of a share.

The chance of an image is the same at each step, so that a step is the one before and more of it.
"""

from collections.abc import Callable

import numpy as np

from interpbench.core.seeding import derive, permutation

Degrade = Callable[[np.ndarray, float, int], np.ndarray]


def degraded(mask: np.ndarray, how: str, step: int, steps: int, seed: int) -> np.ndarray:
    """A mask [H,W] as a map, degraded: float32 [H,W].

    Parameters:
        mask: bool, the exact evidence.
        how: of `DEGRADATIONS`.
        step: 0 for the mask as it is, to `steps` for the greatest degradation.
        steps: how many there are; each is twice the one before.
        seed: of the image.
    """
    exact = mask.astype(np.float32)
    if step == 0:
        return exact
    strength = 0.5 ** (steps - step)
    return DEGRADATIONS[how](exact, strength, derive(seed, how)).astype(np.float32)


def _noise(exact: np.ndarray, strength: float, seed: int) -> np.ndarray:
    return exact + 2 * strength * np.random.default_rng(seed).standard_normal(exact.shape)


def _shift(exact: np.ndarray, strength: float, seed: int) -> np.ndarray:
    distance = max(1, round(strength * min(exact.shape) / 4))
    axis, backwards = divmod(seed % 4, 2)
    return np.roll(exact, -distance if backwards else distance, axis)


def _dilation(exact: np.ndarray, strength: float, seed: int) -> np.ndarray:
    from scipy import ndimage

    radius = strength * min(exact.shape) / 8
    return np.asarray(ndimage.distance_transform_edt(exact == 0) <= max(1.0, radius))


def _blur(exact: np.ndarray, strength: float, seed: int) -> np.ndarray:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(exact, strength * min(exact.shape) / 8))


def _permutation(exact: np.ndarray, strength: float, seed: int) -> np.ndarray:
    flat = exact.flatten()
    moved = permutation(flat.size, seed)[: round(strength * flat.size)]
    flat[moved] = flat[np.roll(moved, 1)]
    return flat.reshape(exact.shape)


DEGRADATIONS: dict[str, Degrade] = {
    "noise": _noise,
    "shift": _shift,
    "dilation": _dilation,
    "blur": _blur,
    "permutation": _permutation,
}
