"""Where `explain` and `gallery` put their files, and what they may replace there: what they wrote themselves."""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from interpbench.core.errors import RunFolderError

RESULTS = Path("results")
SCHEMA_VERSION = 1


class PictureFolder:
    """A folder of pictures with a record, `<command>.json`, that lists every file it wrote.

    The record is there from the beginning and complete at the end, also if the command is interrupted.
    """

    def __init__(self, path: Path, command: str, info: Mapping[str, Any]) -> None:
        """`info` goes into the record; more may be added to `self.info` until the end."""
        self.path = path
        self.command = command
        self.info = dict(info)
        self.files: list[str] = []

    def start(self, *, overwrite: bool) -> None:
        """Makes the folder ready.

        Raises:
            RunFolderError: if it is not empty and holds no pictures of this command that may be replaced, or cannot be
                written.
        """
        record = self.path / f"{self.command}.json"
        with self._disk():
            content = list(self.path.iterdir()) if self.path.exists() else []
            if content and not overwrite:
                raise RunFolderError(
                    f"{self.path} is not empty. Replace what `{self.command}` wrote there with --overwrite, or give "
                    "another --output."
                )
            if content and not record.is_file():
                raise RunFolderError(f"{self.path} holds no pictures of `{self.command}`; nothing is overwritten.")
            for name in _recorded(record) if content else []:
                (self.path / name).unlink(missing_ok=True)
        self._write_record("unfinished")

    def write(self, name: str, write: Callable[[Path], object]) -> str:
        """Writes a file, `write` being given its path; returns `name`, which is relative to the folder.

        Raises:
            RunFolderError: if the disk is full, or not writable.
        """
        path = self.path / name
        with self._disk():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.files.append(name)
            write(path)
        return name

    def __enter__(self) -> "PictureFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write_record("finished" if kind is None else "unfinished")

    def _write_record(self, status: str) -> None:
        record = {"schema_version": SCHEMA_VERSION, "status": status, **self.info, "files": self.files}
        text = json.dumps(record, indent=1, default=str, ensure_ascii=False)
        with self._disk():
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / f"{self.command}.json").write_text(text + "\n", "utf-8", "backslashreplace")

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunFolderError(
                f"Cannot write to {self.path}: {error.strerror or error}. Give another --output, or free some space or "
                "mend the permissions."
            ) from error


def fresh_folder(command: str, name: str) -> Path:
    """The first of results/<command>/<name>-1, -2, ... that does not exist."""
    [safe] = distinct([name])
    folders = (RESULTS / command / f"{safe}-{number}" for number in itertools.count(1))
    return next(folder for folder in folders if not folder.exists())


def distinct(texts: Sequence[str]) -> list[str]:
    """A file name for each text, readable, safe on every system, and different also where capitals do not count."""
    names: list[str] = []
    taken: set[str] = set()
    for text in texts:
        safe = re.sub(r"[^\w.=,-]+", "-", text)[:80].strip(".-") or "unnamed"
        tries = itertools.chain([safe], (f"{safe}-{number}" for number in itertools.count(2)))
        name = next(name for name in tries if name.lower() not in taken)
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
        raise RunFolderError(f"{record} is not valid, so nothing is overwritten. Give another --output.") from error
    return [name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts]
