"""The tables of a run, put together cell by cell.

Scores are kept, of curves only their means, if anything: it takes no more memory than the scores.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from interpbench.files.records import Record
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.looks import level_of
from interpbench.results.mean_curve import MeanCurves
from interpbench.results.run_info import CellRecord, RunInfo
from interpbench.results.score_labels import in_order, joined, labelled
from interpbench.results.tables import Example, RunTables

CELL_COLUMNS = [
    "dataset",
    "model",
    "method",
    "parameters",
    "role",
    "status",
    "reason",
    "images",
    "constant",
    "nonfinite",
    "signed",
]
TIMING_COLUMNS = [
    "dataset",
    "model",
    "method",
    "attribution_seconds",
    "scoring_seconds",
    "images",
    "peak_memory",
]
_BY = ["dataset", "model", "method", "metric", "sample_id"]


class Assembly:
    """Takes a run's cells, sorted by their labels, and gives its tables.

    Parameters:
        info: of the run.
    """

    def __init__(self, info: RunInfo) -> None:
        self._info = info
        self._records: list[CellRecord] = []
        self._scores: list[pd.DataFrame] = []
        self._ceilings: list[pd.DataFrame] = []
        self._maps: list[CellResult] = []

    def add(self, cell: CellResult) -> None:
        """One cell more."""
        self._records.append(cell.record)
        if cell.record.is_search:
            self._ceilings.append(cell.scores)
            return
        self._scores.append(cell.scores)
        self._maps.append(CellResult(cell.record, maps=cell.maps))

    def tables(self, models: Sequence[ModelResult], curves: MeanCurves) -> RunTables:
        """What was put together.

        Parameters:
            models: what was measured of the cells' models.
            curves: the means of those of the cells.
        """
        methods = [record for record in self._records if not record.is_search]
        return RunTables(
            scores=_sorted(self._scores),
            curves=curves,
            cells=_frame(methods, CELL_COLUMNS),
            timings=_frame(self._records, TIMING_COLUMNS),
            metrics=self._info.metrics,
            models={(it.record.dataset, it.record.model): it.record for it in models},
            examples=[example for model in models for example in _examples(model, self._maps)],
            seed=self._info.seed,
            level=level_of(self._info.looks),
            ceilings=_sorted(self._ceilings),
        )


def _examples(model: ModelResult, cells: Sequence[CellResult]) -> Iterator[Example]:
    """A model's example images with the maps that methods made of them."""
    record = model.record
    maps = {
        cell.record.method: cell.maps
        for cell in cells
        if (cell.record.dataset, cell.record.model) == (record.dataset, record.model)
    }
    for i, sample_id in enumerate(record.example_ids):
        yield Example(
            dataset=record.dataset,
            model=record.model,
            sample_id=sample_id,
            image=model.images[i],
            true_class=record.true_classes[i],
            predicted_class=record.predicted_classes[i],
            mask=None if model.masks is None else model.masks[i],
            maps={method: kept[sample_id] for method, kept in maps.items() if sample_id in kept},
        )


def _frame(records: Sequence[Record], columns: list[str]) -> pd.DataFrame:
    """Some fields of records, a row each."""
    return pd.DataFrame(
        [[getattr(record, column) for column in columns] for record in records], columns=columns
    )


def _sorted(tables: list[pd.DataFrame]) -> pd.DataFrame:
    table = joined([in_order(labelled(table), _BY) for table in tables if len(table)])
    return in_order(table, _BY) if len(table) else table
