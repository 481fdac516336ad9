"""Does the map keep what an axiom demands of it? By how much it fails, since no sum of rounded numbers is exact."""

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from interpbench import (
    Baseline,
    Explanation,
    Inputs,
    Output,
    Sign,
    cells,
    drops,
    each_part,
    metric,
    undoing_shift,
)
from interpbench import baseline as make_baseline

ROUNDING = 4 * torch.finfo(torch.float32).eps  # of an output, as a share of it


@metric(
    "completeness",
    better="lower",
    range=(0.0, float("inf")),
    unit="relative error",
    reference="Sundararajan, Taly, Yan, Axiomatic Attribution for Deep Networks, ICML 2017",
    aspect="axiom",
)
def completeness(explanation: Explanation, *, baseline: Baseline = "zero", output: Output = "logit") -> Tensor:
    """By how much the sum of the map misses the difference of outputs between the image and a baseline.

    |sum a - (f(x) - f(x0))| / |f(x) - f(x0)|; lower is better, from 0; 1 for a map that adds up to 0. It means
    something for methods whose maps are shares of that difference, by this very baseline and output; the map's sign and
    scale count. NaN where the outputs do not differ by more than rounding.

    Parameters:
        baseline: the image x0 without information.
        output: what is read of the target class.
    """
    difference = explanation.shared(_difference, baseline=baseline, output=output)
    total = explanation.saliency.flatten(1).cpu().double().sum(1)
    return (total - difference).abs() / difference.abs()


@metric(
    "non-sensitivity",
    better="lower",
    unit="share of cells",
    reference="after Nguyen, Rodríguez Martínez, On quantitative aspects of model interpretability, arXiv 2007.07584, "
    "2020",
    aspect="axiom",
)
def non_sensitivity(
    explanation: Explanation,
    *,
    grid: PositiveInt = 16,
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.001,
    baseline: Baseline = "zero",
    output: Output = "logit",
) -> Tensor:
    """The share of cells of which the map and the model do not agree whether they count at all, in 0..1.

    |{cells that are 0 in the map} Δ {cells without effect}| / cells; lower is better. A cell is without effect if the
    output stays when it takes the values of the baseline; the paper draws values, and takes single features. Where
    every cell has an effect, any map without zeros is perfect. NaN for a map of zeros, or where no cell changes the
    output by more than rounding.

    Parameters:
        grid: cells a side; the model is asked once for each, for all methods together.
        tolerance: what counts as 0, and as no effect, as a share of the map's greatest magnitude and of the greatest
            effect of a cell.
        baseline: what a cell becomes.
        output: what is read of the target class; a probability near 1 hides effects.
    """
    effects = explanation.shared(_effects, grid=grid, baseline=baseline, output=output)
    places, magnitudes = cells(explanation, grid).flatten(1), explanation.saliency.abs().flatten(1)
    of_cells = magnitudes.new_zeros(effects.shape).scatter_reduce(1, places, magnitudes, "amax").cpu()
    greatest = of_cells.amax(1, keepdim=True)
    wrong = (of_cells <= tolerance * greatest) != (effects <= tolerance)
    meaningless = (greatest[:, 0] == 0) | effects.isnan().any(1)
    return wrong.double().mean(1).masked_fill(meaningless, torch.nan)


@metric(
    "input-invariance",
    better="lower",
    range=(0.0, float("inf")),
    unit="relative change",
    reference="Kindermans, Hooker, Adebayo, Alber, Schütt, Dähne, Erhan, Kim, The (Un)reliability of saliency methods, "
    "arXiv 1711.00867, 2017",
    aspect="axiom",
)
def input_invariance(explanation: Explanation, *, shift: float = -1.0, sign: Sign = "signed") -> Tensor:
    """How much the map changes when the image is shifted by a constant, and the model undoes it.

    ||e'(x + s) - e(x)|| / ||e(x)||, e' of a copy of the model that answers the same for x + s: the shift is undone in
    the bias of its first layer, b' = b - w s, with the padding moved along; lower is better, from 0. Undone by a layer
    before the network, methods that look into it would see the image as it was, and pass without having been asked.
    What a method holds an image against, such as a reference of zeros, is not shifted along: in the paper this is what
    fails. A map that ignores the model and the image's mean wins: read it beside a metric that asks the model. NaN for
    a map of zeros, or where the map of the shifted image is not finite; it fails for a model that does not begin with
    convolutions or linear layers.

    Parameters:
        shift: of all channels, in the units of the model's normalised input.
        sign: whether maps are compared as they are, by magnitude, or by their positive values.
    """
    copied = explanation.of_model(undoing_shift, shift=shift)
    maps = (explanation.saliency, explanation.explain(explanation.x + shift, model=copied))
    before, after = (explanation.values(sign, each).flatten(1).cpu().double() for each in maps)
    change = (after - before).norm(dim=1) / before.norm(dim=1)
    return change.where(change.isfinite(), torch.nan)


def _difference(inputs: Inputs, *, baseline: Baseline, output: Output) -> Tensor:
    """f(x) - f(x0), float64 [B] on the CPU; NaN where it is rounding alone."""
    of_image = inputs.output(output).cpu().double()
    of_baseline = inputs.outputs([make_baseline(baseline, inputs.x, inputs.model.card)], output)[:, 0].cpu().double()
    difference = of_image - of_baseline
    rounding = ROUNDING * torch.maximum(of_image.abs(), of_baseline.abs())
    return difference.masked_fill(difference.abs() <= rounding, torch.nan)


def _effects(inputs: Inputs, *, grid: int, baseline: Baseline, output: Output) -> Tensor:
    """How much each cell changes the output, as a share of the greatest, float64 [B,cells] on the CPU.

    NaN where the greatest is rounding alone.
    """
    fill = make_baseline(baseline, inputs.x, inputs.model.card)
    changes = drops(inputs, each_part(inputs, grid), fill, output).abs().cpu().double()
    greatest = changes.amax(1, keepdim=True)
    rounding = ROUNDING * inputs.output(output).abs().cpu().double()[:, None]
    return changes / greatest.where(greatest > rounding, torch.nan)
