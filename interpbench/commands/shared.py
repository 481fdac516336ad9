"""What several commands share: options, the registry, and the terminal.

Nothing heavy is imported before a command needs it, so that --help answers at once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.core.progress import SILENT, Progress
from interpbench.core.progress_lines import Lines
from interpbench.core.text import printable
from interpbench.registry.registry import Registry

if TYPE_CHECKING:
    from rich.console import Console

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="PATH", help="File or folder with plugins; repeatable."),
]
DataRoot = Annotated[Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")]
Download = Annotated[
    bool, typer.Option("--download", help="Download the data set if it is absent.")
]
Samples = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Ids of the samples that are used, one a line; or, each after a !, left out.",
    ),
]
Device = Annotated[str, typer.Option(metavar="D", help="auto, cpu, cuda, cuda:N or mps.")]
DatasetName = Annotated[
    str, typer.Option("--dataset", metavar="D", help="Data set, e.g. imagefolder:root=DIR.")
]
ModelName = Annotated[
    str, typer.Option("--model", metavar="M", help="One model, e.g. resnet18:width=16.")
]
Weights = Annotated[
    str | None, typer.Option(metavar="W", help="FILE or `random`; by default what is shipped.")
]
OutputsName = Annotated[
    str | None,
    typer.Option(
        "--outputs",
        metavar="O",
        help="What the model gives: softmax (logits), sigmoid (logits), binary (one logit), "
        "log-softmax, probabilities or sigmoid-probabilities; found out by default.",
    ),
]
PreparationName = Annotated[
    str | None,
    typer.Option(
        "--preparation",
        metavar="P",
        help="How images become the model's input: imagenet, clip, inception or FILE.toml.",
    ),
]
Mean = Annotated[
    str | None, typer.Option(metavar="M", help="Of pixels in 0..1, e.g. 0.485,0.456,0.406.")
]
Std = Annotated[str | None, typer.Option(metavar="S", help="Of pixels in 0..1, as --mean.")]
Size = Annotated[
    str | None, typer.Option(metavar="N", help="Side of the input in pixels, or HEIGHT,WIDTH.")
]
Resize = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Shorter side before the central crop; 0 brings the whole image to size."
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of every random choice.")]
Output = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A folder in results/ by default.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what the same command wrote to --output.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Names = list[str] | None


class Interrupted(Exception):
    """The user pressed Ctrl-C.

    typer would turn a KeyboardInterrupt into exit code 1, which means a failed cell.
    """


@contextmanager
def interruptible(advice: str = "") -> Iterator[None]:
    """Within this context Ctrl-C ends the command, with a word on how to go on.

    That is what the work that was broken off says, or else `advice`.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        notes = getattr(interrupt, "__notes__", []) or [advice]
        raise Interrupted(" ".join(["Interrupted.", *notes]).strip()) from None


def open_registry(paths: list[Path] | None) -> Registry:
    from interpbench.registry.discovery import discover

    return discover(paths or ())


def open_console(stderr: bool = False) -> "Console":
    """A console that names from plugins and files cannot steer: escapes in them are spelled out."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Unsteered(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                text, style, control = segment
                yield segment if control else Segment(printable(text), style)

    return Unsteered(stderr=stderr)


def plain(text: object) -> Any:
    """Text that is shown as it is: names from plugins and files are no markup."""
    from rich.text import Text

    return Text(str(text))


def say(text: object) -> None:
    """Prints a line as it is, and leaves it to the terminal where it breaks."""
    open_console().print(plain(text), soft_wrap=True)


def first_and_more(items: list[str], count: int) -> str:
    """The first of some items, and how many there are besides: `a, b and 3 more`."""
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return ", ".join(items[:count]) + more


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Progress]:
    """A live progress bar on a terminal for each piece of work; a line now and then elsewhere.

    Nothing if it is to be quiet.
    """
    console = open_console()
    if quiet or not console.is_terminal:
        yield SILENT if quiet else Lines(sys.stderr)
        return
    from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
    )
    times = (rich.TimeElapsedColumn(), rich.TextColumn("left"), rich.TimeRemainingColumn())
    with rich.Progress(*columns, *times, console=console, transient=True) as display:

        class Bar(Progress):
            task: rich.TaskID | None = None

            def begin(self, total: int) -> None:
                if self.task is not None:
                    display.remove_task(self.task)
                self.task = display.add_task("starting", total=total)

            def advance(self, what: str, images: int = 0) -> None:
                if self.task is not None:
                    display.update(self.task, advance=images, description=what)

        yield Bar()
