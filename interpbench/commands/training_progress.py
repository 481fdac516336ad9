"""A training in the terminal, or line by line where there is none."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from rich import progress as rich
from rich.console import Console

from interpbench.commands.shared import open_console, plain
from interpbench.training.loop import TrainingListener, TrainingStep
from interpbench.training.step_lines import scores_of

TENTHS = 10


def shown(
    console: Console | None = None, *, quiet: bool = False
) -> AbstractContextManager[TrainingListener]:
    """Shows how a training gets on: a live bar on a terminal, else a line now and then.

    Notes alone if it is to be quiet.
    """
    console = console or open_console()
    if quiet:
        return nullcontext(partial(_note, console))
    return _bar(console) if console.is_terminal else _lines(console)


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
def _lines(console: Console) -> Iterator[TrainingListener]:
    """A line at the end of each epoch, and at each tenth of a stage that has none."""
    reached: dict[str, int] = {}

    def show(step: TrainingStep) -> None:
        if step.note:
            _note(console, step)
            return
        parts = step.epochs or TENTHS
        before = reached.setdefault(step.stage, (step.done - 1) * parts // step.total)
        reached[step.stage] = step.done * parts // step.total
        if reached[step.stage] > before:
            how_far = scores_of(step) if step.epochs else f"{step.done} of {step.total}"
            console.print(plain(f"{step.stage}: {how_far}"), soft_wrap=True)

    yield show


def _note(console: Console, step: TrainingStep) -> None:
    """The step's note, if it is one."""
    if step.note:
        console.print(plain(f"Note: {step.note}"), soft_wrap=True)
