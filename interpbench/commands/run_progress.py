"""The live progress bar of a run: images explained and scored, rate, and time left."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from interpbench.core.progress_lines import Lines, duration
from interpbench.results.cell_results import CellResult
from interpbench.running.execute import Listener, Loss, Reporter, in_words
from interpbench.suite.cells import Cell

if TYPE_CHECKING:
    from interpbench.running.plan import Plan


WORTH_A_WORD, LONG = 60.0, 600.0  # seconds
CHEAPER = (
    "Cheaper: fewer --images, --steps, methods or metrics, --ceiling none, --precision bf16; what "
    "is finished stays, and --resume goes on."
)


class _Rate(ProgressColumn):
    """Maps a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} maps/s", style="progress.data.speed")


class Outlook:
    """How long a run will take, as its first batch tells; said once, where it is worth a word.

    Parameters:
        maps: that are to be made and scored.
        clock: the time in seconds.
    """

    def __init__(self, maps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._left, self._clock = maps, clock
        self._begun: float | None = None
        self._said = False

    def after(self, count: int) -> str:
        """What is to be said after a batch of so many maps, or ""; 0 maps are none, and less
        are lost again.

        The first batch is left out: it has to compile and to allocate.
        """
        self._left -= count
        if count <= 0:
            return ""
        if self._begun is None:
            self._begun = self._clock()
            return ""
        if self._said:
            return ""
        self._said = True
        seconds = (self._clock() - self._begun) / count * self._left
        if seconds < WORTH_A_WORD:
            return ""
        cheaper = f" {CHEAPER}" if seconds > LONG else ""
        return f"About {duration(seconds)} at the rate of the first batches.{cheaper}"


def _preparations(plan: "Plan") -> dict[str, list[str]]:
    """How images become the models' input, and who says so -> the models."""
    said: dict[str, list[str]] = {}
    for label, (_, model) in plan.models.items():
        preparation = model.card.preparation
        text = f"{preparation.text}, as stated by {preparation.stated_by}"
        said.setdefault(text, []).append(label)
    return said


class ProgressBar(Listener):
    """Draws on a terminal, writes a line now and then elsewhere; says when a cell has failed.

    Parameters:
        console: where to.
        quiet: whether it says nothing at all.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        lines = not (quiet or console.is_terminal)
        self._lines = Reporter(Lines(sys.stderr, unit="maps")) if lines else Listener()
        self._progress = Progress(
            TextColumn("{task.description}{task.fields[workers]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
            speed_estimate_period=60,
        )
        self._task: TaskID | None = None
        self._outlook: Outlook | None = None
        self.folder: Path | None = None  # known once the run has begun

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def planned(self, plan: "Plan", folder: Path, done: int) -> None:
        """Says what will run."""
        self.folder = folder
        self._lines.planned(plan, folder, done)
        if self._quiet:
            return
        cells, images = len(plan.cells), len(plan.indices)
        suite = f"{plan.suite.name}, changed" if plan.changed else plan.suite.name
        self._task = self._progress.add_task("starting", total=(cells - done) * images, workers="")
        devices = ", ".join(map(str, plan.computing.devices))
        resumed = f", {done} of them finished before" if done else ""
        self._console.print(
            Text(
                f"{suite}: {plan.dataset.card.name}, models: {len(plan.models)}, methods: "
                f"{len(plan.methods)}, metrics: {len(plan.metrics)}, images: {images}; cells: "
                f"{cells}{resumed}; device: {devices}; forward passes of scoring: "
                f"about {plan.scored_images(plan.cells):,} images, besides those of the methods"
            )
        )
        for said, labels in _preparations(plan).items():
            self._console.print(Text(f"{', '.join(labels)}: {said}"))
        self._outlook = Outlook((cells - done) * images)

    def images(self, cell: Cell, count: int) -> None:
        """Moves on."""
        self._lines.images(cell, count)
        said = self._outlook.after(count) if self._outlook is not None else ""
        if said:
            self._console.print(Text(said))
        if self._task is not None:
            self._progress.update(
                self._task, advance=count, description=f"{cell.model} {cell.method}"
            )

    def cell(self, result: CellResult) -> None:
        """Says at once when a cell has failed."""
        record = result.record
        if record.status != "ok" and not self._quiet:
            self._console.print(Text(f"failed: {record.method} on {record.model}: {record.reason}"))

    def workers(self, alive: int) -> None:
        """Says so beside the bar, or in its lines."""
        self._lines.workers(alive)
        if self._task is not None:
            self._progress.update(self._task, workers=f", {in_words(alive)}")

    def lost(self, loss: Loss) -> None:
        """Says so at once."""
        self.waiting(str(loss))

    def waiting(self, said: str) -> None:
        """Says so at once."""
        if not self._quiet:
            self._console.print(Text(said))
