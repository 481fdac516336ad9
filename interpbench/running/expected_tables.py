"""How large a run's files will be: tables of chance numbers, written as a run writes its own."""

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from interpbench.files.csv_files import write_csv
from interpbench.results import curves as curve_files
from interpbench.results.cell_folder import table_content
from interpbench.results.score_labels import joined
from interpbench.running.cell_tables import Scored, curve_rows, score_rows
from interpbench.running.examples import one_a_class
from interpbench.running.plan import Plan
from interpbench.suite.cells import CURVE_COLUMNS, SCORE_COLUMNS, Cell

ROWS = 16_000  # of scores that are written to see what a row takes,
LEAST = 32  # and of images at least
POINT = 12  # bytes of a curve's point in memory: a float64 and a float32


@dataclass(frozen=True)
class Disk:
    """Bytes of a run's folder, but for plots, the page and run.json.

    Attributes:
        scores, curves: of all cells and of the tables that are put together of them.
        maps: of the example images, at most.
        waiting: of blocks, until their cells are whole; not there in the end.
    """

    scores: int
    curves: int
    maps: int
    waiting: int

    @property
    def peak(self) -> int:
        """The most that lies there at once: the last blocks go as the tables come."""
        return self.scores + self.curves + self.maps + self.waiting


@dataclass(frozen=True)
class ExpectedCell:
    """A cell of a run.

    Attributes:
        cell: which.
        images: that it scores.
        changed: metric -> how many positions have changed at each point; none where it has no
            curve.
    """

    cell: Cell
    images: int
    changed: Mapping[str, Sequence[int]]

    @property
    def row_bytes(self) -> int:
        """Of an image's numbers in a block."""
        return sum(4 * len(at) or 8 for at in self.changed.values()) + 32


def expected_files(plan: Plan, cells: Sequence[ExpectedCell]) -> tuple[Disk, int]:
    """How many bytes a run leaves on the disk, and holds of its tables in memory at its end.

    Scores and curves are as large as those of chance numbers, which nothing makes smaller.

    Parameters:
        plan: of the run.
        cells: that are finished.
    """
    images = max((each.images for each in cells), default=0)
    metrics = sum(len(each.changed) for each in cells)
    some = min(images, max(LEAST, ROWS // max(1, metrics)))
    whole = _bytes(plan, cells, some)
    if some < images:  # what a file takes besides its rows is not a matter of how many there are
        half = _bytes(plan, cells, some // 2)
        whole = whole + (whole - half) * ((images - some) / (some - some // 2))
    scores, curves, tables = (round(each) for each in whole)
    examples = len(one_a_class([plan.dataset.labels[i] for i in plan.indices]))
    sizes = {label: model.card.preparation for label, (_, model) in plan.models.items()}
    pixels = sum(sizes[it.cell.model].height * sizes[it.cell.model].width for it in cells)
    waiting = sum(each.images * each.row_bytes for each in cells)
    return Disk(scores, curves, examples * pixels * 4, waiting), tables


def _bytes(plan: Plan, cells: Sequence[ExpectedCell], images: int) -> np.ndarray:
    """Of files of scores, files of curves, and what of both is in memory, for so many images."""
    chance, together = np.random.default_rng(0), io.BytesIO()
    all_scores: list[pd.DataFrame] = []
    of_scores = of_curves = most_curves = 0
    with curve_files.CurvesFile(together) as file:
        for each in cells:
            scores, curves = _tables(plan, each, images, chance)
            of_scores += len(table_content(scores))
            of_curves += len(curve_files.content_of(curves))
            points = images * sum(map(len, each.changed.values()))
            most_curves = max(most_curves, points * POINT + _held(curves))
            if each.cell.ceiling_of is None:  # searches are not among the run's tables
                all_scores.append(scores)
                file.write(curves)
    run_scores = joined(all_scores)
    with tempfile.TemporaryDirectory() as folder:
        csv = Path(folder) / "scores.csv"
        write_csv(run_scores, csv)
        of_scores += len(table_content(run_scores)) + csv.stat().st_size
    of_curves += len(together.getvalue())
    return np.array([of_scores, of_curves, most_curves + _held(run_scores)], dtype=float)


def _held(table: pd.DataFrame) -> int:
    """Bytes in memory, but for what lists hold."""
    return int(table.memory_usage(deep=True).sum())


def _tables(
    plan: Plan, each: ExpectedCell, images: int, chance: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A cell's scores and curves, all numbers by chance."""
    indices = plan.indices[:images]
    ids = np.array([plan.dataset.ids[i] for i in indices], dtype=object)
    labels = np.array([plan.dataset.labels[i] for i in indices])
    about = {"sample_id": ids, "label": labels, "target": labels, "tied": np.zeros(len(ids))}
    scores, curves = [], []
    for metric, changed in each.changed.items():
        names = {
            **each.cell.as_dict(),
            "parameters": plan.method(each.cell).parameters_json,
            "metric": metric,
            "protocol": plan.protocols[metric].hash,
        }
        values = chance.random((len(ids), max(1, len(changed))), dtype=np.float32)
        scores.append(score_rows(names, about, Scored(values.mean(1, dtype=np.float64))))
        if changed:
            curves.append(curve_rows(names, list(ids), changed, values))
    return _joined(scores, SCORE_COLUMNS), _joined(curves, CURVE_COLUMNS)


def _joined(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
