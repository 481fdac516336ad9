"""Files and folders that appear whole or not at all.

A killed process leaves the old one or the new one.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# What file managers put into any folder that they show.
SYSTEM_FILES = {".DS_Store", "Thumbs.db", "desktop.ini", ".directory"}


def write_atomically(path: Path, write: Callable[[Path], object], *, durable: bool = False) -> None:
    """Writes a file whole or not at all; missing folders are made.

    Parameters:
        path: of the file.
        write: gets a temporary path beside it; what it writes there then takes the file's place.
        durable: whether it is to outlive a power failure too, for which the disk is waited for.

    Raises:
        OSError: if the disk is full, or not writable; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays the last, since savefig goes by it.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        write(partial)
        if durable:
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
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


def move_in_place_of(new: Path, final: Path) -> None:
    """Moves a folder to where another, or whatever else, may stand; that is then gone.

    Whoever looks meanwhile finds the old one whole, nothing, or the new one whole.

    Raises:
        OSError: if the disk refuses.
    """
    old = new.with_name(f"{new.name}.replaced")
    if final.exists() or final.is_symlink():
        os.replace(final, old)
    os.replace(new, final)
    remove(old)


def remove(path: Path) -> None:
    """Removes a file or a folder with all that is in it, if it is there.

    Raises:
        OSError: if the disk refuses.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Removes what killed processes have left behind in a folder."""
    for leftover in folder.glob(".*.partial*"):
        leftover.unlink(missing_ok=True)


def content_of(folder: Path) -> list[Path]:
    """What lies in a folder, but for what killed processes and file managers leave in it; sorted.

    Nothing where there is no folder.

    Raises:
        OSError: if it cannot be read.
    """
    if not folder.exists():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.name not in SYSTEM_FILES
        and not path.name.startswith("._")
        and not (path.name.startswith(".") and ".partial" in path.name)
    )
