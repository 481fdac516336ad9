"""A leaderboard's CSV as people pass it on: read, held against what a leaderboard can be."""

import csv
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from interpbench.core.errors import RunFolderError
from interpbench.core.text import shown
from interpbench.files.csv_files import restored
from interpbench.report.verdict.evidence import Evidence, SubmissionSaid, of_board
from interpbench.results.run_info import (
    CardRecord,
    DataInfo,
    Identity,
    MeasuredModel,
    PluginInfo,
    RunInfo,
    SuiteInfo,
)
from interpbench.results.sound_board import first_fault

_NEEDED = ["dataset", "model", "metric", "better", "method", "n", "mean", "rank"]
_TEXTS = [
    "by",
    "submission",
    "dataset",
    "model",
    "weights",
    "metric",
    "better",
    "protocol",
    "sign",
    "method",
    "parameters",
    "role",
    "letters",
    "control",
    "status",
    "reason",
]
# Columns of a published leaderboard.
_SUITE = {"suite": "name", "suite_version": "version", "suite_hash": "hash"}
_SUBMISSION = ["submission", "by", "date", "device", "precision", "versions"]
_SOURCES = ["data_revision", "weights_sha256", "method_sha256"]
_NUMBERS = [
    "accuracy",
    "n",
    "mean",
    "low",
    "high",
    "rank",
    "rank_to",
    "floor",
    "ceiling",
    "share",
    "share_low",
    "share_high",
    "tied",
    "signed",
    "constant",
    "nonfinite",
    "unscored",
]
MOST_ROWS = 100_000  # that are read; a page shows the best of them, see `render.SHOWN_ROWS`
_COUNTS = ["n", "constant", "nonfinite", "unscored"]


def of_csv(path: Path, aspects: Mapping[str, str] = MappingProxyType({})) -> Evidence:
    """The evidence of a leaderboard: a run's leaderboard.csv, or a published one.

    Columns that are not known do not matter.

    Parameters:
        path: the file.
        aspects: name of a metric -> what it asks about, which the file does not tell.

    Raises:
        RunFolderError: if the file cannot be read, lacks columns, is empty, scores one method
            twice, or lacks ranks.
    """
    raw = _read(path)
    board = _board(raw, path)
    info = _published(raw)
    return of_board(board, info.suite.name or path.stem, info, _submissions(raw), aspects)


def _published(raw: pd.DataFrame) -> RunInfo:
    """What a published leaderboard says of itself, as far as run.json would say it too."""
    if not {*_SUITE, *_SUBMISSION, *_SOURCES} <= set(raw.columns):
        return RunInfo()
    first = raw.iloc[0]
    weights = {
        f"{row.dataset} {row.model}": row.weights_sha256
        for row in raw[["dataset", "model", "weights_sha256"]].itertuples()
    }
    methods = dict(zip(raw["method"], raw["method_sha256"], strict=True))
    return RunInfo(
        suite=SuiteInfo(**{key: first[column] for column, key in _SUITE.items()}),
        identity=Identity(data=DataInfo(revision=first["data_revision"])),
        models={
            label: MeasuredModel(card=CardRecord(weights_sha256=digest))
            for label, digest in weights.items()
        },
        plugins={
            f"method {name}": PluginInfo(source_hash=digest) for name, digest in methods.items()
        },
    )


def _submissions(raw: pd.DataFrame) -> tuple[SubmissionSaid, ...]:
    """Those that a published leaderboard was made of, by date."""
    if not {*_SUITE, *_SUBMISSION, *_SOURCES} <= set(raw.columns):
        return ()
    submissions = raw[_SUBMISSION].drop_duplicates().sort_values(["date", "submission"])
    return tuple(SubmissionSaid(*row) for row in submissions.itertuples(index=False))


def _read(path: Path) -> pd.DataFrame:
    """A leaderboard's CSV, all of it as text."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(islice(filter(None, csv.reader(file, strict=True)), MOST_ROWS + 2))
    except (OSError, ValueError, csv.Error) as error:  # that it is no UTF-8 is a ValueError
        raise RunFolderError(
            f"{path} cannot be read as CSV: {str(error).strip()}. Give a run's leaderboard.csv."
        ) from error
    header = rows[0] if rows else []
    other = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
    if other is not None or len(set(header)) < len(header):
        what = "a column is there twice" if other is None else f"row {other} has another length"
        raise RunFolderError(
            f"{path} is no leaderboard: {what}. Give a run's leaderboard.csv, or a run folder."
        )
    raw = pd.DataFrame(rows[1:], columns=header, dtype=str).map(restored)
    if len(raw) > MOST_ROWS:
        raise RunFolderError(
            f"{path} has more than {MOST_ROWS} rows, too many for a page. Take a part of it: "
            "python -m interpbench leaderboard CSV --dataset D --model M --metric N --format csv "
            "--output PART.csv."
        )
    missing = [column for column in _NEEDED if column not in raw.columns]
    if missing or raw.empty:
        wrong = f"it lacks the columns {', '.join(missing)}" if missing else "it has no rows"
        raise RunFolderError(
            f"{path} is no leaderboard: {wrong}. Give a run's leaderboard.csv, or a run folder."
        )
    return raw


def _board(raw: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns of `leaderboard.leaderboard`, as far as a CSV has them; the others are empty."""
    board = pd.DataFrame({column: raw.get(column, "") for column in _TEXTS}, index=raw.index)
    for column in _NUMBERS:
        board[column] = _numbers(raw, column, path)
    if fault := first_fault(board[[column for column in board if column in raw]]):
        raise RunFolderError(f"{path} is no leaderboard: {fault}")
    board[_COUNTS] = board[_COUNTS].fillna(0).astype(int)
    board[["rank", "rank_to"]] = board[["rank", "rank_to"]].astype("Int64")
    _refuse_what_cannot_be_compared(board, path)
    return board


def _numbers(raw: pd.DataFrame, column: str, path: Path) -> pd.Series:
    if column not in raw:
        return pd.Series(float("nan"), index=raw.index)
    texts = raw[column].where(raw[column] != "")
    numbers = pd.to_numeric(texts, errors="coerce")
    wrong = texts[numbers.isna() & texts.notna()]
    if not wrong.empty:
        raise RunFolderError(
            f"{path}: {column} is {shown(wrong.iloc[0])} in row {wrong.index[0] + 1}; expected a "
            "number."
        )
    return numbers.astype(float)


def _refuse_what_cannot_be_compared(board: pd.DataFrame, path: Path) -> None:
    for column in ("better", "protocol"):
        several = board.groupby("metric")[column].agg(lambda kinds: len(set(kinds))) > 1
        if several.any():
            raise RunFolderError(
                f"{path}: {several.idxmax()} has rows of more than one kind in column {column}, "
                "which cannot be compared. Give a leaderboard of one suite."
            )
    repeated = board.duplicated(["dataset", "model", "metric", "method"])
    if repeated.any():
        row = board[repeated].iloc[0]
        raise RunFolderError(
            f"{path} has {row['method']} more than once by {row['metric']} on {row['model']}, "
            f"{row['dataset']}. Give a leaderboard in which each method stands once."
        )
    if board.loc[board["n"] > 0, "rank"].isna().any():
        raise RunFolderError(
            f"{path} has scores without ranks, so nothing says which differ significantly. Give a "
            "run's leaderboard.csv, or a published one."
        )
