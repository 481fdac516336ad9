"""What the model says of the image multiplied by its map.

The map is brought to 0..1 by its least and its greatest value, and each position keeps that share of itself. Such a
score rewards maps that keep much: one that is 1 nearly everywhere has nearly no drop. Read it beside deletion.
"""

import torch
from torch import Tensor

from interpbench import Baseline, Explanation, Sign, metric
from interpbench import baseline as make_baseline

GRAD_CAM_PLUS_PLUS = (
    "Chattopadhay, Sarkar, Howlader, Balasubramanian, Grad-CAM++: Generalized Gradient-Based Visual Explanations for "
    "Deep Convolutional Networks, WACV 2018"
)


@metric("average-drop", better="lower", unit="share of the probability", reference=GRAD_CAM_PLUS_PLUS)
def average_drop(explanation: Explanation, *, baseline: Baseline = "zero", sign: Sign = "signed") -> Tensor:
    """The share of its probability that the target loses in the image multiplied by its map.

    max(0, y - y_m) / y, with y of the image and y_m of the multiplied one: lower is better, in 0..1. NaN where the map
    is constant, or y is 0.

    Parameters:
        baseline: what a position of weight 0 becomes; `zero` multiplies in normalised space, as the reference does.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    before, after = _probabilities(explanation, baseline, sign)
    return (before - after).clamp(min=0) / before


@metric("average-increase", better="higher", unit="share of images", reference=GRAD_CAM_PLUS_PLUS)
def average_increase(explanation: Explanation, *, baseline: Baseline = "zero", sign: Sign = "signed") -> Tensor:
    """1 if the target's probability is greater in the image multiplied by its map than in the image, else 0.

    1[y_m > y]: higher is better. NaN where the map is constant.

    Parameters:
        baseline: what a position of weight 0 becomes; `zero` multiplies in normalised space, as the reference does.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    before, after = _probabilities(explanation, baseline, sign)
    return (after > before).to(after.dtype).masked_fill(after.isnan(), torch.nan)


@metric(
    "average-gain",
    better="higher",
    unit="share of what is left to gain",
    reference="Zhang, Torres, Sicre, Avrithis, Ayache, Opti-CAM: Optimizing Saliency Maps for Interpretability, "
    "Computer Vision and Image Understanding 2024",
)
def average_gain(explanation: Explanation, *, baseline: Baseline = "zero", sign: Sign = "signed") -> Tensor:
    """The share of what the target's probability lacks to 1 that it gains in the image multiplied by its map.

    max(0, y_m - y) / (1 - y): higher is better, in 0..1. NaN where the map is constant, or y is 1.

    Parameters:
        baseline: what a position of weight 0 becomes; `zero` multiplies in normalised space, as the reference does.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    before, after = _probabilities(explanation, baseline, sign)
    return (after - before).clamp(min=0) / (1 - before)


def _probabilities(explanation: Explanation, baseline: Baseline, sign: Sign) -> tuple[Tensor, Tensor]:
    """The target's in the image and in the image times its map, [B] each; the latter NaN for a constant map."""
    values = explanation.values(sign)[:, None]
    least, greatest = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    constant = least == greatest
    weight = ((values - least) / (greatest - least)).masked_fill(constant, 0)
    empty = make_baseline(baseline, explanation.x, explanation.model.card)
    multiplied = torch.lerp(empty, explanation.x, weight.expand_as(empty))
    after = explanation.outputs([multiplied])[:, 0]
    return explanation.output(), after.masked_fill(constant.flatten(), torch.nan)
