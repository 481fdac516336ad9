"""An image as it is seen a little nearer, turned and moved, so that what it shows must be robust.

Without that, an ascent finds patterns that drive a network and mean nothing to people.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = 0.5  # beyond the image's edge


@dataclass(frozen=True)
class Views:
    """How far a view may differ from the image itself.

    Attributes:
        shift: along each axis, as a share of the image's side.
        scale: nearer or farther, as a share.
        turn: in degrees, either way.
    """

    shift: float = 0.1
    scale: float = 0.1
    turn: float = 10.0


def seen(images: Tensor, views: Views, generators: Sequence[torch.Generator]) -> Tensor:
    """Each image by chance moved, scaled and turned, float32 [B,C,H,W].

    Beyond its edge is grey. Bilinear.

    Parameters:
        images: float32 [B,C,H,W] in 0..1.
        views: how far.
        generators: on the CPU, one for each image, which draws four numbers.
    """
    drawn = torch.stack([2 * torch.rand(4, generator=g) - 1 for g in generators])
    angle, factor = math.radians(views.turn) * drawn[:, 0], 1 + views.scale * drawn[:, 1]
    height, width = images.shape[2:]
    aspect = height / width  # a turn is one of pixels, not of the square that grids have
    across, up = factor * angle.cos(), factor * angle.sin()
    rows = (
        torch.stack([across, -up * aspect, 2 * views.shift * drawn[:, 2]], dim=1),
        torch.stack([up / aspect, across, 2 * views.shift * drawn[:, 3]], dim=1),
    )
    grid = F.affine_grid(
        torch.stack(rows, dim=1).to(images), list(images.shape), align_corners=False
    )
    return F.grid_sample(images - GREY, grid, align_corners=False) + GREY
