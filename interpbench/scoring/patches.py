"""An image cut into patches by a grid."""

import torch
from torch import Tensor


def patch_map(height: int, width: int, grid: int) -> Tensor:
    """The number of the patch that each position belongs to, int64 [H,W].

    Patches differ by a row or column at most.
    """
    row, column = (torch.arange(side) * grid // side for side in (height, width))
    return row[:, None] * grid + column


def rectangles(height: int, width: int, grid: int) -> Tensor:
    """Top, left, bottom and right of each patch, int64 [P,4]."""
    rows, columns = (-(-torch.arange(grid + 1) * side // grid) for side in (height, width))
    row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    row, column = row.flatten(), column.flatten()
    return torch.stack([rows[row], columns[column], rows[row + 1], columns[column + 1]], dim=1)
