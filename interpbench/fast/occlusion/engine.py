"""Runs a plan: boxes of each map up to the cut, then whole maps.

Nothing in it waits for the device: which numbers are read is known before the first image.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from interpbench.core.passes_counted import count_windows
from interpbench.fast.fused_convolutions import fuse_convolutions
from interpbench.fast.occlusion.boxes import Index, Patch, Place, as_rows, inside
from interpbench.fast.occlusion.network import (
    NetworkStep,
    Program,
    bottlenecks,
    largest,
    linear_weights,
    split,
)
from interpbench.fast.occlusion.plan import BoxPlan

Part = tuple[Tensor, Tensor]  # numbers of windows, int64 [n]; and the map of each, [n,...]


@dataclass(frozen=True)
class WindowsBatch:
    """Windows that run at once.

    Attributes:
        windows: their numbers, int64 [n].
        image: where their boxes lie on the image.
        covered: which positions of these the windows cover, bool [n,1,h,w].
        patches: map -> what its step reads, one for each input.
        whole: the map at the cut, around the box there.
    """

    windows: Tensor
    image: Index
    covered: Tensor
    patches: dict[str, list[Patch]]
    whole: Patch


class Engine:
    """The windows of a set of images that share their size.

    Parameters:
        program: the network.
        plan: for these windows.
        boxes: int64 [N,4], top, left, bottom, right of each window, inside of the image.
        batch: images that a plain pass holds; boxes and stages hold as many windows as have so many
            numbers, or as the linear layers of a stage have weights, for these are then read once.
    """

    def __init__(self, program: Program, plan: BoxPlan, boxes: np.ndarray, batch: int) -> None:
        self._program = program
        self.plan = plan
        self._steps = program.until(plan.cut)
        self._last_use = {name: step.name for step in self._steps for name in step.inputs}
        self._untouched = {
            step.name: self._patches(step, Place.whole(step.shape[1:], 1)) for step in self._steps
        }
        self._boxes = boxes
        self._batches = [self._batch(windows) for windows in plan.batches]
        cuts = [plan.cut, *_first_vector(program.graph.graph, plan.cut)]
        stages = split(program.graph, cuts)
        self._stages = [
            (
                _fused(part, program.device),
                max(batch * program.largest, linear_weights(part)) // largest(part),
            )
            for part in stages
        ]

    def logits(
        self, x: Tensor, baseline: Tensor, only: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The logits [n,classes] of n windows at a time, for all images.

        With the numbers of images and windows, int64 [n], before them.

        Parameters:
            x, baseline: [B,C,H,W].
            only: numbers of windows; None for all.
        """
        batches = self._batches
        if only is not None:
            batches = [self._batch(windows) for windows in self._among(only)]
        for number, (image, cover) in enumerate(zip(x.split(1), baseline.split(1), strict=True)):
            parts: Iterable[Part] = self._whole_maps(batches, self._stored(image), as_rows(cover))
            for stage, size in self._stages:
                parts = _through(stage, _packed(parts, size))
            for windows, logits in parts:
                count_windows(len(windows))
                yield torch.full_like(windows, number), windows, logits

    def _stored(self, x: Tensor) -> dict[str, Tensor]:
        """Map -> its rows for the untouched image."""
        rows = {self._program.image: as_rows(x)}
        for step in self._steps:
            inputs = zip(self._untouched[step.name], step.inputs, strict=True)
            rows[step.name] = as_rows(step(*(patch(rows[name]) for patch, name in inputs)))
        return rows

    def _whole_maps(
        self, batches: Sequence[WindowsBatch], rows: dict[str, Tensor], baseline: Tensor
    ) -> Iterator[Part]:
        """The map at the cut [n,C,H,W]."""
        for batch in batches:
            yield batch.windows, batch.whole(rows[self.plan.cut], self._box(batch, rows, baseline))

    def _box(self, batch: WindowsBatch, rows: dict[str, Tensor], baseline: Tensor) -> Tensor:
        """The values [n,C,h,w] of the box on the map at the cut."""
        image = self._program.image
        cover, untouched = batch.image.gather(baseline), batch.image.gather(rows[image])
        occluded = torch.where(batch.covered, cover, untouched)
        boxes = {image: occluded.permute(0, 3, 1, 2)}
        for step in self._steps:
            inputs = zip(batch.patches[step.name], step.inputs, strict=True)
            boxes[step.name] = step(*(patch(rows[name], boxes[name]) for patch, name in inputs))
            for name in set(step.inputs):
                if self._last_use[name] == step.name:
                    del boxes[name]
        return boxes[self.plan.cut]

    def _among(self, only: Sequence[int]) -> Iterator[np.ndarray]:
        """The wanted windows of each batch, where it has any."""
        for windows in self.plan.batches:
            wanted = windows[np.isin(windows, only)]
            if len(wanted):
                yield wanted

    def _batch(self, windows: np.ndarray) -> WindowsBatch:
        """What these windows need that follows from shapes alone."""
        device, cut = self._program.device, self.plan.cut
        place = self._place(self._program.image, windows)
        covered = inside(self._boxes[windows], place)[..., None]
        whole = Place.whole(self._size(cut), len(windows))
        return WindowsBatch(
            windows=torch.from_numpy(windows).to(device),
            image=Index.stored(place, self._size(self._program.image), 0.0, device),
            covered=torch.from_numpy(covered).to(device),
            patches={
                step.name: self._patches(step, self._place(step.name, windows), windows)
                for step in self._steps
            },
            whole=Patch.of(whole, self._place(cut, windows), self._size(cut), 0.0, device),
        )

    def _patches(
        self, step: NetworkStep, place: Place, windows: np.ndarray | None = None
    ) -> list[Patch]:
        """What a step reads to make a place, of each input; without windows there are no boxes."""
        read, fill, device = place.read(step.layer.reach), step.layer.fill, self._program.device
        boxes = [None if windows is None else self._place(name, windows) for name in step.inputs]
        return [
            Patch.of(read, box, self._size(name), fill, device)
            for name, box in zip(step.inputs, boxes, strict=True)
        ]

    def _place(self, name: str, windows: np.ndarray) -> Place:
        """Where the boxes of windows of one group are on a map."""
        sides = zip(self.plan.axes, self.plan.number[:, windows], strict=True)
        (top, height), (left, width) = (axis.box(name, number) for axis, number in sides)
        return Place(top, left, height, width)

    def _size(self, name: str) -> tuple[int, int]:
        return self._program.shapes[name][1:]


def _packed(parts: Iterable[Part], size: int) -> Iterator[Part]:
    """The same in parts of `size` windows; the last may be smaller."""
    waiting: list[Part] = []
    for part in parts:
        waiting.append(part)
        while sum(len(windows) for windows, _ in waiting) >= size:
            windows, values = _joined(waiting)
            yield windows[:size], values[:size]
            waiting = [(windows[size:], values[size:])]
    windows, values = _joined(waiting)
    if len(windows):
        yield windows, values


def _joined(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    windows, values = zip(*parts, strict=True)
    return torch.cat(windows), torch.cat(values)


def _fused(stage: fx.GraphModule, device: torch.device) -> nn.Module:
    """The stage with convolutions that take in what follows them, on a CPU."""
    if device.type != "cpu":
        return stage
    shared = {id(tensor): tensor for tensor in stage.state_dict(keep_vars=True).values()}
    return fuse_convolutions(copy.deepcopy(stage, shared))[0]


def _through(stage: nn.Module, parts: Iterable[Part]) -> Iterator[Part]:
    for windows, values in parts:
        yield windows, stage(values)


def _first_vector(graph: fx.Graph, cut: str) -> list[str]:
    """The first node behind a cut at which all that the logits depend on is a vector.

    In a list; empty if that is the logits themselves.
    """
    nodes = list(bottlenecks(graph))
    behind = nodes[[node.name for node in nodes].index(cut) + 1 : -1]
    return [node.name for node in behind if len(node.meta.get("shape", ())) == 2][:1]
