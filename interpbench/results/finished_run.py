"""A run and its tables, as they lie on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from interpbench.results.cost import cost
from interpbench.results.curves import points
from interpbench.results.leaderboard import Conclusions
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import RunInfo
from interpbench.results.tables import RunTables


@dataclass(frozen=True, eq=False)
class Run:
    """A run and its tables.

    Attributes:
        folder: where it lies.
        info: run.json.
        tables: scores, curves, cells, timings, examples.
        conclusions: what follows from the scores, by the name of its file: see
            `leaderboard.conclude`.
    """

    folder: Path
    info: RunInfo = field(repr=False)
    tables: RunTables = field(repr=False)
    conclusions: Mapping[str, pd.DataFrame] = field(repr=False)

    @property
    def leaderboard(self) -> pd.DataFrame:
        """A row per data set, model, metric and method, with intervals, ranks and shares."""
        return self.conclusions["leaderboard"]

    @property
    def comparisons(self) -> pd.DataFrame:
        """One row per pair of methods, data set, model and metric: can they be told apart?"""
        return self.conclusions["comparisons"]

    @property
    def cost(self) -> pd.DataFrame:
        """Milliseconds and memory of each method on each model, with ranks: see `cost.cost`."""
        return cost(self.tables)

    @property
    def scores(self) -> pd.DataFrame:
        """One row per image, method, model and metric."""
        return self.tables.scores

    @property
    def curves(self) -> pd.DataFrame:
        """One row per point of a curve; of many images better a selection, see `curves_of`."""
        return self.curves_of()

    def curves_of(
        self,
        *,
        dataset: str | None = None,
        model: str | None = None,
        method: str | None = None,
        metric: str | None = None,
    ) -> pd.DataFrame:
        """The curves of single images, read from the run's folder: one row per point.

        With the columns dataset, model, method, metric, protocol, sample_id, step (from 0),
        fraction (of positions changed, 0..1) and value (float32).

        Parameters:
            dataset, model, method, metric: of which alone; None for all.

        Raises:
            RunFolderError: if the folder is gone or damaged.
        """
        labels = {"dataset": dataset, "model": model, "method": method, "metric": metric}
        return points(RunFolder(self.folder).curves(**labels))

    @property
    def failed(self) -> pd.DataFrame:
        """The cells that failed, with the reason."""
        return self.tables.cells[self.tables.cells["status"] != "ok"]


def load_run(folder: str | Path) -> Run:
    """Opens a run; neither torch nor plugins are needed.

    Raises:
        RunFolderError: if there is none.
    """
    run_folder = RunFolder(Path(folder))
    tables = run_folder.tables()
    return Run(run_folder.path, run_folder.info(), tables, Conclusions(tables))
