"""A training in the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress as rich

from interpbench.training.loop import TrainingListener, TrainingStep


@contextmanager
def bar() -> Iterator[TrainingListener]:
    """A live progress bar from the first step on: stage, epoch, loss, accuracy and time left."""
    columns = (
        "[progress.description]{task.description}",
        rich.BarColumn(),
        "{task.fields[scores]}",
    )
    display = rich.Progress(*columns, rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
    tasks: dict[str, rich.TaskID] = {}

    def show(step: TrainingStep) -> None:
        if step.stage not in tasks:
            tasks[step.stage] = display.add_task(step.stage, total=step.total, scores="")
            display.start()  # so that what is refused before the first step leaves no empty line
        scores = (
            f"epoch {step.epoch}  loss {step.loss:.3f}  accuracy {step.accuracy:.1%}"
            if step.epoch
            else ""
        )
        display.update(tasks[step.stage], completed=step.done, scores=scores)

    try:
        yield show
    finally:
        if tasks:
            display.stop()
