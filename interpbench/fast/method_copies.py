"""The copies of a model that answer for it while a method only calls it.

Forward passes are read off the scoring copy. Gradients at the image come from the network whose
batch norms are folded, which spares their passes over memory on the way back too, if they are
proven to be the plain network's on real images. It is contiguous: in channels last it would be
faster by a third, but there sums are rounded otherwise, and on an area of one colour another of
several equal maxima would get the gradient.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from interpbench.core.errors import first_line
from interpbench.core.memory_format import memory_format_of
from interpbench.core.stand_ins import StandIns
from interpbench.core.types import Model
from interpbench.fast.scoring_copy import Scorer

TOLERANCE = 1e-3  # of a gradient's norm; rounding that turns a ReLU costs more than rounding alone


def stand_ins(model: Model, scorer: Scorer, x: Tensor, fastest: Tensor) -> tuple[StandIns, str]:
    """Who answers for a model, and in words where gradients come from.

    Parameters:
        model: in eval mode, its weights frozen.
        scorer: its scoring copy, in float32.
        x: float32 [B,C,H,W], contiguous, some of the images that are explained.
        fastest: the same images in the memory format that the scoring copy has.
    """
    plain, memory_format = scorer.traceable().network, memory_format_of(fastest)
    forwards = plain if scorer.fixed_shape else scorer.network
    gradients, said = _gradients(model, scorer, plain, x, memory_format)
    return (
        StandIns(None if forwards is model.network else forwards, gradients, memory_format),
        said,
    )


def _gradients(
    model: Model, scorer: Scorer, folded: nn.Module, x: Tensor, memory_format: torch.memory_format
) -> tuple[nn.Module | None, str]:
    if "folded" not in (scorer.report.batch_norms or ""):
        return None, "of the plain network"
    try:
        expected = image_gradients(model.network, x)
    except Exception as error:  # no gradients flow, or the network fails with them
        return None, f"of the plain network: {first_line(error)}"
    if memory_format != torch.contiguous_format:
        folded = copy.deepcopy(folded).to(memory_format=torch.contiguous_format)
    try:
        apart = _apart(image_gradients(folded, x), expected).amax()
    except Exception as error:
        return None, f"of the plain network: {first_line(error)}"
    if apart <= TOLERANCE:
        return folded, f"folded; apart by up to {apart:.1g}"
    return None, f"of the plain network: those of a folded one are apart by {apart:.1g}"


def image_gradients(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradients of each image's greatest logit, [B,C,H,W].

    Raises:
        RuntimeError: if none flow to the image.
    """
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        score = network(leaf).amax(1).sum()
        (gradient,) = torch.autograd.grad(score, leaf)
    return gradient.detach()


def _apart(found: Tensor, expected: Tensor) -> Tensor:
    """How far gradients are apart, as a share of the norm, float64 [B]."""
    difference, expected = (part.flatten(1).double() for part in (found - expected, expected))
    return difference.norm(dim=1) / expected.norm(dim=1).clamp(min=torch.finfo().tiny)
