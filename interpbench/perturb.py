"""The one perturbation-curve engine: ranks positions, packs images x steps into full forward passes, reads scores.

A path leads from one image to another; after step k the k·W most salient positions have changed. Deletion leads from
the image to the baseline, insertion from the baseline to the image (Petsiuk, Das, Saenko, RISE, BMVC 2018). Whatever
perturbs by rank is a path, so this is the only loop of its kind.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from interpbench.contracts import Perturbation
from interpbench.seeding import derive, permutation

Result = TypeVar("Result")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class BatchSize:
    """How many images a forward pass holds. Halves, for good, whenever the device runs out of memory."""

    images: int
    halved: int = 0

    def attempt(self, work: Callable[[int], Result]) -> Result:
        """`work(images)`, again with half as many images for as long as it runs out of memory.

        Raises:
            torch.OutOfMemoryError: if one image alone does not fit.
        """
        while True:
            try:
                return work(self.images)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.images == 1:
                    raise
            self.images //= 2
            self.halved += 1
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device's (or the host's) memory is full."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def tie_breakers(ids: Sequence[str], positions: int, seed: int) -> Tensor:
    """One seeded random order of the positions an image, int64 [B,positions]; the same for every method."""
    orders = [permutation(positions, derive(seed, "ties", sample_id)) for sample_id in ids]
    return torch.from_numpy(np.stack(orders))


def rank(saliency: Tensor, tie_breaker: Tensor) -> tuple[Tensor, Tensor]:
    """Ranks positions by saliency; equal values fall in the order of the tie breaker.

    Args:
        saliency: [B,H,W], finite.
        tie_breaker: int64 [B,H·W], from `tie_breakers`.

    Returns:
        int32 [B,H,W], 0 for the most salient position; and float32 [B], the share of positions whose value another
        position has too.
    """
    flat = saliency.flatten(1)
    values, order = flat.gather(1, tie_breaker).sort(dim=1, descending=True, stable=True)
    positions = torch.arange(flat.shape[1], dtype=torch.int32, device=flat.device)
    ranks = torch.empty_like(flat, dtype=torch.int32)
    ranks.scatter_(1, tie_breaker.gather(1, order), positions.expand_as(ranks))
    same = values[:, 1:] == values[:, :-1]
    tied = torch.zeros_like(flat, dtype=torch.bool)
    tied[:, 1:] |= same
    tied[:, :-1] |= same
    return ranks.view_as(saliency), tied.float().mean(dim=1)


def thresholds(shape: tuple[int, int], steps: int | None) -> list[int]:
    """How many positions have changed after each of the steps: 0, W, 2W, ..., H·W.

    With `steps`, ceil(H·W / steps) positions a step; the last step may be smaller.

    Raises:
        ValueError: if there are more steps than positions.
    """
    height, width = shape
    positions = height * width
    if steps is not None and steps > positions:
        raise ValueError(f"steps={steps} are more than the {positions} positions of a {height}x{width} image")
    stride = width if steps is None else -(-positions // steps)
    return [*range(0, positions, stride), positions]


@torch.inference_mode()
def curve(
    model: Callable[[Tensor], Tensor],
    path: Perturbation,
    ranks: Tensor,
    target: Tensor,
    batch_size: BatchSize,
    precision: str = "fp32",
) -> Tensor:
    """The model's output for the target along a path, float32 [B,S+1] on the device of `path.start`.

    Args:
        model: gives logits [N,classes] for [N,C,H,W].
        path: from where to where, in which steps, and what is read.
        ranks: int32 [B,H,W], 0 changes first.
        target: int64 [B].
        batch_size: images a forward pass; halved on out-of-memory.
        precision: `fp32`, or `bf16` or `fp16` for the forward passes alone.
    """
    changed = thresholds((ranks.shape[1], ranks.shape[2]), path.steps)
    return outputs(model, path, ranks, changed, target, batch_size, precision)


@torch.inference_mode()
def outputs(
    model: Callable[[Tensor], Tensor],
    path: Perturbation,
    ranks: Tensor,
    changed: Sequence[int],
    target: Tensor,
    batch_size: BatchSize,
    precision: str = "fp32",
) -> Tensor:
    """As `curve`, but where ranks below each of the `changed` numbers have changed: float32 [B,len(changed)]."""
    steps = torch.tensor(changed, dtype=torch.int32, device=ranks.device)

    def score(images: int) -> Tensor:
        values = path.start.new_empty(len(ranks), len(steps), dtype=torch.float32)
        for rows, columns, batch in _batches(path, ranks, steps, images):
            with _autocast(batch.device, precision):
                logits = model(batch)
            values[rows, columns] = _read(logits, path.output, target[rows])
        return values

    return batch_size.attempt(score)


def area(values: Tensor) -> Tensor:
    """The area under curves [...,S+1] over [0,1] by the trapezoid rule: (sum - first/2 - last/2) / S."""
    values = values.double()
    return (values.sum(-1) - (values[..., 0] + values[..., -1]) / 2) / (values.shape[-1] - 1)


def _batches(path: Perturbation, ranks: Tensor, steps: Tensor, images: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Full forward batches: as many images as fit, times as many steps as fill the rest.

    One comparison and one select make a whole batch, written into one buffer that is used again. They run over each
    image as one row of numbers in the order in which it lies in memory, which is how they are fastest.
    """
    layout = _Layout(path)
    order = layout.rows(ranks[:, None].expand_as(path.start))
    start, end = layout.rows(path.start), layout.rows(path.end)
    buffer = start.new_empty(0)
    for first in range(0, len(ranks), images):
        rows = slice(first, min(first + images, len(ranks)))
        block = max(1, images // (rows.stop - rows.start))
        for left in range(0, len(steps), block):
            columns = slice(left, min(left + block, len(steps)))
            shape = (rows.stop - rows.start, columns.stop - columns.start, start.shape[1])
            if buffer.shape != shape:
                buffer = start.new_empty(shape)
            changed = order[rows, None] < steps[columns, None]
            torch.where(changed, end[rows, None], start[rows, None], out=buffer)
            yield rows, columns, layout.images(buffer)


class _Layout:
    """Images [B,C,H,W] as rows [B,C·H·W] in the memory format of a path's images, and back."""

    def __init__(self, path: Perturbation) -> None:
        self._shape = path.start.shape[1:]
        # One end is the images themselves; the other, a baseline, may have come out in another format.
        self._channels_last = _is_channels_last(path.start) or _is_channels_last(path.end)

    def rows(self, images: Tensor) -> Tensor:
        return (images.permute(0, 2, 3, 1) if self._channels_last else images).reshape(len(images), -1)

    def images(self, rows: Tensor) -> Tensor:
        channels, height, width = self._shape
        if self._channels_last:
            return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)
        return rows.view(-1, channels, height, width)


def _is_channels_last(images: Tensor) -> bool:
    return not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)


def _read(logits: Tensor, output: str, target: Tensor) -> Tensor:
    """[I·S,classes] -> [I,S], the output of each image's target."""
    values = logits.float()
    if output == "probability":
        values = values.softmax(dim=1)
    values = values.unflatten(0, (len(target), -1))
    index = target[:, None, None].expand(-1, values.shape[1], 1)
    return values.gather(2, index).squeeze(2)


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])
