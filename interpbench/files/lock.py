"""One writer a folder: a file says which process it is, so that all can see whether it lives."""

import json
import os
import platform
from pathlib import Path

from interpbench.core.errors import RunFolderError
from interpbench.files.records import Record


class Holder(Record):
    """The process that holds a lock.

    Attributes:
        pid: its number.
        host: the machine that it runs on.
        began: when it began, as the system counts; "" where the system does not say. A number is
            given to another process in time.
    """

    pid: int
    host: str
    began: str = ""

    @classmethod
    def this_process(cls) -> "Holder":
        """The one that asks."""
        return cls(pid=os.getpid(), host=platform.node(), began=_began(os.getpid()))

    @property
    def lives(self) -> bool:
        """Whether it may still be writing; of another machine's process nobody here knows."""
        if self.host != platform.node():
            return True
        if self.pid == os.getpid():
            return False  # of an earlier job of this process, whose jobs take turns
        if Path("/proc/self/stat").exists():
            began = _began(self.pid)
            return bool(began) and self.began in ("", began)
        if os.name != "posix":
            return True
        try:
            os.kill(self.pid, 0)  # asks, and sends nothing
        except ProcessLookupError:
            return False
        except PermissionError:  # somebody else's
            return True
        return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Lock:
    """A file that one process holds at a time. What a killed one has left is taken over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def holder(self) -> Holder | None:
        """The living process that holds it, or None."""
        found = _holder_in(self.path)
        return found if found is not None and found.lives else None

    def take(self) -> None:
        """Takes the lock.

        Raises:
            RunFolderError: if another process holds it.
            OSError: if it cannot be written.
        """
        mine = self._beside("partial")
        try:
            mine.write_text(Holder.this_process().text(), encoding="utf-8")
            self._remove_stale()
            self._create(mine)
        finally:
            mine.unlink(missing_ok=True)

    def release(self) -> None:
        """Gives it back, if it is this process's."""
        if _holder_in(self.path) == Holder.this_process():
            self.path.unlink(missing_ok=True)

    def _create(self, mine: Path) -> None:
        try:
            os.link(mine, self.path)  # with what it says, or not at all
        except FileExistsError:
            self._refuse()
        except OSError:  # a file system without links
            try:
                with self.path.open("x", encoding="utf-8") as file:
                    file.write(mine.read_text(encoding="utf-8"))
            except FileExistsError:
                self._refuse()

    def _remove_stale(self) -> None:
        """Removes what a process has left that is gone."""
        if self.holder() is not None:
            self._refuse()
        found, aside = _holder_in(self.path), self._beside("partial.stale")
        try:
            os.replace(self.path, aside)
        except FileNotFoundError:
            return
        if _holder_in(aside) != found:  # another process has taken it over meanwhile
            os.replace(aside, self.path)
            self._refuse()
        aside.unlink()

    def _refuse(self) -> None:
        holder = _holder_in(self.path) or "another process"
        raise RunFolderError(
            f"{self.path.parent} is being written by {holder}. Wait until it is done, or give "
            f"another --output. If that process is gone, remove {self.path}."
        )

    def _beside(self, what: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{os.getpid()}.{what}")


def _holder_in(path: Path) -> Holder | None:
    """What a lock's file says; None where there is none, or none that was written whole."""
    try:
        return Holder.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _began(pid: int) -> str:
    """When a process of this machine began, in ticks; "" if it is gone, or nothing tells."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *rest = told.rpartition(")")[2].split()  # the name in brackets may hold anything
    return "" if state == "Z" else rest[18]
