"""Blocks given out to workers, which may die, hang or be lost; this process alone writes.

A job is to measure a model, or all open cells of one of its blocks. Whoever is free gets the first
job in the plan's order, of the model that it has at hand if there is one. What a worker was at when
it died is tried once more by a fresh one; the second time it is the cell's failure. A worker that
is lost through no fault of its job costs the job nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from interpbench.core.errors import InterpBenchError, RunFolderError
from interpbench.results.block_files import BlockResult
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.run_folder import RunFolder
from interpbench.running.blocks import Block, blocks
from interpbench.running.execute import Listener, Loss
from interpbench.running.gathering import Gathering
from interpbench.running.plan import Plan
from interpbench.running.resume import Kept
from interpbench.running.runner import Enough, not_run
from interpbench.suite.cells import Cell

TRIES = 2  # that a block of a cell, getting a model ready for a block, or a worker's beginning gets
MOST_LOSSES = 50  # of workers that no job is to blame for
LOOKING = 0.5  # seconds between two looks at workers that say nothing
FRESH = "a fresh one takes its place"
PATIENCE, AGAIN = 10.0, 60.0  # seconds until it is said what workers wait for, and said once more


@dataclass(frozen=True)
class Job:
    """What a worker is to do.

    Attributes:
        model: which; to be measured if there is no block.
        block: which images.
        cells: what is made of them.
        decided: what was measured of the model, where the worker does not know it.
    """

    model: str
    block: Block | None = None
    cells: tuple[Cell, ...] = ()
    decided: ModelResult | None = None


@dataclass(frozen=True)
class Ready:
    """A worker has rebuilt the plan, and waits for a job."""


@dataclass(frozen=True)
class At:
    """A worker is at a cell: so many images more are through; 0 as the cell's block begins."""

    cell: Cell
    images: int


@dataclass(frozen=True)
class Made:
    """A worker hands in a model that it measured, a block, or a cell that failed with its model."""

    result: ModelResult | BlockResult | CellResult


@dataclass(frozen=True)
class Done:
    """A worker has done its job; it is not fit for another if it is `damaged`."""

    damaged: str = ""


@dataclass(frozen=True)
class Refused:
    """A worker cannot go on, for a reason that is the user's to mend."""

    reason: str


@dataclass(frozen=True)
class Died:
    """A worker is no more. `at_fault` says whether its job may be to blame."""

    how: str
    at_fault: bool = True


Answer = Ready | At | Made | Done | Refused | Died


class Worker(Protocol):
    """Someone who does one job after the other."""

    def give(self, job: Job) -> None:
        """Hands a job out; what comes of it is heard of by `Team.next`."""

    def dismiss(self) -> None:
        """Ends the worker at once, whatever it is at."""


class Team(Protocol):
    """Where workers come from, and what they say."""

    def room(self) -> int:
        """For how many workers there is room now, at least 1."""

    def hire(self, number: int) -> Worker:
        """A fresh worker, which says `Ready` once it is; numbers of those alive differ, from 1."""

    def waits_for(self) -> str:
        """What workers that cannot begin yet wait for; "" if for nothing but themselves."""

    def next(self, seconds: float) -> tuple[Worker, Answer] | None:
        """What some worker says, or None if in so many seconds none says anything."""


@dataclass
class _Hand:
    """A worker, its number, and what it is at."""

    worker: Worker
    number: int
    job: Job | None = None
    ready: bool = False
    at: Cell | None = None
    images: int = 0  # of the cell's block, that are through
    left: list[Cell] = field(default_factory=list)
    model: str = ""  # that it has at hand
    began: float = field(default_factory=time.monotonic)

    @property
    def place(self) -> str:
        """What it is at, in words."""
        if self.job is None:
            return ""
        block = self.job.block
        if block is None:
            return f"the measuring of {self.job.model}"
        what = f"{self.at.method} on {self.at.model}" if self.at else self.job.model
        return f"{what}, block {block.number + 1} of {block.count}"


class _ModelToRun:
    """What of one model is still to be given out."""

    def __init__(self, plan: Plan, label: str, cells: Collection[Cell]) -> None:
        self.label = label
        self.decided: ModelResult | None = None
        self.cells = list(cells)  # that are not finished
        self.count = 0  # of blocks
        self.waiting: list[tuple[Block, list[Cell]]] = []
        self.busy: list[Block] = []
        self.measuring = False
        self._plan = plan
        self._cut: list[Block] = []
        self._looked = 0  # blocks up to the last look

    def begin(self, decided: ModelResult, open_cells: Callable[[Block], list[Cell]]) -> None:
        """It is measured; its blocks can be given out."""
        self.decided, self.measuring = decided, False
        self._cut = blocks(len(self._plan.indices), decided.record.block_size)
        self.count = len(self._cut)
        self.waiting = [(block, cells) for block in self._cut if (cells := open_cells(block))]

    def end_after(self, count: int) -> None:
        """No block after so many is needed."""
        self.waiting = [(block, cells) for block, cells in self.waiting if block.number < count]

    @property
    def limit(self) -> int:
        """Up to which block may be given out before it is asked whether that is enough."""
        for block in self._cut:
            if block.number >= self._looked and block.has_look(self._plan.looks):
                return block.number + 1
        return self.count

    @property
    def is_at_look(self) -> bool:
        """Whether all blocks up to the limit are done."""
        first = min((block.number for block, _ in self.waiting), default=self.count)
        return bool(self.waiting) and not self.busy and first >= self.limit

    def look(self) -> int:
        """How many blocks are looked at now."""
        self._looked = self.limit
        return self._looked

    def next_job(self) -> Job | None:
        """What can be given out now, if anything; it is then taken."""
        if self.decided is None:
            first, self.measuring = not self.measuring, True
            return Job(self.label) if first and self.cells else None
        if not self.waiting or self.waiting[0][0].number >= self.limit:
            return None
        block, cells = self.waiting.pop(0)
        self.busy.append(block)
        return Job(self.label, block, tuple(cells))

    def again(self, block: Block, cells: list[Cell]) -> None:
        """A block is to be given out once more."""
        self.busy.remove(block)
        if cells:
            self.waiting = sorted([(block, cells), *self.waiting], key=lambda item: item[0])

    def drop(self, cell: Cell, since: int = 0) -> None:
        """A cell needs no further blocks, from one on."""
        for block, cells in self.waiting:
            if block.number >= since and cell in cells:
                cells.remove(cell)
        self.waiting = [(block, cells) for block, cells in self.waiting if cells]


class Scheduler:
    """Runs what is to be run of a plan by a team.

    Parameters:
        team: where workers come from, and how many at once.
        timeout: seconds that a block of a cell, or getting a model ready, may take; None is for
            ever.
        begin_failed: what to try where a worker dies before it is ready.
    """

    def __init__(self, team: Team, timeout: float | None = None, begin_failed: str = "") -> None:
        self._team, self._timeout = team, timeout
        self._begin_failed = begin_failed
        self._hands: list[_Hand] = []
        self._losses: list[Loss] = []
        self._blameless = self._stillborn = 0
        self._deaths: Counter[tuple[object, ...]] = Counter()
        self._say_again = 0.0  # when it may be said again what workers wait for

    def __call__(
        self, plan: Plan, folder: RunFolder, old: Kept, listener: Listener
    ) -> Sequence[Loss]:
        """Runs what is not done, and writes each block and cell as it is finished or lost.

        Returns:
            The workers that were lost.

        Raises:
            InterpBenchError: if a worker cannot begin, or refuses to go on.
        """
        self._plan, self._old, self._listener = plan, old, listener
        self._gathering = Gathering(plan, folder, old.todo(plan), listener.cell)
        self._todo = self._gathering.begin()
        self._models = {
            label: _ModelToRun(plan, label, self._todo.of(label).cells) for label in plan.models
        }
        for label, decided in self._todo.decided.items():
            if self._models[label].cells:
                self._begin(label, decided)
        try:
            while self._is_busy():
                self._give_out()
                self._hear()
                self._tell_of_waiting()
            for label, count in self._todo.enough.items():
                self._gathering.take(Enough(label, count))
        finally:
            for hand in self._hands:
                hand.worker.dismiss()
        return self._losses

    def _is_busy(self) -> bool:
        self._look()
        return any(
            model.waiting or model.busy or (model.decided is None and model.cells)
            for model in self._models.values()
        )

    def _begin(self, label: str, decided: ModelResult) -> None:
        model = self._models[label]
        model.begin(decided, self._todo.of(label).open)
        if label in self._todo.enough:
            model.end_after(self._todo.enough[label])

    def _look(self) -> None:
        """Asks of models whose blocks up to a look are done whether that is enough."""
        for model in self._models.values():
            while model.decided is not None and model.is_at_look:
                count = model.look()
                if self._gathering.is_enough(model.label, count):
                    model.waiting.clear()
                    self._gathering.take(Enough(model.label, count))

    def _give_out(self) -> None:
        idle = [hand for hand in self._hands if hand.ready and hand.job is None]
        for hand in idle:
            job = self._job_for(hand)
            if job is None:
                break
            hand.job, hand.left, hand.at, hand.images = job, list(job.cells), None, 0
            hand.model, hand.began = job.model, time.monotonic()
            hand.worker.give(job)
        while len(self._hands) < min(self._team.room(), self._jobs()):
            taken = {hand.number for hand in self._hands}
            number = min(set(range(1, len(taken) + 2)) - taken)
            self._hands.append(_Hand(self._team.hire(number), number))

    def _jobs(self) -> int:
        """How many workers would have something to do."""
        return sum(
            len(model.busy) + len(model.waiting) + (model.decided is None and bool(model.cells))
            for model in self._models.values()
        )

    def _job_for(self, hand: _Hand) -> Job | None:
        """The first job of the model that a worker has at hand, or of any."""
        order = sorted(self._models.values(), key=lambda model: model.label != hand.model)
        for model in order:
            job = model.next_job()
            if job is not None:
                known = job.block is None or model.label == hand.model
                decided = None if known else model.decided
                return Job(job.model, job.block, job.cells, decided)
        return None

    def _hear(self) -> None:
        said = self._team.next(LOOKING)
        if said is not None:
            worker, answer = said
            hand = next((hand for hand in self._hands if hand.worker is worker), None)
            if hand is not None:  # of one that was dismissed nothing counts
                self._take(hand, answer)
        for hand in [*self._hands]:
            if self._timeout is not None and hand.job is not None and self._is_late(hand):
                self._lost(hand, f"took more than {self._timeout:g} seconds and was ended")

    def _is_late(self, hand: _Hand) -> bool:
        return self._timeout is not None and time.monotonic() - hand.began > self._timeout

    def _take(self, hand: _Hand, answer: Answer) -> None:
        match answer:
            case Ready():
                hand.ready, self._stillborn = True, 0
                self._tell_how_many()
            case At(cell, images):
                self._at(hand, cell, images)
            case Made(result):
                self._made(hand, result)
            case Done(damaged):
                self._free(hand)
                if damaged:
                    self._dismiss(hand)
            case Refused(reason):
                raise InterpBenchError(reason)
            case Died(how, at_fault):
                self._lost(hand, how, at_fault=at_fault)

    def _at(self, hand: _Hand, cell: Cell, images: int) -> None:
        if images:
            hand.images += images
        else:
            hand.at, hand.images, hand.began = cell, 0, time.monotonic()
            if hand.job is not None:  # the model is ready: who dies between cells is another matter
                self._deaths.pop((hand.job.model, hand.job.block), None)
        self._listener.images(cell, images)

    def _made(self, hand: _Hand, result: ModelResult | BlockResult | CellResult) -> None:
        model = self._models[hand.job.model if hand.job else hand.model]
        hand.began = time.monotonic()
        match result:
            case ModelResult():
                if model.decided is None:
                    self._old.refuse_another(result.record)
                    self._gathering.take(result)
                    self._begin(model.label, result)
            case BlockResult():
                hand.left.remove(result.cell)
                hand.at, hand.images = None, 0
                if result.failures:
                    model.drop(result.cell, result.number)
                self._gathering.take(result)
            case CellResult():
                self._fail(result)

    def _fail(self, result: CellResult) -> None:
        """A cell that is lost needs no further blocks."""
        model = self._models[result.record.model]
        model.drop(result.record.cell)
        model.cells = [cell for cell in model.cells if cell != result.record.cell]
        self._gathering.take(result)

    def _free(self, hand: _Hand) -> None:
        """A worker has ended its job; what it has left of it is to be done again."""
        job = hand.job
        hand.job = None
        if job is not None and job.block is not None:
            model = self._models[job.model]
            still = [cell for cell in hand.left if cell in model.cells]
            model.again(job.block, still)
        elif job is not None and self._models[job.model].decided is None:
            self._models[job.model].measuring = False

    def _lost(self, hand: _Hand, how: str, *, at_fault: bool = True) -> None:
        """A worker is no more: what it was at is tried again, or fails."""
        place = hand.place
        if hand.at is not None and hand.images:
            self._listener.images(hand.at, -hand.images)
        self._dismiss(hand)
        if not at_fault:
            then = self._blame_nobody(hand, how)
        elif not hand.ready:
            then = self._blame_the_beginning(how)
        elif hand.job is None:
            then = FRESH
        else:
            then = self._blame(hand, hand.job, how)
        loss = Loss(hand.number, how, place, then)
        self._losses.append(loss)
        self._listener.lost(loss)
        self._free(hand)

    def _blame_nobody(self, hand: _Hand, how: str) -> str:
        self._blameless += 1
        if self._blameless > MOST_LOSSES:
            raise RunFolderError(
                f"{self._blameless} workers were lost; the last {how}. What is finished stays: "
                "mend the cluster, and continue with --resume."
            )
        return FRESH if hand.job is None else _once_more(hand.job)

    def _blame_the_beginning(self, how: str) -> str:
        self._stillborn += 1
        if self._stillborn >= TRIES:
            raise RunFolderError(
                f"The process that the cells were to run in {how} before the first, and so did "
                f"the next. {self._begin_failed}".rstrip()
            )
        return FRESH

    def _blame(self, hand: _Hand, job: Job, how: str) -> str:
        """What a worker was at is to blame, until it has been at it once more."""
        if hand.at is not None and job.block is not None:
            self._deaths[hand.at, job.block] += 1
            if self._deaths[hand.at, job.block] < TRIES:
                return _once_more(job)
            hand.left.remove(hand.at)
            self._fail(not_run(self._plan, hand.at, f"the process that ran it {how}"))
            return f"that was its second time, {hand.at.method} on {hand.at.model} has failed"
        self._deaths[job.model, job.block] += 1
        if self._deaths[job.model, job.block] < TRIES:
            return _once_more(job)
        reason = f"the model itself fails: the process that made it ready {how}"
        for cell in [*self._models[job.model].cells]:
            self._fail(not_run(self._plan, cell, reason))
        return f"that was its second time, all that was open of {job.model} has failed"

    def _dismiss(self, hand: _Hand) -> None:
        self._hands.remove(hand)
        hand.worker.dismiss()
        self._tell_how_many()

    def _tell_how_many(self) -> None:
        self._listener.workers(sum(hand.ready for hand in self._hands))

    def _tell_of_waiting(self) -> None:
        """Says what workers wait for that cannot begin for a while."""
        now = time.monotonic()
        late = any(not hand.ready and now - hand.began > PATIENCE for hand in self._hands)
        if late and now >= self._say_again and (said := self._team.waits_for()):
            self._say_again = now + AGAIN
            self._listener.waiting(said)


def _once_more(job: Job) -> str:
    what = "it is measured" if job.block is None else "its block is tried"
    return f"{what} again on a fresh one"
