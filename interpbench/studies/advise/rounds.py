"""Rounds of a race: played, or taken as they lie in the folder; their scores and costs together."""

import time
from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from interpbench.core.errors import ParameterError
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import OutputFolder
from interpbench.files.records import Record
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import MetricInfo
from interpbench.results.tables import RunTables
from interpbench.studies.advise.bench import Bench, Round
from interpbench.studies.advise.race import FAILED, TIME, Dropped, Means

FOLDER, TABLE = "rounds", "rounds.csv"
NEVER = "the time of the first round was over before its turn"


class RoundRecord(Record):
    """What a round was, and what followed from it.

    Attributes:
        name: of the round, and of its folder.
        methods: that it asked for, labels or `all`.
        images: their ids.
        metrics: that it asked for; None for those of the race.
        seconds: that it took.
        elapsed: seconds of the budget that were spent at its end.
        dropped: who does not go on, and why.
        ended: why the race was over afterwards; "" else.
    """

    name: str
    methods: tuple[str, ...]
    images: tuple[str, ...]
    metrics: tuple[str, ...] | None
    seconds: float
    elapsed: float
    dropped: tuple[Dropped, ...] = ()
    ended: str = ""


class Rounds:
    """The rounds so far.

    Attributes:
        bench: the model, the data and the methods.
        folder: where they are written.
        budget: seconds for everything.
        records: of the rounds.
        dropped: method -> why it does not go on.
    """

    def __init__(
        self,
        bench: Bench,
        folder: OutputFolder,
        budget: float,
        started: float,
        before: Sequence[RoundRecord] = (),
    ) -> None:
        """None is played yet.

        Parameters:
            bench, folder, budget: see above.
            started: when the budget began, by `time.monotonic`.
            before: rounds that are finished, and taken as they are; what they took is spent.
        """
        self.bench, self.folder, self.budget = bench, folder, budget
        self.records: list[RoundRecord] = []
        self.dropped: dict[str, Dropped] = {}
        self._began = started
        self._before = {record.name: record for record in before}
        self._tables: list[RunTables] = []

    @property
    def spent(self) -> float:
        """Seconds of the budget that are spent."""
        return time.monotonic() - self._began

    @property
    def controls(self) -> list[str]:
        """Those that were scored."""
        cells = self.cells
        return cells.loc[
            (cells["role"] == "control") & (cells["status"] == "ok"), "method"
        ].tolist()

    def play(
        self,
        name: str,
        methods: Sequence[str],
        ids: Sequence[str],
        until: float,
        metrics: Sequence[str] | None = None,
    ) -> None:
        """Scores methods on images, or takes the scores of a finished round.

        Parameters:
            name: of the round.
            methods: labels or names, controls among them.
            ids: of the images.
            until: seconds of the budget after which no method is begun.
            metrics: None for those of the race.

        Raises:
            ParameterError: if no method at all could be scored in time.
        """
        path = self.folder.path / FOLDER / name
        old = self._before.get(name)
        if old is not None:
            tables, seconds = RunFolder(path).tables(), old.seconds
            self._began = time.monotonic() - old.elapsed
        else:
            started = self.spent
            asked = Round(
                tuple(methods),
                tuple(ids),
                None if metrics is None else tuple(metrics),
                self._began + until,
            )
            tables = self.bench.score(asked, path)
            seconds = self.spent - started
        if tables.scores.empty and not self._tables:
            raise ParameterError(
                f"No method gave a score within {until:.0f} of the budget's {self.budget:.0f} "
                "seconds: raise --budget, or name fewer methods with --method. "
                + " ".join(tables.cells["reason"].unique()[:3])
            )
        self._tables.append(tables)
        self.records.append(
            RoundRecord(
                name=name,
                methods=tuple(methods),
                images=tuple(ids),
                metrics=None if metrics is None else tuple(metrics),
                seconds=seconds,
                elapsed=self.spent if old is None else old.elapsed,
            )
        )
        self._drop_failed(methods)

    def _drop_failed(self, methods: Sequence[str]) -> None:
        """Who has no score of the last round failed, or was never begun.

        Who was scored before and not begun in time has fewer images, and stays.
        """
        cells = self._tables[-1].cells.set_index("method")
        scored = set(self._tables[-1].scores["method"])
        late = not RunFolder(self.folder.path / FOLDER / self.records[-1].name).info().is_finished
        for method in self.bench.labels(methods):
            if method in scored or method in self.dropped:
                continue
            if method in cells.index:
                reason = cells.loc[method, "reason"] or "gives no valid map"
                self.dropped[method] = Dropped(method, FAILED, reason)
            elif late and len(self._tables) == 1:
                self.dropped[method] = Dropped(method, TIME, NEVER)
            elif not late:
                self.dropped[method] = Dropped(method, FAILED, "does not apply to the model")

    def decide(self, dropped: Sequence[Dropped], ended: str = "") -> None:
        """Notes who does not go on after the last round, and whether the race is over."""
        fresh = {each.method: each for each in dropped}
        self.dropped |= fresh
        told = {name for record in self.records for name in (it.method for it in record.dropped)}
        news = tuple(each for name, each in self.dropped.items() if name not in told)
        self.records[-1] = self.records[-1].model_copy(update={"dropped": news, "ended": ended})
        record = self.folder.record.model_copy(update={"rounds": tuple(self.records)})
        self.folder.record = record
        table = self.table
        self.folder.write(TABLE, partial(write_csv, table))

    @property
    def table(self) -> pd.DataFrame:
        """A row a round: round, images, methods (without controls), seconds, dropped, ended."""
        rows = [
            {
                "round": record.name,
                "images": len(record.images),
                "methods": int(tables.cells.query("role != 'control' and status == 'ok'").shape[0]),
                "seconds": record.seconds,
                "dropped": len(record.dropped),
                "ended": record.ended,
            }
            for record, tables in zip(self.records, self._tables, strict=True)
        ]
        return pd.DataFrame(rows)

    @property
    def scores(self) -> pd.DataFrame:
        """One row a method, metric and image: method, metric, sample_id and value."""
        return scores_of(self._tables)

    @property
    def metrics(self) -> dict[str, MetricInfo]:
        """Label -> what it is, of all rounds."""
        return metrics_of(self._tables)

    @property
    def cells(self) -> pd.DataFrame:
        """A row a method: role, status and reason of the last round that had it; seconds and images
        of the one that had most images.
        """
        return cells_of(self._tables, self.dropped)

    def means(self, until: float, scoring: float = 1.0) -> Means:
        """What there is until so many seconds of the budget, and what an image costs.

        Parameters:
            until: seconds of the budget.
            scoring: how many times as much a map's scores take as in the race.
        """
        cells = self.cells[self.cells["images"] > 0].set_index("method")
        each = (cells["map_seconds"] + scoring * cells["scoring_seconds"]) / cells["images"]
        controls = float(each[cells["role"] == "control"].sum())
        # Of the last round: what a method costs besides its maps grows with the number of methods.
        timings = self._tables[-1].timings[["attribution_seconds", "scoring_seconds"]]
        once = max(0.0, self.records[-1].seconds - float(timings.to_numpy().sum()))
        of_method = {str(name): float(value) for name, value in each.items()}
        return Means(until - self.spent_then, once, controls, of_method)

    @property
    def spent_then(self) -> float:
        """Seconds of the budget that were spent when the last round had ended."""
        return self.records[-1].elapsed


def scores_of(rounds: Sequence[RunTables]) -> pd.DataFrame:
    """One row a method, metric and image of several rounds: see `Rounds.scores`."""
    columns = ["method", "metric", "sample_id", "value"]
    rows = pd.concat([tables.scores[columns] for tables in rounds], ignore_index=True)
    rows = rows.dropna(subset=["value"]).astype(dict.fromkeys(columns[:3], str) | {"value": float})
    return rows.drop_duplicates(columns[:3], ignore_index=True)


def metrics_of(rounds: Sequence[RunTables]) -> dict[str, MetricInfo]:
    """Label -> what it is, of several rounds."""
    return {label: info for tables in rounds for label, info in tables.metrics.items()}


def cells_of(rounds: Sequence[RunTables], dropped: Mapping[str, Dropped]) -> pd.DataFrame:
    """A row a method of several rounds: see `Rounds.cells`.

    Parameters:
        rounds: their tables, in order.
        dropped: method -> why it does not go on; who was never scored has a row too.
    """
    rows: dict[str, dict[str, object]] = {}
    for tables in rounds:
        timings = tables.timings.set_index("method")
        for cell in tables.cells.to_dict("records"):
            method = cell["method"]
            before = rows.get(method, {"images": -1})
            timed = timings.loc[method]
            rows[method] = before | {
                "method": method,
                "role": cell["role"],
                "status": cell["status"],
                "reason": cell["reason"],
            }
            if timed["images"] > before["images"]:
                rows[method] |= {
                    "map_seconds": timed["attribution_seconds"],
                    "scoring_seconds": timed["scoring_seconds"],
                    "images": int(timed["images"]),
                }
    for method, why in dropped.items():
        if method not in rows:
            rows[method] = {
                "method": method,
                "role": "method",
                "status": "failed",
                "reason": why.reason,
                "map_seconds": 0.0,
                "scoring_seconds": 0.0,
                "images": 0,
            }
    return pd.DataFrame(list(rows.values())).sort_values("method", ignore_index=True)
