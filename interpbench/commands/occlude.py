"""`occlude`: what a model says of an image while a window moves over it."""

from typing import Annotated

import typer

from interpbench.commands.pictures import Images, ModelToExplain, Range, WeightsOf, print_summary
from interpbench.commands.shared import (
    DataRoot,
    Device,
    Download,
    Mean,
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

LISTED = 20  # images that the terminal lists


def occlude(
    image: Images,
    model: ModelToExplain = None,
    window: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Side of the window in pixels; else a fifth."),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="How far it moves at a time; else half a window."),
    ] = None,
    fill: Annotated[
        str,
        typer.Option(
            metavar="F",
            help="What stands in it: zero (the model's mean colour), black, white, mean (the "
            "image's), blur or gaussian-blur.",
        ),
    ] = "zero",
    target: Annotated[
        str,
        typer.Option(
            metavar="T", help="Class to watch: `predicted`, a class name, or a logit's index."
        ),
    ] = "predicted",
    weights: Weights = None,
    outputs: OutputsName = None,
    preparation: PreparationName = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    resize: Resize = None,
    dataset: WeightsOf = None,
    range: Range = None,
    seed: Seed = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    download: Download = False,
    plugin: Plugins = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Move a window over your own images and watch a class's probability: a strip, a film (GIF) and
    a table an image.
    """
    from interpbench import api

    with interruptible(), progress_bar(quiet) as progress:
        found = api.occlude(
            image,
            model=model,
            window=window,
            stride=stride,
            fill=fill,
            target=target,
            weights=weights,
            outputs=outputs,
            preparation=preparation,
            mean=mean,
            std=std,
            size=size,
            resize=resize,
            dataset=dataset,
            range=range,
            seed=seed,
            device=device,
            data_root=data_root,
            download=download,
            plugin=plugin,
            output=output,
            overwrite=overwrite,
            progress=progress,
        )
    from interpbench.studies.occlusion.study import in_words

    for each in found.images[:LISTED]:
        say(f"{in_words(each)}; {found.folder / each.strip}")
    if len(found.images) > LISTED:
        say(f"and {len(found.images) - LISTED} more")
    print_summary(found.notes, found.skipped, found.folder, "occlude")
    raise typer.Exit(1 if found.skipped else 0)
