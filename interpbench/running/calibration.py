"""What each piece of a plan's work costs an image: all of it tried on a few, nothing kept."""

import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from interpbench.attribution.attribute import Maps
from interpbench.core.batch_size import BatchSize
from interpbench.core.devices import Stopwatch
from interpbench.core.errors import InterpBenchError, said
from interpbench.core.passes_counted import PassCount, counting
from interpbench.core.process_state import ProcessState, staying_alive
from interpbench.core.progress import Progress
from interpbench.core.types import Model
from interpbench.registry.plugin import Configured, described
from interpbench.running.block_in_progress import BlockInProgress, CeilingInProgress
from interpbench.running.image_block import COMPARED, ImageBlock
from interpbench.running.image_stream import ImageStream
from interpbench.running.plan import Plan
from interpbench.running.prepared_model import PreparedModel
from interpbench.running.runner import model_fails
from interpbench.scoring.evaluate import evaluate
from interpbench.suite.cells import Cell

SLOW = 10.0  # seconds an image, from which one has to do
Timed = Callable[[], object]


@dataclass(frozen=True)
class Tried:
    """A piece of work on some images.

    Attributes:
        images: how many, for so many seconds.
        seconds: of all together.
        first: passes that one image takes.
        counted: of how many images passes are known as well,
        passes: and what they take, all together.
        asked: about how many images a metric asks methods again, for so many images; what that
            costs is the method's.
        failure: why it broke down; its numbers then mean nothing.
    """

    images: int = 0
    seconds: float = 0.0
    first: PassCount = field(default_factory=PassCount)
    counted: int = 1
    passes: PassCount = field(default_factory=PassCount)
    asked: int = 0
    failure: str = ""

    def passes_of(self, images: int, batches: int) -> PassCount:
        """For so many images in so many batches: some are for each image, some for each batch."""

        def counted(first: int, together: int) -> int:
            each = (together - first) / (self.counted - 1) if self.counted > 1 else first
            return round(each * images + (first - each) * batches)

        counts = zip(astuple(self.first), astuple(self.passes), strict=True)
        return PassCount(*(counted(*pair) for pair in counts))


@dataclass(frozen=True)
class CalibratedModel:
    """What the work on one model costs.

    Attributes:
        label: of the model.
        batch_size, block_size: images a forward pass and a block, as the run decides them.
        preparation_seconds: to examine it, to make the copy that is scored, and to tune that.
        image_bytes: of an image's pixels and masks as they are kept.
        decoding, prediction, end_points: what is done for an image and no method.
        cells: of each cell, maps made and ranked, or searched.
        scores: metric -> scores of maps.
        changed: curve metric -> how many positions have changed at each point.
        failure: why nothing of it can be run.
    """

    label: str
    batch_size: int = 0
    block_size: int = 0
    preparation_seconds: float = 0.0
    image_bytes: int = 0
    decoding: Tried = Tried()
    prediction: Tried = Tried()
    end_points: Tried = Tried()
    cells: tuple[tuple[Cell, Tried], ...] = ()
    scores: tuple[tuple[str, Tried], ...] = ()
    changed: tuple[tuple[str, tuple[int, ...]], ...] = ()
    failure: str = ""


def pieces(plan: Plan, label: str) -> int:
    """How many pieces of work of a model are tried."""
    return 2 + len(plan.metrics) + len(plan.cells_of(label))


def calibrate(plan: Plan, label: str, seconds: float, progress: Progress) -> CalibratedModel:
    """Tries all that is done with a model: the methods, the metrics, the searches for ceilings.

    Parameters:
        plan: of the run.
        label: of the model.
        seconds: that one piece of work may take, about, after it was tried on one image.
        progress: told of each piece.

    Raises:
        InterpBenchError: if no image can be read, or the plan cannot be run as it is.
    """
    model = plan.models[label][1]
    few = plan.excerpt(model.batch_size)
    with ImageStream(few) as stream:
        started = time.perf_counter()
        read = stream.part(model.card.preparation.framing, 0, len(few.indices))
        decoding = Tried(len(few.indices), seconds=time.perf_counter() - started)
        progress.advance(f"{label} is prepared")
        started = time.perf_counter()
        try:
            prepared = PreparedModel(few, label, stream)
        except (InterpBenchError, KeyboardInterrupt):
            raise
        except BaseException as error:  # of any kind: a model may call sys.exit
            return CalibratedModel(label, failure=model_fails(error))
        preparation_seconds = time.perf_counter() - started
        parts = map(prepared.open, prepared.blocks())
        trials = _Trials(prepared, next(part for part in parts if len(part)), seconds, progress)
        kept = [each for each in (read.images, read.masks, read.ignored) if each is not None]
        calibrated = CalibratedModel(
            label,
            batch_size=prepared.batch_size,
            block_size=prepared.result.record.block_size,
            preparation_seconds=preparation_seconds,
            image_bytes=sum(each.nbytes for each in kept) // len(read.ids),
            decoding=decoding,
            prediction=trials.prediction(),
            end_points=trials.end_points(),
            scores=tuple((metric, trials.scores(metric)) for metric in plan.metrics),
            cells=tuple((cell, trials.maps(cell)) for cell in plan.cells_of(label)),
            changed=tuple(trials.changed.items()),
        )
        prepared.model.to("cpu")  # where the next model needs the room
        model.to("cpu")
    return calibrated


class _Trials:
    """Pieces of work, each tried on the first images of a block.

    Attributes:
        changed: curve metric -> how many positions have changed at each point.
    """

    def __init__(
        self, prepared: PreparedModel, images: ImageBlock, seconds: float, progress: Progress
    ) -> None:
        self.changed: dict[str, tuple[int, ...]] = {}
        self._prepared, self._images = prepared, images
        self._plan = prepared.plan
        self._seconds, self._progress = seconds, progress

    def prediction(self) -> Tried:
        """What the model says of the untouched images."""

        @torch.inference_mode()
        def predict(rows: slice) -> Tensor:
            return self._prepared.model(self._images.fastest(rows)).argmax(1)

        return self._tried("predictions", lambda rows: partial(predict, rows))

    def end_points(self) -> Tried:
        """What all metrics' paths begin and end with."""

        def ready(rows: slice) -> Timed:
            self._prepared.forget()
            return lambda: self._prepared.know_end_points(self._images, rows)

        return self._tried("end points", ready)

    def scores(self, label: str) -> Tried:
        """Maps of some images scored by one metric; which maps does not matter to what it costs."""
        prepared, images = self._prepared, self._images
        metric = self._plan.metrics[label]
        asked: list[int] = []

        def explain(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
            asked.append(len(x))
            return x.abs().sum(1)

        def ready(rows: slice) -> Timed:
            asked.clear()
            prepared.know_end_points(images, rows)
            batch = images.batch(rows, gradients=False)
            some = Maps.of_search(batch.x.abs().sum(1))
            explanation, _ = images.explanation(some, batch, rows)
            explanation = replace(explanation, explainer=explain, alone=lambda row: asked.append(1))
            passes = prepared.passes(BatchSize(prepared.batch_size))

            def timed() -> None:
                scores = evaluate({label: metric}, explanation, passes, images.compared(rows))
                if label in scores.failed:
                    raise _MetricError(scores.failed[label])
                self.changed |= {name: tuple(at) for name, at in scores.changed.items()}

            return timed

        # In a lower precision, one in so many is scored in float32 too: as many as show two.
        least = 2 if self._plan.computing.precision == "fp32" else COMPARED + 1
        tried = self._tried(label, ready, metric, least)
        return replace(tried, asked=sum(asked))

    def maps(self, cell: Cell) -> Tried:
        """Maps of some images made, or searched, and ranked."""
        prepared, images = self._prepared, self._images
        kind = CeilingInProgress if cell.ceiling_of else BlockInProgress

        def ready(rows: slice) -> Timed:
            work = kind(prepared, images, cell)

            def timed() -> None:
                batch, maps = work.explain(rows)
                images.explanation(maps, batch, rows)

            return timed

        return self._tried(cell.method, ready, self._plan.method(cell))

    def _tried(
        self,
        what: str,
        ready: Callable[[slice], Timed],
        plugin: Configured | None = None,
        least: int = 2,
    ) -> Tried:
        """On one image, which warms up, on another, and on as many as there is time for.

        Passes are counted on the first of these alone, which do not depend on the time: so methods
        that share passes find those of the others.
        """
        tried = first = self._once(slice(0, 1), ready, plugin)
        most = min(len(self._images), self._prepared.batch_size)
        counted = min(most, least) if first.seconds < SLOW else 1
        if not first.failure and counted > 1:
            tried = self._once(slice(0, counted), ready, plugin)
            passes = tried.passes
            affordable = min(most, int(self._seconds / max(first.seconds, 1e-9)))
            if not tried.failure and affordable > counted:
                tried = self._once(slice(0, affordable), ready, plugin)
            tried = replace(tried, first=first.passes, counted=counted, passes=passes)
        self._progress.advance(f"{self._prepared.label} {what}", 1)
        return tried

    def _once(
        self, rows: slice, ready: Callable[[slice], Timed], plugin: Configured | None
    ) -> Tried:
        watch, failure = Stopwatch(self._plan.computing.device), ""
        with staying_alive():
            process = ProcessState()
            try:
                timed = ready(rows)
                with counting() as passes, watch.running():
                    timed()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # of any kind: a plugin fails alone
                failure = _in_words(error, plugin)
            undone = process.undo()
        changed = self._prepared.examined.guard.changed_weights()
        if changed or undone.harmful:
            self._prepared.forget()
            what = changed[0] if changed else undone.harmful[0]
            failure = failure or f"changed what others need ({what}), which is undone"
        if failure:
            return Tried(rows.stop, failure=failure)
        return Tried(rows.stop, watch.seconds, first=passes, passes=passes)


class _MetricError(InterpBenchError):
    """Why a metric has failed."""


def _in_words(error: BaseException, plugin: Configured | None) -> str:
    if isinstance(error, InterpBenchError) or plugin is None:
        return said(error)
    return described(error, plugin)
