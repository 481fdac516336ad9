"""Does the map point at the evidence? For data whose samples carry the exact mask of it.

What a mask marks as ignored, such as the border of an object, counts neither as evidence nor as its surroundings.
"""

import torch
from torch import Tensor

from interpbench import Explanation, metric


@metric(
    "pointing-game",
    better="higher",
    unit="share of hits",
    needs_mask=True,
    reference="Zhang, Bargal, Lin, Brandt, Shen, Sclaroff, Top-down Neural Attention by Excitation Backprop, IJCV 2018",
)
def pointing_game(explanation: Explanation) -> Tensor:
    """1 if the most salient position lies on the evidence, else 0.

    Without the original's tolerance of 15 pixels, since the masks are exact; what they ignore is left out. Where
    several positions share the maximum, the seeded tie order decides.
    """
    rank = explanation.rank
    if explanation.ignored is not None:
        rank = rank.masked_fill(explanation.ignored, torch.iinfo(rank.dtype).max)
    first = rank.flatten(1).argmin(1, keepdim=True)
    return _mask(explanation).flatten(1).gather(1, first)[:, 0].float()


@metric(
    "energy-inside",
    better="higher",
    unit="share of positive saliency",
    needs_mask=True,
    reference="Wang et al., Score-CAM (energy-based pointing game), CVPR workshops 2020",
)
def energy_inside(explanation: Explanation) -> Tensor:
    """The share of the positive saliency that lies on the evidence, in 0..1.

    Negative saliency counts as none, and so does what the mask ignores. A map without any positive value puts none on
    the evidence: 0.
    """
    positive = explanation.saliency.cpu().double().clamp(min=0)  # not every device has float64
    if explanation.ignored is not None:
        positive = positive.masked_fill(explanation.ignored.cpu(), 0)
    total = positive.sum((1, 2))
    inside = (positive * _mask(explanation).cpu()).sum((1, 2))
    return inside / total.clamp(min=torch.finfo(torch.float64).tiny)


def _mask(explanation: Explanation) -> Tensor:
    assert explanation.mask is not None  # promised by needs_mask
    return explanation.mask
