"""`--profile`: a table of what a run's time goes into, and a trace of its first batches."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, schedule

from interpbench.core.time_spent import profiled

TRACED = 3  # batches, after the first, which prepares much that the others find


class Profile:
    """Takes the time of what runs within `taken`."""

    def __init__(self, device: torch.device) -> None:
        # Else it complains that there is no GPU where there is none.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        self._device = device
        self.table = pd.DataFrame(columns=["phase", "seconds", "share", "calls"])
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
        self._profiler = torch.profiler.profile(
            activities=activities, schedule=schedule(wait=0, warmup=1, active=TRACED, repeat=1)
        )

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Within this context time is taken.

        On a GPU every phase is waited for, so that the whole is slower.
        """
        started = time.perf_counter()
        with profiled(self._device) as clock, self._profiler:
            yield
        whole = time.perf_counter() - started
        seconds = {**clock.seconds, "other": whole - sum(clock.seconds.values())}
        rows = [
            (name, took, took / whole, clock.calls.get(name, 0)) for name, took in seconds.items()
        ]
        rows.sort(key=lambda row: -row[1])
        self.table = pd.DataFrame(rows, columns=self.table.columns)

    def step(self) -> None:
        """A batch is through."""
        self._profiler.step()

    def write_trace(self, path: Path) -> None:
        """The trace, for chrome://tracing or Perfetto."""
        self._profiler.export_chrome_trace(str(path))
