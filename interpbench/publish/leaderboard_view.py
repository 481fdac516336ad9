"""Leaderboards as grids: a row a method and a column a metric, for one data set and model.

The terminal, Markdown and LaTeX (`latex_tables`) show the same one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from interpbench.core.text import printable
from interpbench.report.verdict.evidence import controls_of
from interpbench.report.verdict.findings import leading
from interpbench.results.leaderboard import rank_texts
from interpbench.results.tables import ARROWS

UNRANKED = (
    "Methods of several files meet here, so there are no places: which of them differ can only be "
    "told image by image, as on a board of published results."
)


@dataclass(frozen=True)
class GridEntry:
    """What a method scored by a metric.

    Attributes:
        mean: over images, in the metric's unit; low and high are the 95 % interval's, NaN where
            there is none.
        share: of the achievable, NaN where it is not known.
        places: first and last place that the data leave to it, `1–4`; "" if not known.
        letters: two methods have one in common exactly if they cannot be told apart.
        leads: whether it does, see `findings.leading`.
    """

    mean: float
    low: float
    high: float
    share: float
    places: str
    letters: str
    leads: bool

    @property
    def text(self) -> str:
        """`1–4 0.115 [0.102, 0.139] 50%`: places, mean, interval and share, as far as known."""
        return " ".join(self._pieces())

    def _pieces(self) -> Iterator[str]:
        if self.places:
            yield self.places
        yield f"{self.mean:.3f}"
        if not pd.isna(self.low):
            yield f"[{self.low:.3f}, {self.high:.3f}]"
        if not pd.isna(self.share):
            yield f"{round(self.share, 2) + 0:.0%}"  # no -0


@dataclass(frozen=True)
class GridRow:
    """A method, and what it scored by each metric; None where it has no score."""

    label: str
    is_control: bool
    entries: list[GridEntry | None]


@dataclass(frozen=True)
class GridMetric:
    """A column's metric.

    Attributes:
        name: of the metric.
        arrow: up or down, where scores get better.
        protocol: hash of its protocol.
        protocol_text: all of it; "" where only the hash is known.
    """

    name: str
    arrow: str
    protocol: str
    protocol_text: str

    @property
    def header(self) -> str:
        """Its name and direction."""
        return f"{self.name} {self.arrow}"


@dataclass(frozen=True)
class Grid:
    """One data set and model: the metrics, and a row a method.

    Attributes:
        dataset, model: labels.
        accuracy: of the model, 0..1; NaN if it is not known.
        metrics: of the columns.
        rows: methods in the order of the first metric.
        images: of how many images a mean is, at least and at most.
        data_revision, dates, versions: of the data; the days on which it was run, ISO 8601; the
            versions of InterpBench. Empty where they are not known.
        notes: what is to be said beside the numbers, a sentence each.
    """

    dataset: str
    model: str
    accuracy: float
    metrics: list[GridMetric]
    rows: list[GridRow]
    images: tuple[int, int]
    data_revision: str = ""
    dates: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """`resnet18 on planted (accuracy 97.5%)`."""
        accuracy = "" if pd.isna(self.accuracy) else f" (accuracy {self.accuracy:.1%})"
        return f"{self.model} on {self.dataset}{accuracy}"


def grids(board: pd.DataFrame) -> list[Grid]:
    """A grid a data set and model, methods in the order of the board's first metric."""
    board = board.assign(
        places=rank_texts(board), label=_labels(board), leads=leading(board, controls_of(board))
    )
    return [_grid(rows) for _, rows in board.groupby(["dataset", "model"], sort=False)]


def _labels(board: pd.DataFrame) -> pd.Series:
    """The methods' labels; where several people have published them, with their names."""
    if "by" not in board or board["by"].nunique() < 2:
        return board["method"]
    named = [
        method if method.endswith(f" ({by})") else f"{method} ({by})"  # a merged one has it already
        for method, by in zip(board["method"], board["by"], strict=True)
    ]
    return pd.Series(named, board.index)


def _grid(rows: pd.DataFrame) -> Grid:
    metrics = [_metric(of_metric) for _, of_metric in rows.groupby("metric", sort=False)]
    scored = rows[rows["n"] > 0]
    first = rows.iloc[0]
    return Grid(
        dataset=first["dataset"],
        model=first["model"],
        accuracy=first["accuracy"],
        metrics=metrics,
        rows=[_row(of_method, metrics) for _, of_method in rows.groupby("label", sort=False)],
        images=(scored["n"].min(), scored["n"].max()) if len(scored) else (0, 0),
        data_revision=first.get("data_revision", ""),
        dates=tuple(sorted({date[:10] for date in rows.get("date", ()) if date})),
        versions=_versions(rows.get("versions", ())),
        notes=(UNRANKED,) if len(scored) and (scored["places"] == "").any() else (),
    )


def _versions(texts: Iterable[str]) -> tuple[str, ...]:
    """Those of InterpBench, of texts that name the versions of all packages."""
    found = (re.search(r"\binterpbench ([^;\s]+)", text) for text in texts)
    return tuple(sorted({match[1] for match in found if match}))


def _metric(rows: pd.DataFrame) -> GridMetric:
    first = rows.iloc[0]
    return GridMetric(
        first["metric"],
        ARROWS[first["better"]],
        first["protocol"],
        first.get("protocol_text", ""),
    )


def _row(rows: pd.DataFrame, metrics: Sequence[GridMetric]) -> GridRow:
    entries = {row.metric: _entry(row) for row in rows.itertuples() if row.n > 0}
    first = rows.iloc[0]
    return GridRow(
        first["label"], first["role"] == "control", [entries.get(m.name) for m in metrics]
    )


def _entry(row: Any) -> GridEntry:
    return GridEntry(
        row.mean, row.low, row.high, row.share, row.places, row.letters, bool(row.leads)
    )


def markdown(grids: Sequence[Grid], said: Sequence[str] = ()) -> str:
    """Tables in GitHub's Markdown, what leads bold.

    Parameters:
        grids: the tables.
        said: the sentences of a verdict, which stand above them, the first of them bold.
    """
    headline = [f"**{_markdown_text(line)}**\n" for line in said[:1]]
    others = [f"- {_markdown_text(line)}" for line in said[1:]]
    below = ["\n".join(others) + "\n"] if others else []
    return "\n".join([*headline, *below, *map(_markdown_table, grids)])


def _markdown_table(grid: Grid) -> str:
    header = ["method", *(metric.header for metric in grid.metrics)]
    lines = [
        list(map(_markdown_text, header)),
        ["---"] * len(header),
        *([_markdown_text(row.label), *map(_markdown_entry, row.entries)] for row in grid.rows),
    ]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = "".join(f"{_markdown_text(note)}\n\n" for note in grid.notes)
    return f"**{_markdown_text(grid.title)}**\n\n{notes}{table}\n"


def _markdown_entry(entry: GridEntry | None) -> str:
    if entry is None:
        return "–"
    text = _markdown_text(entry.text)
    return f"**{text}**" if entry.leads else text


def _markdown_text(text: str) -> str:
    text = " ".join(printable(text).split())
    for character in "\\`*_{}[]<>#|":
        text = text.replace(character, "\\" + character)
    return text
