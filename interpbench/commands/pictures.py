"""`explain` and `gallery`: pictures of what a model looks at."""

from collections.abc import Mapping
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
    Output,
    OutputsName,
    Overwrite,
    Plugins,
    PreparationName,
    Quiet,
    Resize,
    Samples,
    Seed,
    Size,
    Std,
    Weights,
    interruptible,
    progress_bar,
    say,
)

Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE...",
        help="Image files, folders of them, or a photograph: astronaut, cat, coffee, rocket.",
    ),
]
Methods = Annotated[
    list[str],
    typer.Option(
        "--method", "--methods", metavar="M", help="Methods; repeatable, commas, or `all`."
    ),
]
Target = Annotated[
    str,
    typer.Option(
        metavar="T", help="Class to explain: `predicted`, a class name, or a logit's index."
    ),
]
ModelToExplain = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="M", help="One model; efficientnet_lite0, of ImageNet, by default."
    ),
]
MethodsToDraw = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        "--methods",
        metavar="M",
        help="Methods; repeatable, commas, or `all`; five by default.",
    ),
]
WeightsOf = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="D",
        help="Whose weights: cifar10, imagenet; else the only shipped ones.",
    ),
]
Only = Annotated[str, typer.Option(metavar="WHICH", help="misclassified, correct or all.")]
Count = Annotated[
    int, typer.Option(metavar="N", min=1, help="How many samples are drawn, at most.")
]
Classified = Annotated[
    int | None,
    typer.Option(
        "--images",
        metavar="N",
        min=1,
        help="How many images are classified, class-balanced; else all.",
    ),
]
Range = Annotated[
    float | None,
    typer.Option(
        metavar="V",
        min=1e-9,
        help="The value that is white in images of more than 8 bits, e.g. 4095; else their type's.",
    ),
]
Alpha = Annotated[
    float,
    typer.Option(metavar="A", min=0, max=1, help="Opacity of the maps where they are strongest."),
]
Alphas = Annotated[
    str,
    typer.Option(
        "--alpha",
        metavar="A",
        help="Opacity of the maps where they are strongest, 0 to 1; several, 0.3,0.6,0.9, are "
        "drawn side by side.",
    ),
]
Cmap = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="A colour map of matplotlib's; with --signed, a diverging one."
    ),
]
Signed = Annotated[
    bool | None,
    typer.Option(
        "--signed/--absolute",
        help=(
            "Colours that diverge from zero, or |s| from low to high; "
            "by default each map by its own signs."
        ),
        show_default=False,
    ),
]

LISTED = 20  # images that the terminal lists


def explain(
    image: Images,
    model: ModelToExplain = None,
    method: MethodsToDraw = None,
    target: Target = "predicted",
    weights: Weights = None,
    outputs: OutputsName = None,
    preparation: PreparationName = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    resize: Resize = None,
    dataset: WeightsOf = None,
    range: Range = None,
    alpha: Alphas = "0.8",
    cmap: Cmap = None,
    signed: Signed = None,
    seed: Seed = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    download: Download = False,
    plugin: Plugins = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Explain your own images: a panel an image with predictions and each method's map, and the
    maps as .npy.
    """
    from interpbench import api

    with interruptible(), progress_bar(quiet) as progress:
        explained = api.explain(
            image,
            model=model,
            method=method,
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
            alpha=alpha,
            cmap=cmap,
            signed=signed,
            seed=seed,
            device=device,
            data_root=data_root,
            download=download,
            plugin=plugin,
            output=output,
            overwrite=overwrite,
            progress=progress,
        )
    for panel in explained.images[:LISTED]:
        best = ", ".join(f"{found.name} ({found.probability:.1%})" for found in panel.predictions)
        say(f"{panel.file}: {best}; {explained.folder / panel.panel}")
    if len(explained.images) > LISTED:
        say(f"and {len(explained.images) - LISTED} more")
    print_summary(explained.notes, explained.skipped, explained.folder, "explain")
    raise typer.Exit(0 if explained.complete else 1)


def gallery(
    dataset: DatasetName,
    model: ModelName,
    method: Methods,
    only: Only = "misclassified",
    count: Count = 20,
    images: Classified = None,
    samples: Samples = None,
    weights: Weights = None,
    outputs: OutputsName = None,
    preparation: PreparationName = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    resize: Resize = None,
    alpha: Alpha = 0.8,
    cmap: Cmap = None,
    signed: Signed = None,
    seed: Seed = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    download: Download = False,
    plugin: Plugins = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Draw a data set's samples with maps for the predicted and the true class, and the confusion
    matrix.

    Misclassified samples come with those first of which the model is most certain; others are a
    seeded, class-balanced choice, one class after the other.
    """
    from interpbench import api

    with interruptible(), progress_bar(quiet) as progress:
        drawn_gallery = api.gallery(
            dataset,
            model=model,
            method=method,
            only=only,
            count=count,
            images=images,
            samples=samples,
            weights=weights,
            outputs=outputs,
            preparation=preparation,
            mean=mean,
            std=std,
            size=size,
            resize=resize,
            alpha=alpha,
            cmap=cmap,
            signed=signed,
            seed=seed,
            device=device,
            data_root=data_root,
            download=download,
            plugin=plugin,
            output=output,
            overwrite=overwrite,
            progress=progress,
        )
    say(drawn_gallery.text)
    print_summary(drawn_gallery.notes, drawn_gallery.skipped, drawn_gallery.folder, "gallery")
    raise typer.Exit(1 if drawn_gallery.outcome.failures else 0)


def print_summary(
    notes: tuple[str, ...], skipped: Mapping[str, str], folder: Path, command: str
) -> None:
    """What the user should know at the end."""
    lines = [*notes]
    lines += [
        f"Note: skipped an image that cannot be read: {why}" for why in list(skipped.values())[:5]
    ]
    if len(skipped) > 5:
        lines.append(f"Note: skipped {len(skipped) - 5} more; {command}.json names them.")
    for line in [*lines, f"Pictures: {folder}"]:
        say(line)
