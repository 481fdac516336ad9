"""The ascent: an image for each unit, changed step by step so that the unit answers more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interpbench.core.preparation import Preparation
from interpbench.core.seeding import derive
from interpbench.core.types import colour, with_channels
from interpbench.studies.visualisation.canvas import Canvas, canvas_channels
from interpbench.studies.visualisation.units import Answering, Unit
from interpbench.studies.visualisation.views import Views, seen
from interpbench.toolbox.backward_rules import Operation, run_with_rules, with_backward

RATE = 0.05  # Adam's, as in Lucid


@dataclass(frozen=True)
class Ascent:
    """How images are made.

    Attributes:
        steps: of the ascent.
        height, width: of the images, in pixels.
        rate: length of Adam's steps.
        views: how images are moved, scaled and turned, anew for each step.
        seed: of the images that it begins with, and of the views.
    """

    steps: int
    height: int
    width: int
    rate: float
    views: Views
    seed: int


@dataclass(frozen=True, eq=False)
class Climbed:
    """What an ascent came to.

    Attributes:
        unit: what was to answer.
        image: float32 [H,W,C] in 0..1, C 3 or 1.
        by_step: what the unit said of the view of each step, float64 [steps].
        start: what it says of the image that the ascent began with, nearly grey noise.
        reached: what it says of the image.
    """

    unit: Unit
    image: np.ndarray
    by_step: np.ndarray
    start: float
    reached: float


def climb(
    answering: Answering,
    units: Sequence[Unit],
    ascent: Ascent,
    device: torch.device,
    tell: Callable[[int], object] = lambda images: None,
) -> list[Climbed]:
    """An image for each unit of one layer, all at once.

    Chance is drawn for each unit by itself.

    Parameters:
        answering: what the layer says.
        units: of that layer.
        ascent: how.
        device: where the model is.
        tell: is told after each step how many images have made it.
    """
    made = answering.model.card.preparation
    names = [(unit.layer, unit.index, unit.objective) for unit in units]
    generators = [
        torch.Generator().manual_seed(derive(ascent.seed, "visualise", *name)) for name in names
    ]
    canvas = Canvas(canvas_channels(made), ascent.height, ascent.width, generators, device)
    optimiser = torch.optim.Adam([canvas.coefficients], lr=ascent.rate)
    start = _said(answering, units, canvas, made)
    by_step = np.empty((len(units), ascent.steps))
    for step in range(ascent.steps):
        view = seen(canvas.images(), ascent.views, generators)
        said, gradient = _slope(answering, units, as_input(view, made), canvas.coefficients)
        canvas.coefficients.grad = -gradient
        optimiser.step()
        by_step[:, step] = said.cpu().numpy()
        tell(len(units))
    reached = _said(answering, units, canvas, made)
    images = canvas.images().detach().permute(0, 2, 3, 1).cpu().numpy()
    return [
        Climbed(unit, images[i], by_step[i], start[i], reached[i]) for i, unit in enumerate(units)
    ]


def as_input(images: Tensor, preparation: Preparation) -> Tensor:
    """Images [B,C,H,W] in 0..1 as a model's input, with a gradient."""
    channels = with_channels(images.permute(0, 2, 3, 1), preparation).permute(0, 3, 1, 2)
    mean, std = (colour(values, images.device) for values in (preparation.mean, preparation.std))
    return ((channels - mean) / std).contiguous()


@torch.no_grad()
def _said(
    answering: Answering, units: Sequence[Unit], canvas: Canvas, made: Preparation
) -> list[float]:
    said: list[float] = answering.of(units, as_input(canvas.images(), made)).tolist()
    return said


def _slope(
    answering: Answering, units: Sequence[Unit], x: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """What the units say of x, and the gradient of that.

    A unit that says nothing has none, and would never begin to: for it rectifiers let through what
    would raise them, as Lucid's do in the first steps.
    """
    said = answering.of(units, x)
    (gradient,) = torch.autograd.grad(said.sum(), coefficients, retain_graph=True)
    silent = ~gradient.flatten(1).any(1)
    if silent.any():
        kept: list[Tensor] = []

        def network(x: Tensor) -> Tensor:
            kept.append(answering.of(units, x))
            return kept[-1]

        raised = run_with_rules(network, x, dict.fromkeys(RECTIFIERS, _raised), method="visualise")
        (other,) = torch.autograd.grad(raised.sum(), coefficients)
        gradient[silent] = other[silent]
    return said.detach(), gradient


RECTIFIERS = ("relu", "relu6", "hardtanh")


def _raised(operation: Operation) -> Tensor:
    """A rectifier that is as any other, unless it stops the whole gradient of an image.

    Then it lets through what would raise what is cut off.
    """
    x = operation.arguments[0]
    output = operation(x)

    def back(gradient: Tensor) -> list[Tensor]:
        plain = gradient * ((output == x) & (x != 0))
        raising = gradient * ((x < output) & (gradient > 0))
        stopped = ~plain.flatten(1).any(1)
        return [torch.where(stopped.view(-1, *[1] * (x.ndim - 1)), raising, plain)]

    return with_backward(output, [x], back)
