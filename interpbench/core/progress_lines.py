"""Progress in plain text: one line that is written over, or a line now and then."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from interpbench.core.progress import Progress

EVERY = 30.0  # seconds between lines in a pipe
OFTEN = 0.5  # seconds between two states of a line that is written over


class Lines(Progress):
    """Says how much is done and how long it still takes: `120/400 maps, 30 %, 2 min left`.

    Parameters:
        stream: where to.
        unit: what is counted.
        in_place: whether one line is written over, as terminals and notebooks show it; else there
            is a line now and then.
        clock: the time in seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        unit: str = "",
        in_place: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._unit, self._in_place, self._clock = stream, unit, in_place, clock
        self._every = OFTEN if in_place else EVERY
        self._total = self._done = self._written = 0
        self._begun = self._said = clock()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wipe()

    def begin(self, total: int) -> None:
        """Counts from 0 again."""
        self._total, self._done = total, 0
        self._begun = self._said = self._clock()

    def advance(self, what: str, images: int = 0) -> None:
        """Counts on; says so if it is time."""
        self._done += images
        now = self._clock()
        if not self._total or now - self._said < self._every:
            return
        self._said = now
        self._write(f"{self._state(now)}: {what}")

    def note(self, said: str) -> None:
        """Says it at once, and so that it stays."""
        self._wipe()
        self._stream.write(f"{said}\n")
        self._stream.flush()

    def _state(self, now: float) -> str:
        unit = f" {self._unit}" if self._unit else ""
        state = f"{self._done}/{self._total}{unit}, {100 * self._done // self._total} %"
        if not self._done:
            return state
        left = (now - self._begun) * (self._total - self._done) / self._done
        return f"{state}, {duration(left)} left"

    def _write(self, line: str) -> None:
        if not self._in_place:
            self._stream.write(f"{line}\n")
        else:
            self._stream.write(f"\r{line.ljust(self._written)}")
            self._written = len(line)
        self._stream.flush()

    def _wipe(self) -> None:
        """Leaves nothing behind where one line is written over."""
        if self._written:
            self._stream.write(f"\r{' ' * self._written}\r")
            self._stream.flush()
            self._written = 0


def duration(seconds: float) -> str:
    """A time in its largest unit: `40 s`, `2 min`, `3.5 h`."""
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def lines_of_a_call(wanted: bool | None, unit: str = "") -> Lines | None:
    """How a call in Python shows its progress, if it does; nothing is shown in a script by default.

    Parameters:
        wanted: True or False; None to show it where somebody sits before it, in IPython and in
            notebooks.
        unit: what is counted.
    """
    notebook = _shell() is not None
    if wanted is False or (wanted is None and not notebook):
        return None
    return Lines(sys.stderr, unit=unit, in_place=notebook or sys.stderr.isatty())


def _shell() -> object | None:
    """IPython's shell, if the code runs in one."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()
