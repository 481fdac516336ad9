"""What several commands share: options, the registry, and the terminal.

Nothing heavy is imported before a command needs it, so that --help answers at once.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.registry.registry import Registry

if TYPE_CHECKING:
    from rich.console import Console

    from interpbench.files.output_folder import PictureFolder

Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="PATH", help="File or folder with plugins; repeatable.")
]
DataRoot = Annotated[Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")]
Download = Annotated[bool, typer.Option("--download", help="Download the data set if it is absent.")]
Device = Annotated[str, typer.Option(metavar="D", help="auto, cpu, cuda, cuda:N or mps.")]
Names = list[str] | None


class Interrupted(Exception):  # typer would turn a KeyboardInterrupt into exit code 1, which means a failed cell
    """The user pressed Ctrl-C."""


def data_flags(root: Path | None, download: bool) -> dict[str, Any]:
    """The data set's parameters that were given as flags."""
    return {k: v for k, v in {"root": root, "download": download or None}.items() if v is not None}


def open_registry(paths: list[Path] | None) -> Registry:
    from interpbench.registry.discovery import discover

    return discover(paths or ())


def open_console(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr)


def plain(text: object) -> Any:
    """Text that is shown as it is: names from plugins and files are no markup."""
    from rich.text import Text

    return Text(str(text))


def result_folder(command: str, name: str, output: Path | None, info: Mapping[str, Any]) -> "PictureFolder":
    """Where a command puts its files and the record `info` of how they were made: `output`, or a fresh folder."""
    from interpbench.files.output_folder import PictureFolder, fresh_folder

    return PictureFolder(output or fresh_folder(command, name), command, info)


@contextmanager
def writing(folder: "PictureFolder") -> Iterator[None]:
    """Completes the folder's record, also after Ctrl-C."""
    try:
        with folder:
            yield
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted. What is finished lies in {folder.path}; start afresh with the same command, "
            f"--output {folder.path} and --overwrite."
        ) from None


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[str, int], None]]:
    """A live progress bar on a terminal; what it gives is told what is going on, and how many images more are done."""
    from rich import progress as rich

    columns = (rich.TextColumn("{task.description}", markup=False), rich.BarColumn(), rich.MofNCompleteColumn())
    times = (rich.TimeElapsedColumn(), rich.TextColumn("left"), rich.TimeRemainingColumn())
    console = open_console()
    with rich.Progress(*columns, *times, console=console, transient=True, disable=not console.is_terminal) as display:
        task = display.add_task("starting", total=total)
        yield lambda what, images: display.update(task, advance=images, description=what)
