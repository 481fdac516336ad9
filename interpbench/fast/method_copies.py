"""The copies of a model that answer for it while a method only calls it.

Forward passes are read off the scoring copy. Gradients at the image come from the network whose
batch norms are folded, which spares their passes over memory on the way back too, if they are
proven to be the plain network's on real images.
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from interpbench.core.errors import first_line
from interpbench.core.memory_format import memory_format_of
from interpbench.core.stand_ins import StandIns
from interpbench.core.types import Model
from interpbench.fast.scoring_copy import Scorer

# Of a gradient's norm. Where rounding turns a ReLU or picks another of two maxima, a gradient
# changes at once, which may happen to few images, but not to half of them.
TOLERANCE, AT_MOST = 1e-4, 0.1


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
    why = ""
    for title, network in _candidates(folded, memory_format):
        try:
            apart = _apart(image_gradients(network, x), expected)
        except Exception as error:
            why = first_line(error)
            continue
        if apart.median() <= TOLERANCE and apart.max() <= AT_MOST:
            return network, f"{title}; apart by {apart.median():.1g} to {apart.max():.1g}"
        why = f"apart by {apart.median():.1g} to {apart.max():.1g}"
    return None, f"of the plain network: those of a folded one are {why}"


def _candidates(
    folded: nn.Module, memory_format: torch.memory_format
) -> Iterator[tuple[str, nn.Module]]:
    """Networks from the cheapest; where areas of one colour make ties, the format decides them."""
    if memory_format != torch.contiguous_format:
        yield "folded, channels last", folded
        folded = copy.deepcopy(folded).to(memory_format=torch.contiguous_format)
    yield "folded", folded


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
