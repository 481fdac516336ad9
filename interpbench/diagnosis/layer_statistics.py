"""How large activations and gradients are, layer by layer: where a network is dead or saturated.

What He et al. (Delving Deep into Rectifiers, ICCV 2015) and Glorot and Bengio (Understanding the
difficulty of training deep feedforward neural networks, AISTATS 2010) look at: whether the spread
of activations and of gradients lasts from the first layer to the last.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from interpbench.core.errors import MethodError
from interpbench.core.layers import as_maps, hookable
from interpbench.core.types import Model
from interpbench.diagnosis.examination import Finding

IMAGES = 32  # over which units may fire
NEAR = 0.01  # of its range: so near to its limit an activation is saturated
MUCH = 0.5  # a share of dead or saturated units that is said
# The gradient of a layer counts as vanished, or exploded, where its length is so many times less,
# or more, than that of the layers behind it. Each factor is far beyond what trained networks have.
VANISHED, EXPLODED = 1e-4, 1e4

# Modules with limits: the lower one, if it counts, and the upper one. A rectifier's 0 is no limit
# of that kind; what never leaves it is dead.
_LIMITS: dict[type[nn.Module], tuple[float | None, float]] = {
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.Tanh: (-1.0, 1.0),
    nn.ReLU6: (None, 6.0),
}


@dataclass(frozen=True)
class LayerStatistics:
    """What a layer gives, and what gradient comes back to it, over all images.

    Attributes:
        layer: its dotted name.
        kind: its class.
        shape: of what it gives of an image.
        mean, std: of all the numbers that it gives.
        gradient_mean, gradient_std: of the gradient of each image's greatest logit at what the
            layer gives; NaN where none comes back.
        gradient_length: of that gradient of an image, its root mean square over the images.
        dead: of a rectifier, the share of its units (channels of maps, else features) that never
            fired, at any position of any image; NaN for other layers.
        saturated: of an activation with limits, the share of numbers within a hundredth of its
            range from one; NaN for other layers.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    mean: float
    std: float
    gradient_mean: float
    gradient_std: float
    gradient_length: float
    dead: float
    saturated: float


def layer_statistics(model: Model, x: Tensor) -> tuple[LayerStatistics, ...]:
    """Of each layer without layers of its own, in the order in which they are called.

    A layer that is called several times counts all of its calls together.

    Parameters:
        model: is left as it was. Activations that are functions rather than modules are not seen.
        x: float32 [B,C,H,W], normalised, on the model's device; `model.batch_size` at a time.
    """
    gathered: dict[str, _Gathered] = {}
    with _watching(model.network, gathered, x.shape[2:]), torch.enable_grad():
        for batch in x.detach().split(model.batch_size):
            for layer in gathered.values():
                layer.begin()
            logits = model.network(batch.clone().requires_grad_())
            if isinstance(logits, Tensor) and logits.ndim == 2 and logits.requires_grad:
                logits.amax(1).sum().backward()
    return tuple(layer.statistics() for layer in gathered.values())


def findings_of(layers: Sequence[LayerStatistics]) -> tuple[Finding, ...]:
    """What of the layers a user should know; none of it rules methods out."""
    found = []
    dead = {each.layer: each.dead for each in layers if each.dead >= MUCH}
    if dead:
        found.append(
            Finding(
                "dead units",
                tuple(dead),
                f"{_shares(dead)} of the units never fire on these images",
                "Look at biases that are far below zero, a learning rate that was too high, or "
                "weights that are zero.",
            )
        )
    saturated = {each.layer: each.saturated for each in layers if each.saturated >= MUCH}
    if saturated:
        found.append(
            Finding(
                "saturated units",
                tuple(saturated),
                f"{_shares(saturated)} of the activations are at a limit, where the slope is "
                "nearly zero",
                "Look at weights or inputs that are too large.",
            )
        )
    return (*found, *_gradients(layers))


def _shares(shares: dict[str, float]) -> str:
    low, high = min(shares.values()), max(shares.values())
    return f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"


def _gradients(layers: Sequence[LayerStatistics]) -> Iterator[Finding]:
    """Whether the gradient gets lost, or grows beyond measure, on its way back."""
    lengths = [each.gradient_length for each in layers]
    ratios = {}
    for i, each in enumerate(layers):
        behind = max((length for length in lengths[i:] if not math.isnan(length)), default=0.0)
        if behind > 0 and not math.isnan(lengths[i]):
            ratios[each.layer] = lengths[i] / behind
    vanished = tuple(name for name, ratio in ratios.items() if ratio < VANISHED)
    if vanished:
        least = min(ratios[name] for name in vanished)
        yield Finding(
            "vanishing gradient",
            vanished,
            f"the gradient shrinks on its way back, to {least:.1g} of its length",
            "Scale the initial weights by the layers' inputs (He, Glorot), or normalise.",
        )
    known = [length for length in lengths if not math.isnan(length) and length > 0]
    last = known[-1] if known else 0.0
    exploded = tuple(
        each.layer for each in layers if last > 0 and each.gradient_length > EXPLODED * last
    )
    if exploded:
        most = max(each.gradient_length for each in layers if each.layer in exploded)
        yield Finding(
            "exploding gradient",
            exploded,
            f"the gradient grows on its way back, to {most / last:.1g} times its length",
            "Scale the initial weights by the layers' inputs (He, Glorot), or normalise.",
        )


class _Sums:
    """Of numbers that come in parts, their mean and their spread."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._squares = 0.0

    def add(self, values: Tensor) -> None:
        values = values.detach().double()
        self._count += values.numel()
        self._sum += float(values.sum())
        self._squares += float(values.square().sum())

    def mean_and_std(self) -> tuple[float, float]:
        if not self._count:
            return math.nan, math.nan
        mean = self._sum / self._count
        return mean, math.sqrt(max(0.0, self._squares / self._count - mean**2))


class _Gathered:
    """What has been seen of a layer."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self._squares: list[Tensor] = []  # a batch each: of the lengths of its images' gradients
        self._begun = False
        self._name, self._module = name, module
        self._shape: tuple[int, ...] = ()
        self._given, self._gradient = _Sums(), _Sums()
        self._fired: Tensor | None = None
        self._saturated = _Sums()

    def begin(self) -> None:
        """Another batch follows."""
        self._begun = False

    def see(self, output: Tensor, image: Sequence[int]) -> None:
        """Takes down what the layer gives, and its gradient when it comes."""
        values = output.detach()
        self._shape = tuple(values.shape[1:])
        self._given.add(values)
        if _rectifies(self._module):
            fired = _by_unit(values > 0, image)
            self._fired = fired if self._fired is None else self._fired | fired
        limits = _limits(self._module)
        if limits is not None:
            low, high = limits
            margin = NEAR * (high - (low or 0.0))
            near = values >= high - margin
            self._saturated.add(near if low is None else near | (values <= low + margin))
        if output.requires_grad:
            if not self._begun:
                self._squares.append(torch.zeros(len(values), dtype=torch.float64))
                self._begun = True
            output.register_hook(self._note_gradient)

    def _note_gradient(self, gradient: Tensor) -> None:
        self._gradient.add(gradient)
        self._squares[-1] += gradient.detach().double().square().flatten(1).sum(1).cpu()

    def statistics(self) -> LayerStatistics:
        mean, std = self._given.mean_and_std()
        gradient_mean, gradient_std = self._gradient.mean_and_std()
        length = math.nan
        if not math.isnan(gradient_std):
            length = float(torch.cat(self._squares).mean().sqrt())
        dead = math.nan if self._fired is None else float((~self._fired).double().mean())
        return LayerStatistics(
            self._name,
            type(self._module).__name__,
            self._shape,
            mean,
            std,
            gradient_mean,
            gradient_std,
            length,
            dead,
            self._saturated.mean_and_std()[0],
        )


@contextmanager
def _watching(
    network: nn.Module, gathered: dict[str, _Gathered], image: Sequence[int]
) -> Iterator[None]:
    """Within this context each layer without layers of its own is seen; images are h x w."""

    def watch(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and output.ndim > 1:
            if name not in gathered:
                gathered[name] = _Gathered(name, module)
            gathered[name].see(output, image)

    handles = [
        module.register_forward_hook(partial(watch, name))
        for name, module in hookable(network)
        if not list(module.children())
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _rectifies(module: nn.Module) -> bool:
    """Whether it is a ReLU, or one that ends at a greatest value."""
    hard = isinstance(module, nn.Hardtanh) and module.min_val == 0
    return isinstance(module, nn.ReLU) or hard


def _limits(module: nn.Module) -> tuple[float | None, float] | None:
    if isinstance(module, nn.Hardtanh) and not isinstance(module, nn.ReLU6):
        return (None if module.min_val == 0 else module.min_val), module.max_val
    return _LIMITS.get(type(module))


def _by_unit(fired: Tensor, image: Sequence[int]) -> Tensor:
    """Which units have fired anywhere, bool [units]: channels of maps, features of all else."""
    if fired.ndim == 4:
        try:
            return as_maps(fired, image).transpose(0, 1).flatten(1).any(1)
        except MethodError:
            return fired.transpose(0, 1).flatten(1).any(1)
    return fired.flatten(0, -2).any(0)
