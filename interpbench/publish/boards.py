"""Leaderboards as people pass them on: read from CSVs and run folders, filtered, merged, sorted.

Filters come before the merge, so that what they leave out cannot stand in its way.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from interpbench.core.errors import SubmissionError, unknown_name
from interpbench.files.csv_files import read_csv
from interpbench.publish.suite_leaderboard import COLUMNS as PUBLISHED
from interpbench.publish.suite_leaderboard import TYPES
from interpbench.report.verdict.evidence import controls_of
from interpbench.report.verdict.findings import leading
from interpbench.results import leaderboard
from interpbench.results.comparison import GROUP
from interpbench.results.finished_run import Run, load_run
from interpbench.results.sound_board import first_fault

KEY = [*GROUP, "method"]
_RESULT = ["dataset", "model", "method"]  # of which a run holds one result, by all metrics
# Where a row came from: the file, who published it, under which name.
_SOURCE = ["file", "author", "entry"]
_ROUNDED = 1e-8  # relative; CSVs have nine digits


def read_boards(
    paths: Sequence[Path], runs: Mapping[Path, Run] = MappingProxyType({})
) -> pd.DataFrame:
    """Leaderboards below each other, with the columns that all have, those of _SOURCE, and `leads`:
    whether a method does in the whole of its file, see `findings.leading`.

    Parameters:
        paths: of the files, and of the folders of runs.
        runs: those of these folders that are loaded already.

    Raises:
        SubmissionError: if a path is no leaderboard.
    """
    paths = list({path.resolve(): path for path in paths}.values())
    names = _names(paths)
    boards = []
    for path, name in zip(paths, names, strict=True):
        board = _of_run(runs[path]) if path in runs else read_board(path)
        author, entry = (board.get(column, name) for column in ("by", "submission"))
        leads = leading(board, controls_of(board))
        boards.append(board.assign(file=name, author=author, entry=entry, leads=leads))
    return pd.concat(boards, ignore_index=True, join="inner")


def _names(paths: Sequence[Path]) -> list[str]:
    """What the files are called: a run by its folder; by whole paths if that is not enough."""
    files = [path.resolve() for path in paths]
    names = [file.parent.name if file.name == "leaderboard.csv" else file.stem for file in files]
    return names if len(set(names)) == len(names) else list(map(str, paths))


def read_board(path: Path) -> pd.DataFrame:
    """A leaderboard: of a run's folder, or from the CSV of a run or of published results.

    That of a run's folder says in further columns, as far as a published one has them too, when
    (`date`) and with what (`versions`) it was made, of which data (`data_revision`) and by which
    protocols (`protocol_text`).

    Raises:
        SubmissionError: if it is none.
        RunFolderError: if a folder holds no run.
    """
    if path.is_dir():
        return _of_run(load_run(path))
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().strip().split(",")
        columns = PUBLISHED if "submission" in header else leaderboard.COLUMNS
        board = read_csv(path, {column: TYPES[column] for column in columns})[columns]
        if fault := first_fault(board) or _twice(board):
            raise ValueError(fault)
        return board
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SubmissionError(
            f"{path} is no leaderboard: {reason} Give a leaderboard.csv of a run, or "
            "results/leaderboards/<suite>.csv."
        ) from None


def _of_run(run: Run) -> pd.DataFrame:
    board = run.leaderboard
    return board.assign(
        date=run.info.finished or run.info.started,
        versions="; ".join(f"{name} {version}" for name, version in run.info.versions.items()),
        data_revision=run.info.identity.data.revision,
        protocol_text=[run.tables.metrics[metric].protocol_text for metric in board["metric"]],
    )


def _twice(board: pd.DataFrame) -> str:
    """Which row stands there a second time; empty if none does."""
    rows = np.flatnonzero(board.duplicated(KEY))
    return f"row {rows[0] + 1} is of the same method and metric as one above." if len(rows) else ""


def file_columns(board: pd.DataFrame) -> list[str]:
    """The columns of the CSV of a leaderboard, which `read_board` reads again."""
    return PUBLISHED if set(PUBLISHED) <= set(board.columns) else leaderboard.COLUMNS


def select(board: pd.DataFrame, wanted: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows whose columns match one of the patterns given for them (`resnet*`).

    Raises:
        UnknownNameError: for a pattern that nothing matches.
    """
    for column, patterns in wanted.items():
        present = sorted(set(board[column]))
        for pattern in patterns:
            if not fnmatch.filter(present, pattern):
                raise unknown_name(column, pattern, present)
        if patterns:
            board = board[
                [any(fnmatch.fnmatchcase(value, p) for p in patterns) for value in board[column]]
            ]
    return board.reset_index(drop=True)


def merge(rows: pd.DataFrame) -> pd.DataFrame:
    """One leaderboard of what `read_boards` has read, best mean first.

    A method that has the same scores in several files, as controls have, stands there once. Where
    its scores differ, both results stay and their labels say whose they are: `gradcam (Ada)`, by
    who published them, the submission's name, or the file's, whichever tells them apart. A method
    that one file could not score yields to the same with a score.

    Where rows of several files then meet, places and letters are removed: whether methods differ
    can only be told from scores image by image, which `publish` compares.

    Raises:
        SubmissionError: if a metric has several protocols, or a label would stand for two methods.
    """
    _refuse_several_protocols(rows)
    if rows["file"].nunique() < 2:
        return rows.drop(columns=_SOURCE)
    columns = [column for column in rows if column not in _SOURCE]
    rows = _told_apart(rows.assign(result=_results(rows)))
    rows["scored"] = rows["n"] > 0
    # Of equal rows that of the file is kept which holds most of the others.
    rows["held"] = rows.groupby([*GROUP, "file"])["scored"].transform("sum")
    first = rows.sort_values(["scored", "held"], ascending=False, kind="stable")
    once = first.drop_duplicates(KEY).sort_index()
    once["whose"] = once["file"].where(once["scored"])
    met = once.groupby(GROUP)["whose"].transform("nunique") > 1
    once.loc[met, ["rank", "rank_to"]] = pd.NA
    once.loc[met, "letters"] = ""
    once.loc[met, "leads"] = False
    once["cost"] = once["mean"].where(once["better"] == "lower", -once["mean"])
    return sort(once, "cost")[columns]


def _refuse_several_protocols(rows: pd.DataFrame) -> None:
    for metric, of_metric in rows.groupby("metric"):
        firsts = of_metric.drop_duplicates("protocol")
        if len(firsts) > 1:
            files = ", ".join(f"{row.file}: {row.protocol}" for row in firsts.itertuples())
            raise SubmissionError(
                f"{metric} was scored under several protocols, which cannot be compared ({files}). "
                "Leave one of the files out, or the metric with --metric."
            )


def _results(rows: pd.DataFrame) -> pd.Series:
    """Which of the results of its method, data set and model a row belongs to: 0, 1, ...

    Files share a result if they agree on all metrics that both have.
    """
    numbers = pd.Series(0, rows.index)
    for _, of_method in rows.groupby(_RESULT, sort=False):
        results: list[pd.DataFrame] = []
        for _, of_file in of_method.groupby("file", sort=False):
            scored = of_file[of_file["n"] > 0].set_index("metric")[["n", "mean"]]
            agreeing = [i for i, known in enumerate(results) if _agree(known, scored)]
            if agreeing:
                results[agreeing[0]] = results[agreeing[0]].combine_first(scored)
            else:
                results.append(scored)
            numbers[of_file.index] = agreeing[0] if agreeing else len(results) - 1
    return numbers


def _agree(known: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether two files have the same number of images and mean by each metric of both."""
    both = known.index.intersection(other.index)
    return bool(np.allclose(known.loc[both], other.loc[both], rtol=_ROUNDED, atol=0))


def _told_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, where a method has several results with labels that say whose they are.

    Raises:
        SubmissionError: if another method is called so.
    """
    labels = rows["method"].copy()
    for _, of_method in rows.groupby(_RESULT, sort=False):
        firsts = of_method.drop_duplicates("result").set_index("result")
        if len(firsts) > 1:
            telling = next(c for c in ("author", "entry", "file") if firsts[c].is_unique)
            owners = of_method["result"].map(firsts[telling])
            labels[of_method.index] = of_method["method"] + " (" + owners + ")"
    changed = labels[labels != rows["method"]]
    if taken := set(changed) & set(rows["method"]):
        raise SubmissionError(
            f"{min(taken)} would be the name of two methods. Leave one of the files out, or give "
            "them different names."
        )
    return rows.assign(method=labels)


def sort(board: pd.DataFrame, column: str) -> pd.DataFrame:
    """Sorted within each data set, model and metric, by a column; `-column` for the greatest first.

    Raises:
        UnknownNameError: if there is no such column.
    """
    name = column.removeprefix("-")
    if name not in board.columns:
        raise unknown_name("column", name, board.columns)
    groups = [
        board[key].map({value: i for i, value in enumerate(dict.fromkeys(board[key]))})
        for key in GROUP
    ]
    ordered = board.assign(_0=groups[0], _1=groups[1], _2=groups[2]).sort_values(
        ["_0", "_1", "_2", name],
        ascending=[True, True, True, not column.startswith("-")],
        kind="stable",
    )
    return ordered[board.columns].reset_index(drop=True)
