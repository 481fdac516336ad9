"""What is computed in boxes, what on whole maps, and which windows run together.

It is the cheapest way by a model of costs. Costs are in multiply-adds. The model knows shapes
alone, so that the same command takes the same way on every machine;
`tests/bench/test_bench_occlusion.py` holds it against the clock.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from interpbench.fast.occlusion.intervals import Axis, Spans, alike, distinct, hull, merged
from interpbench.fast.occlusion.network import NetworkStep, Program
from interpbench.fast.tiled_convolutions import TILE


@dataclass(frozen=True)
class Costs:
    """In the time of so many multiply-adds at full speed a device ...

    Attributes:
        number: writes a number and reads it again,
        moved: gathers a number of a box or pastes it,
        position: finds where a position of a box lies,
        weight: brings a weight into the order that a batch needs,
        call: calls a layer,
        box: calls it for boxes.
    """

    number: float
    moved: float
    position: float
    weight: float
    call: float
    box: float


# Measured on a core that does 70 billion multiply-adds a second.
CPU = Costs(number=10, moved=20, position=400, weight=30, call=2e6, box=10e6)
# Not measured: 10^13 multiply-adds and 2·10^12 bytes a second, 5 µs a kernel, all rounded to the
# disadvantage of boxes.
GPU = Costs(number=80, moved=200, position=400, weight=40, call=50e6, box=600e6)


def costs_of(device: torch.device) -> Costs:
    """Those of the kind of device."""
    return CPU if device.type == "cpu" else GPU


@dataclass(frozen=True)
class BoxPlan:
    """Boxes up to the map `cut`, whole maps behind it.

    Attributes:
        cut: name of the map.
        axes: the boxes along rows and along columns.
        number: int64 [2,N], the number of each window's span along either axis.
        batches: the numbers of windows that run at once; their boxes are of one size on every map.
        cost: of the boxes of all windows, in multiply-adds.
        gain: how many times as much plain passes cost.
    """

    cut: str
    axes: tuple[Axis, Axis]
    number: np.ndarray
    batches: tuple[np.ndarray, ...] = ()
    cost: float = 0.0
    gain: float = 0.0

    def groups(self) -> list[np.ndarray]:
        """The windows in groups that have boxes of the same size on every map: their numbers."""
        sides = zip(self.axes, self.number, strict=True)
        kinds = np.stack([axis.kind[number] for axis, number in sides])
        _, group = np.unique(kinds, axis=1, return_inverse=True)
        group = group.reshape(-1)
        order = np.argsort(group, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def cheapest(program: Program, boxes: np.ndarray, batch: int) -> BoxPlan | None:
    """The plan of least cost; None if there is no map of which a part can be computed.

    Parameters:
        program: the network.
        boxes: int64 [N,4], top, left, bottom and right of each window, inside of the image.
        batch: images that a forward pass holds.
    """
    nodes = [node.name for node in program.graph.graph.nodes]
    whole = _whole_costs(program, batch)
    best = None
    for plan in plans(program, boxes, batch):
        behind = nodes.index(plan.cut) + 1
        untouched, rest = whole[:behind].sum(), len(boxes) * whole[behind:].sum()
        gain = float(len(boxes) * whole.sum() / (untouched + plan.cost + rest))
        if best is None or gain > best.gain:
            best = replace(plan, gain=gain)
    return best


def plans(program: Program, boxes: np.ndarray, batch: int) -> Iterator[BoxPlan]:
    """For every possible cut the plan."""
    sides = [distinct(boxes[:, [axis, axis + 2]]) for axis in (0, 1)]
    spans = [_spans(program, axis, windows) for axis, (windows, _) in enumerate(sides)]
    number = np.stack([number for _, number in sides])
    for cut in program.cuts:
        yield _plan(program, cut, spans, number, batch)


def _whole_costs(program: Program, batch: int) -> np.ndarray:
    """What each node of the graph costs for one image, float [nodes]."""
    per, costs = costs_of(program.device), []
    for node in program.graph.graph.nodes:
        if node.op in ("placeholder", "output", "get_attr"):
            costs.append(0.0)
            continue
        numbers, work, weights = math.prod(node.meta.get("shape", ())), 0, 0
        module = program.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d | nn.Linear):
            weights = module.weight.numel()
            work = weights * numbers // module.weight.shape[0]
        costs.append(work + per.number * numbers + (per.call + per.weight * weights) / batch)
    return np.array(costs)


def _spans(program: Program, axis: int, windows: Spans) -> dict[str, Spans]:
    """Map -> what can differ on it for each of the windows."""
    spans = {program.image: windows}
    for step in program.steps.values():
        changed = hull([spans[name] for name in step.inputs])
        spans[step.name] = step.layer.reach[axis].touched(changed, step.shape[1 + axis])
    return spans


def _plan(
    program: Program, cut: str, spans: Sequence[dict[str, Spans]], number: np.ndarray, batch: int
) -> BoxPlan:
    """The plan for one cut; its cost counts the steps before it alone."""
    steps, per = program.until(cut), costs_of(program.device)
    per_batch = sum(per.box + per.weight * step.layer.weights for step in steps)
    plan = BoxPlan(cut, _axes(program, steps, spans, number, per_batch), number)
    numbers, room = math.prod(program.shapes[cut]), batch * program.largest
    batches: list[np.ndarray] = []
    cost = number.shape[1] * per.moved * numbers
    for group in plan.groups():
        boxes = [_Box.of(program, plan, step, group) for step in steps]
        largest = max(numbers, *(box.numbers for box in boxes))
        parts = -(-len(group) // max(1, room // largest))
        batches += np.array_split(group, parts)
        cost += parts * per_batch + len(group) * sum(box.cost for box in boxes)
    return replace(plan, batches=tuple(batches), cost=float(cost))


def _axes(
    program: Program,
    steps: Sequence[NetworkStep],
    spans: Sequence[dict[str, Spans]],
    number: np.ndarray,
    per_batch: float,
) -> tuple[Axis, Axis]:
    """The boxes along rows and columns, with as many classes as are worth a batch of their own."""
    names = [program.image, *(step.name for step in steps)]
    moved = costs_of(program.device).moved
    per_position = np.array(
        [step.layer.work(TILE, TILE) / TILE**2 + moved * step.shape[0] for step in steps]
    )
    lengths = [np.stack([np.ptp(side[step.name], axis=1) for step in steps]) for side in spans]
    classes = alike(lengths[1]).max() + 1
    axes = []
    for axis in (0, 1):
        weight = per_position * lengths[1 - axis][:, number[1 - axis]].mean(1)
        kind = merged(lengths[axis], np.bincount(number[axis]), weight, classes * per_batch)
        classes = kind.max() + 1
        sizes = {name: program.shapes[name][1 + axis] for name in names}
        axes.append(Axis.of({name: spans[axis][name] for name in names}, sizes, kind))
    return axes[0], axes[1]


@dataclass(frozen=True)
class _Box:
    """What a step takes for one window: multiply-adds, and the most numbers that it holds."""

    cost: float
    numbers: int

    @classmethod
    def of(cls, program: Program, plan: BoxPlan, step: NetworkStep, group: np.ndarray) -> "_Box":
        per = costs_of(program.device)
        sides, sides_read = [], []
        for axis, reach, number in zip(plan.axes, step.layer.reach, plan.number, strict=True):
            start, length = axis.box(step.name, number[group[:1]])
            sides.append(length)
            sides_read.append(reach.read(start, length)[1])
        positions, read = math.prod(sides), math.prod(sides_read)
        channels = step.shape[0]
        channels_read = sum(program.shapes[name][0] for name in step.inputs)
        work = step.layer.work(sides[0], sides[1]) + per.number * positions * channels
        moved = read * (per.position + per.moved * channels_read)
        numbers = max(positions * channels, read * channels_read) * (4 if step.layer.tiles else 1)
        return cls(work + moved, numbers)
