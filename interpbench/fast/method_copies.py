"""The copies of a model that answer for it while a method only calls it.

Forward passes are read off the scoring copy. Gradients at the image come from the network whose
batch norms are folded, which spares their passes over memory on the way back too, if they are
proven to be the plain network's on real images; and from a network folded likewise what methods
look at or change by the names of layers. In channels last it is faster still by a third, but there
sums are rounded otherwise: on an area of one colour another of several equal maxima would get the
gradient, and what is zero but for rounding would pass a ReLU or not. So it has that format only
where nothing is chosen among values, and every convolution adds something of its own; and where
methods give activations rules, which may choose, never.

In a lower precision, where a user asks for it, both come from the copy in that precision.
"""

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from interpbench.core.errors import first_line
from interpbench.core.memory_format import memory_format_of
from interpbench.core.stand_ins import StandIn, StandIns
from interpbench.core.types import Model
from interpbench.fast.folded_layers import equal_layers, folded_in_place
from interpbench.fast.scoring_copy import Scorer

TOLERANCE = 1e-3  # of a gradient's norm; rounding that turns a ReLU costs more than rounding alone
ROUGH = 0.5  # of it, in a lower precision
PLAIN = "of the plain network"
LAYERS = "; layers too"
CHOOSING = {
    "max", "min", "amax", "amin", "aminmax", "maximum", "minimum", "fmax", "fmin", "argmax",
    "argmin", "cummax", "cummin", "sort", "msort", "argsort", "topk", "kthvalue", "median",
    "nanmedian", "mode",
}  # fmt: skip


def stand_ins(
    model: Model, scorer: Scorer, x: Tensor, fastest: Tensor, decided: str = ""
) -> tuple[StandIns, str]:
    """Who answers for a model, and in words where gradients and layers come from.

    Parameters:
        model: in eval mode, its weights frozen.
        scorer: its scoring copy, in the precision that its stand-ins are to have.
        x: float32 [B,C,H,W], contiguous, some of the images that are explained.
        fastest: the same images in the memory format that the scoring copy has.
        decided: these words, where they were found before: nothing is proven once more.
    """
    memory_format = memory_format_of(fastest)
    traceable = scorer.traceable().network
    network = traceable if scorer.fixed_shape else scorer.network
    forwards = None
    if network is not model.network:
        forwards = StandIn(network, memory_format, scorer.dtype)
    gradients, said = _gradients(model, scorer, x, memory_format, decided)
    if gradients is None or gradients.dtype != torch.float32:
        return StandIns(forwards, gradients), said
    by_layers: StandIn | None = None
    layers: dict[nn.Module, nn.Module] = {}
    if not decided or decided.endswith(LAYERS):
        by_layers, layers = _with_layers(model.network, x, gradients.memory_format)
        said = said.removesuffix(LAYERS) + (LAYERS if layers else "")
    return StandIns(forwards, gradients, _under_rules(gradients), by_layers, layers), said


def _under_rules(gradients: StandIn) -> StandIn:
    """The same network as gradients come from: contiguous, since rules choose by values."""
    if gradients.memory_format == torch.contiguous_format:
        return gradients
    return _contiguous(gradients.network)


def _with_layers(
    network: nn.Module, x: Tensor, memory_format: torch.memory_format
) -> tuple[StandIn | None, dict[nn.Module, nn.Module]]:
    """A folded network that has a network's layers, and which of them are the same on real images.

    Where the gradients at the images are the same too.
    """
    try:
        stand_in = StandIn(folded_in_place(network).to(memory_format=memory_format), memory_format)
        proof = _SameGradients(network, x)
        if not proof.accepts(image_gradients(stand_in, x), TOLERANCE):
            return None, {}
        return stand_in, equal_layers(network, stand_in.network, stand_in, x[:1])
    except Exception:  # it cannot be traced or copied: then methods look at the network itself
        return None, {}


def _contiguous(network: nn.Module) -> StandIn:
    return StandIn(copy.deepcopy(network).to(memory_format=torch.contiguous_format))


def _gradients(
    model: Model, scorer: Scorer, x: Tensor, memory_format: torch.memory_format, decided: str
) -> tuple[StandIn | None, str]:
    network, is_lower = scorer.traceable().network, scorer.dtype != torch.float32
    if decided.startswith(PLAIN):
        return None, decided
    if not is_lower and "folded" not in (scorer.report.batch_norms or ""):
        return None, PLAIN
    try:
        copies = _copies(network, x, memory_format, scorer.dtype)
        for each in copies:
            if decided.split(";")[0] == _name(each):
                return each, decided
        proof, why = _SameGradients(model.network, x), ""
        for each in copies:
            found = image_gradients(each, x)
            apart = _apart(found, proof.expected)
            if proof.accepts(found, ROUGH if is_lower else TOLERANCE):
                return each, f"{_name(each)}; apart by up to {apart:.1g}"
            why = f"{PLAIN}: those of a copy, {_name(each)}, are apart by {apart:.1g}"
    except Exception as error:  # no gradients flow, or the network fails with them
        return None, f"{PLAIN}: {first_line(error)}"
    return None, why


def _copies(
    network: nn.Module, x: Tensor, memory_format: torch.memory_format, dtype: torch.dtype
) -> list[StandIn]:
    """The network in the formats that its gradients may be computed in, the fastest first."""
    contiguous = torch.contiguous_format
    if dtype != torch.float32 or memory_format == contiguous:
        return [StandIn(network, memory_format, dtype)]
    folded = _contiguous(network)
    if not all(_adds_something(module) for module in network.modules()) or _chooses(folded, x):
        return [folded]
    return [StandIn(network, memory_format), folded]


def _name(stand_in: StandIn) -> str:
    if stand_in.dtype != torch.float32:
        return str(stand_in.dtype).removeprefix("torch.")
    last = stand_in.memory_format == torch.channels_last
    return "folded, in channels last" if last else "folded"


def _adds_something(module: nn.Module) -> bool:
    """Whether it is no convolution whose sums could be zero where an image is of one colour."""
    return not isinstance(module, nn.modules.conv._ConvNd) or module.bias is not None


class _Operations(TorchDispatchMode):
    """Takes down the names of all that torch does."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def _chooses(network: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether one of several values is chosen somewhere, which several may be equal."""
    with _Operations() as operations:
        network(x[:1])
    return any(
        not name.startswith("clamp") and not CHOOSING.isdisjoint(name.split("_"))
        for name in operations.names
    )


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


class _SameGradients:
    """The gradients of real images, which a copy must give too, as well as the network itself does.

    Where an activation's input is all but 0, rounding decides whether a ReLU lets its gradient
    back: then the network's own gradients are off, and a copy's may be off as much.
    """

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        self._network, self._x = network, x
        self.expected = image_gradients(network, x)

    def accepts(self, found: Tensor, allowed: float) -> bool:
        """Whether they are the network's, up to a share of the norm, or no farther from exact."""
        if _apart(found, self.expected) <= allowed:
            return True
        own = _apart(self.expected, self._exact)
        return allowed < own < ROUGH and _apart(found, self._exact) <= own

    @cached_property
    def _exact(self) -> Tensor:
        """In double precision."""
        return image_gradients(copy.deepcopy(self._network).double(), self._x.double())


def _apart(found: Tensor, expected: Tensor) -> float:
    """How far gradients are apart at most, as a share of an image's norm."""
    difference, size = (
        part.flatten(1).norm(dim=1)
        for part in (found.double() - expected.double(), expected.double())
    )
    return float((difference / size.clamp(min=torch.finfo().tiny)).amax())
