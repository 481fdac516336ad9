"""Leaderboards as people pass them on: read, merged, filtered, sorted, laid out as a grid.

A grid has a row a method and a column a metric, for one data set and model; the terminal, Markdown
and LaTeX show the same one.
"""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from interpbench.core.errors import SubmissionError, unknown_name
from interpbench.core.text import printable
from interpbench.files.csv_files import read_csv
from interpbench.publish.suite_leaderboard import COLUMNS as PUBLISHED
from interpbench.publish.suite_leaderboard import TYPES
from interpbench.results import leaderboard
from interpbench.results.leaderboard import rank_texts
from interpbench.results.sound_board import first_fault
from interpbench.results.tables import ARROWS

KEY = ["dataset", "model", "metric", "method"]
Mark = Literal["", "best", "tied"]


def read_board(path: Path) -> pd.DataFrame:
    """A leaderboard, published or of a run, from its CSV.

    Raises:
        SubmissionError: if it is none.
    """
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().strip().split(",")
        columns = PUBLISHED if "submission" in header else leaderboard.COLUMNS
        board = read_csv(path, {column: TYPES[column] for column in columns})[columns]
        if fault := first_fault(board):
            raise ValueError(fault)
        return board
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SubmissionError(
            f"{path} is no leaderboard: {reason} Give a leaderboard.csv of a run, or "
            "results/leaderboards/<suite>.csv."
        ) from None


def merge(boards: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Leaderboards as one, by the names of their files.

    A method that stands in several with the same numbers is kept once. Where rows of several files
    meet, ranks are removed: whether methods differ can only be told from scores image by image,
    which `publish` compares.

    Raises:
        SubmissionError: if a metric has several protocols, or a method several results.
    """
    together = pd.concat(
        [board.assign(file=name) for name, board in boards.items()], ignore_index=True
    )
    for metric, rows in together.groupby("metric"):
        if len(set(rows["protocol"])) > 1:
            firsts = rows.drop_duplicates("protocol").itertuples()
            files = ", ".join(f"{row.file}: {row.protocol}" for row in firsts)
            raise SubmissionError(
                f"{metric} was scored under several protocols, which cannot be compared ({files})."
            )
    once = together.drop_duplicates([*KEY, "mean", "n"])
    twice = once[once.duplicated(KEY, keep=False)]
    if len(twice):
        row = twice.iloc[0]
        raise SubmissionError(
            f"{row['method']} on {row['model']} has several results of {row['metric']}: "
            + ", ".join(
                f"{r.file}: {r.mean:.6g}"
                for r in twice[(twice[KEY] == row[KEY]).all(axis=1)].itertuples()
            )
            + ". Leave one of the files out, or give the methods different names."
        )
    met = once.groupby(KEY[:3])["file"].transform("nunique") > 1
    once.loc[met, ["rank", "rank_to"]] = pd.NA
    once.loc[met, ["letters"]] = ""
    return once.drop(columns="file").reset_index(drop=True)


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
        for key in KEY[:3]
    ]
    ordered = board.assign(_0=groups[0], _1=groups[1], _2=groups[2]).sort_values(
        ["_0", "_1", "_2", name],
        ascending=[True, True, True, not column.startswith("-")],
        kind="stable",
    )
    return ordered[board.columns].reset_index(drop=True)


@dataclass(frozen=True)
class GridEntry:
    """What a method scored, and whether it is best, or cannot be told apart from the best."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Grid:
    """One data set and model: a title, the metrics with their directions, and a row a method."""

    title: str
    header: list[str]
    rows: list[tuple[str, list[GridEntry]]]


def grids(board: pd.DataFrame, whole: pd.DataFrame | None = None) -> list[Grid]:
    """A grid a data set and model, methods in the order of the board's first metric.

    Parameters:
        board: what is shown.
        whole: what it was selected from: which method is best, and which share a rank, is said
            among all of them.
    """
    whole = board if whole is None else whole
    groups = dict(iter(whole.groupby(KEY[:2], sort=False)))
    return [_grid(key, rows, groups[key]) for key, rows in board.groupby(KEY[:2], sort=False)]


def _grid(key: tuple[str, ...], rows: pd.DataFrame, whole: pd.DataFrame) -> Grid:
    dataset, model = key
    metrics = list(dict.fromkeys(rows["metric"]))
    row_of = {(row.metric, row.method): row for row in rows.itertuples()}
    marks = {metric: _marks(whole[whole["metric"] == metric]) for metric in metrics}
    ranks = dict(
        zip(zip(whole["metric"], whole["method"], strict=True), rank_texts(whole), strict=True)
    )
    authors = (
        dict(zip(rows["method"], rows["by"], strict=True))
        if "by" in whole and len(set(whole["by"])) > 1
        else {}
    )
    better = dict(zip(rows["metric"], rows["better"], strict=True))
    return Grid(
        title=f"{model} on {dataset}{_accuracy(rows)}",
        header=[f"{metric} {ARROWS[better[metric]]}" for metric in metrics],
        rows=[
            (
                f"{method} ({authors[method]})" if method in authors else method,
                [
                    _entry(
                        row_of.get((m, method)),
                        marks[m].get(method, ""),
                        ranks.get((m, method), ""),
                    )
                    for m in metrics
                ],
            )
            for method in dict.fromkeys(rows["method"])
        ],
    )


def _accuracy(rows: pd.DataFrame) -> str:
    accuracy = rows["accuracy"].iloc[0]
    return "" if pd.isna(accuracy) else f" (accuracy {accuracy:.1%})"


def _marks(rows: pd.DataFrame) -> dict[str, Mark]:
    """The method with the best mean, and those that share its rank."""
    scored = rows[rows["n"] > 0]
    if scored.empty:
        return {}
    best = scored.loc[
        scored["mean"].idxmin() if scored["better"].iloc[0] == "lower" else scored["mean"].idxmax()
    ]
    tied = scored[scored["rank"].notna() & (scored["rank"] == best["rank"])]["method"]
    return dict.fromkeys(tied, "tied") | {best["method"]: "best"}


def _entry(row: object, mark: Mark, rank: str) -> GridEntry:
    if row is None or row.n == 0:  # type: ignore[attr-defined]
        return GridEntry("–")
    return GridEntry(" ".join(_pieces(row, rank)), mark)


def _pieces(row: object, rank: str) -> Iterator[str]:
    """`1–4 0.115 [0.102, 0.139] 50%`: places, mean, interval and share, as far as known."""
    mean, low, high, share = (getattr(row, name) for name in ("mean", "low", "high", "share"))
    if rank:
        yield rank
    yield f"{mean:.3f}"
    if not pd.isna(low):
        yield f"[{low:.3f}, {high:.3f}]"
    if not pd.isna(share):
        yield f"{share:.0%}"


def markdown(grids: Sequence[Grid]) -> str:
    """Tables in GitHub's Markdown; the best bold, what ties with it in italics."""
    wrap = {"best": "**", "tied": "_", "": ""}
    blocks = []
    for grid in grids:
        lines = [["method", *grid.header], ["---"] * (1 + len(grid.header))]
        for method, entries in grid.rows:
            texts = [f"{wrap[e.mark]}{_markdown_text(e.text)}{wrap[e.mark]}" for e in entries]
            lines.append([_markdown_text(method), *texts])
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        blocks.append(f"**{_markdown_text(grid.title)}**\n\n{table}\n")
    return "\n".join(blocks)


def _markdown_text(text: str) -> str:
    text = " ".join(printable(text).split())
    for character in "\\`*_{}[]<>#|":
        text = text.replace(character, "\\" + character)
    return text


def latex(grids: Sequence[Grid]) -> str:
    """Tables for LaTeX with booktabs; the best bold, what ties with it underlined."""
    return "\n".join(_latex_table(grid) for grid in grids)


def _latex_table(grid: Grid) -> str:
    texts = pd.DataFrame([[e.text for e in entries] for _, entries in grid.rows])
    texts.index = pd.Index([method for method, _ in grid.rows])
    texts.columns = pd.Index(grid.header)
    wrap = {"best": "textbf:--rwrap;", "tied": "underline:--rwrap;", "": ""}
    marks = [[wrap[e.mark] for e in entries] for _, entries in grid.rows]
    styled = texts.style.apply(
        lambda _: pd.DataFrame(marks, index=texts.index, columns=texts.columns), axis=None
    )  # fmt: skip
    for axis in ("index", "columns"):
        styled = styled.format_index(lambda text: _latex_text(text), axis=axis)
    styled = styled.format(_latex_text)
    caption = _latex_text(grid.title)
    return str(
        styled.to_latex(hrules=True, position="htbp", position_float="centering", caption=caption)
    )


_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "–": "--",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


def _latex_text(text: str) -> str:
    return " ".join(printable(text).split()).translate(_LATEX)
