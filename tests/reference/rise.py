"""Deletion, insertion and masks as the RISE reference does them, rewritten slowly and obviously: numpy, one image, one
pixel at a time. Petsiuk, Das, Saenko, RISE, BMVC 2018."""

from collections.abc import Callable

import numpy as np
from skimage.transform import resize


def salient_order(saliency: np.ndarray) -> list[int]:
    """Positions, most salient first."""
    return sorted(range(saliency.size), key=lambda i: -saliency.flat[i])


def causal_curve(
    predict: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    finish: np.ndarray,
    order: list[int],
    target: int,
    step: int,
) -> np.ndarray:
    """Probability of the target after each step from `start` to `finish`, both [C,H,W]; both ends count."""
    channels, _, width = start.shape
    current = start.copy()
    values = [predict(current)[target]]
    for first in range(0, len(order), step):
        for position in order[first : first + step]:
            for channel in range(channels):
                row, column = divmod(position, width)
                current[channel, row, column] = finish[channel, row, column]
        values.append(predict(current)[target])
    return np.array(values)


def area(values: np.ndarray) -> float:
    """The reference's AUC: the trapezoid rule over a unit interval."""
    return float((values.sum() - values[0] / 2 - values[-1] / 2) / (len(values) - 1))


def mask(grid: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A grid [c,c] enlarged by one cell more than the image, and cropped, as the reference's `generate_masks`."""
    cells = len(grid)
    size = [(cells + 1) * int(np.ceil(side / cells)) for side in (height, width)]
    large = resize(grid, size, order=1, mode="reflect", anti_aliasing=False)
    return large[top : top + height, left : left + width]


def blur(image: np.ndarray) -> np.ndarray:
    """The reference's substrate of insertion: correlation with gaussian_filter's impulse response, zeros outside."""
    from scipy.ndimage import gaussian_filter

    kernel = np.zeros((11, 11))
    kernel[5, 5] = 1
    kernel = gaussian_filter(kernel, 5)
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 10, width + 10))
    padded[:, 5:-5, 5:-5] = image
    out = np.zeros_like(image)
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                out[channel, row, column] = (
                    padded[channel, row : row + 11, column : column + 11] * kernel
                ).sum()
    return out
