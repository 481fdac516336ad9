"""Whether a leaderboard's numbers can be what they say, before anybody draws conclusions."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from interpbench.core.text import acts, shown

KINDS = {
    "better": ("lower", "higher"),
    "role": ("method", "control"),
    "status": ("ok", "failed"),
}
NAMES = (
    "dataset",
    "model",
    "weights",
    "metric",
    "method",
    "protocol",
    "sign",
    "control",
    "submission",
    "by",
)
RANKS = ("rank", "rank_to")
COUNTS = ("n", "constant", "nonfinite", "unscored", *RANKS)
SHARES = ("accuracy", "tied", "signed")
INTERVALS = (("low", "high"), ("share_low", "share_high"), RANKS)
MOST = 2**53  # up to which a float64 holds every whole number


def first_fault(board: pd.DataFrame) -> str:
    """What cannot be of a leaderboard, with its row; empty if all can.

    Parameters:
        board: columns of `leaderboard.leaderboard`, as many as there are; numbers as floats or
            integers, missing ones NaN.
    """
    return next(_faults(board), "")


def _faults(board: pd.DataFrame) -> Iterator[str]:
    there = set(board.columns)
    for column, kinds in KINDS.items():
        if column in there:
            yield from _of(board, column, ~board[column].isin(kinds), " or ".join(kinds))
    for column in there.intersection(NAMES):
        steering = {name for name in board[column].unique() if acts(str(name))}
        yield from _of(board, column, board[column].isin(steering), "a name in one line")
    for column in board.select_dtypes("number"):
        values = board[column].astype(float)
        yield from _of(board, column, np.isinf(values), "a finite number")
        if column in COUNTS:
            least = 1 if column in RANKS else 0
            wrong = (values < least) | (values > MOST) | (values % 1 > 0)
            wrong |= values.isna() & (column == "n")
            yield from _of(board, column, wrong, f"a whole number from {least}")
        if column in SHARES:
            yield from _of(board, column, (values < 0) | (values > 1), "a share from 0 to 1")
    for low, high in INTERVALS:
        if {low, high} <= there:
            wrong = board[low] > board[high]
            yield from _of(board, low, wrong, f"no more than {high}")
    if {"n", "mean"} <= there:
        yield from _of(
            board, "mean", (board["n"] > 0) & board["mean"].isna(), "a number where n is"
        )


def _of(board: pd.DataFrame, column: str, wrong: pd.Series, expected: str) -> Iterator[str]:
    """The first of the rows that are wrong in a column."""
    rows = np.flatnonzero(wrong.fillna(False))
    if len(rows):
        value = board[column].iloc[rows[0]]
        value = value if isinstance(value, str) else float(value)
        yield f"{column} is {shown(value)} in row {rows[0] + 1}; expected {expected}."
