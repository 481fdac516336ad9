"""`visualise`: images of what a channel, a neuron or a class answers to most."""

from typing import Annotated

import typer

from interpbench.commands.pictures import ModelToExplain, WeightsOf
from interpbench.commands.shared import (
    DataRoot,
    Device,
    Download,
    Mean,
    Names,
    Output,
    OutputsName,
    Overwrite,
    Plugins,
    PreparationName,
    Quiet,
    Seed,
    Std,
    Weights,
    interruptible,
    progress_bar,
    say,
)


def visualise(
    model: ModelToExplain = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="L", help="Dotted name of a layer; the one that CAM methods look at by default."
        ),
    ] = None,
    channel: Annotated[
        Names,
        typer.Option(metavar="N", help="Channels of the layer, from 0; repeatable, commas."),
    ] = None,
    target: Annotated[
        Names,
        typer.Option(
            "--class",
            metavar="C",
            help="Classes, by name or by their logit's index; repeatable, commas.",
        ),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            metavar="O", help="channel: its mean over all positions; neuron: its middle position."
        ),
    ] = "channel",
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Of the ascent.")] = 256,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Side of the images in pixels, or HEIGHT,WIDTH; else the model's own."
        ),
    ] = None,
    weights: Weights = None,
    outputs: OutputsName = None,
    preparation: PreparationName = None,
    mean: Mean = None,
    std: Std = None,
    dataset: WeightsOf = None,
    seed: Seed = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    download: Download = False,
    plugin: Plugins = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make images that channels, neurons or classes of a model answer to most: a grid, an image for
    each, and what was reached.
    """
    from interpbench import api

    with interruptible(), progress_bar(quiet) as progress:
        found = api.visualise(
            model,
            layer=layer,
            channel=channel,
            target=target,
            objective=objective,
            steps=steps,
            size=size,
            weights=weights,
            outputs=outputs,
            preparation=preparation,
            mean=mean,
            std=std,
            dataset=dataset,
            seed=seed,
            device=device,
            data_root=data_root,
            download=download,
            plugin=plugin,
            output=output,
            overwrite=overwrite,
            progress=progress,
        )
    for unit in found.units:
        say(
            f"{unit.name}: {unit.reached:.4g} (noise: {unit.start:.4g}); {found.folder / unit.file}"
        )
    say(f"Pictures: {found.folder}")
