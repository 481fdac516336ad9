"""A finished run in the terminal: how to read it, a table per data set and model, the verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from interpbench.report.verdict.evidence import of_run
from interpbench.report.verdict.findings import leading
from interpbench.report.verdict.legend import legend
from interpbench.report.verdict.verdict import Verdict, verdict
from interpbench.results.cost import cost
from interpbench.results.finished_run import Run
from interpbench.results.leaderboard import rank_texts
from interpbench.results.tables import ARROWS, RunTables

_REASON = 30  # characters of a reason that a table has room for
_UNLIMITED = 10_000
_COSTS = {"milliseconds": "ms per\nimage", "peak_megabytes": "peak\nMB"}
_INVALID = {"constant": "constant", "nonfinite": "not finite"}


def print_report(run: Run, console: Console) -> None:
    """Print how to read it, a table per data set and model, reasons of failures, the verdict.

    Methods are rows, in the order of the first metric. Each metric is a column of `places mean
    [low, high] share`; what leads is bold. Where the console is too narrow the interval goes below,
    then the metrics are split over several tables. The verdict comes last, where it stays on the
    screen.
    """
    evidence = of_run(run)
    tables, board = run.tables, evidence.board
    metrics = [_meaning(tables, metric) for metric in _metrics(tables, board)]
    for line in filter(None, [legend(board), *metrics]):
        console.print(_text(line))
    if metrics:
        console.print()
    board = board.assign(rank_text=rank_texts(board), leads=leading(board, evidence.controls))
    for (dataset, model), rows in board.groupby(["dataset", "model"], sort=False):
        console.print(_heading(tables, rows, dataset, model))
        for table in _fitting_tables(tables, rows, console):
            console.print(table)
            console.print()
        for reason in _reasons(rows):
            console.print(Padding(reason, (0, 0, 0, 2)))
        if (rows["reason"] != "").any():
            console.print()
    print_verdict(verdict(evidence), console)


def print_verdict(found: Verdict, console: Console) -> None:
    """Print a verdict: what must be said, then what else there is to know."""
    headline, *others = found.lines
    console.print(_text(headline, "bold red" if found.trust.level == "serious" else "bold"))
    more = [remark.line for remark in found.trust.remarks if remark not in found.cautions]
    for line in [*others, *more]:
        console.print(_text(line))


def print_profile(phases: pd.DataFrame, console: Console) -> None:
    """Print what a run's time went into, a row a phase.

    The columns are phase, seconds, share and calls.
    """
    table = Table("phase", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("seconds", "share", "calls"):
        table.add_column(column, justify="right")
    for row in phases.itertuples():
        table.add_row(_plain(row.phase), f"{row.seconds:.2f}", f"{row.share:.1%}", f"{row.calls:,}")
    console.print(table)


def _text(text: str, style: str = "") -> Text:
    return Text(_plain(text), style)


def _plain(text: object) -> str:
    """`text` without the characters that would steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in str(text))


def _metrics(tables: RunTables, board: pd.DataFrame) -> list[str]:
    present = set(board["metric"])
    return [metric for metric in tables.metrics if metric in present]


def _heading(tables: RunTables, rows: pd.DataFrame, dataset: str, model: str) -> Text:
    measured = tables.models.get((dataset, model))
    cells = tables.cells[(tables.cells["dataset"] == dataset) & (tables.cells["model"] == model)]
    text = Text(_plain(f"{model} on {dataset}"), style="bold")
    if tables.is_untrained(dataset, model):
        text.append(", RANDOM WEIGHTS", style="red")
    else:
        text.append(_plain(f", weights {measured.weights if measured else 'unknown'}"))
    return text.append(
        f", {tables.accuracy_text(dataset, model)}, {cells['images'].max():,} images explained"
    )


@dataclass(frozen=True)
class _TableLayout:
    """How wide a table is.

    Intervals below means or beside them, padding of columns, tables for the metrics.
    """

    stacked: bool
    gap: int
    parts: int = 1


def _fitting_tables(tables: RunTables, rows: pd.DataFrame, console: Console) -> list[Table]:
    """The first of ever narrower layouts that fits the console.

    The narrowest has one metric a table.
    """
    metrics = _metrics(tables, rows)
    wide = console.options.update(width=_UNLIMITED)
    splits = [_TableLayout(True, 0, parts) for parts in range(1, len(metrics) + 1)]
    for layout in [_TableLayout(False, 1), _TableLayout(True, 1), *splits]:
        size = math.ceil(len(metrics) / layout.parts)
        blocks = [metrics[start : start + size] for start in range(0, len(metrics), size)]
        tables_of_blocks = [
            _table(tables, rows, block, layout, last=block is blocks[-1]) for block in blocks
        ]
        if all(
            console.measure(table, options=wide).maximum <= console.width
            for table in tables_of_blocks
        ):
            break
    return tables_of_blocks


def _table(
    tables: RunTables, rows: pd.DataFrame, metrics: Sequence[str], layout: _TableLayout, last: bool
) -> Table:
    """Methods by `metrics`; the `last` table of several also has the cost and the failures."""
    newline = "\n" if layout.stacked else " "
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, layout.gap, 0, 0), show_edge=False, pad_edge=False
    )
    table.add_column("method", overflow="fold")
    for metric in metrics:
        better = tables.metrics[metric].better
        table.add_column(
            Text(f"{_plain(metric)}{newline}{ARROWS[better]} {better}"),
            justify="right",
            no_wrap=True,
        )
    costs = cost(tables).set_index(["dataset", "model", "method"])
    figures = [figure for figure in _COSTS if last and costs[figure].notna().any()]
    for figure in figures:
        table.add_column(_COSTS[figure], justify="right", no_wrap=True)
    if last:
        table.add_column("failures", overflow="fold")
    for method, of_method in _by_method(tables, rows):
        line = [
            _label(method, layout.stacked),
            *(_score(rows, of_method.loc[metric], newline) for metric in metrics),
        ]
        if last:
            key = (of_method["dataset"].iloc[0], of_method["model"].iloc[0], method)
            line += [*(_cost(costs, key, figure) for figure in figures)]
            line += [_failures(of_method, newline)]
        table.add_row(*line)
    if rows["share"].notna().any():
        table.add_row(
            Text("ceiling", style="dim"), *(_ceiling(rows, metric, newline) for metric in metrics)
        )
    return table


def _label(method: str, stacked: bool) -> Text:
    name, _, parameters = _plain(method).partition(":")
    return Text(f"{name}\n {parameters}" if stacked and parameters else _plain(method))


def _by_method(tables: RunTables, rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Each method's rows by metric, best first by the first metric of the run."""
    first = rows.loc[rows["metric"] == _metrics(tables, rows)[0], "method"]
    return [
        (method, rows[rows["method"] == method].set_index("metric", drop=False)) for method in first
    ]


def _score(rows: pd.DataFrame, row: pd.Series, newline: str) -> Text:
    """`places mean share`, the interval below or within; what leads is bold."""
    if row["n"] == 0:
        return Text("–", style="dim")
    of_metric = rows[rows["metric"] == row["metric"]]
    text = Text()
    text.append(
        f"{row['rank_text']:<{of_metric['rank_text'].str.len().max()}} {row['mean']:.3f}",
        style="bold" if row["leads"] else None,
    )
    interval = f"[{row['low']:.3f}, {row['high']:.3f}]" if row["n"] > 1 else ""
    share = _share(row["share"]) if of_metric["share"].notna().any() else ""
    if newline == " ":
        return text.append(f" {interval}".rstrip(), style="dim").append(share)
    return text.append(share).append(f"\n{interval}".rstrip("\n"), style="dim")


def _share(share: float) -> str:
    return "    –" if pd.isna(share) else f" {round(share, 2) + 0:4.0%}"  # no -0


def _ceiling(rows: pd.DataFrame, metric: str, newline: str) -> Text:
    """The mean score that the search reaches, in the place of a method's."""
    of_metric = rows[rows["metric"] == metric]
    ceiling = of_metric.loc[of_metric["n"].idxmax(), "ceiling"]
    if pd.isna(ceiling):
        return Text()
    gap = "" if newline == "\n" else " " * len(" [0.000, 0.000]")
    return Text(f"{ceiling:.3f}{gap}{_share(1)}", style="dim")


def _cost(costs: pd.DataFrame, key: tuple[str, str, str], figure: str) -> Text:
    """The rank and what a map costs in time or memory."""
    if key not in costs.index or pd.isna(value := costs.loc[key, figure]):
        return Text("–", style="dim")
    text = Text(f"{costs.loc[key, f'{figure}_rank']} ", style="dim")
    return text.append(f"{value:,.{1 if value < 100 else 0}f}", style="not dim")


def _failures(rows: pd.DataFrame, newline: str) -> Text:
    """How many maps of a method were constant or not finite, or that the cell failed.

    Why it failed is said if there is room.
    """
    row = rows.iloc[0]
    if row["status"] == "failed":
        return Text(
            "failed" if newline == "\n" else _shortened(f"failed: {row['reason']}"), style="red"
        )
    counts = [f"{row[column]}{newline}{name}" for column, name in _INVALID.items() if row[column]]
    return Text("\n".join(counts), style="yellow")


def _shortened(reason: str) -> str:
    text = " ".join(_plain(reason).split())
    return text if len(text) <= _REASON else text[: _REASON - 1] + "…"


def _reasons(rows: pd.DataFrame) -> list[Text]:
    """Every reason in full, once for each method."""
    pairs = rows.loc[rows["reason"] != "", ["method", "reason"]].drop_duplicates()
    return [Text(_plain(f"{method}: {reason}")) for method, reason in pairs.itertuples(index=False)]


def _meaning(tables: RunTables, metric: str) -> str:
    """What a column is: direction, unit, range, the hash of its protocol."""
    info = tables.metrics[metric]
    unit = f"{info.unit} in " if info.unit else ""
    text = f"{metric} {ARROWS[info.better]} {info.better} is better, {unit}{info.range_text}"
    return f"{text}, protocol {info.protocol}. {info.summary}"
