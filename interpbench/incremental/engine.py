"""Runs a plan: boxes of each map up to the cut, then whole maps.

What surrounds a box is gathered from the maps of the untouched image. These are kept as rows, [H·W+2,C]: one for each
position, and two for what lies outside of the map, of zeros and of minus infinity.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from interpbench.incremental.graph import Program, Step, bottlenecks, split
from interpbench.incremental.plan import Plan

Part = tuple[Tensor, Tensor]  # numbers of windows, int64 [n]; and what is known of each, [n,...]


@dataclass(frozen=True)
class Place:
    """A rectangle of the same size for each of n windows; it may reach beyond the map.

    Attributes:
        top, left: int64 [n].
        height, width: in positions.
    """

    top: Tensor
    left: Tensor
    height: int
    width: int

    def same(self, other: "Place") -> bool:
        """Whether it is the other one."""
        size = (self.height, self.width) == (other.height, other.width)
        return size and torch.equal(self.top, other.top) and torch.equal(self.left, other.left)

    def around(self, other: "Place") -> "Place":
        """The smallest that holds both, at the same distance from this one for every window."""
        above, below = _overhang(self.top, self.height, other.top, other.height)
        before, behind = _overhang(self.left, self.width, other.left, other.width)
        return Place(self.top - above, self.left - before, self.height + above + below, self.width + before + behind)

    def grid(self) -> tuple[Tensor, Tensor]:
        """The rows [n,height,1] and the columns [n,1,width] that it covers."""
        rows = self.top[:, None] + torch.arange(self.height, device=self.top.device)
        columns = self.left[:, None] + torch.arange(self.width, device=self.left.device)
        return rows[:, :, None], columns[:, None, :]


class Engine:
    """The windows of a set of images that share their size.

    Args:
        program: the network.
        plan: for these windows.
        boxes: int64 [N,4], top, left, bottom, right of each window, inside of the image.
        batch: images that a forward pass holds; other steps hold as many windows as have so many numbers.
    """

    def __init__(self, program: Program, plan: Plan, boxes: Tensor, batch: int) -> None:
        self._program = program
        self._plan = plan
        self._boxes = boxes
        self._steps = program.until(plan.cut)
        self._last_use = {name: step.name for step in self._steps for name in step.inputs}
        cuts = [plan.cut, *_first_vector(program.graph.graph, plan.cut)]
        numbers = batch * math.prod(program.shapes[program.image])
        self._stages = [(part, max(batch, numbers // _largest(part))) for part in split(program.graph, cuts)]

    def logits(self, x: Tensor, baseline: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The logits [n,classes] for some windows at a time; with the numbers of images and windows, int64 [n].

        Args:
            x, baseline: [B,C,H,W].
        """
        for number, (image, cover) in enumerate(zip(x.split(1), baseline.split(1), strict=True)):
            parts: Iterable[Part] = self._whole_maps(self._stored(image), _rows(cover))
            for stage, size in self._stages:
                parts = _through(stage, _packed(parts, size))
            for windows, logits in parts:
                yield torch.full_like(windows, number), windows, logits

    def _stored(self, x: Tensor) -> dict[str, Tensor]:
        """Map -> its rows for the untouched image."""
        rows = {self._program.image: _rows(x)}
        origin = torch.zeros(1, dtype=torch.int64, device=x.device)
        for step in self._steps:
            place = self._read(step, Place(origin, origin, *step.shape[1:]))
            patches = [_gather(rows[name], self._size(name), place, step.layer.fill) for name in step.inputs]
            rows[step.name] = _rows(step(*patches))
        return rows

    def _whole_maps(self, rows: dict[str, Tensor], baseline: Tensor) -> Iterator[Part]:
        """The map at the cut [n,C,H,W]."""
        channels, height, width = self._program.shapes[self._plan.cut]
        untouched = rows[self._plan.cut][: height * width].view(1, height, width, channels)
        for windows in self._plan.batches:
            place, values = self._box(windows, rows, baseline)
            origin = torch.zeros_like(place.top)
            maps = untouched.repeat(len(windows), 1, 1, 1)
            _paste(maps, Place(origin, origin, height, width), values, place)
            yield torch.from_numpy(windows), maps.permute(0, 3, 1, 2)

    def _box(self, windows: np.ndarray, rows: dict[str, Tensor], baseline: Tensor) -> tuple[Place, Tensor]:
        """Place and values [n,C,h,w] of the box on the map at the cut."""
        image = self._program.image
        boxes = {image: (place := self._place(image, windows), self._covered(windows, place, rows[image], baseline))}
        for step in self._steps:
            place = self._place(step.name, windows)
            read = self._read(step, place)
            patches = [self._patch(name, read, boxes[name], rows[name], step.layer.fill) for name in step.inputs]
            boxes[step.name] = (place, step(*patches))
            for name in set(step.inputs):
                if self._last_use[name] == step.name:
                    del boxes[name]
        return boxes[self._plan.cut]

    def _covered(self, windows: np.ndarray, place: Place, image: Tensor, baseline: Tensor) -> Tensor:
        """The image in the boxes, with the baseline in the windows."""
        size = self._size(self._program.image)
        covered = inside(self._boxes[windows], *place.grid())
        return torch.where(covered[:, None], _gather(baseline, size, place), _gather(image, size, place))

    def _patch(self, name: str, read: Place, box: tuple[Place, Tensor], rows: Tensor, fill: float) -> Tensor:
        """A map where it is read: its values in the box, what is stored around it."""
        place, values = box
        if place.same(read):
            return values
        outer = read.around(place)
        patch = _gather(rows, self._size(name), outer, fill)
        _paste(patch.permute(0, 2, 3, 1), outer, values, place)
        above, before = (int(distance[0]) for distance in (read.top - outer.top, read.left - outer.left))
        return patch[:, :, above : above + read.height, before : before + read.width]

    def _place(self, name: str, windows: np.ndarray) -> Place:
        """Where the boxes of windows of one group are on a map."""
        sides = zip(self._plan.axes, self._plan.number[:, windows], strict=True)
        (top, height), (left, width) = (axis.box(name, number) for axis, number in sides)
        return Place(torch.from_numpy(top), torch.from_numpy(left), height, width)

    def _read(self, step: Step, place: Place) -> Place:
        """What a part of a step's output reads of each input."""
        rows, columns = step.layer.reach
        top, height = rows.read(place.top, place.height)
        left, width = columns.read(place.left, place.width)
        return Place(top, left, height, width)

    def _size(self, name: str) -> tuple[int, int]:
        return self._program.shapes[name][1:]


def inside(boxes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Whether rows [n,h,1] and columns [n,1,w] lie in boxes [n,4] of top, left, bottom, right: bool [n,h,w]."""
    top, left, bottom, right = boxes.T[:, :, None, None]
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _rows(maps: Tensor) -> Tensor:
    """The rows of a map [1,C,H,W]."""
    positions = maps[0].flatten(1).T
    outside = positions.new_tensor([0.0, -math.inf])[:, None].expand(-1, positions.shape[1])
    return torch.cat([positions, outside])


def _gather(rows: Tensor, size: tuple[int, int], place: Place, fill: float = 0.0) -> Tensor:
    """A place of a map, [n,C,height,width] in channels_last order; zero or minus infinity where it lies outside."""
    height, width = size
    row, column = place.grid()
    on_the_map = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = torch.where(on_the_map, row * width + column, height * width + (fill != 0))
    return rows.index_select(0, index.flatten()).view(*index.shape, -1).permute(0, 3, 1, 2)


def _paste(patch: Tensor, outer: Place, values: Tensor, place: Place) -> None:
    """Writes values [n,C,h,w], which are at a place, into the patch [n,H,W,C] around it."""
    row, column = place.grid()
    row, column = row - outer.top[:, None, None], column - outer.left[:, None, None]
    windows = torch.arange(len(patch), device=patch.device)[:, None, None]
    index = (windows * outer.height + row) * outer.width + column
    values = values.permute(0, 2, 3, 1)
    patch.view(-1, patch.shape[3]).index_copy_(0, index.flatten(), values.reshape(-1, values.shape[3]))


def _overhang(inner: Tensor, length: int, other: Tensor, other_length: int) -> tuple[int, int]:
    """How far others reach beyond an interval at most, before and behind it."""
    before = int((inner - other).amax())
    behind = int((other - inner).amax()) + other_length - length
    return max(0, before), max(0, behind)


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


def _through(stage: fx.GraphModule, parts: Iterable[Part]) -> Iterator[Part]:
    for windows, values in parts:
        yield windows, stage(values)


def _first_vector(graph: fx.Graph, cut: str) -> list[str]:
    """The first node behind a cut through which alone the image reaches the logits as a vector, unless it is these."""
    nodes = list(bottlenecks(graph))
    behind = nodes[[node.name for node in nodes].index(cut) + 1 : -1]
    return [node.name for node in behind if len(node.meta.get("shape", ())) == 2][:1]


def _largest(part: fx.GraphModule) -> int:
    """The most numbers that any node gives for an image."""
    return max(math.prod(node.meta["shape"]) for node in part.graph.nodes if "shape" in node.meta)
