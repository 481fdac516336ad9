"""Does the map point at the evidence? For data whose samples carry the exact mask of it."""

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

    Without the original's tolerance of 15 pixels, since the masks are exact. Where several positions share the
    maximum, the seeded tie order decides.
    """
    return ((explanation.rank == 0) & _mask(explanation)).flatten(1).any(1).float()


@metric(
    "energy-inside",
    better="higher",
    unit="share of positive saliency",
    needs_mask=True,
    reference="Wang et al., Score-CAM (energy-based pointing game), CVPR workshops 2020",
)
def energy_inside(explanation: Explanation) -> Tensor:
    """The share of the positive saliency that lies on the evidence, in 0..1.

    Negative saliency counts as none. A map without any positive value puts none on the evidence: 0.
    """
    positive = explanation.saliency.cpu().double().clamp(min=0)  # not every device has float64
    total = positive.sum((1, 2))
    inside = (positive * _mask(explanation).cpu()).sum((1, 2))
    return inside / total.clamp(min=torch.finfo(torch.float64).tiny)


def _mask(explanation: Explanation) -> Tensor:
    assert explanation.mask is not None  # promised by needs_mask
    return explanation.mask
