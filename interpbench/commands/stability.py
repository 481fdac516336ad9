"""`stability`: which conclusions survive when settings are chosen otherwise?"""

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
    say,
)

if TYPE_CHECKING:
    import pandas as pd


def stability(
    dataset: DatasetName = "planted",
    model: ModelName = "resnet18",
    method: Annotated[
        Names, typer.Option(metavar="M", help="Methods; repeatable, commas, or `all`.")
    ] = None,
    metric: Annotated[
        Names, typer.Option(metavar="M", help="Metrics; deletion and insertion by default.")
    ] = None,
    vary: Annotated[
        Names,
        typer.Option(
            metavar="F",
            help="What is chosen otherwise: baseline, steps, output, sign, first, target, seed, "
            "images; all by default.",
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(metavar="N", min=4, help="How many images; 30 by default.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="T", help="predicted or label; the other is varied.")
    ] = None,
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
    """Rank methods under many settings (baseline, steps, probability or logit, sign, order, target,
    seed, images), and say which conclusions survive all of them.

    Exit code 0: done, whatever survives.
    """
    from interpbench import api
    from interpbench.studies.stability.words import lines

    with interruptible():
        studied = api.stability(
            dataset,
            model=model,
            method=method,
            metric=metric,
            vary=vary,
            images=images,
            target=target,
            seed=seed,
            device=device,
            data_root=data_root,
            download=download,
            weights=weights,
            plugin=plugin,
            output=output,
            overwrite=overwrite,
            progress=not quiet,
        )
    open_console().print(_table(studied.factors))
    for line in lines(studied.survey):
        say(line)
    say(f"Tables, pictures and runs: {studied.folder}")


def _table(factors: "pd.DataFrame") -> Any:
    """What each factor does to the order of the methods."""
    from rich import box
    from rich.table import Table

    title = "What choosing otherwise does to the order of the methods (Kendall's tau)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("chosen otherwise")
    for heading in ("settings", "mean tau", "least", "pairs turned round", "no longer shown"):
        table.add_column(heading, justify="right")
    for row in factors.itertuples():
        numbers = (row.settings, f"{row.tau:.2f}", f"{row.least:.2f}", row.turned, row.lost)
        table.add_row(plain(row.factor), *map(str, numbers))
    return table
