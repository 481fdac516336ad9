"""What calls are given, and what is made of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from interpbench.core.errors import ParameterError
from interpbench.core.progress import SILENT, Progress
from interpbench.core.progress_lines import lines_of_a_call
from interpbench.files.output_folder import Destination

if TYPE_CHECKING:
    from interpbench.core.preparation import Preparation, Size
    from interpbench.loading.in_memory import Handed
    from interpbench.loading.stated import Numbers


Names = str | Sequence[str] | None
Paths = str | Path | Sequence[str | Path] | None
Shown = Progress | bool | None


def hand(
    plugin: Paths,
    data: tuple[str | Path | None, bool],
    network: "tuple[Names | Path, str | None]",
    preparation: "str | Path | Preparation | None",
    mean: "Numbers | None",
    std: "Numbers | None",
    size: "Size | str | None",
    resize: int | None,
) -> "Handed":
    """All plugins, and what is said of data, weights and preparation; ready for what is in memory.

    Parameters:
        data: root, and whether it may be downloaded.
        network: its weights, and what its outputs are.
    """
    from interpbench.loading.in_memory import Handed
    from interpbench.loading.stated import stated_by_user
    from interpbench.registry.choosing import Sources
    from interpbench.registry.discovery import discover

    stated = stated_by_user(preparation, mean=mean, std=std, size=size, resize=resize)
    weights, outputs = network
    names = names_of(str(weights) if isinstance(weights, Path) else weights) or ()
    sized = size is not None or resize is not None
    return Handed(discover(paths_of(plugin)), Sources(*data, names, stated, outputs), resized=sized)


def names_of(value: Names) -> tuple[str, ...] | None:
    """One or several names of plugins, or None.

    Raises:
        ParameterError: if they are anything else.
    """
    names = None if value is None else (value,) if isinstance(value, str) else tuple(value)
    if names is not None and not all(isinstance(name, str) for name in names):
        raise ParameterError(
            f"Plugins are given by their names, not as {names!r}. Register yours with a decorator."
        )
    return names


def texts_of(value: int | str | Sequence[int | str] | None) -> tuple[str, ...]:
    """One or several names or numbers, as one would type them."""
    if value is None:
        return ()
    return tuple(map(str, [value] if isinstance(value, str | int) else value))


def paths_of(value: Paths) -> list[str | Path]:
    """One or several paths."""
    return [] if value is None else [value] if isinstance(value, str | Path) else list(value)


def destination_of(output: str | Path | None, overwrite: bool) -> Destination:
    """The folder that a study writes to."""
    return Destination(None if output is None else Path(output), overwrite)


@contextmanager
def showing(progress: Shown, unit: str = "") -> Iterator[Progress]:
    """What is told how a call gets on."""
    if isinstance(progress, Progress):
        yield progress
        return
    lines = lines_of_a_call(progress, unit)
    if lines is None:
        yield SILENT
    else:
        with lines:
            yield lines
