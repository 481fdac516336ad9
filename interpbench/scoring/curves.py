"""The one perturbation-curve engine.

It ranks positions, packs images x steps into full forward passes, and reads scores. A path leads
from one image to another; after step k the k·W most salient positions have changed. Deletion leads
from the image to the baseline, insertion from the baseline to the image (Petsiuk, Das, Saenko,
RISE, BMVC 2018). Whatever perturbs by rank is a path, so this is the only loop of its kind.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.core.memory_format import memory_format_of
from interpbench.core.time_spent import phase
from interpbench.core.types import Model
from interpbench.scoring.perturbation import Perturbation


def thresholds(shape: tuple[int, int], steps: int | None) -> list[int]:
    """How many positions have changed after each of the steps: 0, W, 2W, ..., H·W.

    With `steps`, ceil(H·W / steps) positions a step; the last step may be smaller.

    Raises:
        ValueError: if there are more steps than positions.
    """
    height, width = shape
    positions = height * width
    if steps is not None and steps > positions:
        raise ValueError(
            f"steps={steps} are more than the {positions} positions of a {height}x{width} image"
        )
    stride = width if steps is None else -(-positions // steps)
    return [*range(0, positions, stride), positions]


def points_of(path: Perturbation) -> list[int]:
    """How many positions, or ranks of its own order, have changed where a path is read."""
    if path.points is not None:
        return list(path.points)
    return thresholds((path.start.shape[2], path.start.shape[3]), path.steps)


def curves(
    model: Model,
    paths: Sequence[Perturbation],
    ranks: Tensor,
    target: Tensor,
    batch_size: BatchSize,
    ends: Sequence[tuple[Tensor, Tensor] | None] = (),
) -> list[Tensor]:
    """The model's output for the target along each path, float32 [B,S+1].

    It lies on the device of the images. All paths share the forward passes.

    Parameters:
        model: gives logits; says in which dtype and number it wants its images.
        paths: from where to where, in which steps, and what is read.
        ranks: int32 [B,H,W], 0 changes first; for paths that have no order of their own.
        target: int64 [B].
        batch_size: images a forward pass; halved on out-of-memory.
        ends: what is known already of each path: its outputs [B] at the start and at the end.

    Raises:
        ValueError: if a path has more steps than there are positions.
    """
    changed = [points_of(path) for path in paths]
    if not ends:
        return outputs(model, paths, changed, ranks, target, batch_size)
    inner = [
        steps if end is None else steps[1:-1] for steps, end in zip(changed, ends, strict=True)
    ]
    inner_outputs = outputs(model, paths, inner, ranks, target, batch_size)
    return [
        values if end is None else torch.cat([end[0][:, None], values, end[1][:, None]], dim=1)
        for values, end in zip(inner_outputs, ends, strict=True)
    ]


@torch.inference_mode()
def outputs(
    model: Model,
    paths: Sequence[Perturbation],
    changed: Sequence[Sequence[int]],
    ranks: Tensor,
    target: Tensor,
    batch_size: BatchSize,
) -> list[Tensor]:
    """As `curves`, but at given numbers of changed positions: float32 [B,len(changed)].

    Ranks below each of a path's `changed` numbers have changed. Paths that lead through the same
    images, of which another output is read, take the same passes.
    """
    layout, orders = _Layout(paths), [ranks if path.rank is None else path.rank for path in paths]
    readers = _alike(paths, changed, orders)
    walks = {
        number: _Walk(layout, paths[number], changed[number], orders[number], model.dtype)
        for number in readers
    }
    first = next(iter(walks.values()))
    targets = [target.repeat(len(steps)) for steps in changed]
    items = [len(steps) * len(ranks) for steps in changed]
    passed = {number: items[number] for number in readers}

    def score(images: int) -> list[Tensor]:
        outputs_of_paths = [torch.empty(count, device=ranks.device) for count in items]
        # Used again for each pass. Zeros, since a model of fixed shape is also given the rows that
        # nothing fills.
        buffer = first.start.new_zeros(
            images if model.fixed_shape else min(images, sum(passed.values())), layout.length
        )
        for pieces in _packed(passed, images):
            with phase("perturbation"):
                for path, part, rows in pieces:
                    walks[path].write(part, buffer[rows])
            with phase("forwards"):
                batch = buffer if model.fixed_shape else buffer[: pieces[-1].rows.stop]
                logits = model(layout.images(batch)).float()
                for walk, part, rows in pieces:
                    for path in readers[walk]:
                        of_path = logits[rows]
                        if paths[path].output == "probability":
                            of_path = model.probabilities(of_path)
                        outputs_of_paths[path][part] = of_target(of_path, targets[path][part])
        return [values.view(-1, len(ranks)).T for values in outputs_of_paths]

    return batch_size.attempt(score)


def _alike(
    paths: Sequence[Perturbation], changed: Sequence[Sequence[int]], orders: Sequence[Tensor]
) -> dict[int, list[int]]:
    """The number of a path -> those of all that lead through the same images, its own the first.

    Told by what they hold on a CPU alone, where that costs nothing beside passes and nobody waits
    for the answer.
    """
    readers: dict[int, list[int]] = {}
    for number, path in enumerate(paths):
        for other in readers:
            pairs = (
                (path.start, paths[other].start),
                (path.end, paths[other].end),
                (orders[number], orders[other]),
            )
            same = list(changed[number]) == list(changed[other])
            if same and all(_is_same(mine, its) for mine, its in pairs):
                readers[other].append(number)
                break
        else:
            readers[number] = [number]
    return readers


def _is_same(mine: Tensor, its: Tensor) -> bool:
    """Whether two tensors are one, or on a CPU hold the same."""
    if mine is its or mine.device.type != "cpu":
        return mine is its
    return np.array_equal(mine.numpy(), its.numpy())


def area(values: Tensor) -> Tensor:
    """The area under curves [...,S+1] over [0,1] by the trapezoid rule.

    (sum - first/2 - last/2) / S.

    Example:
        >>> interpbench.area(torch.tensor([1.0, 0.5, 0.0]))
        tensor(0.5000, dtype=torch.float64)
    """
    values = values.double()
    return (values.sum(-1) - (values[..., 0] + values[..., -1]) / 2) / (values.shape[-1] - 1)


class _Piece(NamedTuple):
    """A run of a path's items, and the rows of the forward pass that they fill."""

    path: int
    items: slice
    rows: slice


def _packed(items: Mapping[int, int], images: int) -> Iterator[list[_Piece]]:
    """Full forward passes, each as the pieces that fill it: of path -> how many items it has."""
    pieces: list[_Piece] = []
    filled = 0
    for number, count in items.items():
        first = 0
        while first < count:
            last = min(count, first + images - filled)
            pieces.append(_Piece(number, slice(first, last), slice(filled, filled + last - first)))
            filled += last - first
            first = last
            if filled == images:
                yield pieces
                pieces, filled = [], 0
    if pieces:
        yield pieces


class _Walk:
    """One path of all images as a list of items: item s·B + b is image b after step s.

    One comparison and one select make all items of some whole steps. They run over each image as
    one row of numbers in the order in which it lies in memory, which is how they are fastest.
    """

    def __init__(
        self,
        layout: "_Layout",
        path: Perturbation,
        changed: Sequence[int],
        ranks: Tensor,
        dtype: torch.dtype,
    ) -> None:
        self.start, self._end = (layout.rows(images).to(dtype) for images in (path.start, path.end))
        self._order = layout.rows(ranks[:, None].expand_as(path.start))
        steps = torch.tensor(changed, dtype=torch.int32)
        self._steps = steps.to(ranks.device, non_blocking=True)[:, None, None]

    def write(self, items: slice, out: Tensor) -> None:
        """Some items, into rows [n,C·H·W]."""
        filled = 0
        for steps, rows in _rectangles(items.start, items.stop, len(self._order)):
            count = (steps.stop - steps.start) * (rows.stop - rows.start)
            part = out[filled : filled + count].view(steps.stop - steps.start, -1, out.shape[1])
            torch.where(
                self._order[rows] < self._steps[steps], self._end[rows], self.start[rows], out=part
            )
            filled += count


def _rectangles(first: int, last: int, images: int) -> Iterator[tuple[slice, slice]]:
    """A run of items as rectangles of steps x images.

    A begun step, whole steps, the beginning of another.
    """
    while first < last:
        step, image = divmod(first, images)
        whole = (last - first) // images
        if image or not whole:
            count = min(images - image, last - first)
            yield slice(step, step + 1), slice(image, image + count)
            first += count
        else:
            yield slice(step, step + whole), slice(0, images)
            first += whole * images


class _Layout:
    """Images [B,C,H,W] as rows [B,C·H·W] in the memory format of the paths' images, and back."""

    def __init__(self, paths: Sequence[Perturbation]) -> None:
        self._shape = paths[0].start.shape[1:]
        self.length = self._shape.numel()
        # One end is the images themselves; the other, a baseline, may have come out in another
        # format.
        self._channels_last = any(
            memory_format_of(end) is torch.channels_last
            for path in paths
            for end in (path.start, path.end)
        )

    def rows(self, images: Tensor) -> Tensor:
        return (images.permute(0, 2, 3, 1) if self._channels_last else images).reshape(
            len(images), -1
        )

    def images(self, rows: Tensor) -> Tensor:
        channels, height, width = self._shape
        if self._channels_last:
            return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)
        return rows.view(-1, channels, height, width)


def of_target(values: Tensor, target: Tensor) -> Tensor:
    """[n,classes] -> [n], the value of each item's target."""
    return values.gather(1, target[:, None])[:, 0]
