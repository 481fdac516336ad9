"""Timing in turns, and the one table that the ratios make.

Whatever is compared takes its turn in every round, in one process, so that a slow minute of the machine is shared by
all. What counts are the ratios within a round; their median and range over the rounds are reported.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from interpbench.core.devices import describe

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ROUNDS = 5


@dataclass(frozen=True)
class Contender:
    """One way to do a workload.

    Attributes:
        name: as it stands in the table.
        role: `ours`, `peer`, or `limit`: what cannot be done without.
        work: a turn; gives whatever `difference` compares.
        units: how many of the workload's units (images, forward passes) a turn does; times are given for one.
        difference: from the result of the first contender and its own, how far apart the two are where they should
            agree; none where they need not.
        note: what a reader must know.
    """

    name: str
    role: Literal["ours", "peer", "limit"]
    work: Callable[[], Any]
    units: float = 1
    difference: Callable[[Any, Any], float] | None = None
    note: str = ""


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, the device's work included."""
    return timed(work)[0]


def synchronise() -> None:
    """Waits for the device, so that a clock read afterwards tells the truth."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long it takes, the device's work included, and what it gives."""
    synchronise()
    started = time.perf_counter()
    result = work()
    synchronise()
    return time.perf_counter() - started, result


@dataclass
class Turns:
    """The seconds that each contender took for a unit, round by round, and what it gave last."""

    contenders: Sequence[Contender]
    seconds: list[list[float]] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def round(self) -> None:
        """Every contender once."""
        turns = [timed(contender.work) for contender in self.contenders]
        self.seconds.append(
            [took / c.units for c, (took, _) in zip(self.contenders, turns, strict=True)]
        )
        self.results = [result for _, result in turns]

    def rows(self, workload: str, unit: str, rounds: int) -> list[dict[str, Any]]:
        """A row of the table for each contender, from the last rounds."""
        kept = self.seconds[-rounds:]
        return [
            {
                "workload": workload,
                "contender": contender.name,
                "role": contender.role,
                "unit": unit,
                "ms": 1000 * statistics.median(turn[i] for turn in kept),
                **_ratios("limit", kept, i, self._first("limit")),
                **_ratios("ours", kept, i, self._first("ours")),
                "difference": contender.difference(self.results[0], self.results[i])
                if contender.difference
                else None,
                "rounds": len(kept),
                "note": contender.note,
            }
            for i, contender in enumerate(self.contenders)
        ]

    def _first(self, role: str) -> int:
        return next(i for i, contender in enumerate(self.contenders) if contender.role == role)


def _ratios(name: str, rounds: list[list[float]], index: int, reference: int) -> dict[str, float]:
    """Median, least and greatest of a contender's time over the reference's, round by round."""
    ratios = [turn[index] / turn[reference] for turn in rounds]
    middle = {f"over_{name}": statistics.median(ratios)}
    return {**middle, f"over_{name}_low": min(ratios), f"over_{name}_high": max(ratios)}


@dataclass
class Table:
    """All rows of a session."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def write(self, path: Path) -> None:
        """The rows as CSV."""
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(self.rows).to_csv(path, index=False, float_format="%.6g", lineterminator="\n")

    def text(self) -> str:
        """The rows for the eye, each workload's below its title."""
        minutes = (time.monotonic() - self.started) / 60
        lines = [
            f"On {describe(DEVICE)}, torch {torch.__version__}, in turns in one process; {minutes:.1f} minutes in all",
            "over: times over the limit's (eager fp32), and over ours: median (least to greatest) of the rounds",
        ]
        shown: set[tuple[str, ...]] = set()
        for row in self.rows:
            workload, limit = (
                (row["workload"], row["unit"]),
                (row["workload"], row["unit"], row["contender"]),
            )
            if workload not in shown:
                heading = LINE.format(
                    "", "ms", "over limit", "", "over ours", "", "differs", ""
                ).rstrip()
                lines += ["", ", ".join(workload), heading]
            if (
                row["role"] != "limit" or limit not in shown
            ):  # one line for the limit of all methods
                lines.append(LINE.format(*_cells(row)).rstrip())
            shown |= {workload, limit}
        return "\n".join(lines)


LINE = "{:<54} {:>7} {:>10} {:<16} {:>9} {:<16} {:>7}  {}"


def _cells(row: dict[str, Any]) -> list[str]:
    cells = [f"  {row['contender']}", _number(row["ms"])]
    for name in ("limit", "ours"):
        low, high = row[f"over_{name}_low"], row[f"over_{name}_high"]
        cells += [
            _number(row[f"over_{name}"]),
            "" if low == high else f"({_number(low)} to {_number(high)})",
        ]
    difference = row["difference"]
    return [*cells, "" if difference is None else f"{difference:.0e}", row["note"]]


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
