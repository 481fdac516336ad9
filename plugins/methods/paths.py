"""Gradients along other paths than the straight line of integrated gradients, which is in `gradients`."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from interpbench import Baseline, Model, baseline, blocks, method, target_gradients, uniform_images


@method(
    "blur-integrated-gradients", reference="Xu, Venugopalan, Sundararajan, Attribution in Scale and Space, CVPR 2020"
)
def blur_integrated_gradients(
    model: Model, x: Tensor, target: Tensor, *, steps: PositiveInt = 50, sigma: PositiveFloat | None = None
) -> Tensor:
    """-(integral over s of gradient(x_s) · d x_s / d s), x_s = x blurred by a Gaussian of deviation s: -> [B,H,W].

    From s = 0, the image, to `sigma`, summed over the channels. Signed, and complete: the sum over the image tends to
    logit(x) - logit(blurred x). The path needs no baseline. As in the authors' code (Google's `saliency`) the sum is
    taken at the left ends of equal steps and the blur pads with zeros; d x_s / d s is exact here, not a difference.

    Parameters:
        steps: points of the integral.
        sigma: the greatest deviation in pixels; none for the authors' 50 at 224 pixels, in proportion to the width.
    """
    last = sigma if sigma is not None else 50 * x.shape[3] / 224
    total = torch.zeros_like(x)
    deviations = torch.arange(steps, dtype=torch.float64) * last / steps
    for part in blocks(steps, len(x), model.batch_size):
        (rows, row_slopes), (columns, column_slopes) = (
            [m.to(x) for m in _blur_matrices(deviations[part], side)] for side in x.shape[2:]
        )
        blurred = torch.einsum("sij,bcjk,slk->bscil", rows, x, columns)
        slope = torch.einsum("sij,bcjk,slk->bscil", row_slopes, x, columns)
        slope += torch.einsum("sij,bcjk,slk->bscil", rows, x, column_slopes)
        total -= (target_gradients(model, blurred, target) * slope).sum(1)
    return total.sum(1) * last / steps


def _blur_matrices(deviations: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """For each deviation [S] the matrix that blurs a row of pixels, and its derivative by the deviation: [S,side,side].

    The Gaussian is cut at four deviations and padded with zeros, as scipy's `gaussian_filter(mode="constant")` does.
    """
    reach = int(4 * float(deviations.max()) + 0.5)
    distance = torch.arange(-reach, reach + 1, dtype=deviations.dtype).abs()
    s = deviations[:, None].clamp(min=1e-3)  # narrower than a pixel: no blur
    weight = torch.exp(-0.5 * (distance / s) ** 2) * (distance <= (4 * s + 0.5).floor())
    slope = weight * distance**2 / s**3
    total = weight.sum(1, keepdim=True)
    slope = slope / total - weight * slope.sum(1, keepdim=True) / total**2
    offset = torch.arange(side)[:, None] - torch.arange(side)[None]
    index = (offset.clamp(-reach, reach) + reach).flatten()
    inside = offset.abs() <= reach
    matrix, change = (t[:, index].unflatten(1, (side, side)) * inside for t in (weight / total, slope))
    return matrix, change


@method(
    "guided-integrated-gradients",
    reference="Kapishnikov, Venugopalan, Avci, Wedin, Terry, Bolukbasi, Guided Integrated Gradients, CVPR 2021",
)
def guided_integrated_gradients(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    steps: PositiveInt = 50,
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.25,
    distance: Annotated[float, Field(ge=0, le=1)] = 0.02,
    reference: Baseline = "zero",
) -> Tensor:
    """Integrated gradients along a path that changes first what matters least at each point: [B,C,H,W] -> [B,H,W].

    In each step the distance to the image shrinks by 1/steps: of the values that may still move, the `fraction` with
    the smallest gradient go towards the image, as far as `distance` allows them to leave the straight line. Signed,
    summed over the channels; complete as steps grow. All images of a batch walk together, a gradient a step.

    Parameters:
        steps: points of the path; the authors' code has 200.
        fraction: share of the values that move at a time.
        distance: how far from the straight line, as a share of it; 0 is integrated gradients.
        reference: the image that the path starts from.
    """
    end = x.flatten(1).double()
    start = baseline(reference, x, model.card).flatten(1).double()
    here, total = start.clone(), torch.zeros_like(start)
    for step in range(1, steps + 1):
        gradient = target_gradients(model, here.to(x.dtype).view_as(x)[:, None], target).flatten(1).double()
        there = _walk(here, start, end, gradient.abs(), step / steps, fraction, distance)
        total += (there - here) * gradient
        here = there
    return total.view_as(x).sum(1).to(x.dtype)


def _walk(
    here: Tensor, start: Tensor, end: Tensor, cost: Tensor, share: float, fraction: float, distance: float
) -> Tensor:
    """The point [B,D] that has `share` of the way behind it, the values of least cost moved first."""
    line = end - start
    least, most = max(share - distance, 0.0), min(share + distance, 1.0)
    lowest, highest = start + line * least, start + line * most
    wanted = line.abs().sum(1) * (1 - share)
    behind = (line != 0) & ((here - start) / line.where(line != 0, 1) < least)
    point = torch.where(behind, lowest, here)
    walking = torch.ones_like(wanted, dtype=torch.bool)
    cost = cost.clone()
    while True:
        left = (end - point).abs().sum(1)
        walking &= (left - wanted).abs() > 1e-9 * torch.maximum(left, wanted).clamp(min=1)
        cost[point == highest] = torch.inf
        threshold = cost.kthvalue(1 + int(fraction * (cost.shape[1] - 1)), dim=1, keepdim=True).values
        moving = (cost <= threshold) & (cost != torch.inf) & walking[:, None]
        possible = ((highest - point).abs() * moving).sum(1)
        walking &= possible > 0
        if not bool(walking.any()):
            return point
        ratio = ((left - wanted) / possible.where(walking, 1))[:, None]
        moved = torch.where(ratio > 1, highest, point + (highest - point) * ratio)
        point = torch.where(moving & walking[:, None], moved, point)
        walking &= ratio[:, 0] > 1


@method(
    "expected-gradients",
    reference="Erion, Janizek, Sturmfels, Lundberg, Lee, Improving performance of deep learning models with axiomatic "
    "attribution priors and expected gradients, Nature Machine Intelligence 2021",
)
def expected_gradients(
    model: Model, x: Tensor, target: Tensor, *, generators: Sequence[torch.Generator], samples: PositiveInt = 50
) -> Tensor:
    """Mean of (x - r) · gradient(r + a (x - r)) over random references r and a in 0..1: [B,C,H,W] -> [B,H,W].

    Also known as GradientSHAP, without its noise. Signed, summed over the channels; complete on average. The paper's
    references are training images, which a method does not see here: they are uniform noise (Sturmfels, Lundberg, Lee,
    Visualizing the Impact of Feature Attribution Baselines, Distill 2020), other ones for each image.

    Parameters:
        samples: references for each image.
    """
    total = torch.zeros_like(x)
    for part in blocks(samples, len(x), model.batch_size):
        references, shares = [], []
        for _ in part:
            references.append(uniform_images(x, model.card, generators))
            shares.append(torch.cat([torch.rand(1, generator=g) for g in generators]).to(x.device, non_blocking=True))
        reference, share = torch.stack(references, 1), torch.stack(shares, 1)[:, :, None, None, None]
        way = x[:, None] - reference
        total += (way * target_gradients(model, reference + share * way, target)).sum(1)
    return (total / samples).sum(1)
