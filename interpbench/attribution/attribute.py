"""Calls a method safely: guarded, seeded, halved on out-of-memory, its answer checked."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.core.coarse_maps import enlarged
from interpbench.core.errors import MethodError
from interpbench.core.model_guard import Guard
from interpbench.core.seeding import derive
from interpbench.core.stand_ins import StandIns, standing_in
from interpbench.core.types import Model
from interpbench.registry.plugin import Configured


@dataclass(frozen=True)
class Batch:
    """Images to explain.

    Attributes:
        x: float32 [B,C,H,W], normalised.
        target: int64 [B], the logits to explain.
        ids: of the images; chance is seeded by them.
        name: of these images and targets, under which methods share what they compute of them; None
            shares nothing.
    """

    x: Tensor
    target: Tensor
    ids: Sequence[str]
    name: Hashable = None


@dataclass(frozen=True)
class Maps:
    """A batch of maps.

    Attributes:
        saliency: float32 [B,H,W].
        constant, nonfinite: bool [B], the maps that are no answer.
    """

    saliency: Tensor
    constant: Tensor
    nonfinite: Tensor

    @classmethod
    def of_search(cls, saliency: Tensor) -> "Maps":
        """Maps [B,H,W] that are known to be finite and not constant."""
        neither = torch.zeros(len(saliency), dtype=torch.bool, device=saliency.device)
        return cls(saliency, neither, neither)

    @property
    def valid(self) -> Tensor:
        """bool [B]."""
        return ~(self.constant | self.nonfinite)

    @property
    def signed(self) -> Tensor:
        """bool [B], the valid maps that hold a negative value."""
        return self.valid & (self.saliency.amin((1, 2)) < 0)


@dataclass(frozen=True)
class Attempt:
    """What came of asking a method for maps.

    Attributes:
        maps: of the batch, or None if it failed.
        error: why it failed: a MethodError if what came back is no saliency map, else what the
            method raised.
        left_behind: what the method left on the model, which was undone; also if it failed.
    """

    maps: Maps | None
    error: BaseException | None = None
    left_behind: tuple[str, ...] = ()


def attribute(
    method: Configured,
    model: Model,
    guard: Guard,
    batch: Batch,
    seed: int,
    batch_size: BatchSize,
    stand_ins: StandIns | None = None,
) -> Attempt:
    """Asks a method for the maps of a batch. Raises nothing that the method raises.

    Parameters:
        method: the plugin with its parameters.
        model, guard: the model, and who watches over it.
        batch: the images. The method gets a copy.
        seed: of the run.
        batch_size: images a forward pass; halved on out-of-memory.
        stand_ins: who answers for the model as long as the method only calls it.
    """
    left_behind: dict[str, None] = {}

    def work(images: int) -> Tensor:
        model.batch_size = images
        maps = []
        for first in range(0, len(batch.x), images):
            part = slice(first, first + images)
            ids = tuple(batch.ids[part])
            seeds = [derive(seed, "method", method.name, sample_id) for sample_id in ids]
            provided: dict[str, Any] = {"ids": ids}
            if "generators" in method.plugin.takes:
                provided["generators"] = [torch.Generator().manual_seed(s) for s in seeds]
            left: list[str] = []
            inputs, targets = batch.x[part].clone(), batch.target[part].clone()
            if batch.name is not None:
                model.shared.hand_out(inputs, targets, (batch.name, first, images))
            try:
                with (
                    guard.watching(seeds[0]) as left,
                    standing_in(model, stand_ins, guard.untouched),
                ):
                    answer = method(model, inputs, targets, **provided)
            finally:
                model.shared.take_back(sound=not left)
                left_behind.update(dict.fromkeys(left))
            maps.append(_checked(method, answer, batch.x[part]))
        return torch.cat(maps)

    try:
        saliency = batch_size.attempt(work)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of any kind, as sys.exit's: a plugin fails alone
        return Attempt(None, error, tuple(left_behind))
    finite = saliency.isfinite().flatten(1).all(1)
    constant = finite & (saliency.amax((1, 2)) == saliency.amin((1, 2)))
    return Attempt(Maps(saliency, constant, ~finite), None, tuple(left_behind))


def _checked(method: Configured, answer: object, x: Tensor) -> Tensor:
    """The answer as float32 [B,H,W] on the images' device."""
    batch, _, height, width = x.shape
    expected = f"expected a tensor [{batch},{height},{width}]"
    if not isinstance(answer, Tensor):
        hint = " (torch.from_numpy makes one)" if type(answer).__module__ == "numpy" else ""
        raise MethodError(f"returned {type(answer).__name__}; {expected}{hint}.")
    if answer.is_complex() or answer.dtype == torch.bool:
        raise MethodError(
            f"returned a tensor of {answer.dtype}; {expected} of floating point numbers."
        )
    shape = tuple(answer.shape)
    saliency = answer.detach().to(x.device, torch.float32)
    if shape == (batch, height, width):
        return saliency
    fits = (
        len(shape) == 3 and shape[0] == batch and 0 < shape[1] <= height and 0 < shape[2] <= width
    )
    if not (fits and method.plugin.coarse):
        hint = (
            " (register the method with coarse=True if its maps are smaller than the image)"
            if fits
            else " (one number a position: .sum(1) or .abs().amax(1) of one for each channel)"
            if len(shape) == 4
            else ""
        )
        raise MethodError(f"returned a tensor {list(shape)}; {expected}{hint}.")
    return enlarged(saliency, height, width)
