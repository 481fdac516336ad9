"""A disk that fails, or a process that is killed, at any chosen operation on a folder.

All that Python writes goes through the few functions that are replaced here: what opens a file for writing and
writes to it, makes, moves and removes. Writing stops half way.
"""

import builtins
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pytest

How = Literal["full", "killed"]
REMOVING = ("unlink", "rmdir")  # which a full disk allows
MAKING = ("mkdir", "replace", "rename", "link", "symlink", "truncate", "fsync")


class Killed(BaseException):
    """What nothing catches; and after it, nothing more is written."""


class Disk:
    """The operations on a folder, of which one may go wrong.

    Attributes:
        done: operations so far, as (what, path).
    """

    def __init__(self, folder: Path, at: int | None = None, how: How = "full") -> None:
        self.done: list[tuple[str, str]] = []
        self._folder, self._at, self._how = os.path.abspath(folder), at, how
        self._dead = False
        self._opened: list[tuple[io.FileIO, io.BufferedIOBase]] = []

    def holds(self, path: str) -> bool:
        return path == self._folder or path.startswith(self._folder + os.sep)

    def point(self, what: str, path: str) -> None:
        """Raises if this is the operation that goes wrong, or comes after the process was killed."""
        if not self.holds(path):
            return
        if self._dead:
            raise Killed
        if self._how == "full" and what in REMOVING:
            return
        self.done.append((what, path))
        if len(self.done) == self._at:
            if self._how == "killed":
                self._dead = True
                raise Killed
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    @contextmanager
    def watched(self) -> Iterator["Disk"]:
        """Within this context the operations are counted, and one of them goes wrong."""
        with pytest.MonkeyPatch.context() as patch:
            for name in (*MAKING, *REMOVING):
                patch.setattr(os, name, self._counted(name, getattr(os, name)))
            patch.setattr(io, "open", self._open)
            patch.setattr(builtins, "open", self._open)
            try:
                yield self
            finally:
                for raw, buffered in self._opened:  # what was not yet written is lost
                    with suppress(OSError):
                        raw.close()
                    with suppress(ValueError):
                        buffered.close()

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.point(
                name, _path(arguments[-1 if name in ("replace", "rename", "link") else 0], options)
            )
            return real(*arguments, **options)

        return counted

    def _open(
        self, file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None,
        errors: str | None = None, newline: str | None = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        if isinstance(file, int) or not set(mode) & set("wxa+") or not self.holds(_path(file, {})):
            return _OPEN(file, mode, buffering, encoding, errors, newline, closefd, opener)
        self.point("open", _path(file, {}))
        raw = _Raw(_path(file, {}), mode.replace("b", "").replace("t", ""), self)
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        self._opened.append((raw, buffered))
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding, errors, newline)


_OPEN = io.open


class _Raw(io.FileIO):
    """A file of which a write may be cut short."""

    def __init__(self, path: str, mode: str, disk: Disk) -> None:
        super().__init__(path, mode)
        self._path, self._disk = path, disk

    def write(self, data: Any) -> int:
        try:
            self._disk.point("write", self._path)
        except OSError:
            super().write(data[: len(data) // 2])
            raise
        except Killed:
            if self._disk.done[-1] == ("write", self._path):
                super().write(data[: len(data) // 2])
            raise
        return super().write(data)


def _path(path: Any, options: dict[str, Any]) -> str:
    """Of a file that is named by its path, its name in a folder that is open, or its number."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    folder = options.get("dir_fd")
    if folder is not None:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))
    return os.path.abspath(os.fsdecode(path))


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_listeners: list[list[str]] = []


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _listeners:
        return
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        flags = arguments[2]
        if isinstance(flags, int) and flags & _WRITING:
            _listeners[-1].append(os.path.abspath(os.fsdecode(arguments[0])))


@contextmanager
def opened_for_writing() -> Iterator[list[str]]:
    """What Python itself tells of the files that are opened for writing within this context."""
    if not getattr(sys, "_interpbench_tests_hear", False):
        sys.addaudithook(_heard)
        sys._interpbench_tests_hear = True  # type: ignore[attr-defined]
    _listeners.append([])
    try:
        yield _listeners[-1]
    finally:
        _listeners.pop()
