"""What a run would cost: blocks, passes, time, memory and disk, from a few of its images."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch

from interpbench.core.devices import describe, exact_arithmetic, memory_kept
from interpbench.core.peak_memory import most_held
from interpbench.core.progress import Progress
from interpbench.running.blocks import Shard, blocks
from interpbench.running.calibration import CalibratedModel, Tried, calibrate, pieces
from interpbench.running.expected_tables import Disk, ExpectedCell, expected_files
from interpbench.running.image_stream import KEPT
from interpbench.running.plan import Plan

BUDGET = 15.0  # seconds for all that is tried, after one image each
AT_MOST = "All images are counted; the run ends before, where fewer tell the methods apart."
Part = Literal["maps", "search", "scores", "images"]


@dataclass(frozen=True)
class Cost:
    """A piece of work that a run does for all its images.

    Attributes:
        model: its label.
        part: `maps` of a method, the `search` for a metric's ceiling, `scores` by a metric, or what
            is done for `images` and for no method.
        label: of the method or metric; or `decoding`, `predictions`, `end points`.
        count: for how many images the run does it, each counted as often as it does so.
        measured_on: images, whose time was taken.
        forwards, backwards: images that pass the model in all, and that gradients are asked of. Of
            a metric: at most so many, as it would take alone; those that read another output of the
            same images share them.
        windows: images of which only what a window changes is computed.
        seconds: in all.
        failure: why it breaks down; it then counts for nothing.
    """

    model: str
    part: Part
    label: str
    count: int
    measured_on: int
    forwards: int = 0
    backwards: int = 0
    windows: int = 0
    seconds: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class ModelForecast:
    """What the work on one model will be.

    Attributes:
        label: of the model.
        images: that are explained.
        blocks: into how many they are cut.
        block_size, batch_size: images a block, and a forward pass.
        preparation_seconds: until its first block, in each process that works on it.
        costs: of its images, methods and metrics.
        failure: why nothing of it can be run.
    """

    label: str
    images: int
    blocks: int
    block_size: int
    batch_size: int
    preparation_seconds: float
    costs: tuple[Cost, ...]
    failure: str = ""


@dataclass(frozen=True)
class Memory:
    """Bytes that are held at once.

    Attributes:
        process: the most that this process has held, the model and a batch's work among it; None
            where the system does not say.
        device: the most that torch has held of the GPU; None without one.
        block: pixels and masks of a block and of the next, of the model whose are largest.
        tables: all scores, and the curves of a cell, in the process that ends the run.
    """

    process: int | None
    device: int | None
    block: int
    tables: int


@dataclass(frozen=True)
class Forecast:
    """What a run would cost.

    Attributes:
        images: that are explained.
        device: in words.
        workers: that the run was to have.
        models: what the work on each will be.
        memory, disk: bytes.
        seconds_taken: by the calibration.
        notices: what the user should know before it starts.
    """

    images: int
    device: str
    workers: int
    models: tuple[ModelForecast, ...]
    memory: Memory
    disk: Disk
    seconds_taken: float
    notices: tuple[str, ...]

    @property
    def costs(self) -> tuple[Cost, ...]:
        """Those of all models."""
        return tuple(cost for model in self.models for cost in model.costs)

    @property
    def blocks(self) -> int:
        """Of all models; so many workers can have something to do at once, at most."""
        return sum(model.blocks for model in self.models)

    @property
    def forwards(self) -> int:
        """Images that pass models."""
        return sum(cost.forwards for cost in self.costs)

    @property
    def backwards(self) -> int:
        """Images that gradients are asked of."""
        return sum(cost.backwards for cost in self.costs)

    @property
    def windows(self) -> int:
        """Images of which only what a window changes is computed."""
        return sum(cost.windows for cost in self.costs)

    @property
    def preparation_seconds(self) -> float:
        """Until the first blocks of all models."""
        return sum(model.preparation_seconds for model in self.models)

    @property
    def seconds(self) -> float:
        """Of one worker, about."""
        return self.seconds_with(1)

    def seconds_with(self, workers: int) -> float:
        """About how long so many workers take that share nothing, each as fast as this process.

        Each prepares every model, and they end with the last block.
        """
        work = sum(cost.seconds for cost in self.costs)
        rounds = math.ceil(self.blocks / workers) / max(1, self.blocks)
        return self.preparation_seconds + work * rounds


def forecast(plan: Plan, workers: int, progress: Progress) -> Forecast:
    """Tries a plan on a few of its images, and multiplies.

    Parameters:
        plan: of the run, or of a shard of it.
        workers: that it is to have.
        progress: told of each method and metric that is tried.

    Raises:
        InterpBenchError: if no image can be read, or the plan cannot be run as it is.
    """
    started, device = time.perf_counter(), plan.computing.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    count = sum(pieces(plan, label) for label in plan.models)
    progress.begin(count)
    with exact_arithmetic(), memory_kept():
        calibrated = [calibrate(plan, label, BUDGET / count, progress) for label in plan.models]
    models = tuple(_model_forecast(plan, each) for each in calibrated)
    disk, tables = expected_files(plan, list(_finished(plan, calibrated, models)))
    on_gpu = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
    largest = max(KEPT * each.block_size * each.image_bytes for each in calibrated)
    return Forecast(
        images=max(model.images for model in models),
        device=describe(device),
        workers=workers,
        models=models,
        memory=Memory(most_held(), on_gpu, largest, tables),
        disk=disk,
        seconds_taken=time.perf_counter() - started,
        notices=(*plan.notices, *([AT_MOST] if plan.looks else [])),
    )


def _model_forecast(plan: Plan, tried: CalibratedModel) -> ModelForecast:
    if tried.failure:
        return ModelForecast(tried.label, 0, 0, 0, 0, 0.0, (), tried.failure)
    mine = _Images.of(plan.shard, plan, tried)
    return ModelForecast(
        label=tried.label,
        images=mine.count,
        blocks=mine.blocks,
        block_size=tried.block_size,
        batch_size=tried.batch_size,
        preparation_seconds=tried.preparation_seconds,
        costs=tuple(_costs(plan, tried, mine)),
    )


@dataclass(frozen=True)
class _Images:
    """How many images, in how many blocks and batches."""

    count: int
    blocks: int
    batches: int

    @classmethod
    def of(cls, shard: Shard | None, plan: Plan, tried: CalibratedModel) -> "_Images":
        cut = blocks(len(plan.indices), tried.block_size)
        sizes = [it.last - it.first for it in cut if shard is None or shard.has(it)]
        batches = sum(math.ceil(size / tried.batch_size) for size in sizes)
        return cls(sum(sizes), len(sizes), batches)


def _costs(plan: Plan, tried: CalibratedModel, mine: _Images) -> Iterator[Cost]:
    everything = _Images.of(None, plan, tried)
    # The model is measured on all images before its first block; few are still at hand then.
    again = mine.count if everything.blocks > KEPT else 0

    def cost(part: Part, label: str, outcome: Tried, images: _Images, times: int = 1) -> Cost:
        if outcome.failure:
            return Cost(tried.label, part, label, 0, outcome.images, failure=outcome.failure)
        count = images.count * times
        passes = outcome.passes_of(count, images.batches * times)
        seconds = outcome.seconds / outcome.images * count
        return Cost(
            tried.label, part, label, count, outcome.images, **asdict(passes), seconds=seconds
        )

    read = replace(everything, count=everything.count + again)
    yield cost("images", "decoding", tried.decoding, read)
    yield cost("images", "predictions", tried.prediction, everything)
    yield cost("images", "end points", tried.end_points, mine)
    for cell, made in tried.cells:
        yield cost(
            "search" if cell.ceiling_of else "maps", cell.ceiling_of or cell.method, made, mine
        )
    able = [cell for cell, made in tried.cells if not made.failure]
    for metric, scored in tried.scores:
        maps = sum(cell.ceiling_of in (None, metric) for cell in able)
        of_maps = cost("scores", metric, scored, mine, maps)
        asked = round(mine.count * scored.asked / max(1, scored.images))
        if asked and not of_maps.failure:  # methods explain other images, or other models
            methods = [made for cell, made in tried.cells if cell in able and not cell.ceiling_of]
            of_maps = _with_maps(of_maps, methods, asked, mine.batches)
        yield of_maps


def _with_maps(cost: Cost, methods: Sequence[Tried], count: int, batches: int) -> Cost:
    """The cost, with that of so many maps of each method, in so many batches."""
    passes = [made.passes_of(count, batches) for made in methods]
    return replace(
        cost,
        forwards=cost.forwards + sum(each.forwards for each in passes),
        backwards=cost.backwards + sum(each.backwards for each in passes),
        windows=cost.windows + sum(each.windows for each in passes),
        seconds=cost.seconds + sum(made.seconds / made.images * count for made in methods),
    )


def _finished(
    plan: Plan, calibrated: Sequence[CalibratedModel], models: Sequence[ModelForecast]
) -> Iterator[ExpectedCell]:
    """The cells that leave tables."""
    for tried, model in zip(calibrated, models, strict=True):
        curves = dict(tried.changed)
        scored = [metric for metric, outcome in tried.scores if not outcome.failure]
        for cell, made in tried.cells:
            mine = [metric for metric in scored if cell.ceiling_of in (None, metric)]
            if not made.failure:
                changed = {metric: curves.get(metric, ()) for metric in mine}
                yield ExpectedCell(cell, model.images, changed)
