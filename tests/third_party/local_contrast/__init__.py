"""A control from another package: how much a position stands out from what surrounds it."""

import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor

from interpbench import Model, method


@method("local-contrast", gradients=False, control=True, reference="unpublished")
def local_contrast(model: Model, x: Tensor, target: Tensor, *, radius: PositiveInt = 2) -> Tensor:
    """|x - mean of the window around it|, summed over the channels: [B,C,H,W] -> [B,H,W].

    Parameters:
        radius: of the window, in pixels.
    """
    side = 2 * radius + 1
    around = F.avg_pool2d(x, side, stride=1, padding=radius, count_include_pad=False)
    return (x - around).abs().sum(dim=1)
