"""The output as whole regions of the image are removed, one after the other: squares of a grid, or superpixels."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from interpbench import (
    Explanation,
    First,
    Inputs,
    Network,
    Output,
    ParameterError,
    Perturbation,
    Sign,
    area,
    metric,
    superpixels,
    uniform_images,
)
from interpbench import baseline as make_baseline

Fill = Literal["uniform", "zero", "black", "white", "mean", "blur", "gaussian-blur"]
MOST = 100  # regions that Samek et al. remove


@metric(
    "region-perturbation",
    better=lambda first: "higher" if first == "most" else "lower",
    range=lambda output: (-1.0, 1.0) if output == "probability" else (-math.inf, math.inf),
    unit=lambda output: output,
    reference="Samek, Binder, Montavon, Lapuschkin, Müller, Evaluating the Visualization of What a Deep Neural Network "
    "Has Learned, IEEE TNNLS 2017",
)
def region_perturbation(
    explanation: Explanation,
    *,
    patch: PositiveInt = 9,
    regions: PositiveInt | None = None,
    fill: Fill = "uniform",
    first: First = "most",
    output: Output = "probability",
    sign: Sign = "signed",
) -> Tensor:
    """How much the output falls, in the mean over the steps, as square regions are removed, most salient first (AOPC).

    sum over k = 0..L of f(x) - f(x without the first k regions), divided by L + 1: higher is better, within -1..1 for
    probabilities. Regions are ordered by the sum of their saliency; those at the right and at the bottom may be cut.

    Parameters:
        patch: side of a region in pixels.
        regions: L, how many are removed; none for 100, or all if there are fewer.
        fill: what a removed position becomes; `uniform` is noise, the same for every method.
        first: `least` removes the least salient regions first; lower is then better.
        output: what is read of the target class. Logits are not within 0..1.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    squares = _squares(explanation, patch)
    count = int(squares.max()) + 1
    if regions is not None and regions > count:
        raise ParameterError(f"regions={regions} are more than the {count} of patch={patch}. Give fewer.")
    removed = min(MOST, count) if regions is None else regions
    sums, _ = _sums(explanation.values(sign), squares)
    order = _order(explanation, sums if first == "most" else -sums, squares)
    empty = _filled(explanation, fill)
    path = Perturbation(explanation.x, empty, output=output, rank=order, points=range(1, removed + 1))
    falls = explanation.output(output)[:, None] - explanation.along(path)
    return falls.sum(1) / (removed + 1)


@metric(
    "selectivity",
    better="lower",
    range=lambda output: (0.0, 1.0) if output == "probability" else (-math.inf, math.inf),
    unit=lambda output: output,
    reference="Montavon, Samek, Müller, Methods for Interpreting and Understanding Deep Neural Networks, Digital "
    "Signal Processing 2018",
)
def selectivity(
    explanation: Explanation,
    *,
    patch: PositiveInt = 8,
    fill: Fill = "black",
    output: Output = "probability",
    sign: Sign = "signed",
    network: Network = "explained",
) -> Tensor:
    """Area under the output as square regions are removed until none is left, most salient first.

    By the trapezoid rule over 0..1: lower is better, in 0..1 for probabilities. Regions are ordered by the sum of their
    saliency; those at the right and at the bottom may be cut.

    Parameters:
        patch: side of a region in pixels.
        fill: what a removed position becomes; `uniform` is noise, the same for every method.
        output: what is read of the target class. Areas of logits are not within 0..1.
        sign: whether negative values count as small, by magnitude, or as none.
        network: whose output it is: the explained one's, or that of its twin that was tuned on images that lack parts
            (`run --in-domain`).
    """
    squares = _squares(explanation, patch)
    sums, _ = _sums(explanation.values(sign), squares)
    order, points = _order(explanation, sums, squares), range(int(squares.max()) + 2)
    empty = _filled(explanation, fill)
    path = Perturbation(explanation.x, empty, output=output, rank=order, points=points)
    return area(explanation.asking(network).along(path).cpu())


@metric(
    "irof",
    better="higher",
    range=(-math.inf, 1.0),
    unit="share of the probability",
    reference="Rieger, Hansen, IROF: A Low Resource Evaluation Metric for Explanation Methods, arXiv 2003.08747, 2020",
)
def irof(
    explanation: Explanation,
    *,
    segments: Annotated[int, Field(ge=2)] = 100,
    fill: Fill = "mean",
    sign: Sign = "signed",
) -> Tensor:
    """Area over the target's probability, as a share of what it was, as superpixels are removed, most salient first.

    1 - area under y_k / y_0, k = 0..K removed segments over 0..1: higher is better, at most 1; below 0 where removal
    adds to the probability. Segments are ordered by the mean of their saliency. NaN where y_0 is 0, or the image is one
    segment. Logits are not offered: they have no zero that a share could be of.

    Parameters:
        segments: superpixels (SLIC) that are asked for.
        fill: what a removed position becomes; `uniform` is noise, the same for every method.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    parts = explanation.shared(_superpixels, count=segments).to(explanation.x.device).long()
    sums, sizes = _sums(explanation.values(sign), parts)
    order = _order(explanation, sums / sizes, parts)
    empty = _filled(explanation, fill)
    most = sizes.shape[1]
    curve = explanation.along(Perturbation(explanation.x, empty, rank=order, points=range(most + 1))).cpu().double()
    count = (sizes > 0).sum(1, keepdim=True)  # of each image its own; beyond it nothing is left to be removed
    middles = (curve[:, 1:] + curve[:, :-1]) / 2 / curve[:, :1]
    under = middles.masked_fill(torch.arange(most) >= count, 0).sum(1) / count[:, 0]
    return (1 - under).masked_fill(count[:, 0] < 2, torch.nan)


def _squares(inputs: Inputs, side: int) -> Tensor:
    """The square that each position belongs to, int64 [B,H,W].

    Raises:
        ParameterError: if one square holds the whole image.
    """
    height, width = inputs.x.shape[2:]
    if side >= max(height, width):
        raise ParameterError(f"patch={side} holds all of an image of {height}x{width}. Give a smaller one.")
    row, column = torch.arange(height) // side, torch.arange(width) // side
    squares = row[:, None] * (int(column[-1]) + 1) + column
    return squares.to(inputs.x.device).expand(len(inputs.ids), -1, -1)


def _sums(values: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the values in each part and its number of positions, float64 [B,P] on the CPU."""
    flat, parts = values.flatten(1).cpu().double(), parts.flatten(1).cpu()
    empty = flat.new_zeros(len(flat), int(parts.max()) + 1)
    return empty.scatter_add(1, parts, flat), empty.scatter_add(1, parts, torch.ones_like(flat))


def _order(explanation: Explanation, values: Tensor, parts: Tensor) -> Tensor:
    """Ranks parts by values [B,P], 0 for the greatest, painted over their positions: int64 [B,H,W].

    Parts of the same value fall in the order in which the first of their positions would.
    """
    flat = parts.flatten(1)
    painted = values.float().to(flat.device).gather(1, flat).view_as(parts)
    ranks = explanation.ranked(painted).flatten(1)
    first = ranks.new_full(values.shape, flat.shape[1]).scatter_reduce(1, flat, ranks, "amin")
    return first.argsort(1).argsort(1).gather(1, flat).view_as(parts)


def _superpixels(inputs: Inputs, count: int) -> Tensor:
    return superpixels(inputs.x, inputs.model.card, count).int()  # half as large where it is kept


def _filled(inputs: Inputs, fill: Fill) -> Tensor:
    """What removed positions become, [B,C,H,W]."""
    if fill == "uniform":
        return uniform_images(inputs.x, inputs.model.card, inputs.generators("removed regions"))
    return make_baseline(fill, inputs.x, inputs.model.card)
