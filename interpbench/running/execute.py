"""A plan carried out into a run folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from interpbench.core.progress import Progress
from interpbench.files.csv_files import write_csv
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.finished_run import Run
from interpbench.results.leaderboard import conclude
from interpbench.results.run_folder import PROFILE, Mode, RunFolder
from interpbench.results.run_info import RunInfo
from interpbench.suite.cells import Cell

if TYPE_CHECKING:
    from interpbench.running.plan import Plan
    from interpbench.running.resume import Kept


@dataclass(frozen=True)
class Loss:
    """A worker that is no more.

    Attributes:
        worker: its number, from 1; the one that takes its place has it again.
        how: it ended, as `was killed by SIGKILL`.
        at: what it was doing, as `random on resnet18, block 3 of 8`; "" if nothing.
        then: what becomes of that.
    """

    worker: int
    how: str
    at: str
    then: str

    def __str__(self) -> str:
        at = f" (at {self.at})" if self.at else ""
        return f"worker {self.worker} {self.how}{at}: {self.then}"


class Listener:
    """Told how a run gets on, in the process that called `run`; this one is silent.

    A subclass has those of the methods that it wants. What one raises ends the run, which can be
    resumed.

    Example:
        >>> class Means(interpbench.Listener):
        ...     def cell(self, result):
        ...         for metric, rows in result.scores.groupby("metric"):
        ...             print(result.record.method, metric, round(rows["value"].mean(), 2))
        ...     def finished(self, run):
        ...         print(len(run.scores), "scores")
        >>> run = interpbench.run(
        ...     dataset="planted", model="resnet18", method="center", metric="pointing-game",
        ...     images=2, ceiling="none", device="cpu", plots=False, output="listened-to",
        ...     listener=Means(),
        ... )
        center pointing-game 0.5
        2 scores
    """

    def planned(self, plan: "Plan", folder: Path, done: int) -> None:
        """The run starts; `done` cells are finished already."""

    def images(self, cell: Cell, count: int) -> None:
        """So many images more of a cell are explained and scored; 0 as a block of it begins.

        Less than 0 where a worker was lost with them, so that they are made once more.
        """

    def cell(self, result: CellResult) -> None:
        """A method on a model is finished and written.

        `result.record` says which and what became of it, `result.scores` has a row an image.
        """

    def finished(self, run: Run) -> None:
        """All is written, the plots and the page as well; `run` is what the call gives back."""

    def workers(self, alive: int) -> None:
        """So many workers are ready or at work now."""

    def lost(self, loss: Loss) -> None:
        """A worker is no more."""

    def waiting(self, said: str) -> None:
        """Workers have waited a while for something, it says for what; and again each minute."""


class Listeners(Listener):
    """Tells several, in their order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def planned(self, plan: "Plan", folder: Path, done: int) -> None:
        """Tells each."""
        for listener in self._listeners:
            listener.planned(plan, folder, done)

    def images(self, cell: Cell, count: int) -> None:
        """Tells each."""
        for listener in self._listeners:
            listener.images(cell, count)

    def cell(self, result: CellResult) -> None:
        """Tells each."""
        for listener in self._listeners:
            listener.cell(result)

    def finished(self, run: Run) -> None:
        """Tells each."""
        for listener in self._listeners:
            listener.finished(run)

    def workers(self, alive: int) -> None:
        """Tells each."""
        for listener in self._listeners:
            listener.workers(alive)

    def lost(self, loss: Loss) -> None:
        """Tells each."""
        for listener in self._listeners:
            listener.lost(loss)

    def waiting(self, said: str) -> None:
        """Tells each."""
        for listener in self._listeners:
            listener.waiting(said)


class Reporter(Listener):
    """Tells it on, as maps that are made and scored."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._workers = ""

    def planned(self, plan: "Plan", folder: Path, done: int) -> None:
        """Says how many maps there will be."""
        self._progress.begin((len(plan.cells) - done) * len(plan.indices))

    def images(self, cell: Cell, count: int) -> None:
        """So many maps more."""
        self._progress.advance(f"{cell.model} {cell.method}{self._workers}", count)

    def workers(self, alive: int) -> None:
        """Says so with the maps."""
        self._workers = f", {in_words(alive)}"

    def lost(self, loss: Loss) -> None:
        """Says so at once."""
        self._progress.note(str(loss))

    def waiting(self, said: str) -> None:
        """Says so at once."""
        self._progress.note(said)


def in_words(workers: int) -> str:
    """`1 worker`, `2 workers`."""
    return f"{workers} worker{'s' * (workers != 1)}"


# Where cells run: runs those of a plan that are not done, and writes each as it is finished; gives
# the workers that were lost meanwhile.
Executor = Callable[["Plan", RunFolder, "Kept", Listener], Sequence[Loss]]


def execute(
    plan: "Plan",
    folder: RunFolder,
    mode: Mode,
    profile: bool,
    listener: Listener,
    executor: Executor | None = None,
) -> Run:
    """Runs what is not done yet; writes the folder; the finished run.

    Parameters:
        executor: where the cells run; None is this process.
    """
    with folder.writing(mode):
        return _execute(plan, folder, mode == "resume", profile, listener, executor)


def _execute(
    plan: "Plan",
    folder: RunFolder,
    resumed: bool,
    profile: bool,
    listener: Listener,
    executor: Executor | None,
) -> Run:
    from interpbench.running.record import begun, ended
    from interpbench.running.resume import Kept, begun_again, kept

    old = kept(folder, plan) if resumed else Kept()
    info = begun(plan, "none" if executor is None else "cell")
    if resumed:
        info = begun_again(info, folder, old)
    folder.write_info(info)
    listener.planned(plan, folder.path, len(old.cells))
    losses: Sequence[Loss] = ()
    try:
        if executor is not None:
            losses = executor(plan, folder, old, listener)
        elif profile:
            _run_profiled(plan, folder, old, listener)
        else:
            _run_here(plan, folder, old, listener, listener.images)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(
            "What is finished is on disk: continue with the same command, "
            f"--output {folder.path} and --resume."
        )
        raise
    if losses:
        lost = (*info.workers_lost, *map(str, losses))
        info = info.model_copy(update={"workers_lost": lost})
    if plan.shard is not None:
        return _part_of_a_run(plan, folder, info)
    tables = folder.assemble()
    conclusions = conclude(tables)
    for name, frame in conclusions.items():
        folder.write(f"{name}.csv", partial(write_csv, frame))
    folder.write_info(ended(info, plan, folder, tables))
    return Run(folder.path, folder.info(), tables, conclusions)


def _part_of_a_run(plan: "Plan", folder: RunFolder, info: RunInfo) -> Run:
    """A shard whose blocks are done: it stays a run in progress, until it is merged."""
    notice = f"This is shard {plan.shard} of a run: put them together with `interpbench merge`."
    folder.write_info(
        info.model_copy(update={"notices": tuple(dict.fromkeys([*info.notices, notice]))})
    )
    tables = folder.tables()
    return Run(folder.path, folder.info(), tables, conclude(tables))


def _run_here(
    plan: "Plan",
    folder: RunFolder,
    old: "Kept",
    listener: Listener,
    progress: Callable[[Cell, int], None],
) -> None:
    """Runs what is not done, and writes each block and cell as it is finished."""
    from interpbench.running.gathering import Gathering
    from interpbench.running.runner import run_blocks

    gathering = Gathering(plan, folder, old.todo(plan), listener.cell)
    for result in run_blocks(plan, gathering.begin(), progress, gathering.is_enough):
        if isinstance(result, ModelResult):
            old.refuse_another(result.record)
        gathering.take(result)


def _run_profiled(plan: "Plan", folder: RunFolder, old: "Kept", listener: Listener) -> None:
    """As `_run_here`, and writes where the time went."""
    from interpbench.running.profiling import Profile

    profile = Profile(plan.computing.device)

    def progress(cell: Cell, images: int) -> None:
        listener.images(cell, images)
        if images:
            profile.step()

    with profile.taken():
        _run_here(plan, folder, old, listener, progress)
    table, trace = PROFILE
    folder.write(table, partial(write_csv, profile.table))
    folder.write(trace, profile.write_trace)
