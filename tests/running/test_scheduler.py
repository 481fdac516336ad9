"""What the scheduler makes of workers that begin late, die as they begin, or die over and over."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from interpbench.core.errors import RunFolderError
from interpbench.results.run_folder import RunFolder
from interpbench.running import scheduler
from interpbench.running.execute import Listener, Loss, execute
from interpbench.running.record import identity_of
from interpbench.running.scheduler import Answer, At, Died, Job, Made, Ready, Scheduler, Worker
from interpbench.running.serving import serve
from interpbench.suite.cells import Cell
from tests.running.test_blocks import plan, tables, whole, without_conclusions

__all__ = ["whole", "without_conclusions"]


class Dismissed(BaseException):
    """Ends a worker's thread."""


class InThread:
    """A worker that is a thread of this process; `dies` says after which answer nothing is heard of it."""

    def __init__(self, answers: "queue.Queue[Any]", dies: Callable[[Answer], bool]) -> None:
        self._answers, self._dies = answers, dies
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._dead = False
        threading.Thread(target=self._work, daemon=True).start()

    def give(self, job: Job) -> None:
        self._jobs.put(job)

    def dismiss(self) -> None:
        self._jobs.put(None)

    def _work(self) -> None:
        def next_job() -> Job:
            job = None if self._dead else self._jobs.get()
            if job is None:
                raise Dismissed
            return job

        def say(answer: Answer) -> None:
            if self._dead:
                return
            self._dead = self._dies(answer)
            if not (self._dead and isinstance(answer, Ready)):
                self._answers.put((self, answer))

        try:
            serve(plan(2), identity_of(plan(2)), next_job, say)
        except Dismissed:
            self._answers.put((self, Died("was killed by SIGKILL")))


class Team:
    """One worker at a time; each dies where its turn says."""

    def __init__(self, *dies: Callable[[Answer], bool]) -> None:
        self._dies: Iterator[Callable[[Answer], bool]] = iter(dies)
        self._answers: queue.Queue[tuple[Worker, Answer]] = queue.Queue()
        self.waits = ""

    def room(self) -> int:
        return 1

    def hire(self, number: int) -> Worker:
        return InThread(self._answers, next(self._dies, lambda answer: False))

    def waits_for(self) -> str:
        return self.waits

    def next(self, seconds: float) -> tuple[Worker, Answer] | None:
        try:
            return self._answers.get(timeout=seconds)
        except queue.Empty:
            return None


class Ear(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.losses: list[Loss] = []
        self.alive: list[int] = []
        self.waited: list[str] = []
        self.images_of: dict[Cell, int] = {}

    def images(self, cell: Cell, count: int) -> None:
        self.images_of[cell] = self.images_of.get(cell, 0) + count

    def workers(self, alive: int) -> None:
        self.alive.append(alive)

    def lost(self, loss: Loss) -> None:
        self.losses.append(loss)

    def waiting(self, said: str) -> None:
        self.waited.append(said)


def run(folder: Path, team: Team) -> tuple[Any, Ear]:
    ear = Ear()
    finished = execute(plan(2), RunFolder(folder), "new", False, ear, Scheduler(team))
    return finished, ear


def always(answer: Answer) -> bool:
    return True


def after_a_batch(method: str, block: int) -> Callable[[Answer], bool]:
    """Dies after the first batch that a method makes of a block."""
    begun = -1

    def dies(answer: Answer) -> bool:
        nonlocal begun
        if isinstance(answer, At) and answer.cell.method == method:
            begun += not answer.images
            return begun == block and answer.images > 0
        return False

    return dies


def between_cells() -> Callable[[Answer], bool]:
    """Dies as it has handed in two or three results: at none."""
    made = 0

    def dies(answer: Answer) -> bool:
        nonlocal made
        made += isinstance(answer, Made)
        return made > 2

    return dies


def test_a_death_is_told_with_what_becomes_of_the_block(whole: Path, tmp_path: Path) -> None:
    finished, ear = run(tmp_path / "run", Team(after_a_batch("gradient", 1)))
    text = (
        "worker 1 was killed by SIGKILL (at gradient on quadrants, block 2 of 4): its block is tried again on a "
        "fresh one"
    )
    assert [str(loss) for loss in ear.losses] == [text] == list(finished.info.workers_lost)
    assert ear.alive == [1, 0, 1]
    assert set(ear.images_of.values()) == {7}  # what was lost is taken off again
    assert tables(tmp_path / "run") == tables(whole)


def test_a_block_that_kills_twice_is_its_cell_s_failure(tmp_path: Path) -> None:
    finished, ear = run(
        tmp_path / "run", Team(after_a_batch("gradient", 0), after_a_batch("gradient", 0))
    )
    assert [loss.then for loss in ear.losses] == [
        "its block is tried again on a fresh one",
        "that was its second time, gradient on quadrants has failed",
    ]
    [reason] = finished.failed["reason"]
    assert reason == "the process that ran it was killed by SIGKILL"


def test_a_worker_may_die_once_as_it_begins_but_not_twice_in_a_row(
    whole: Path, tmp_path: Path
) -> None:
    finished, ear = run(tmp_path / "run", Team(always))
    assert [str(loss) for loss in ear.losses] == [
        "worker 1 was killed by SIGKILL: a fresh one takes its place"
    ]
    assert finished.failed.empty
    assert tables(tmp_path / "run") == tables(whole)
    with pytest.raises(RunFolderError, match="before the first, and so did the next"):
        run(tmp_path / "other", Team(always, always))


def test_workers_that_die_between_cells_cost_no_cell(whole: Path, tmp_path: Path) -> None:
    """However many do: the model is not to blame, as it was at work."""
    finished, ear = run(tmp_path / "run", Team(*(between_cells() for _ in range(5))))
    assert len(ear.losses) == 5
    assert finished.failed.empty
    assert tables(tmp_path / "run") == tables(whole)


def test_what_workers_wait_for_is_said_after_a_while_and_seldom(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scheduler, "PATIENCE", 0.0)
    monkeypatch.setattr(scheduler, "LOOKING", 0.01)
    team = Team()
    team.waits = "1 worker cannot begin yet"
    _, ear = run(tmp_path / "run", team)
    assert ear.waited == [team.waits]
