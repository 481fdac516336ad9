"""The leaderboard: a pure function of a run's tables, the same bytes each time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from interpbench.core.errors import RunFolderError
from interpbench.core.seeding import derive
from interpbench.results.comparison import GROUP, agreement, comparisons, mean_ranks, standings
from interpbench.results.resolution import resolution
from interpbench.results.shares import BOARD_COLUMNS, Group, achieved, by_group, shares
from interpbench.results.statistics import bootstrap_interval
from interpbench.results.tables import RunTables

HITS = (0, 1)  # a metric's range, if its scores may be hits and misses
UNKNOWN = (-math.inf, math.inf)  # that of a run of before ranges were noted
COLUMNS = [
    "dataset",
    "model",
    "weights",
    "accuracy",
    "metric",
    "better",
    "protocol",
    "sign",
    "method",
    "parameters",
    "role",
    "n",
    "mean",
    "low",
    "high",
    "rank",
    "rank_to",
    "letters",
    *BOARD_COLUMNS,
    "tied",
    "signed",
    "constant",
    "nonfinite",
    "unscored",
    "status",
    "reason",
]


def rank_texts(board: pd.DataFrame) -> pd.Series:
    """The places that the data leave to each row: `1`, `1–4` for several, or "" without a rank.

    A board that was written without `rank_to` leaves the end open: `1–`.
    """
    ranked = board[board["rank"].notna() & (board["n"] > 0)]
    texts = [
        f"{first}" if first == last else f"{first}–{'' if pd.isna(last) else int(last)}"
        for first, last in zip(ranked["rank"].astype(int), ranked["rank_to"], strict=True)
    ]
    return pd.Series(texts, ranked.index, dtype=object).reindex(board.index, fill_value="")


def conclude(tables: RunTables) -> dict[str, pd.DataFrame]:
    """Everything that follows from a run's scores, by the name of its file.

    leaderboard, comparisons (of every two methods), ranks (across models), agreement (of rankings),
    shares (of the achievable, per image), resolution (what so many images can tell apart).
    """
    pairs = comparisons(tables)
    groups = by_group(tables)
    board = leaderboard(tables, pairs, groups)
    judging = [label for label, metric in tables.metrics.items() if metric.judges]
    return {
        "leaderboard": board,
        "comparisons": pairs,
        "ranks": mean_ranks(board, tables.level),
        "agreement": agreement(board, tables.level, judging),
        "shares": shares(groups),
        "resolution": resolution(board, pairs, tables.level),
    }


class Conclusions(Mapping[str, pd.DataFrame]):
    """`conclude(tables)`, when it is first asked for: scores alone are there at once."""

    def __init__(self, tables: RunTables) -> None:
        self._tables = tables

    @cached_property
    def _concluded(self) -> dict[str, pd.DataFrame]:
        return conclude(self._tables)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._concluded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._concluded)

    def __len__(self) -> int:
        return len(self._concluded)


def leaderboard(
    tables: RunTables, pairs: pd.DataFrame | None = None, groups: Sequence[Group] | None = None
) -> pd.DataFrame:
    """One row per data set, model, metric and method, best mean first.

    Columns: dataset, model, weights, accuracy (of the model, 0..1), metric, better ("lower"
    or "higher"), protocol, sign (how it takes negative values), method, parameters (JSON), role
    (method or control), n (images scored), mean, low and high (95 % interval over images, see
    `statistics.bootstrap_interval`), rank and rank_to (the first and the last place that the data
    leave to it) and letters (two methods share one exactly if they cannot be told apart; see
    `comparison.standings`), control (which one the floor is), floor and ceiling (means over
    images), share (of the way from floor to ceiling, see `achievable`) with its interval share_low
    and share_high, tied (mean share of tied positions), signed (share of the valid maps that hold a
    negative value; missing where nobody counted), constant and nonfinite (images without a valid
    map), unscored (images of the run without a score, for whatever reason), status, reason.

    A method that failed or has no valid image keeps its rows, last: n is 0, mean and rank are
    missing, and `reason` says why. An image on which a metric is undefined (NaN) is not among its
    n.

    Parameters:
        tables: of the run.
        pairs: `comparison.comparisons(tables)`, where the caller has it already.
        groups: `shares.by_group(tables)`, likewise.

    Raises:
        RunFolderError: if a metric was scored under another protocol than the run declares.
    """
    _refuse_mixed_protocols(tables)
    shares_of_groups = by_group(tables) if groups is None else groups
    frame = pd.DataFrame(_rows(tables, shares_of_groups), columns=COLUMNS).astype(
        {"accuracy": float, "rank": "Int64", "rank_to": "Int64"}
    )
    if frame.empty:
        return frame
    frame["cost"] = frame["mean"].where(frame["better"] == "lower", -frame["mean"])
    frame = frame.sort_values([*GROUP, "cost", "method"], ignore_index=True, na_position="last")[
        COLUMNS
    ]
    return _ranked(frame, comparisons(tables) if pairs is None else pairs)


def _ranked(frame: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard with ranks and letters of the methods that have a score."""
    pairs_of = dict(iter(pairs.groupby(GROUP)))
    for key, rows in frame[frame["n"] > 0].groupby(GROUP):
        ranks = standings(pairs_of.get(key, pairs.iloc[:0]), rows["method"].tolist())
        for column in ranks:
            frame.loc[rows.index, column] = ranks[column].to_numpy()
    return frame


def _refuse_mixed_protocols(tables: RunTables) -> None:
    pairs = tables.scores[["metric", "protocol"]].drop_duplicates()
    for metric, protocol in pairs.itertuples(index=False):
        declared = tables.metrics[metric].protocol
        if protocol != declared:
            raise RunFolderError(
                f"Scores of {metric} have protocol {protocol}, but the run declares {declared}. "
                "They cannot be compared: score all of them again, into one folder."
            )


def _rows(tables: RunTables, groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    scores = tables.scores.dropna(subset=["value"])
    scores_of = dict(iter(scores.groupby(["dataset", "model", "method", "metric"], sort=False)))
    applied = scores.groupby("dataset")["metric"].unique()
    images = tables.cells.groupby(["dataset", "model"])["images"].max()
    shares = achieved(tables, groups)
    for (dataset, model), cells in tables.cells.groupby(["dataset", "model"], sort=False):
        # All methods of a metric after each other, which share their resamples.
        for metric, cell in product(applied.get(dataset, tables.metrics), cells.to_dict("records")):
            key = (dataset, model, cell["method"], metric)
            row = _row(tables, cell, metric, scores_of.get(key, scores.iloc[:0]))
            share = shares.get((dataset, model, metric, cell["method"]))
            unscored = images[dataset, model] - row["n"]
            yield {**row, **(asdict(share) if share else {"control": ""}), "unscored": unscored}


def _row(
    tables: RunTables, cell: dict[str, Any], metric: str, scores: pd.DataFrame
) -> dict[str, Any]:
    dataset, model = cell["dataset"], cell["model"]
    measured = tables.models.get((dataset, model))
    values = scores["value"].to_numpy(dtype=np.float64)
    # The same resamples for every method: equal maps, equal rows.
    seed = derive(tables.seed, dataset, model, metric)
    limits = tables.metrics[metric].range
    interval = bootstrap_interval(values, seed=seed, hits=limits in (HITS, UNKNOWN))
    low, high = _cut_to_range(limits, values, interval)
    return {
        **{name: cell[name] for name in COLUMNS if name in cell},
        "weights": measured.weights if measured else "",
        "accuracy": measured.accuracy if measured else np.nan,
        "metric": metric,
        "better": tables.metrics[metric].better,
        "protocol": tables.metrics[metric].protocol,
        "sign": tables.metrics[metric].sign,
        "n": values.size,
        "mean": values.mean() if values.size else np.nan,
        "low": low,
        "high": high,
        "letters": "",
        "tied": scores["tied"].mean(),
        "signed": _signed(cell),
        "reason": cell["reason"] if values.size else cell["reason"] or _why_empty(cell),
    }


def _cut_to_range(
    limits: tuple[float, float], values: np.ndarray, interval: tuple[float, float]
) -> tuple[float, float]:
    """The interval of a mean cut to the metric's range.

    Only if the values keep to it, which areas of logits do not.
    """
    least, greatest = limits
    if values.size and least <= values.min() and values.max() <= greatest:
        low, high = np.clip(interval, least, greatest)  # NaN stays NaN
        return float(low), float(high)
    return interval


def _signed(cell: dict[str, Any]) -> float:
    """The share of a cell's valid maps that hold a negative value; NaN where there is none."""
    valid = cell["images"] - cell["constant"] - cell["nonfinite"]
    return np.nan if pd.isna(cell["signed"]) or not valid else cell["signed"] / valid


def _why_empty(cell: dict[str, Any]) -> str:
    invalid = cell["constant"] + cell["nonfinite"]
    if invalid < cell["images"]:
        return "the metric gave no score"
    return f"no valid map: {cell['constant']} constant, {cell['nonfinite']} not finite"
