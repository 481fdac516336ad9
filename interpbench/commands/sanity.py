"""`sanity`: does a map depend on what the model has learnt, and on the class?"""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.commands.shared import (
    DataRoot,
    DatasetName,
    Device,
    Download,
    Mean,
    ModelName,
    Names,
    Output,
    OutputsName,
    Overwrite,
    Plugins,
    PreparationName,
    Quiet,
    Resize,
    Seed,
    Size,
    Std,
    Weights,
    first_and_more,
    interruptible,
    open_console,
    plain,
    progress_bar,
    say,
)
from interpbench.studies.sanity.methods import METHODS

if TYPE_CHECKING:
    import pandas as pd

    from interpbench.studies.sanity.study import Sanity

COLUMNS = {
    "upper_half": "upper half new",
    "all_layers": "all new",
    "independent": "one new",
    "smooth": "smooth",
    "entropy_rise": "rise in entropy",
    "random_logit": "other class",
}


def sanity(
    dataset: DatasetName = "planted",
    model: ModelName = "resnet18",
    method: Annotated[
        Names,
        typer.Option(
            metavar="M",
            help=f"Methods; repeatable, commas, or `all`. Default: {', '.join(METHODS)}.",
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(metavar="N", min=2, help="How many images, class-balanced; 16 by default."),
    ] = None,
    test: Annotated[
        Names,
        typer.Option(
            metavar="T",
            help=(
                "cascading, independent, complete, efficient, random-logit, smooth, "
                "or `all`; else all but complete and smooth."
            ),
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(metavar="N", min=1, help="Noisy images a map in the test smooth.")
    ] = 50,
    weights: Weights = None,
    outputs: OutputsName = None,
    preparation: PreparationName = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    resize: Resize = None,
    seed: Seed = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    download: Download = False,
    plugin: Plugins = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Test whether maps depend on the model's weights (parameter randomisation) and on the class
    (random logit).

    Exit code 0: all tests done, whatever their verdict; 1: some method failed.
    """
    from interpbench import api

    with interruptible(), progress_bar(quiet) as progress:
        checked = api.sanity(
            dataset,
            model=model,
            method=method,
            images=images,
            test=test,
            samples=samples,
            weights=weights,
            outputs=outputs,
            preparation=preparation,
            mean=mean,
            std=std,
            size=size,
            resize=resize,
            seed=seed,
            device=device,
            data_root=data_root,
            download=download,
            plugin=plugin,
            output=output,
            overwrite=overwrite,
            progress=progress,
        )
    _show(checked)
    raise typer.Exit(1 if checked.failed else 0)


def _show(checked: "Sanity") -> None:
    """The table of verdicts, the rule, and what the user should know."""
    verdicts, record, outcome = checked.verdicts, checked.record, checked.outcome
    open_console().print(_table(verdicts))
    if _judged_columns(verdicts):
        say(record.rule)
    notes = list(outcome.notices)
    notes += [
        f"skipped an image that cannot be read: {why}" for why in list(record.skipped.values())[:5]
    ]
    notes += [f"{row.method}: {row.problem}" for row in verdicts.itertuples() if row.problem]
    for label, left in outcome.left_behind.items():
        notes.append(f"{label} left behind: {', '.join(left[:3])}; it was undone.")
    for what in sorted({copy.logits for copy in record.copies} - {""}):
        layers = [f"{copy.test} {copy.layer}" for copy in record.copies if copy.logits == what]
        notes.append(
            f"{what} after new weights: {first_and_more(layers, 3)}; sanity.csv marks the rows."
        )
    if record.layers_left_out:
        left_out = ", ".join(record.layers_left_out)
        notes.append(f"layers that cannot initialise themselves keep their weights: {left_out}.")
    for note in notes:
        say(f"Note: {note}")
    say(f"Tables and plots: {checked.folder}")


def _table(verdicts: "pd.DataFrame") -> Any:
    """Mean rank correlation of absolute maps with the trained model's, and the verdicts."""
    from rich import box
    from rich.table import Table

    shown = {column: title for column, title in COLUMNS.items() if verdicts[column].notna().any()}
    if "upper_half" in shown:
        shown.pop("independent", None)  # is in verdicts.csv, and a terminal is narrow
    title = "Rank correlation of absolute maps with those of the trained model, and verdicts"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(
        "method", min_width=min(24, max(map(len, verdicts["method"]))), overflow="fold"
    )
    for heading in shown.values():
        table.add_column(heading, justify="right", max_width=7)
    judged = _judged_columns(verdicts)
    for what in judged:
        table.add_column(f"to {what}", no_wrap=True)
    for row in verdicts.to_dict("records"):
        numbers = [
            ""
            if math.isnan(row[c])
            else f"{row[c]:+.1%}"
            if c == "entropy_rise"
            else f"{row[c]:.2f}"
            for c in shown
        ]
        table.add_row(*map(plain, [row["method"], *numbers, *(row[what] for what in judged)]))
    return table


def _judged_columns(verdicts: "pd.DataFrame") -> list[str]:
    """The columns in which there is a verdict on some method."""
    from interpbench.studies.sanity.verdict import UNKNOWN

    return [what for what in ("model", "class") if (verdicts[what] != UNKNOWN).any()]
