"""Extremal perturbations: the part of the image of a given area that keeps the logit highest, found by gradient."""

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from interpbench import Baseline, Model, baseline, blocks, method

AREAS = (0.05, 0.1, 0.2, 0.4)  # shares of the image
FINE = 4  # points of a mask for each cell, along each side
COLDNESS = 20.0  # of the smooth maximum, the paper's 1 / T
RAMP = 3  # the constraint's weight rises with this power of the step, or it alone would choose the place
START = (0.5, 0.51)  # the cells' values before the search: a slight slope, so that no two points tie by symmetry


@method(
    "extremal-perturbation",
    reference="Fong, Patrick, Vedaldi, Understanding Deep Networks via Extremal Perturbations and Smooth Masks, "
    "ICCV 2019",
)
def extremal_perturbation(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    steps: PositiveInt = 50,
    cells: PositiveInt = 8,
    rate: PositiveFloat = 0.2,
    weight: PositiveFloat = 100.0,
    fill: Baseline = "gaussian-blur",
) -> Tensor:
    """Sum of the masks m that preserve the logit best on 5, 10, 20 and 40 % of the image: [B,C,H,W] -> [B,H,W].

    Each maximises logit(m x + (1 - m) fill) - weight · mean of (sorted m - r)², r being ones on the area and zeros
    elsewhere. m is the smooth maximum of kernels on a grid of cells, so it has no fine structure. This is the paper's
    preservation game with the narrower kernel of the authors' code (TorchRay); several areas make an order of
    importance. The search is Adam's here instead of momentum's, which needs more steps. Costs 4 · steps forward and
    backward passes.

    Parameters:
        steps: of the search.
        cells: of the grid along each side.
        rate: of the search.
        weight: of the area's constraint against the logit, at the end of the search; it rises with the third power of
            the step, where the paper's is nearly constant over its 800 steps.
        fill: what a position becomes where the mask is 0.
    """
    wanted = _areas(cells, x).repeat(len(x), 1)
    empty = baseline(fill, x, model.card)
    x, empty, target = (t.repeat_interleave(len(AREAS), 0) for t in (x, empty, target))
    found = []
    for part in blocks(len(x), 1, model.batch_size):
        rows = slice(part.start, part.stop)
        found.append(_search(model, x[rows], empty[rows], target[rows], wanted[rows], steps, cells, rate, weight))
    return torch.cat(found).unflatten(0, (-1, len(AREAS))).sum(1)


@torch.enable_grad()
def _search(
    model: Model,
    x: Tensor,
    empty: Tensor,
    target: Tensor,
    wanted: Tensor,
    steps: int,
    cells: int,
    rate: float,
    weight: float,
) -> Tensor:
    """The masks [N,H,W] that are found for N images, each of the area that the sorted mask in `wanted` has."""
    start = torch.linspace(*START, cells * cells, dtype=x.dtype, device=x.device)
    values = start.repeat(len(x), 1).requires_grad_()
    kernel = _kernel(cells).to(x)
    optimiser = torch.optim.Adam([values], lr=rate)
    for step in range(1, steps + 1):
        mask = _smooth(values, kernel)
        large = _enlarged(mask, x)[:, None]
        logit = model(large * x + (1 - large) * empty).gather(1, target[:, None])[:, 0]
        misfit = (mask.flatten(1).sort(dim=1).values - wanted).square().mean(1)
        constraint = weight * (step / steps) ** RAMP
        (values.grad,) = torch.autograd.grad((constraint * misfit - logit).sum(), values)
        optimiser.step()
        with torch.no_grad():
            values.clamp_(0, 1)
    return _enlarged(_smooth(values.detach(), kernel), x)


def _areas(cells: int, x: Tensor) -> Tensor:
    """For each area a mask of it, sorted: zeros, then ones, [areas, points]."""
    points = (FINE * cells) ** 2
    ones = torch.tensor([round(points * area) for area in AREAS], device=x.device)
    return (torch.arange(points, device=x.device) >= points - ones[:, None]).to(x.dtype)


def _kernel(cells: int) -> Tensor:
    """What a cell of value 1 adds to each point, exp(-2 max(0, d - 1/2)²), d in cells: [points, cells²]."""
    points = (torch.arange(FINE * cells, dtype=torch.float64) + 0.5) / FINE
    centres = torch.arange(cells, dtype=torch.float64) + 0.5
    square = (points[:, None] - centres[None]) ** 2  # along one side
    distance = (square[:, None, :, None] + square[None, :, None, :]).sqrt().flatten(2).flatten(0, 1)
    return torch.exp(-2 * (distance - 0.5).clamp(min=0) ** 2)


def _smooth(values: Tensor, kernel: Tensor) -> Tensor:
    """The smooth maximum of what the cells [N,cells²] add to each point, [N,side,side]."""
    added = values[:, None] * kernel
    largest = ((COLDNESS * added).softmax(2) * added).sum(2)
    side = round(largest.shape[1] ** 0.5)
    return largest.unflatten(1, (side, side))


def _enlarged(mask: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(mask[:, None], size=x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
