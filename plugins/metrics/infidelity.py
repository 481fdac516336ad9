"""Does the map foretell how much the output falls when the image is perturbed? As a mean square error."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from interpbench import (
    Baseline,
    Explanation,
    Inputs,
    Output,
    ParameterError,
    PartSets,
    Sign,
    Size,
    drops,
    metric,
    part_count,
)
from interpbench import baseline as make_baseline


@metric(
    "infidelity",
    better="lower",
    range=(0.0, math.inf),
    unit=lambda output: f"squared {output}",
    reference="Yeh, Hsieh, Suggala, Inouye, Ravikumar, On the (In)fidelity and Sensitivity of Explanations, NeurIPS "
    "2019",
)
def infidelity(
    explanation: Explanation,
    *,
    perturbation: Literal["squares", "gaussian"] = "squares",
    scaled: bool = True,
    samples: PositiveInt = 50,
    largest: Size = 0.36,
    deviation: PositiveFloat = 0.2,
    baseline: Baseline = "black",
    output: Output = "logit",
    sign: Sign = "signed",
) -> Tensor:
    """Mean square of what a map says that perturbations take from the output, less what they do take.

    E[(b m(I) - (f(x) - f(x - I)))^2] over perturbations I, which are drawn once an image and the same for all methods.
    `squares` removes a square of positions S: the map says m(I) = sum_{p in S} a_p, so it must be what positions
    contribute (gradient x input, not the gradient). `gaussian` takes away noise n_p, the same for all colours of a
    position since a map has one value for them: m(I) = sum_p n_p a_p, for maps that are gradients, summed over colours.

    b is 1, or, if `scaled`, what makes the score least: E[m d] / E[m^2] with d the drop. Without it only maps on the
    output's scale can be compared. It may be negative: a map and its negative then have one score. Lower is better, 0
    is best; scores of different models do not compare. NaN, if scaled, for an image whose output never changes, or for
    which the map says 0 of all perturbations.

    Parameters:
        perturbation: what is done to the image.
        scaled: whether the map is scaled as suits it best, as the authors do; else it is taken as it is.
        samples: how many perturbations an image.
        largest: the longest side of a square, in positions; below 1, as a share of the image's shorter side. Sides are
            drawn from 1 to this. The authors' are 1 to 10 of 28.
        deviation: of the noise, in the model's normalised space.
        baseline: what the positions of a square become.
        output: what is read of the target class.
        sign: whether negative values count as they are, by magnitude, or as none.
    """
    values = explanation.values(sign)
    if perturbation == "squares":
        drawn = {"samples": samples, "largest": largest}
        taken = explanation.shared(_without_squares, **drawn, baseline=baseline, output=output)
        said = explanation.shared(_squares, **drawn).sums(values)
    else:
        taken = explanation.shared(_with_noise, samples=samples, deviation=deviation, output=output)
        said = torch.stack([(noise * values).sum((1, 2)) for noise in _noise(explanation, samples, deviation)], 1)
    said, taken = said.cpu().double(), taken.cpu().double()  # not every device has float64
    if scaled:
        said = said * ((said * taken).mean(1) / said.square().mean(1))[:, None]
    error = (said - taken).square().mean(1)
    return error.masked_fill((taken == 0).all(1), torch.nan) if scaled else error


def _without_squares(inputs: Inputs, samples: int, largest: Size, baseline: Baseline, output: Output) -> Tensor:
    """How much the output falls without each square, float32 [B,K]."""
    squares = inputs.shared(_squares, samples=samples, largest=largest)
    return drops(inputs, squares, make_baseline(baseline, inputs.x, inputs.model.card), output)


def _squares(inputs: Inputs, samples: int, largest: Size) -> PartSets:
    """Random squares, as sets of positions."""
    height, width = inputs.x.shape[2:]
    longest = part_count(largest, min(height, width))
    if longest > min(height, width):
        raise ParameterError(
            f"largest={largest}: no such square fits on {height}x{width} positions. Give a side of up to "
            f"{min(height, width)}."
        )
    chance = torch.stack([torch.rand(3, samples, generator=g) for g in inputs.generators("squares")], 1)
    side = (chance[0] * longest).long() + 1
    top, left = ((chance[k + 1] * (room + 1 - side)).long() for k, room in enumerate((height, width)))
    rows, columns = (
        _between(torch.arange(length), first[..., None], side[..., None])
        for length, first in ((height, top), (width, left))
    )
    inside = rows[..., :, None] & columns[..., None, :]
    return PartSets(None, inside.flatten(2).to(inputs.x.device), height, width)


def _between(place: Tensor, first: Tensor, count: Tensor) -> Tensor:
    return (first <= place) & (place < first + count)


def _with_noise(inputs: Inputs, samples: int, deviation: float, output: Output) -> Tensor:
    """How much the output falls as each noise is taken away, float32 [B,K]."""
    perturbed = (inputs.x - noise[:, None] for noise in _noise(inputs, samples, deviation))
    return inputs.output(output)[:, None] - inputs.outputs(perturbed, output)


def _noise(inputs: Inputs, samples: int, deviation: float) -> Iterator[Tensor]:
    """One value a position, float32 [B,H,W], a sample at a time; drawn again, it is the same."""
    generators = inputs.generators("gaussian noise")
    for _ in range(samples):
        noise = torch.stack([torch.randn(inputs.x.shape[2:], generator=g) for g in generators])
        yield deviation * noise.to(inputs.x.device)
