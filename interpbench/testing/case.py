"""A method on a small model, called as the runner does, with all that can be seen of it."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpbench.attribution.attribute import Attempt, Batch, Maps, attribute
from interpbench.core.batch_size import BatchSize
from interpbench.core.errors import MethodError
from interpbench.core.model_guard import Guard
from interpbench.core.types import Model
from interpbench.registry.choosing import choose_dataset, choose_one
from interpbench.registry.discovery import discover
from interpbench.registry.plugin import Configured, Kind

BATCH_SIZE = 16  # images a forward pass, unless a contract says another number
TARGET = (1, 3, 0)  # of the images: each has its own


class NotApplicable(Exception):
    """A contract has nothing to look at on this model; the message says why."""


class Crash(RuntimeError):
    """What a model raises that is told to crash."""


@dataclass(frozen=True)
class Call:
    """What was seen of a method's call.

    Attributes:
        saliency: float32 [B,H,W] on the images' device, as the runner takes it; None if it takes
            nothing from it.
        answers: what the method returned, as it was, for each part of the batch.
        left: what it left behind on the model or in torch's global switches.
        passes: how many images each forward pass held.
        wrote: whether it changed the images or targets that it was given.
        refusal: why the method does not apply to the model, by its own MethodError.
        error: what else was raised: a MethodError about what came back, or anything from inside of
            the method.
    """

    saliency: Tensor | None
    answers: tuple[object, ...]
    left: tuple[str, ...]
    passes: tuple[int, ...]
    wrote: bool
    refusal: str = ""
    error: BaseException | None = None


def load_method(name: str, *paths: str | Path) -> Configured:
    """A method by its name, with parameters as one types them (`occlusion:window=8`).

    Parameters:
        name: of a bundled or installed method, or of one in a file.
        paths: plugin files or folders.

    Raises:
        InterpBenchError: if there is no such file, name or parameter.
    """
    return load_plugin("method", name, *paths)


def load_metric(name: str, *paths: str | Path) -> Configured:
    """A metric by its name, with parameters as one types them (`deletion:steps=8`).

    As `load_method` otherwise.
    """
    return load_plugin("metric", name, *paths)


def load_plugin(kind: Kind, name: str, *paths: str | Path) -> Configured:
    """A plugin of any kind by its name: `method`, `metric`, `model` or `dataset`.

    As `load_method` otherwise.
    """
    registry = discover(paths)
    if kind == "dataset":
        return choose_dataset(registry, name)
    return choose_one(registry, kind, name, "Load")


def maps_of(
    method: Configured,
    model: Model,
    x: Tensor,
    target: Tensor,
    batch: int = BATCH_SIZE,
    seed: int = 0,
) -> Maps:
    """The method's maps as a run would have them, of a model that is left clean.

    Parameters:
        method: with its parameters.
        model: for instance of `wrap` or `linear_model`.
        x: float32 [B,C,H,W].
        target: int64 [B].
        batch: images a forward pass.
        seed: of the run.

    Raises:
        MethodError: if what comes back is no saliency map; and whatever the method itself raises.
        AssertionError: if something is left behind on the model.
    """
    attempt = _attempt(method, model, Batch(x, target, _ids(range(len(x)))), batch, seed)
    if attempt.maps is None:
        assert attempt.error is not None
        raise attempt.error
    assert not attempt.left_behind, (
        f"{method.label} left on the model: {', '.join(attempt.left_behind)}"
    )
    return attempt.maps


def _ids(numbers: Sequence[int]) -> list[str]:
    """Names for images, which seed their chance."""
    return [f"image-{number}" for number in numbers]


def _attempt(method: Configured, model: Model, images: Batch, batch: int, seed: int = 0) -> Attempt:
    """What comes of asking for maps, with changed weights among what is left behind."""
    guard = Guard(model)
    attempt = attribute(method, model, guard, images, seed, BatchSize(batch))
    changed = [f"{name}: value changed" for name in guard.changed_weights()]
    left = dict.fromkeys([*attempt.left_behind, *changed])
    return replace(attempt, left_behind=tuple(left))


class Case:
    """A method and a small model, with three images and a target for each.

    Parameters:
        method: with its parameters.
        name: of the model.
        build: gives the model, the same each time.
    """

    def __init__(self, method: Configured, name: str, build: Callable[[], Model]) -> None:
        self.method = method
        self.name = name
        self.model = build()
        self._build = build
        shape = self.model.card.preparation.shape
        self.x = torch.randn(len(TARGET), *shape, generator=torch.Generator().manual_seed(1))
        self.target = torch.tensor(TARGET) % self.model.card.classes

    @property
    def choice(self) -> Configured:
        """What is tried."""
        return self.method

    def to(self, where: torch.dtype | torch.device) -> "Case":
        """Another case in that precision or on that device."""
        moved = Case(self.method, self.name, self._build)
        moved.model.to(where)
        moved.x = moved.x.to(where)
        moved.target = moved.target.to(moved.x.device)
        return moved

    @cached_property
    def plain(self) -> Call:
        """The call that nothing is special about."""
        return self.call()

    @cached_property
    def again(self) -> Call:
        """Another one like it."""
        return self.call()

    @property
    def saliency(self) -> Tensor:
        """The plain call's maps, [B,H,W]; raises NotApplicable if there are none."""
        return taken(self.plain)

    @cached_property
    def for_one_target(self) -> dict[int, Tensor]:
        """For each target of the images the maps [B,H,W] when all have it.

        Raises as `saliency`.
        """
        return {
            k: taken(self.call(target=torch.full_like(self.target, k)))
            for k in self.target.tolist()
        }

    def call(
        self,
        *,
        order: Sequence[int] | None = None,
        target: Tensor | None = None,
        batch: int = BATCH_SIZE,
        model: Model | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> Call:
        """Calls the method.

        Parameters:
            order: numbers of the images.
            target: int64 [B], of the images by their numbers, if it is another one.
            batch: images a forward pass.
            model: if it is another one.
            before: called right before the method is.
        """
        numbers = list(range(len(self.x)) if order is None else order)
        x, target = self.x[numbers], (self.target if target is None else target)[numbers]
        model = self.model if model is None else model
        witness = _Witness(self.method, before)
        with counted(model.network) as passes:
            attempt = _attempt(witness.method, model, Batch(x, target, _ids(numbers)), batch)
        refused = isinstance(attempt.error, NotApplicable)
        return Call(
            saliency=None if attempt.maps is None else attempt.maps.saliency,
            answers=tuple(witness.answers),
            left=attempt.left_behind,
            passes=tuple(passes),
            wrote=witness.wrote,
            refusal=str(attempt.error) if refused else "",
            error=None if refused else attempt.error,
        )


def taken(call: Call) -> Tensor:
    """The maps of a call, [B,H,W].

    Raises:
        NotApplicable: if it gave none.
    """
    if call.refusal:
        raise NotApplicable(call.refusal)
    if call.saliency is None:
        raise NotApplicable("there is no map to look at, since another contract is broken")
    return call.saliency


class _Witness:
    """Stands in for the method, calls it, and sees what goes in and what comes out."""

    def __init__(self, method: Configured, before: Callable[[], object]) -> None:
        self.answers: list[object] = []
        self.wrote = False
        self._call = method.plugin.call
        self._before = before
        self.method = replace(method, plugin=replace(method.plugin, call=self))

    def __call__(self, model: Model, x: Tensor, target: Tensor, **values: Any) -> object:
        images, targets = x.clone(), target.clone()
        self._before()
        try:
            answer = self._call(model, x, target, **values)
        except MethodError as error:
            raise NotApplicable(str(error)) from error
        self.wrote |= not (torch.equal(x.detach(), images) and torch.equal(target, targets))
        self.answers.append(answer)
        return answer


@contextmanager
def counted(network: nn.Module) -> Iterator[list[int]]:
    """Within this context the list gets the number of images of each forward pass."""
    passes: list[int] = []

    def count(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        passes.append(len([*inputs, *named.values()][0]))

    handle = network.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()


@contextmanager
def crashing(network: nn.Module, first: int) -> Iterator[None]:
    """Within this context forward passes raise in their last layer, from the `first`-th."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    last = linear[-1] if linear else network
    calls = 0

    def crash(module: nn.Module, inputs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls >= first:
            raise Crash(f"the model fails in forward pass {calls}")

    handle = last.register_forward_pre_hook(crash)
    try:
        yield
    finally:
        handle.remove()


def stir() -> None:
    """Puts the global random generators of torch, numpy and Python into a state of its own."""
    torch.manual_seed(97)
    np.random.seed(97)  # noqa: NPY002  it is the global one that is meant
    random.seed(97)


@contextmanager
def stirred() -> Iterator[None]:
    """Within this context they are so, and have drawn a number; afterwards as they were."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    stir()
    torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


class Sealed(nn.Module):
    """A network of which nothing can be seen but its logits.

    Raises:
        NotImplementedError: for images that need gradients.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._logits = lambda x: network(x)  # out of torch's sight

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            raise NotImplementedError("gradients of a black box")
        with torch.no_grad():
            logits: Tensor = self._logits(x)
        return logits
