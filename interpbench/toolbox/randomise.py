"""Copies of a model in which layers are initialised again.

One layer alone, or all down from the top. A layer is a module with parameters of its own; its
`reset_parameters` draws new ones from a seed made of the run's and the layer's name. So a layer
gets the same weights in every copy, and copies do not depend on each other.

Batch norms. Their scale and shift are parameters like others, and start again at 1 and 0, which
alone changes little. Their running mean and variance are no parameters but measurements of the
data, and those of the trained model are wrong for whatever comes out of a layer that has new
weights. Kept, or reset to 0 and 1, they let the signal die away from layer to layer: with all
layers new, the logits of the shipped `planted` VGG-11 vary over images by 0.2 to 0.5 % and 0.01 to
0.02 % of what the trained model's do (five seeds), instead of by 6 to 8 %, and what is tested is
the death of a signal rather than the loss of what was learnt. So they are measured again, as
training would: in all batch norms that stand behind the lowest layer with new weights, on images
that stand for the data. Those below it, which still see what they always saw, keep theirs.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from interpbench.core.errors import ParameterError
from interpbench.core.layers import hookable
from interpbench.core.seeding import derive
from interpbench.core.shared_passes import Shared
from interpbench.core.types import Model


@dataclass(frozen=True, eq=False)
class Randomised:
    """A copy of a model with new weights in some layers.

    Attributes:
        model: the copy, on the device of the original.
        layer: the lowest layer that has new weights; `model` is the network itself, where it has
            parameters of its own.
        index: its place, 1 for the layer at the top.
    """

    model: Model
    layer: str
    index: int


class Randomiser:
    """Makes randomised copies of a model, which itself is left as it is.

    Attributes:
        layers: the names of the layers that can be initialised again, the one at the top (nearest
            to the logits) first.
        left_out: layers with parameters that do not know how to initialise themselves.
    """

    def __init__(self, model: Model, x: Tensor, seed: int) -> None:
        """Finds the layers in the order in which the network calls them.

        Parameters:
            model: in eval mode.
            x: float32 [N,C,H,W], images that the statistics of batch norms are measured on,
                normalised, on the model's device.
            seed: of the run.

        Raises:
            ParameterError: if no layer can be initialised again.
        """
        self._model, self._x, self._seed = model, x, seed
        order = _from_top(model, x[:1])
        own = [
            name
            for name in order
            if any(True for _ in _module(model, name).parameters(recurse=False))
        ]
        self.layers = [name for name in own if _reset(_module(model, name)) is not None]
        self.left_out = [name or "model" for name in own if name not in self.layers]
        if not self.layers:
            raise ParameterError(
                f"Model {model.card.name!r} has no layer that can be initialised again: no module "
                "has parameters and `reset_parameters`. Choose another model, or ask only what "
                "leaves weights as they are: whether maps depend on the class."
            )
        self._norms = {
            name: order.index(name) for name in order if _has_statistics(_module(model, name))
        }
        self._order = order

    def down_to(self, place: int) -> Randomised:
        """The copy with new weights in so many of the uppermost layers."""
        return self._randomised(self.layers[:place])

    def cascading(self) -> Iterator[Randomised]:
        """From the top down: copies with new weights in one layer, in two, and so on to all."""
        yield from map(self.down_to, range(1, len(self.layers) + 1))

    def independent(self) -> Iterator[Randomised]:
        """Copies with new weights in a single layer each, from the top down."""
        for layer in self.layers:
            yield self._randomised([layer])

    def complete(self) -> Iterator[Randomised]:
        """The copy with new weights in all layers."""
        yield self.down_to(len(self.layers))

    def _randomised(self, layers: Sequence[str]) -> Randomised:
        """A copy with new weights in these layers, the lowest of which comes last."""
        with torch.random.fork_rng(devices=[]):
            # On the CPU, so that weights are the same whatever the device.
            copied = copy.deepcopy(self._model).to("cpu")
            copied.shared = Shared()  # what was computed of the original is not the copy's
            for name in layers:
                torch.manual_seed(derive(self._seed, "sanity", name))
                reset = _reset(_module(copied, name))
                assert reset is not None
                reset()
        copied.to(self._x.device)
        lowest = self._order.index(layers[-1])
        measure_statistics(
            copied, [name for name, place in self._norms.items() if place <= lowest], self._x
        )
        return Randomised(copied, layers[-1] or "model", self.layers.index(layers[-1]) + 1)


def randomised(model: Model, images: Tensor, seed: int, *, down_to: int | None = None) -> Model:
    """A copy of a model with new weights in its uppermost layers, as `Inputs.of_model` makes it.

    Each layer gets the same weights in every copy. The statistics of batch norms that see something
    else now are measured on the images.

    Parameters:
        model: in eval mode; stays as it is.
        images: float32 [R,C,H,W] that stand for the data, normalised, on the model's device.
        seed: of the run.
        down_to: how many of `randomisable_layers`, the one at the top first; None for all.

    Raises:
        ParameterError: if no layer can be initialised again.

    Example:
        >>> from interpbench.testing import wrap
        >>> network = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
        >>> model, images = wrap(network, size=8, classes=2), torch.zeros(4, 3, 8, 8)
        >>> interpbench.randomisable_layers(model, images, 0)
        ('2', '0')
        >>> copied = interpbench.randomised(model, images, 0, down_to=1)
        >>> [torch.equal(copied.layer(n).weight, model.layer(n).weight) for n in ("2", "0")]
        [False, True]
    """
    randomiser = Randomiser(model, images, seed)
    return randomiser.down_to(len(randomiser.layers) if down_to is None else down_to).model


def randomisable_layers(model: Model, images: Tensor, seed: int) -> tuple[str, ...]:
    """The names of the layers that can be initialised again, the one at the top first.

    Arguments, errors and an example are those of `randomised`.

    Example:
        >>> from interpbench.testing import wrap
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
        >>> images = torch.zeros(1, 3, 8, 8)
        >>> interpbench.randomisable_layers(wrap(network, size=8, classes=2), images, 0)
        ('1',)
    """
    return tuple(Randomiser(model, images, seed).layers)


def measure_statistics(model: Model, norms: Collection[str], x: Tensor) -> None:
    """Gives these batch norms the statistics of the images, in one pass over all.

    That is the mean and variance of what each norm sees of them.

    Parameters:
        model: gets the statistics; its mode stays.
        norms: their names in `model.network`.
        x: float32 [N,C,H,W], normalised.
    """
    modules = [model.network.get_submodule(name) for name in norms]
    momentum = {norm: norm.momentum for norm in modules}
    if not modules:
        return
    try:
        for norm in modules:
            norm.training, norm.momentum = True, 1.0  # type: ignore[assignment]
        with torch.no_grad():
            model(x)
    finally:
        for norm in modules:
            norm.training, norm.momentum = False, momentum[norm]


def _from_top(model: Model, x: Tensor) -> list[str]:
    """The names of the network's modules, the last to finish first.

    One that is never called, since its parent reads its weights, stands with the nearest module
    around it that is.
    """
    ended: dict[str, int] = {}

    def note(name: str, *_: object) -> None:
        ended.setdefault(name, len(ended))

    modules = hookable(model.network)
    handles = [module.register_forward_hook(partial(note, name)) for name, module in modules]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()

    def place(name: str) -> int:
        while name not in ended:
            name = name.rpartition(".")[0]
        return ended[name]

    places = [(place(name), registered, name) for registered, (name, _) in enumerate(modules)]
    return [name for *_, name in sorted(places, reverse=True)]


def _module(model: Model, name: str) -> nn.Module:
    return model.network.get_submodule(name)


def _reset(module: nn.Module) -> Callable[[], object] | None:
    """What initialises a module's own parameters; torch's attention keeps it private."""
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _NormBase) and module.running_mean is not None
