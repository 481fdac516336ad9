"""What several commands share: options, the registry, and the terminal.

Nothing heavy is imported before a command needs it, so that --help answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.registry import Registry

if TYPE_CHECKING:
    from rich.console import Console

Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="PATH", help="File or folder with plugins; repeatable.")
]
Names = list[str] | None


class Interrupted(Exception):  # typer would turn a KeyboardInterrupt into exit code 1, which means a failed cell
    """The user pressed Ctrl-C."""


def open_registry(paths: list[Path] | None) -> Registry:
    from interpbench.discovery import discover

    return discover(paths or ())


def open_console(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr)


def plain(text: object) -> Any:
    """Text that is shown as it is: names from plugins and files are no markup."""
    from rich.text import Text

    return Text(str(text))
