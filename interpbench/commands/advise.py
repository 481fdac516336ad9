"""`advise`: which method for my model and my images, how sure is that, what would change it?"""

from pathlib import Path
from typing import Annotated

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
    interruptible,
    progress_bar,
    say,
)


def advise(
    dataset: DatasetName = "planted",
    model: ModelName = "resnet18",
    method: Annotated[
        Names,
        typer.Option(metavar="M", help="Methods; repeatable, commas. Default: all that apply."),
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="TIME", help="Of the clock, for everything: 90s, 10m, 1.5h.")
    ] = "10m",
    images: Annotated[
        int | None,
        typer.Option(metavar="N", min=2, help="How many may be used at most; all by default."),
    ] = None,
    others: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=2, help="Then hold the answer against so many images it has not seen."
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="T", help="Class to explain: `predicted` or `label`.")
    ] = "predicted",
    weights: Weights = None,
    outputs: OutputsName = None,
    preparation: PreparationName = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    resize: Resize = None,
    seed: Seed = 0,
    device: Device = "auto",
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Images a forward pass.")
    ] = None,
    data_root: DataRoot = None,
    download: Download = False,
    plugin: Plugins = None,
    output: Output = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the advice in --output.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Say which method to use for a model and images, how sure that is, and what would change it.

    Methods race within the budget; the finalists are scored under other settings and go through the
    sanity checks. The answer comes in at most ten lines, and as a page; advice.csv says for each
    number in which table it stands. "Undecided" is an answer, with exit code 0.
    """
    from interpbench import api

    with interruptible(), progress_bar(quiet) as progress:
        advice = api.advise(
            dataset,
            model=model,
            method=method or "all",
            budget=budget,
            images=images,
            others=others,
            target=target,
            weights=weights,
            outputs=outputs,
            preparation=preparation,
            mean=mean,
            std=std,
            size=size,
            resize=resize,
            seed=seed,
            device=device,
            batch_size=batch_size,
            data_root=data_root,
            download=download,
            plugin=plugin,
            output=output,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
        )
    for line in advice.lines:
        say(line)
    say(f"In {Path(advice.page)}.")
