"""The live progress bar of a run: images explained and scored, rate, and time left."""

import sys
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

from interpbench.core.progress_lines import Lines
from interpbench.results.cell_results import CellResult
from interpbench.running.execute import Listener, Reporter
from interpbench.suite.cells import Cell

if TYPE_CHECKING:
    from interpbench.running.plan import Plan


class _Rate(ProgressColumn):
    """Maps a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} maps/s", style="progress.data.speed")


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
            TextColumn("{task.description}", markup=False),
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
        self._task = self._progress.add_task("starting", total=(cells - done) * images)
        resumed = f", {done} of them finished before" if done else ""
        self._console.print(
            Text(
                f"{suite}: {plan.dataset.card.name}, models: {len(plan.models)}, methods: "
                f"{len(plan.methods)}, metrics: {len(plan.metrics)}, images: {images}; cells: "
                f"{cells}{resumed}; device: {plan.computing.device}; forward passes of scoring: "
                f"about {plan.scored_images(plan.cells):,} images, besides those of the methods"
            )
        )
        for label, (_, model) in plan.models.items():
            preparation = model.card.preparation
            self._console.print(
                Text(f"{label}: {preparation.text}, as stated by {preparation.stated_by}")
            )

    def images(self, cell: Cell, count: int) -> None:
        """Moves on."""
        self._lines.images(cell, count)
        if self._task is not None:
            self._progress.update(
                self._task, advance=count, description=f"{cell.model} {cell.method}"
            )

    def cell(self, result: CellResult) -> None:
        """Says at once when a cell has failed."""
        record = result.record
        if record.status != "ok" and not self._quiet:
            self._console.print(Text(f"failed: {record.method} on {record.model}: {record.reason}"))
