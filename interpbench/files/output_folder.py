"""Where commands put their files, and what they may replace there: what they wrote themselves."""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from interpbench.core.errors import RunFolderError
from interpbench.files.atomic import (
    content_of,
    remove_partial,
    write_atomically,
    write_text_atomically,
)
from interpbench.files.names import unreserved
from interpbench.files.records import Record

RESULTS = Path("results")
SCHEMA_VERSION = 1


class OutputFolder:
    """A folder with a record, `<command>.json`, that lists every file that the command wrote there.

    The record is there from the beginning and complete at the end, also if the command is
    interrupted.

    Attributes:
        path: of the folder.
        command: that writes there.
        record: how it is made; what else becomes known can be added until the end.
        files: what was written, relative to the folder.
        resumable: whether the command can go on where it was interrupted, with --resume.
    """

    def __init__(self, path: Path, command: str, record: Record) -> None:
        self.path = path
        self.command = command
        self.record = record
        self.files: list[str] = []
        self.resumable = False

    def start(self, *, overwrite: bool) -> None:
        """Makes the folder ready.

        Raises:
            RunFolderError: if it is not empty and holds nothing of this command that may be
                replaced, or cannot be written.
        """
        record = self.path / f"{self.command}.json"
        with self._disk():
            content = content_of(self.path)
            if content and not overwrite:
                raise RunFolderError(
                    f"{self.path} is not empty. Replace what `{self.command}` wrote there with "
                    "--overwrite, or give another --output."
                )
            if content and not record.is_file():
                raise RunFolderError(
                    f"{self.path} holds nothing of `{self.command}`; nothing is overwritten."
                )
            for name in _recorded(record) if content else []:
                (self.path / name).unlink(missing_ok=True)
            remove_partial(self.path)
        self._write_record("unfinished")

    def write(self, name: str, write: Callable[[Path], object]) -> str:
        """Writes a file and lists it in the record.

        Parameters:
            name: of the file, relative to the folder.
            write: gets the path to write to.

        Returns:
            The name.

        Raises:
            RunFolderError: if the disk is full, or not writable.
        """
        self.files.append(name)
        self._write_record("unfinished")  # before the file: what is killed is replaced as a whole
        with self._disk():
            write_atomically(self.path / name, write)
        return name

    def __enter__(self) -> "OutputFolder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write_record("finished" if kind is None else "unfinished")
        if isinstance(error, KeyboardInterrupt):
            then, flag = ("go on", "resume") if self.resumable else ("start afresh", "overwrite")
            error.add_note(
                f"What is finished lies in {self.path}; {then} with the same command, "
                f"--output {self.path} and --{flag}."
            )

    def _write_record(self, status: str) -> None:
        record = {
            "schema_version": SCHEMA_VERSION,
            "status": status,
            **self.record.contents(),
            "files": self.files,
        }
        text = json.dumps(record, indent=1, default=str, ensure_ascii=False)
        with self._disk():
            write_text_atomically(self.path / f"{self.command}.json", text + "\n")

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunFolderError(
                f"Cannot write to {self.path}: {error.strerror or error}. Give another --output, "
                "or free some space or mend the permissions."
            ) from error


@dataclass(frozen=True)
class Destination:
    """Where a command is to put its files: a fresh folder in results/ if no path is given."""

    path: Path | None = None
    overwrite: bool = False

    def open(self, command: str, name: str, record: Record) -> OutputFolder:
        """The folder, ready to be written to.

        Parameters:
            command: that writes there.
            name: that a fresh folder is called after.
            record: how its files are made.

        Raises:
            RunFolderError: as `OutputFolder.start`.
        """
        folder = OutputFolder(self.path or fresh_folder(command, name), command, record)
        folder.start(overwrite=self.overwrite)
        return folder


def fresh_folder(command: str, name: str) -> Path:
    """The first of results/<command>/<name>-1, -2, ... that does not exist."""
    [safe] = distinct([name])
    folders = (RESULTS / command / f"{safe}-{number}" for number in itertools.count(1))
    return next(folder for folder in folders if not folder.exists())


def distinct(texts: Sequence[str]) -> list[str]:
    """A file name for each text: readable, safe on every system, and unlike the others'.

    Also where capitals do not count.
    """
    names: list[str] = []
    taken: set[str] = set()
    for text in texts:
        safe = re.sub(r"[^\w.=,-]+", "-", text)[:80].strip(".-") or "unnamed"
        safe = unreserved(safe)
        candidates = itertools.chain([safe], (f"{safe}-{number}" for number in itertools.count(2)))
        name = next(name for name in candidates if name.lower() not in taken)
        taken.add(name.lower())
        names.append(name)
    return names


def _recorded(record: Path) -> list[str]:
    """The files that a record lists, those outside of its folder left out.

    Raises:
        RunFolderError: if it cannot be read.
    """
    try:
        names = [str(name) for name in json.loads(record.read_text(encoding="utf-8"))["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{record} is not valid, so nothing is overwritten. Give another --output."
        ) from error
    return [name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts]
