"""The leaderboard: a pure function of a run's tables, the same bytes each time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from interpbench.core.errors import RunFolderError
from interpbench.core.seeding import derive
from interpbench.results.comparison import agreement, comparisons, mean_ranks, standings
from interpbench.results.resolution import resolution
from interpbench.results.score_blocks import GROUP, ScoreBlock, alike
from interpbench.results.shares import BOARD_COLUMNS, Group, achieved, by_group, shares
from interpbench.results.statistics import bootstrap_intervals
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
    return _ranked(frame, comparisons(tables, ranked=False) if pairs is None else pairs)


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
    blocks = {block.key: block for block in tables.blocks}
    applied: dict[str, dict[str, None]] = {}
    for dataset, _, metric in blocks:
        applied.setdefault(dataset, {})[metric] = None
    images = tables.cells.groupby(["dataset", "model"])["images"].max()
    groups_of = {group.key: [group] for group in groups}
    for (dataset, model), cells in tables.cells.groupby(["dataset", "model"], sort=False):
        for metric in applied.get(dataset, tables.metrics):
            key = (dataset, model, metric)
            # One after the other, since they share their resamples.
            scored = _scored(tables, blocks[key]) if key in blocks else {}
            shares = achieved(tables, groups_of.get(key, []))
            for cell in cells.to_dict("records"):
                row = _row(tables, cell, metric, scored.get(cell["method"], _UNSCORED))
                share = shares.get((*key, cell["method"]))
                unscored = images[dataset, model] - row["n"]
                yield {**row, **(asdict(share) if share else {"control": ""}), "unscored": unscored}


_UNSCORED = {"n": 0, "mean": np.nan, "low": np.nan, "high": np.nan, "tied": np.nan}


def _scored(tables: RunTables, block: ScoreBlock) -> dict[str, dict[str, Any]]:
    """n, mean, low, high and tied of each method of a block."""
    # The same resamples for every method: equal maps, equal rows.
    seed = derive(tables.seed, *block.key)
    limits = tables.metrics[block.key[2]].range
    scored = {}
    for rows, images in alike(block.scores):
        values = block.scores[np.ix_(rows, images)]
        intervals = bootstrap_intervals(values, seed=seed, hits=limits in (HITS, UNKNOWN))
        for row, of_row, interval in zip(rows, values, intervals, strict=True):
            low, high = _cut_to_range(limits, of_row, interval)
            tied = np.nan if block.tied is None else block.tied[row, images].mean()
            figures = {"n": of_row.size, "mean": of_row.mean(), "low": low, "high": high}
            scored[block.methods[row]] = {**figures, "tied": tied}
    return scored


def _row(
    tables: RunTables, cell: dict[str, Any], metric: str, scored: dict[str, Any]
) -> dict[str, Any]:
    measured = tables.models.get((cell["dataset"], cell["model"]))
    return {
        **{name: cell[name] for name in COLUMNS if name in cell},
        "weights": measured.weights if measured else "",
        "accuracy": measured.accuracy if measured else np.nan,
        "metric": metric,
        "better": tables.metrics[metric].better,
        "protocol": tables.metrics[metric].protocol,
        "sign": tables.metrics[metric].sign,
        "letters": "",
        **scored,
        "signed": _signed(cell),
        "reason": cell["reason"] or (_why_empty(cell) if not scored["n"] else ""),
    }


def _cut_to_range(
    limits: tuple[float, float], values: np.ndarray, interval: np.ndarray
) -> tuple[float, float]:
    """The interval of a mean cut to the metric's range.

    Only if the values keep to it, which areas of logits do not.
    """
    least, greatest = limits
    if least <= values.min() and values.max() <= greatest:
        interval = np.clip(interval, least, greatest)  # NaN stays NaN
    low, high = interval
    return float(low), float(high)


def _signed(cell: dict[str, Any]) -> float:
    """The share of a cell's valid maps that hold a negative value; NaN where there is none."""
    valid = cell["images"] - cell["constant"] - cell["nonfinite"]
    return np.nan if pd.isna(cell["signed"]) or not valid else cell["signed"] / valid


def _why_empty(cell: dict[str, Any]) -> str:
    invalid = cell["constant"] + cell["nonfinite"]
    if invalid < cell["images"]:
        return "the metric gave no score"
    return f"no valid map: {cell['constant']} constant, {cell['nonfinite']} not finite"
