r"""Leaderboards as tables for LaTeX, ready for a paper; they need `\usepackage{booktabs}`."""

import re
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from interpbench.core.text import printable
from interpbench.publish.leaderboard_view import Grid, GridEntry, GridMetric, GridRow
from interpbench.report.verdict.legend import LEADS

_BESIDE = 2  # metrics beside each other; a third would be wider than the text of most papers
_GROUPS = {"letters": "group", "places": "places"}


def latex(grids: Sequence[Grid], said: Sequence[str] = ()) -> str:
    r"""A table a data set and model, with columns of its own for mean, interval and group.

    The caption says what was measured, on what, how and when, as far as the leaderboard knows it:
    that of a run's folder or of published results knows more than a run's leaderboard.csv. What
    leads is bold, controls are in italics. Labels are `tab:<data set>-<model>`.

    Parameters:
        grids: the tables.
        said: the sentences of a verdict, which stand below each table, so that none goes without.
    """
    labels = _labels(grids)
    tables = [_table(grid, label, said) for grid, label in zip(grids, labels, strict=True)]
    return "\n".join(["% \\usepackage{booktabs}", *tables])


def _labels(grids: Sequence[Grid]) -> list[str]:
    """A label for each table, made of letters, digits and dashes; none stands twice."""
    labels: list[str] = []
    for grid in grids:
        words = re.sub(r"[^a-z0-9]+", "-", f"{grid.dataset}-{grid.model}".lower()).strip("-")
        same = sum(re.fullmatch(rf"tab:{words}(-\d+)?", label) is not None for label in labels)
        labels.append(f"tab:{words}-{same + 1}" if same else f"tab:{words}")
    return labels


def _table(grid: Grid, label: str, said: Sequence[str]) -> str:
    float_ = "table" if len(grid.metrics) == 1 else "table*"
    return "\n".join(
        [
            rf"\begin{{{float_}}}[htbp]",
            r"\centering",
            rf"\caption{{{' '.join(_caption(grid))}}}",
            rf"\label{{{label}}}",
            r"\par\smallskip\footnotesize",
            r"\setlength{\tabcolsep}{3pt}",
            "\n\\par\\medskip\n".join(_tabulars(grid)),
            *map(_note, (" ".join(said), *grid.notes)),
            rf"\end{{{float_}}}",
            "",
        ]
    )


def _note(text: str) -> str:
    return rf"\par\smallskip\parbox{{\linewidth}}{{{_text(text)}}}" if text else ""


def _tabulars(grid: Grid) -> Iterator[str]:
    """The metrics, a few beside each other."""
    metrics = list(enumerate(grid.metrics))
    for start in range(0, len(metrics), _BESIDE):
        yield _tabular(grid.rows, dict(metrics[start : start + _BESIDE]))


def _tabular(rows: Sequence[GridRow], metrics: dict[int, GridMetric]) -> str:
    group = {i: _group([row.entries[i] for row in rows]) for i in metrics}
    spans, rules, heads, start = [], [], [], 2
    for i, metric in metrics.items():
        names = ["mean", r"95\,\% interval", *([_GROUPS[group[i]]] if group[i] else [])]
        spans.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{_text(metric.header)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + len(names) - 1}}}")
        heads += names
        start += len(names)
    lines = [
        [_label(row), *(cell for i in metrics for cell in _cells(row.entries[i], group[i]))]
        for row in rows
    ]
    columns = "".join("rcl" if group[i] else "rc" for i in metrics)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{columns}}}",
            r"\toprule",
            _line(["", *spans]),
            " ".join(rules),
            _line(["method", *heads]),
            r"\midrule",
            *map(_line, lines),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _group(entries: Sequence[GridEntry | None]) -> str:
    """What says which methods cannot be told apart: letters, else places, else nothing."""
    known = [entry for entry in entries if entry is not None]
    return next((name for name in _GROUPS if any(getattr(entry, name) for entry in known)), "")


def _label(row: GridRow) -> str:
    label = _text(row.label)
    if label[:1] in ("[", "*"):  # which after the end of a line would be taken for its arguments
        label = f"{{}}{label}"
    return rf"\textit{{{label}}}" if row.is_control else label


def _cells(entry: GridEntry | None, group: str) -> Iterator[str]:
    if entry is None:
        yield from ("--", "", *([""] if group else []))
        return
    mean = _number(entry.mean)
    yield rf"\textbf{{{mean}}}" if entry.leads else mean
    yield "" if pd.isna(entry.low) else f"[{_number(entry.low)}, {_number(entry.high)}]"
    if group:
        yield _text(getattr(entry, group))


def _number(value: float) -> str:
    """Three decimals, with a true minus sign, and none before what is rounded to zero."""
    text = f"{value:.3f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "$-$")


def _caption(grid: Grid) -> Iterator[str]:
    """A sentence each: what is in the columns, what marks mean, protocols, and where it is from."""
    data = grid.dataset + (f", {grid.data_revision}" if grid.data_revision else "")
    accuracy = "" if pd.isna(grid.accuracy) else f" (accuracy {grid.accuracy:.1%})"
    few, most = grid.images
    images = f"{most}" if few == most else f"{few} to {most}"
    yield _text(f"{grid.model}{accuracy} on {data}: mean over {images} images with 95 % interval.")
    entries = [entry for row in grid.rows for entry in row.entries if entry is not None]
    if any(entry.letters for entry in entries):
        yield "Methods of a group, with a letter in common, are not told apart"
        yield r"(5\,\% after Holm's correction)."
    elif any(entry.places for entry in entries):
        yield r"Places: first and last that the data leave (5\,\% after Holm's correction)."
    if any(entry.leads for entry in entries):
        yield f"Bold leads: {LEADS}."
    if any(row.is_control for row in grid.rows):
        yield "Italics: controls, which know nothing of the model."
    yield _text("; ".join(map(_protocol, grid.metrics)) + ".")
    targets = {fields["target"] for fields in map(_fields, grid.metrics) if "target" in fields}
    if targets:
        yield _text(f"Explained is {' or '.join(sorted(targets))}.")
    if made := ", ".join([*(f"InterpBench {v}" for v in grid.versions), *grid.dates]):
        yield _text(f"{made}.")


def _protocol(metric: GridMetric) -> str:
    """A metric's protocol: its hash, and its parameters where they are known."""
    parameters = [
        f"{name.removeprefix('parameter ')}: {value}"
        for name, value in _fields(metric).items()
        if name.startswith("parameter ")
    ]
    known = f" ({', '.join(parameters)})" if parameters else ""
    return f"{metric.name}: protocol {metric.protocol}{known}"


def _fields(metric: GridMetric) -> dict[str, str]:
    """The fields of a protocol's text."""
    return dict(line.split(": ", 1) for line in metric.protocol_text.splitlines() if ": " in line)


_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "–": "--",
        "−": "$-$",
        "±": r"$\pm$",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


def _text(text: str) -> str:
    return " ".join(printable(text).split()).translate(_LATEX).replace(r" \%", r"\,\%")
