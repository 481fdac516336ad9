"""`judge`: which metric can be believed, where the truth is known?"""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.commands.shared import (
    DataRoot,
    DatasetName,
    Device,
    Download,
    ModelName,
    Names,
    Output,
    Overwrite,
    Plugins,
    Quiet,
    Seed,
    Weights,
    interruptible,
    open_console,
    plain,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    import pandas as pd

    from interpbench.studies.judging.study import Judging

COLUMNS = {"orders": "orders", "fooled": "fooled", "right": "right", "mc": "MC"}
AGREEMENT = "agreement "
OUT_OF = {"orders": "degradations", "fooled": "scenarios", "right": "scenarios"}


def judge(
    dataset: DatasetName = "planted",
    model: ModelName = "resnet18",
    metric: Annotated[
        Names, typer.Option(metavar="M", help="Metrics; repeatable, commas; else all.")
    ] = None,
    method: Annotated[
        Names,
        typer.Option(
            metavar="M",
            help="Methods whose maps are scored; the first three explain perturbations anew.",
        ),
    ] = None,
    images: Annotated[
        int, typer.Option(metavar="N", min=2, help="How many images, class-balanced.")
    ] = 16,
    test: Annotated[
        Names,
        typer.Option(
            metavar="T", help="orders, consistency, agreement, scenarios; all of them by default."
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of each degradation of the exact mask.")
    ] = 3,
    perturbations: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Of images and of weights, minor and disruptive, each."
        ),
    ] = 1,
    weights: Weights = None,
    seed: Seed = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    download: Download = False,
    plugin: Plugins = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Judge metrics where the truth is known: which of them can be believed?

    Exit code 0: all metrics were judged, or say why not; 1: some metric or method failed.
    """
    from interpbench import api

    with interruptible(), progress_bar(quiet) as progress:
        judged = api.judge(
            dataset,
            model=model,
            metric=metric,
            method=method,
            images=images,
            test=test,
            steps=steps,
            perturbations=perturbations,
            weights=weights,
            seed=seed,
            device=device,
            data_root=data_root,
            download=download,
            plugin=plugin,
            output=output,
            overwrite=overwrite,
            progress=progress,
        )
    _show(judged)
    raise typer.Exit(1 if judged.failed else 0)


def _show(judged: "Judging") -> None:
    """The table, the rules, and what the user should know."""
    from interpbench.studies.judging.table import ASKED

    table, record = judged.table, judged.record
    asked = table[table["status"] == ASKED]
    if not asked.empty:
        open_console().print(_table(asked))
    for rule in record.rules:
        say(rule)
    for (status, reason), rows in table[table["status"] != ASKED].groupby(["status", "reason"]):
        say(f"{status}: {', '.join(rows['metric'])}: {reason}")
    for label, why in judged.outcome.failures.items():
        say(f"failed: {label}: {why}")
    if record.left_out:
        say(f"Note: {record.left_out} images are left out: the model gets them wrong.")
    say(f"Tables and picture: {judged.folder}")


def _table(asked: "pd.DataFrame") -> Any:
    """A row a metric: how many degradations it orders, by how many scenarios it is fooled, ..."""
    from rich import box
    from rich.table import Table

    table = Table(
        title="Which metric can be believed?",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    shown = {column: title for column, title in COLUMNS.items() if column in asked}
    shown |= {
        column: f"as {column.removeprefix(AGREEMENT)}" for column in asked if AGREEMENT in column
    }
    table.add_column("metric", min_width=min(24, max(map(len, asked["metric"]))), overflow="fold")
    for heading in shown.values():
        table.add_column(heading, justify="right", max_width=12, overflow="fold")
    for row in asked.to_dict("records"):
        table.add_row(plain(row["metric"]), *(plain(_cell(row, column)) for column in shown))
    return table


def _cell(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if math.isnan(value):
        return "–"
    return f"{value:.0f}/{row[OUT_OF[column]]:.0f}" if column in OUT_OF else f"{value:.2f}"
