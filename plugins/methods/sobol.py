"""Sobol indices of the cells of a grid."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from scipy.stats import qmc
from torch import Tensor

from interpbench import Baseline, Model, baseline, blocks, method, target_outputs


@method(
    "sobol-attribution",
    gradients=False,
    reference="Fel, Cadène, Chalvidal, Cord, Vigouroux, Serre, Look at the Variance! Efficient Black-box Explanations "
    "with Sobol-based Sensitivity Analysis, NeurIPS 2021",
)
@torch.inference_mode()
def sobol_attribution(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    cells: PositiveInt = 8,
    designs: Annotated[int, Field(ge=2)] = 16,
    fill: Baseline = "zero",
) -> Tensor:
    """Total Sobol index of each cell of a grid for the logit, with Jansen's estimator: [B,C,H,W] -> [B,H,W].

    Masks in 0..1 on a grid mix the image with the fill. ST_i = sum of (f(A) - f(A with column i of B))² / (2 N Var
    f(A)): the share of the logit's variance in which cell i has a part. A and B are two halves of a Sobol sequence, the
    same for every image. Cells are enlarged to the image by repetition, the indices bilinearly. Costs N (cells² + 2)
    forward passes; the paper has cells = 11 and N = 32.

    Parameters:
        cells: of the grid along each side.
        designs: N, rows of A and of B; best a power of two.
        fill: what a cell becomes whose mask is 0.
    """
    dimensions = cells * cells
    sequence = torch.from_numpy(qmc.Sobol(2 * dimensions, scramble=False).random(designs)).to(x)
    first, second = sequence[:, :dimensions], sequence[:, dimensions:]
    exchanged = first.repeat(dimensions, 1, 1)  # one column of A at a time is B's
    each = torch.arange(dimensions)
    exchanged[each, :, each] = second.T
    masks = torch.cat([first[None], exchanged]).flatten(0, 1)
    answers = _answers(model, x, target, masks, cells, fill).unflatten(1, (1 + dimensions, designs))
    original, changed = answers[:, :1], answers[:, 1:]
    indices = (original - changed).square().mean(2) / (2 * original.var(2, correction=0))
    grid = indices.unflatten(1, (1, cells, cells))
    return F.interpolate(grid, size=x.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def _answers(model: Model, x: Tensor, target: Tensor, masks: Tensor, cells: int, fill: Baseline) -> Tensor:
    """The target's logit under each mask [N,cells²] of the image: [B,N]."""
    empty = baseline(fill, x, model.card)[:, None]
    found = []
    for part in blocks(len(masks), len(x), model.batch_size):
        grid = masks[part].unflatten(1, (1, cells, cells))
        large = F.interpolate(grid, size=x.shape[2:], mode="nearest")
        found.append(target_outputs(model, empty + large * (x[:, None] - empty), target))
    return torch.cat(found, 1)
