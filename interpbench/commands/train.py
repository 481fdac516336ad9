"""`train`: weights from a data set, and the search for a learning rate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.commands.shared import (
    DataRoot,
    Device,
    Download,
    Mean,
    Plugins,
    PreparationName,
    Quiet,
    Samples,
    Std,
    interruptible,
    say,
)

if TYPE_CHECKING:
    from interpbench.training.plan import LearningRateSearch, TrainedModel


def train(
    model: Annotated[str, typer.Option(metavar="M", help="Architecture, e.g. resnet18:width=16.")],
    dataset: Annotated[
        str, typer.Option(metavar="D", help="Data set with a train and a test split, or --split.")
    ] = "planted",
    data_root: DataRoot = None,
    download: Download = False,
    samples: Samples = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE|imagenet", help="Weights to start from.")
    ] = None,
    split: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Hold this share of each class out to test on."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Settings as TOML; see `list recipes`.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N")] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="R", help="The highest learning rate.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="S", help="Resize and crop images to this side.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of every random choice.")] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="P", help="Of the forward passes: fp32, bf16 or fp16.")
    ] = None,
    device: Device = "auto",
    output: Annotated[
        Path | None,
        typer.Option("--output", "--out", metavar="FILE", help="<dataset>-<model>.safetensors."),
    ] = None,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr", help="Train nothing: search for a learning rate and plot the search."
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished training of --output.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --output.")] = False,
    plugin: Plugins = None,
    preparation: PreparationName = None,
    mean: Mean = None,
    std: Std = None,
    quiet: Quiet = False,
) -> None:
    """Train a model on a data set's train split; write its weights with a card that states its test
    accuracy.

    Where weights are shipped, what is left out is as it was for them. With --weights the last layer
    starts anew where they have another number of classes, and images are prepared as for them.
    """
    from interpbench import api
    from interpbench.commands.training_progress import shown

    asked: dict[str, Any] = {
        "dataset": dataset,
        "data_root": data_root,
        "download": download,
        "samples": samples,
        "weights": weights,
        "split": split,
        "preparation": preparation,
        "mean": mean,
        "std": std,
        "recipe": recipe,
        "batch_size": batch_size,
        "size": size,
        "seed": seed,
        "precision": precision,
        "device": device,
        "output": output,
        "plugin": plugin,
    }
    with interruptible(), shown(quiet=quiet) as progress:
        if find_lr:
            search = api.find_lr(model, **asked, progress=progress)
        else:
            trained = api.train(
                model,
                **asked,
                epochs=epochs,
                lr=lr,
                resume=resume,
                overwrite=overwrite,
                progress=progress,
            )
    if find_lr:
        _show_search(search)
    else:
        _show(trained)


def _show(trained: "TrainedModel") -> None:
    from interpbench.training.recipe import recorded_recipe

    notes = trained.card.notes
    scores = (
        f"accuracy {notes['accuracy']} on {notes['tested_on']}, {notes['train_accuracy']} on "
        f"{notes['train_accuracy_on']} it was trained on; trained on {notes['trained_on']}, best "
        f"epoch chosen on {notes['validated_on']}. All accuracies in eval mode and fp32."
    )
    say(f"{trained.model} on {trained.card.dataset}: {scores}")
    if notes["unreadable"] != "0 images":
        say(f"Note: {notes['unreadable']} cannot be read and were left out.")
    say(f"Record: {trained.record} and .png")
    if trained.held_out is not None:
        say(f"Held out: {trained.held_out}; --samples {trained.held_out} takes these images alone.")
    in_domain = recorded_recipe(notes["recipe"]).augmentation.removed_cell > 0
    asked = ", or let metrics ask it with run --in-domain" if in_domain else ""
    say(f"Use it with --weights {trained.weights}{asked}")


def _show_search(search: "LearningRateSearch") -> None:
    say(
        f"The loss falls fastest at a learning rate of {search.suggestion:.2g}: try --lr "
        f"{search.suggestion:.2g}."
    )
    say(f"Search: {search.record} and .png")
