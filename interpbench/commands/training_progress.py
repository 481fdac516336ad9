"""A training in the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress as rich

from interpbench.training.loop import Progress, Step


@contextmanager
def bar() -> Iterator[Progress]:
    """A live progress bar: stage, epoch, loss, accuracy and time left."""
    columns = ("[progress.description]{task.description}", rich.BarColumn(), "{task.fields[scores]}")
    with rich.Progress(*columns, rich.TimeElapsedColumn(), rich.TimeRemainingColumn()) as display:
        tasks: dict[str, rich.TaskID] = {}

        def show(step: Step) -> None:
            if step.stage not in tasks:
                tasks[step.stage] = display.add_task(step.stage, total=step.total, scores="")
            scores = f"epoch {step.epoch}  loss {step.loss:.3f}  accuracy {step.accuracy:.1%}" if step.epoch else ""
            display.update(tasks[step.stage], completed=step.done, scores=scores)

        yield show
