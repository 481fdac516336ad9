"""`explain` and `gallery`: pictures of what a model looks at."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.commands.shared import (
    DataRoot,
    Device,
    Download,
    Plugins,
    data_flags,
    open_console,
    open_registry,
    plain,
    progress_bar,
    result_folder,
    writing,
)
from interpbench.core.errors import unknown_name

if TYPE_CHECKING:
    from interpbench.attribution.explainer import Explainer
    from interpbench.drawing.overlay import Look
    from interpbench.files.output_folder import PictureFolder

Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")]
DatasetName = Annotated[str, typer.Option("--dataset", metavar="D", help="Data set, e.g. imagefolder:root=DIR.")]
ModelName = Annotated[str, typer.Option("--model", metavar="M", help="One model, e.g. resnet18:width=16.")]
Methods = Annotated[
    list[str], typer.Option("--method", "--methods", metavar="M", help="Methods; repeatable, commas, or `all`.")
]
Target = Annotated[
    str, typer.Option(metavar="T", help="Class to explain: `predicted`, a class name, or a logit's index.")
]
Weights = Annotated[str | None, typer.Option(metavar="W", help="FILE or `random`; by default what is shipped.")]
WeightsOf = Annotated[
    str | None,
    typer.Option("--dataset", metavar="D", help="Whose weights: cifar10, imagenet-1k; else the only shipped ones."),
]
Only = Annotated[str, typer.Option(metavar="WHICH", help="misclassified, correct or all.")]
Count = Annotated[int, typer.Option(metavar="N", min=1, help="How many samples are drawn, at most.")]
Classified = Annotated[
    int | None,
    typer.Option("--images", metavar="N", min=1, help="How many images are classified, class-balanced; else all."),
]
Alpha = Annotated[float, typer.Option(metavar="A", min=0, max=1, help="Opacity of the maps where they are strongest.")]
Cmap = Annotated[
    str | None, typer.Option(metavar="NAME", help="A colour map of matplotlib's; with --signed, a diverging one.")
]
Signed = Annotated[
    bool | None,
    typer.Option(
        "--signed/--absolute",
        help="Colours that diverge from zero, or |s| from low to high; by default each map by its own signs.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of every random choice.")]
Output = Annotated[Path | None, typer.Option(metavar="DIR", help="A folder in results/ by default.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what the same command wrote to --output.")]

LISTED = 20  # images that the terminal lists


def explain(
    image: Images,
    model: ModelName,
    method: Methods,
    target: Target = "predicted",
    weights: Weights = None,
    dataset: WeightsOf = None,
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
) -> None:
    """Explain your own images: a panel an image with predictions and each method's map, and the maps as .npy."""
    from interpbench.attribution.explainer import Explainer, outcome, provenance
    from interpbench.attribution.model_and_methods import find_class, load_subject
    from interpbench.core.devices import resolve_device
    from interpbench.studies.pictures import jobs as pictures
    from interpbench.studies.pictures.images import Files, find_files

    look = _look(alpha, cmap, signed)
    files = Files(find_files(image))
    where = resolve_device(device)
    subject = load_subject(
        open_registry(plugin), model, method, dataset=dataset, flags=data_flags(data_root, download), weights=weights,
        device=where, seed=seed,
    )  # fmt: skip
    wanted = None if target == "predicted" else find_class(target, subject.classes)
    explainer = Explainer(subject, where, seed)
    info = {**provenance(explainer), "drawing": asdict(look), "target": target}
    folder = result_folder("explain", subject.choice.slug, output, info)
    folder.start(overwrite=overwrite)
    skipped: dict[str, str] = {}
    with writing(folder), progress_bar(len(files.ids) * len(subject.methods)) as advance:
        images = pictures.explain_files(pictures.Job(explainer, folder, look, advance), files, wanted, skipped)
        folder.info |= {"images": images, "skipped": skipped, **outcome(explainer)}
    _list(images, folder)
    _close(explainer, skipped, folder)
    raise typer.Exit(1 if explainer.failures or skipped else 0)


def gallery(
    dataset: DatasetName,
    model: ModelName,
    method: Methods,
    only: Only = "misclassified",
    count: Count = 20,
    images: Classified = None,
    weights: Weights = None,
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
) -> None:
    """Draw a data set's samples with maps for the predicted and the true class, and the confusion matrix.

    Misclassified samples come with those first of which the model is most certain; others are a seeded, class-balanced
    choice, one class after the other.
    """
    from interpbench.attribution.explainer import Explainer, outcome, provenance
    from interpbench.attribution.model_and_methods import load_subject
    from interpbench.core.devices import resolve_device
    from interpbench.loading.images import choose
    from interpbench.registry.choosing import open_dataset
    from interpbench.studies.pictures import jobs as pictures
    from interpbench.studies.pictures import predictions as explaining

    explaining.check_only(only)
    look = _look(alpha, cmap, signed)
    where = resolve_device(device)
    registry = open_registry(plugin)
    data = open_dataset(registry, dataset, data_flags(data_root, download))
    subject = load_subject(registry, model, method, data.card, weights=weights, device=where, seed=seed)
    indices = choose(data, images, seed)
    explainer = Explainer(subject, where, seed)
    chosen_data = {"dataset": dataset, "revision": data.card.revision, "only": only}
    info = {**provenance(explainer), "drawing": asdict(look), **chosen_data}
    folder = result_folder("gallery", f"{data.card.name}-{subject.choice.slug}", output, info)
    folder.start(overwrite=overwrite)
    skipped: dict[str, str] = {}
    with writing(folder):
        with progress_bar(len(indices)) as advance:
            found = explaining.predict(explainer, data, indices, skipped, lambda n: advance("classifying", n))
        chosen = explaining.select(found, data, only, count, seed)
        with progress_bar(len(chosen) * len(subject.methods)) as advance:
            summary = pictures.draw_gallery(pictures.Job(explainer, folder, look, advance), data, found, chosen, only)
        folder.info |= {**summary, "skipped": skipped, **outcome(explainer)}
    open_console().print(plain(pictures.gallery_text(summary, only)), soft_wrap=True)
    _close(explainer, skipped, folder)
    raise typer.Exit(1 if explainer.failures else 0)


def _look(alpha: float, cmap: str | None, signed: bool | None) -> "Look":
    """Raises UnknownNameError if matplotlib has no such colour map."""
    from matplotlib import colormaps

    from interpbench.drawing.overlay import Look

    if cmap is not None and cmap not in colormaps:
        raise unknown_name("colour map", cmap, [name for name in colormaps if not name.endswith("_r")])
    return Look(alpha, cmap, signed)


def _list(images: list[dict[str, Any]], folder: "PictureFolder") -> None:
    """What each image is predicted to be, and where its panel is."""
    console = open_console()
    for record in images[:LISTED]:
        best = record["predictions"][0]
        text = f"{record['file']}: {best['class']} ({best['probability']:.1%}), {folder.path / record['panel']}"
        console.print(plain(text), soft_wrap=True)
    if len(images) > LISTED:
        console.print(f"and {len(images) - LISTED} more")


def _close(explainer: "Explainer", skipped: Mapping[str, str], folder: "PictureFolder") -> None:
    """What the user should know at the end."""
    console = open_console()
    notes = [f"Note: {notice}" for notice in explainer.notices]
    notes += [f"failed: {label}: {why}" for label, why in explainer.failures.items()]
    for label, asked in explainer.asked.items():
        if asked.left_behind:
            notes.append(f"Note: {label} left behind: {', '.join(list(asked.left_behind)[:3])}; it was undone.")
        if asked.constant:
            notes.append(f"Note: {label} gave a constant map for {asked.constant} of {asked.images} images.")
    notes += [f"Note: skipped an image that cannot be read: {why}" for why in list(skipped.values())[:5]]
    if len(skipped) > 5:
        notes.append(f"Note: skipped {len(skipped) - 5} more; {folder.command}.json names them.")
    for note in [*notes, f"Pictures: {folder.path}"]:
        console.print(plain(note), soft_wrap=True)
