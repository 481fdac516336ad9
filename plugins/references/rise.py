"""Deletion and insertion by the rules that RISE's authors published, written out: one image, one step at a time.

Petsiuk, Das, Saenko, RISE, BMVC 2018. Their code is no package, and calls CUDA.
"""

import numpy as np
import torch
from scipy.ndimage import correlate, gaussian_filter
from torch import Tensor

from interpbench import Explanation, metric_reference

TIES = "Equal values fall in the order of an unstable sort in the authors' code, in a seeded random order in ours."


def ties(explanation: Explanation) -> str:
    """Why maps with equal values cannot be compared."""
    ordered = explanation.saliency.flatten(1).sort(1).values
    return TIES if bool((ordered.diff(dim=1) == 0).any()) else ""


@metric_reference("deletion", library="RISE", tolerance=1e-6, written_out=True, unless=ties)
def deletion(explanation: Explanation) -> Tensor:
    """CausalMetric('del'), from the image to 0."""
    return torch.tensor([
        _area(explanation, i, image, np.zeros_like(image)) for i, image in enumerate(explanation.x.numpy())
    ])  # fmt: skip


@metric_reference("insertion", library="RISE", tolerance=1e-6, written_out=True, unless=ties)
def insertion(explanation: Explanation) -> Tensor:
    """CausalMetric('ins'), from the blurred image to the image."""
    return torch.tensor([
        _area(explanation, i, _blurred(image), image) for i, image in enumerate(explanation.x.numpy())
    ])  # fmt: skip


def _blurred(image: np.ndarray) -> np.ndarray:
    """Each channel correlated with `gkern(11, 5)`, zeros around it."""
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = gaussian_filter(impulse, 5)
    return np.stack([correlate(channel.astype(float), kernel, mode="constant") for channel in image])


def _area(explanation: Explanation, i: int, start: np.ndarray, finish: np.ndarray) -> float:
    """The area under the target's probability as positions change from start to finish, [C,H,W]."""
    channels, height, width = start.shape
    order = np.flip(np.argsort(explanation.saliency[i].numpy().reshape(-1)))
    current = start.reshape(channels, -1).astype(np.float32).copy()
    values = [_probability(explanation, i, current)]
    for step in range((height * width + width - 1) // width):
        some = order[width * step : width * (step + 1)]
        current[:, some] = finish.reshape(channels, -1)[:, some]
        values.append(_probability(explanation, i, current))
    return (sum(values) - values[0] / 2 - values[-1] / 2) / (len(values) - 1)


def _probability(explanation: Explanation, i: int, flat: np.ndarray) -> float:
    image = torch.from_numpy(flat.copy()).view_as(explanation.x[i])
    return float(explanation.model(image[None]).softmax(1)[0, explanation.target[i]])
