"""`conformance`: do methods and metrics equal the implementations that people use?"""

from typing import TYPE_CHECKING, Annotated

import typer

from interpbench.commands.shared import (
    Names,
    Output,
    Overwrite,
    Plugins,
    Quiet,
    interruptible,
    open_console,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    import pandas as pd


def conformance(
    method: Annotated[
        Names, typer.Option(metavar="M", help="Methods; repeatable, commas; else all.")
    ] = None,
    metric: Annotated[
        Names, typer.Option(metavar="M", help="Metrics, which are then compared instead.")
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Compare metrics, all if none is named.")
    ] = False,
    model: Annotated[
        Names, typer.Option(metavar="M", help="Architectures, small ones of each kind by default.")
    ] = None,
    images: Annotated[
        int, typer.Option(metavar="N", min=1, max=10, help="Images, each with another target.")
    ] = 3,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of weights, images and all chance.")
    ] = 0,
    compact: Annotated[
        bool, typer.Option("--compact", help="A line for each instead of the table.")
    ] = False,
    plugin: Plugins = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods, or metrics, with the implementations of other libraries, and tabulate the
    greatest differences.

    Untrained models in double precision, noise for images; metrics on maps that a linear model
    makes exact, on maps with ties, and on random ones. Exit code 0: all within tolerance; 1: one is
    not.
    """
    from interpbench import api
    from interpbench.studies.conformance import tables

    with interruptible(), progress_bar(quiet) as progress:
        comparison = api.conformance(
            method=method,
            metric=metric,
            metrics=metrics,
            model=model,
            images=images,
            seed=seed,
            plugin=plugin,
            output=output,
            overwrite=overwrite,
            progress=progress,
        )
    _show(comparison.deviations, compact)
    for line in tables.absent(comparison.libraries):
        say(line)
    say(f"Table and heatmap: {comparison.folder}")
    raise typer.Exit(0 if comparison.holds else 1)


def _show(deviations: "pd.DataFrame", compact: bool) -> None:
    from interpbench.studies.conformance import tables

    if not compact:
        open_console().print(tables.as_table(deviations))
    for line in tables.as_lines(deviations) if compact else tables.reasons(deviations):
        say(line)
