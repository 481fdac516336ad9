"""Scores as arrays: of each data set, model and metric a row a method and a column an image."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from interpbench.results.score_labels import labelled, row_numbers

GROUP = ["dataset", "model", "metric"]


@dataclass(frozen=True, eq=False)
class ScoreBlock:
    """All scores of a data set, model and metric.

    Attributes:
        key: data set, model and metric.
        methods: those that have a score, sorted.
        sample_ids: N images that have one, sorted.
        scores: float64 [M,N], NaN where there is none.
        tied: float64 [M,N], shares of tied positions, NaN likewise; None of a table without them.
    """

    key: tuple[str, str, str]
    methods: tuple[str, ...]
    sample_ids: pd.Index
    scores: np.ndarray
    tied: np.ndarray | None = None

    def wide(self) -> pd.DataFrame:
        """The values, a row an image and a column a method."""
        return pd.DataFrame(self.scores.T, self.sample_ids, list(self.methods))


def score_blocks(scores: pd.DataFrame) -> list[ScoreBlock]:
    """The blocks of a table of scores, sorted by their keys.

    Parameters:
        scores: with GROUP, method, sample_id and value; perhaps tied.
    """
    kept = [*GROUP, "method", "sample_id"]
    numbers = [name for name in ("value", "tied") if name in scores]
    table = labelled(scores[kept]) if len(scores) else scores
    values = {name: scores[name].to_numpy(dtype=np.float64) for name in numbers}
    return list(_blocks(table, values)) if len(table) else []


def _blocks(table: pd.DataFrame, numbers: dict[str, np.ndarray]) -> Iterator[ScoreBlock]:
    group = row_numbers(table, GROUP)
    if group.max() < 2**16:
        group = group.astype(np.uint16)  # which numpy sorts by its digits
    order = np.argsort(group, kind="stable")
    ends = np.flatnonzero(np.diff(group[order])) + 1
    known = ~np.isnan(numbers["value"])
    methods, images = (table[name].cat for name in ("method", "sample_id"))
    method_codes, image_codes = methods.codes.to_numpy(), images.codes.to_numpy()
    for of_group in np.split(order, ends):
        rows = of_group[known[of_group]]
        if not len(rows):
            continue
        row, its_methods = _places(method_codes[rows], len(methods.categories))
        column, its_images = _places(image_codes[rows], len(images.categories))
        arrays = {}
        for name, column_of in numbers.items():
            arrays[name] = np.full((len(its_methods), len(its_images)), np.nan)
            arrays[name][row, column] = column_of[rows]
        dataset, model, metric = (str(table[name].iloc[rows[0]]) for name in GROUP)
        yield ScoreBlock(
            (dataset, model, metric),
            tuple(map(str, methods.categories[its_methods])),
            images.categories[its_images],
            arrays["value"],
            arrays.get("tied"),
        )


def _places(codes: np.ndarray, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each code its place among those that occur, and these."""
    occurs = np.zeros(kinds, dtype=bool)
    occurs[codes] = True
    return (np.cumsum(occurs) - 1)[codes], np.flatnonzero(occurs)


def alike(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of `values` [M,N] that have a number in the same columns.

    Yields:
        Their numbers [m], and which columns [N] these are, in the order of the first rows.
    """
    there = ~np.isnan(values)
    if there.all():
        yield np.arange(len(values)), np.ones(values.shape[1], dtype=bool)
        return
    rows_of: dict[bytes, list[int]] = {}
    for row, columns in enumerate(np.packbits(there, axis=1)):
        rows_of.setdefault(columns.tobytes(), []).append(row)
    for rows in rows_of.values():
        yield np.array(rows), there[rows[0]]
