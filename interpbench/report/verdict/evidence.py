"""What a verdict rests on: a run's tables and record, or no more than a leaderboard."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import pandas as pd

from interpbench.results.comparison import agreement, mean_ranks
from interpbench.results.finished_run import Run
from interpbench.results.run_info import MetricInfo, RunInfo
from interpbench.results.tables import LEVEL, RunTables
from interpbench.suite.suite import Suite, load_suite, suite_names

Change = Literal["", "selection", "settings"]


@dataclass(frozen=True)
class SubmissionSaid:
    """What a published leaderboard says of a submission."""

    submission: str
    by: str
    date: str
    device: str
    precision: str
    versions: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that is said of a run or a leaderboard follows from these.

    Attributes:
        name: what it is about: the suite's name, or the CSV's.
        board: the leaderboard, see `leaderboard.leaderboard`.
        ranks, agreement: see `comparison`.
        metrics: metric -> what is known of it.
        tables: of the run; None if there is only a leaderboard.
        info: run.json; of a leaderboard, what its columns tell of the suite, the data, weights and
            methods.
        submissions: that a published leaderboard was made of.
        resolution: how many images would tell more apart, see `resolution.resolution`; None if
            there is only a leaderboard.
    """

    name: str
    board: pd.DataFrame
    ranks: pd.DataFrame
    agreement: pd.DataFrame
    metrics: Mapping[str, MetricInfo]
    tables: RunTables | None = None
    info: RunInfo = RunInfo()
    submissions: tuple[SubmissionSaid, ...] = ()
    resolution: pd.DataFrame | None = None

    @property
    def level(self) -> float:
        """Of significance, 0..1, after Holm's correction."""
        return self.tables.level if self.tables else LEVEL

    @property
    def title(self) -> str:
        """The name, with the suite's version where it is known."""
        version = self.info.suite.version
        return self.name if version is None else f"{self.name} version {version}"

    @property
    def description(self) -> str:
        """What the suite says of itself."""
        return str(getattr(self.info.settings, "description", ""))

    @cached_property
    def change(self) -> Change:
        """How the run's settings differ from those of its suite.

        "selection" where they can still be compared.
        """
        suite, settings = self.info.suite, self.info.settings
        if not suite.changed:
            return ""
        own = suite.name not in suite_names()
        if own or not isinstance(settings, Suite):  # settings of another version, perhaps
            return "settings"
        return "selection" if settings.frame == load_suite(suite.name).frame else "settings"

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """All methods, sorted; a method's place decides its colour, as in the plots."""
        return tuple(sorted(set(self.board["method"])))

    @cached_property
    def number(self) -> dict[str, int]:
        """A method's place among `methods`."""
        return {method: i for i, method in enumerate(self.methods)}

    @cached_property
    def controls(self) -> frozenset[str]:
        """The methods that know nothing of the model."""
        return controls_of(self.board)

    @cached_property
    def scored(self) -> pd.DataFrame:
        """The rows of the leaderboard that have a score."""
        return self.board[self.board["n"] > 0]

    @property
    def judging(self) -> frozenset[str]:
        """The metrics by which a method can be the best."""
        return frozenset(label for label, metric in self.metrics.items() if metric.judges)

    def by_metric(self) -> list[tuple[str, pd.DataFrame]]:
        """The metrics that occur, each with its scored rows."""
        by_metric = [
            (metric, self.scored[self.scored["metric"] == metric]) for metric in self.metrics
        ]
        return [(metric, rows) for metric, rows in by_metric if not rows.empty]


def controls_of(board: pd.DataFrame) -> frozenset[str]:
    """The methods of a leaderboard that know nothing of the model.

    Where it has no roles, those that are a floor.
    """
    if (board["role"] != "").any():
        return frozenset(board.loc[board["role"] == "control", "method"])
    return frozenset(board["control"]) - {""}


def of_run(run: Run) -> Evidence:
    """The evidence of a run: run.json, its tables, and what follows from them."""
    return Evidence(
        name=run.info.suite.name or "run",
        board=run.leaderboard,
        ranks=run.conclusions["ranks"],
        agreement=run.conclusions["agreement"],
        metrics=run.tables.metrics,
        tables=run.tables,
        info=run.info,
        resolution=run.conclusions["resolution"],
    )


def of_board(
    board: pd.DataFrame,
    name: str = "leaderboard",
    info: RunInfo = RunInfo(),
    submissions: tuple[SubmissionSaid, ...] = (),
    aspects: Mapping[str, str] = MappingProxyType({}),
) -> Evidence:
    """The evidence of a leaderboard alone.

    Parameters:
        board: its columns are those of `leaderboard.leaderboard`.
        name, info, submissions: see `Evidence`.
        aspects: name of a metric -> what it asks about, which the board does not tell.
    """
    metrics = {
        str(metric): MetricInfo(
            better=rows["better"].iloc[0],
            protocol=rows["protocol"].iloc[0],
            aspect=aspects.get(str(metric).partition(":")[0], ""),
        )
        for metric, rows in board.groupby("metric", sort=False)
    }
    judging = {metric for metric, known in metrics.items() if known.judges}
    return Evidence(
        name,
        board,
        mean_ranks(board),
        agreement(board, judging=judging),
        metrics,
        info=info,
        submissions=submissions,
    )
