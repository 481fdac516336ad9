"""Files and folders that appear whole or not at all.

A killed process leaves the old one or the new one.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file whole or not at all; missing folders are made.

    Parameters:
        path: of the file.
        write: gets a temporary path beside it; what it writes there then takes the file's place.

    Raises:
        OSError: if the disk is full, or not writable; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays the last, since savefig goes by it.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """As `write_atomically`: in UTF-8, with the text's line ends, lone surrogates escaped."""

    def write(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")

    write_atomically(path, write)


@contextmanager
def folder_beside(final: Path) -> Iterator[Path]:
    """An empty folder beside `final`, to be filled and moved there.

    It is gone afterwards unless it was moved.

    Raises:
        OSError: if the disk is full, or not writable.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial(folder: Path) -> None:
    """Removes what killed processes have left behind in a folder."""
    for leftover in folder.glob(".*.partial*"):
        leftover.unlink(missing_ok=True)
