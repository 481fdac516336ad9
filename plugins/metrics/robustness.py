"""Does the map stay as it is where the image hardly changes? The method is asked again for each changed image.

None of these asks whether the map is right: a method whose map never changes, as one that ignores the image, is the
best by each. Changed images are drawn for each image by the seed alone, so that all methods see the same ones.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from interpbench import (
    Baseline,
    Explanation,
    Inputs,
    ParameterError,
    Sign,
    layer_activations,
    metric,
)
from interpbench import baseline as make_baseline

AGARWAL = (
    "Agarwal, Johnson, Pawelczyk, Krishna, Saxena, Zitnik, Lakkaraju, Rethinking Stability for Attribution-based "
    "Explanations, arXiv 2203.06877, 2022"
)
Of = Literal["input", "output", "representation"]
ALL = (0.0, float("inf"))
LEAST = 1e-6  # that a move counts as, the paper's epsilon


@metric(
    "max-sensitivity",
    better="lower",
    range=ALL,
    unit="relative change",
    reference="Yeh, Hsieh, Suggala, Inouye, Ravikumar, On the (In)fidelity and Sensitivity of Explanations, NeurIPS "
    "2019",
    aspect="robustness",
)
def max_sensitivity(
    explanation: Explanation, *, radius: PositiveFloat = 0.02, samples: PositiveInt = 10, sign: Sign = "signed"
) -> Tensor:
    """The greatest change of the map, as a share of its norm, under noise on the image.

    max over x' of ||e(x') - e(x)|| / ||e(x)||, x' uniform in a box about x; lower is better, from 0. It is captum's
    `sensitivity_max`; the paper takes the maximum over all the box, and does not divide. A map that never changes wins:
    read it beside a metric that asks the model. NaN for a map of zeros, or where a map of a changed image is not
    finite.

    Parameters:
        radius: of the box, in the units of the model's normalised input.
        samples: changed images, each explained again.
        sign: whether maps are compared as they are, by magnitude, or by their positive values.
    """
    return _changes(explanation, radius, samples, sign).amax(1) / _norm(explanation, sign)


@metric(
    "average-sensitivity",
    better="lower",
    range=ALL,
    unit="relative change",
    reference="Bhatt, Weller, Moura, Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020",
    aspect="robustness",
)
def average_sensitivity(
    explanation: Explanation, *, radius: PositiveFloat = 0.02, samples: PositiveInt = 10, sign: Sign = "signed"
) -> Tensor:
    """The mean change of the map, as a share of its norm, under noise on the image.

    mean over x' of ||e(x') - e(x)|| / ||e(x)||, with the changed images of max-sensitivity; lower is better, from 0. A
    map that never changes wins: read it beside a metric that asks the model. NaN for a map of zeros, or where a map of
    a changed image is not finite.

    Parameters:
        radius: of the box, in the units of the model's normalised input.
        samples: changed images, each explained again.
        sign: whether maps are compared as they are, by magnitude, or by their positive values.
    """
    return _changes(explanation, radius, samples, sign).mean(1) / _norm(explanation, sign)


@metric(
    "lipschitz",
    better="lower",
    range=ALL,
    unit=lambda scaled: "relative change a unit of input" if scaled else "change a unit of input",
    reference="Alvarez-Melis, Jaakkola, On the Robustness of Interpretability Methods, arXiv 1806.08049, 2018",
    aspect="robustness",
)
def lipschitz(
    explanation: Explanation,
    *,
    radius: PositiveFloat = 0.02,
    samples: PositiveInt = 10,
    scaled: bool = True,
    sign: Sign = "signed",
) -> Tensor:
    """The greatest change of the map for the change of the image: its local Lipschitz constant, from below.

    max over x' of ||e(x') - e(x)|| / ||x' - x||, x' uniform in a box about x; lower is better, from 0. A map that never
    changes wins: read it beside a metric that asks the model. NaN where a map of a changed image is not finite, and, if
    scaled, for a map of zeros.

    Parameters:
        radius: of the box, in the units of the model's normalised input.
        samples: changed images, each explained again; the paper searches the box.
        scaled: whether it is divided by ||e(x)||, so that methods whose maps have other scales compare. The paper's is
            not.
        sign: whether maps are compared as they are, by magnitude, or by their positive values.
    """
    moves = explanation.shared(_moves, radius=radius, samples=samples)
    greatest = (_changes(explanation, radius, samples, sign) / moves).amax(1)
    return greatest / _norm(explanation, sign) if scaled else greatest


@metric(
    "relative-input-stability",
    better="lower",
    range=ALL,
    unit="ratio of relative changes",
    reference=AGARWAL,
    aspect="robustness",
)
def relative_input_stability(
    explanation: Explanation,
    *,
    radius: PositiveFloat = 0.02,
    samples: PositiveInt = 10,
    floor: PositiveFloat = 0.001,
    sign: Sign = "signed",
) -> Tensor:
    """The greatest relative change of the map for the relative change of the image.

    max over x' of ||(e(x) - e(x')) / e(x)|| / max(||(x - x') / x||, 1e-6), each value divided by its own, over those
    x', uniform in a box about x, that the model gives the class of x; lower is better, from 0. Values near 0 decide it:
    in the map they raise the score, in the image they lower it. A map that never changes wins. NaN where no x' keeps
    the class, for a map or image of zeros, or where a map of a changed image is not finite.

    Parameters:
        radius: of the box, in the units of the model's normalised input.
        samples: changed images, each explained again.
        floor: the least magnitude that is divided by, as a share of the greatest of the map or image. The authors' code
            takes 0.001 itself, and for any negative value too.
        sign: whether maps are compared as they are, by magnitude, or by their positive values.
    """
    return _stability(explanation, "input", radius, samples, floor, sign)


@metric(
    "relative-output-stability", better="lower", range=ALL, unit="relative change a unit of logit", reference=AGARWAL,
    aspect="robustness",
)
def relative_output_stability(
    explanation: Explanation,
    *,
    radius: PositiveFloat = 0.02,
    samples: PositiveInt = 10,
    floor: PositiveFloat = 0.001,
    sign: Sign = "signed",
) -> Tensor:
    """The greatest relative change of the map for the change of the model's logits.

    max over x' of ||(e(x) - e(x')) / e(x)|| / max(||h(x) - h(x')||, 1e-6), h all the logits, each value of the map
    divided by its own, over those x', uniform in a box about x, that the model gives the class of x; lower is better,
    from 0. Values of the map near 0 decide it. A map that never changes wins. NaN where no x' keeps the class, for a
    map of zeros, or where a map of a changed image is not finite.

    Parameters:
        radius: of the box, in the units of the model's normalised input.
        samples: changed images, each explained again.
        floor: the least magnitude that is divided by, as a share of the map's greatest.
        sign: whether maps are compared as they are, by magnitude, or by their positive values.
    """
    return _stability(explanation, "output", radius, samples, floor, sign)


@metric(
    "relative-representation-stability", better="lower", range=ALL, unit="ratio of relative changes", reference=AGARWAL,
    aspect="robustness",
)
def relative_representation_stability(
    explanation: Explanation,
    *,
    radius: PositiveFloat = 0.02,
    samples: PositiveInt = 10,
    floor: PositiveFloat = 0.001,
    sign: Sign = "signed",
) -> Tensor:
    """The greatest relative change of the map for the relative change of the layer that CAM methods look at.

    max over x' of ||(e(x) - e(x')) / e(x)|| / max(||(L(x) - L(x')) / L(x)||, 1e-6), L the maps of the model's target
    layer, each value divided by its own, over those x', uniform in a box about x, that the model gives the class of x;
    lower is better, from 0. Values near 0 decide it: in the map they raise the score, in the layer, where a ReLU makes
    many, they lower it. A map that never changes wins. NaN where no x' keeps the class, for a map or layer of zeros, or
    where a map of a changed image is not finite.

    Parameters:
        radius: of the box, in the units of the model's normalised input.
        samples: changed images, each explained again.
        floor: the least magnitude that is divided by, as a share of the greatest of the map or layer.
        sign: whether maps are compared as they are, by magnitude, or by their positive values.
    """
    return _stability(explanation, "representation", radius, samples, floor, sign)


@metric(
    "continuity",
    better="lower",
    range=ALL,
    unit=lambda scaled: "relative change a unit of input" if scaled else "change a unit of input",
    reference="Montavon, Samek, Müller, Methods for interpreting and understanding deep neural networks, Digital "
    "Signal Processing 2018",
    aspect="robustness",
)
def continuity(
    explanation: Explanation,
    *,
    steps: PositiveInt = 10,
    pixels: PositiveInt = 1,
    baseline: Baseline = "zero",
    scaled: bool = True,
    sign: Sign = "signed",
) -> Tensor:
    """The greatest change of the map for the change of the image, as the image moves to the right.

    max over k of ||e(x_k) - e(x_{k-1})||_1 / ||x_k - x_{k-1}||_2, x_k the image after k steps; lower is better, from 0.
    The paper takes the maximum over all pairs of images. A map that stays in its place while the image moves wins: read
    it beside a metric that asks the model. NaN where moving changes nothing, or a map of a moved image is not finite,
    and, if scaled, for a map of zeros.

    Parameters:
        steps: moved images, each explained again.
        pixels: of the input, that each step moves the image by.
        baseline: what moves in from the left.
        scaled: whether it is divided by ||e(x)||_1, so that methods whose maps have other scales compare. The paper's
            is not.
        sign: whether maps are compared as they are, by magnitude, or by their positive values.
    """
    width = explanation.x.shape[3]
    if steps * pixels >= width:
        raise ParameterError(
            f"steps={steps} of pixels={pixels} move an image of {width} columns by {steps * pixels}: nothing of it is "
            f"left. Give steps and pixels whose product is less than {width}."
        )
    fill = make_baseline(baseline, explanation.x, explanation.model.card)
    images, maps = [explanation.x], [_maps(explanation, sign)]
    for moved in range(pixels, steps * pixels + 1, pixels):
        images.append(torch.cat([fill[..., :moved], explanation.x[..., :-moved]], dim=3))
        maps.append(_maps(explanation, sign, images[-1]))
    moves = torch.stack([_flat(b - a).norm(dim=1) for a, b in pairwise(images)], 1)
    changes = torch.stack([(b - a).norm(p=1, dim=1) for a, b in pairwise(maps)], 1)
    greatest = _greatest(changes / moves, moves > 0)
    return greatest / _norm(explanation, sign, p=1) if scaled else greatest


def _flat(values: Tensor) -> Tensor:
    """One row an image, float64 on the CPU, since not every device has it."""
    return values.flatten(1).cpu().double()


def _maps(explanation: Explanation, sign: Sign, x: Tensor | None = None) -> Tensor:
    """The maps, or those of other images, float64 [B,H·W]; NaN where a value is not finite."""
    saliency = explanation.saliency if x is None else explanation.explain(x)
    return _flat(explanation.values(sign, saliency.where(saliency.isfinite(), torch.nan)))


def _norm(explanation: Explanation, sign: Sign, p: int = 2) -> Tensor:
    """The norm of the maps, float64 [B]; NaN for 0."""
    norm = _maps(explanation, sign).norm(p=p, dim=1)
    return norm.where(norm > 0, torch.nan)


def _neighbours(inputs: Inputs, radius: float, samples: int) -> Iterator[Tensor]:
    """So many times the images with noise, uniform in -radius..radius; the same whenever it is asked for."""
    generators = inputs.generators("neighbours")
    for _ in range(samples):
        noise = [torch.empty(inputs.x.shape[1:]).uniform_(-radius, radius, generator=g) for g in generators]
        yield inputs.x + torch.stack(noise).to(inputs.x.device)


def _changes(explanation: Explanation, radius: float, samples: int, sign: Sign) -> Tensor:
    """How far the maps of the neighbours are from the map, float64 [B,K]."""
    before = _maps(explanation, sign)
    neighbours = _neighbours(explanation, radius, samples)
    return torch.stack([(_maps(explanation, sign, x) - before).norm(dim=1) for x in neighbours], 1)


def _moves(inputs: Inputs, *, radius: float, samples: int) -> Tensor:
    """How far the neighbours are, float64 [B,K]."""
    before = _flat(inputs.x)
    return torch.stack([(_flat(x) - before).norm(dim=1) for x in _neighbours(inputs, radius, samples)], 1)


def _stability(explanation: Explanation, of: Of, radius: float, samples: int, floor: float, sign: Sign) -> Tensor:
    """The greatest relative change of the map for the move of what is asked for, float64 [B]."""
    moves, kept = explanation.shared(_relative_moves, of=of, radius=radius, samples=samples, floor=floor)
    before = _maps(explanation, sign)
    neighbours = _neighbours(explanation, radius, samples)
    changes = [_relative(before, _maps(explanation, sign, x), floor) for x in neighbours]
    return _greatest(torch.stack(changes, 1) / moves, kept)


def _relative_moves(inputs: Inputs, *, of: Of, radius: float, samples: int, floor: float) -> tuple[Tensor, Tensor]:
    """How far the model's input, output or target layer moves, float64 [B,K], and whether its class stays, bool [B,K].

    Parameters:
        floor: see `_relative`; for an output, whose moves are absolute, it means nothing.
    """
    before, after = inputs.logits([inputs.x]).cpu(), inputs.logits(_neighbours(inputs, radius, samples)).cpu()
    kept = after.argmax(2) == before.argmax(2)
    if of == "output":
        moves = (after.double() - before.double()).norm(dim=2)
    else:
        seen = _flat if of == "input" else lambda x: _flat(layer_activations(inputs.model, None, x))
        start = seen(inputs.x)
        neighbours = _neighbours(inputs, radius, samples)
        moves = torch.stack([_relative(start, seen(x), floor) for x in neighbours], 1)
    return moves.clamp(min=LEAST), kept


def _relative(before: Tensor, after: Tensor, floor: float) -> Tensor:
    """The norm of the change, each value divided by its own, float64 [B]; NaN where all are 0."""
    magnitudes = before.abs()
    greatest = magnitudes.amax(1, keepdim=True)
    least = floor * greatest.where(greatest > 0, torch.nan)
    return ((after - before) / magnitudes.clamp(min=least)).norm(dim=1)


def _greatest(ratios: Tensor, counted: Tensor) -> Tensor:
    """The greatest of the ratios [B,K] that count, [B]; NaN if none does."""
    return ratios.masked_fill(~counted, -torch.inf).amax(1).masked_fill(~counted.any(1), torch.nan)
