"""Where the time of a run goes: forward passes, perturbation, ranking, transfers, waiting ...

`phase(name)` marks a piece of work. Outside of `profiled()` it costs nothing to speak of; inside,
the time of each phase is added up, that of phases within it taken out, and torch's profiler sees it
under its name.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

import torch

Phase = Literal[
    "attribution", "forwards", "perturbation", "ranking", "transfers", "waiting", "canary"
]


@dataclass
class Clock:
    """Adds up what phases take.

    Attributes:
        device: is waited for at the borders of phases, so that each is charged with its own work.
        seconds, calls: of each phase.
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _open: list[str] = field(default_factory=list)
    _since: float = 0.0

    def begin(self, name: str) -> None:
        """From here on time is charged to this phase."""
        self._charge()
        self._open.append(name)
        self.calls[name] += 1

    def end(self) -> None:
        """From here on time is charged to the phase around it again."""
        self._charge()
        self._open.pop()

    def _charge(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


_clock: ContextVar[Clock | None] = ContextVar("clock", default=None)


@contextmanager
def profiled(device: torch.device) -> Iterator[Clock]:
    """Within this context phases are timed."""
    clock = Clock(device)
    token = _clock.set(clock)
    try:
        yield clock
    finally:
        _clock.reset(token)


@contextmanager
def phase(name: Phase) -> Iterator[None]:
    """A piece of work of one kind."""
    clock = _clock.get()
    if clock is None:
        yield
        return
    clock.begin(name)
    try:
        with torch.profiler.record_function(f"interpbench: {name}"):
            yield
    finally:
        clock.end()


@contextmanager
def phase_as_a_whole(name: Phase) -> Iterator[None]:
    """A piece of work whose parts are not told apart, though elsewhere they are phases."""
    with phase(name):
        token = _clock.set(None)
        try:
            yield
        finally:
            _clock.reset(token)
