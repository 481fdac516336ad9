"""A training in the terminal, or line by line where there is none."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from rich import progress as rich
from rich.console import Console

from interpbench.commands.shared import open_console, plain
from interpbench.core.progress_lines import EVERY, duration
from interpbench.training.loop import TrainingListener, TrainingStep
from interpbench.training.step_lines import scores_of

TENTHS = 10


def shown(
    console: Console | None = None,
    *,
    quiet: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> AbstractContextManager[TrainingListener]:
    """Shows how a training gets on: a live bar on a terminal, else a line now and then.

    Notes alone if it is to be quiet.
    """
    console = console or open_console()
    if quiet:
        return nullcontext(partial(_note, console))
    return _bar(console) if console.is_terminal else _lines(console, clock)


@contextmanager
def _bar(console: Console) -> Iterator[TrainingListener]:
    """A live progress bar from the first step on: stage, epoch, loss, accuracy and time left."""
    columns = (
        "[progress.description]{task.description}",
        rich.BarColumn(),
        "{task.fields[scores]}",
    )
    times = (rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
    display = rich.Progress(*columns, *times, console=console)
    tasks: dict[str, rich.TaskID] = {}

    def show(step: TrainingStep) -> None:
        if step.note:
            console.print(plain(f"Note: {step.note}"), soft_wrap=True)
            return
        if step.stage not in tasks:
            tasks[step.stage] = display.add_task(step.stage, total=step.total, scores="")
            display.start()  # so that what is refused before the first step leaves no empty line
        display.update(tasks[step.stage], completed=step.done, scores=scores_of(step))

    try:
        yield show
    finally:
        if tasks:
            display.stop()


@contextmanager
def _lines(console: Console, clock: Callable[[], float]) -> Iterator[TrainingListener]:
    """A line at the end of each epoch, and at each tenth of a stage that has none.

    And wherever half a minute went by without one, with the time that the stage still takes.
    """
    reached: dict[str, int] = {}
    begun: dict[str, tuple[float, int]] = {}
    said = clock()

    def show(step: TrainingStep) -> None:
        nonlocal said
        if step.note:
            _note(console, step)
            return
        now, parts = clock(), step.epochs or TENTHS
        before = reached.setdefault(step.stage, (step.done - 1) * parts // step.total)
        reached[step.stage] = step.done * parts // step.total
        since, first = begun.setdefault(step.stage, (now, step.done))
        how_far = f"{step.done} of {step.total}"
        if reached[step.stage] > before:
            line = scores_of(step) if step.epochs else how_far
        elif now - said >= EVERY and step.done > first:
            left = (now - since) * (step.total - step.done) / (step.done - first)
            line = f"{how_far}  {scores_of(step)}".strip() + f"  {duration(left)} left"
        else:
            return
        console.print(plain(f"{step.stage}: {line}"), soft_wrap=True)
        said = now

    yield show


def _note(console: Console, step: TrainingStep) -> None:
    """The step's note, if it is one."""
    if step.note:
        console.print(plain(f"Note: {step.note}"), soft_wrap=True)
