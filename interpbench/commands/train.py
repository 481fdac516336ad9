"""`train`: weights from a data set, and the search for a learning rate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.commands.shared import (
    DataRoot,
    Device,
    Download,
    Interrupted,
    Plugins,
    open_console,
    open_registry,
    plain,
)
from interpbench.core.errors import ParameterError, RecipeError
from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry
from interpbench.registry.spec import parse_specs

if TYPE_CHECKING:
    from interpbench.core.types import Dataset, DatasetCard
    from interpbench.training.recipe import Recipe


def train(
    model: Annotated[str, typer.Option(metavar="M", help="Architecture, e.g. resnet18:width=16.")],
    dataset: Annotated[str, typer.Option(metavar="D", help="Data set with a train and a test split.")] = "planted",
    data_root: DataRoot = None,
    download: Download = False,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Settings as TOML; see `list recipes`.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N")] = None,
    lr: Annotated[float | None, typer.Option(metavar="R", help="The highest learning rate.")] = None,
    size: Annotated[int | None, typer.Option(metavar="S", help="Resize and crop images to this side.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of every random choice.")] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="P", help="Of the forward passes: fp32, bf16 or fp16.")
    ] = None,
    device: Device = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "--out", metavar="FILE", help="<dataset>-<model>.safetensors.")
    ] = None,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Train nothing: search for a learning rate and plot the search.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished training of --output.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --output.")] = False,
    plugin: Plugins = None,
) -> None:
    """Train a model on a data set's train split; write its weights with a card that states its test accuracy.

    Where weights are shipped, what is left out is as it was for them.
    """
    from interpbench.core.devices import resolve_device
    from interpbench.loading.model import weights_file
    from interpbench.loading.weights import check_writable

    registry = open_registry(plugin)
    choice = _choose_model(registry, model)
    splits = _splits(registry, dataset, {"root": data_root, "download": download or None})
    choice, settings = _settings(choice, splits[0].card, recipe)
    settings = settings.changed(
        {"epochs": epochs, "batch_size": batch_size, "lr": lr, "size": size, "seed": seed, "precision": precision}
    )
    path = output or Path(weights_file(choice, splits[0].card.name))
    check_writable(path)
    if find_lr:
        _search(choice, splits[0], settings, path, device)
        return
    _refuse_to_lose(path, resume, overwrite)
    _train(choice, splits, settings, path, resolve_device(device), resume)


def _train(
    choice: Configured, splits: "list[Dataset]", recipe: "Recipe", path: Path, device: Any, resume: bool
) -> None:
    from interpbench.commands.training_progress import bar
    from interpbench.training.checkpoint import unfinished
    from interpbench.training.train import train as train_model

    try:
        with bar() as progress:
            card = train_model(
                choice, *splits, recipe=recipe, device=device, output=path, resume=resume, progress=progress
            )
    except KeyboardInterrupt:
        done = f"Go on with the same command and --resume: {unfinished(path)}." if unfinished(path).exists() else ""
        raise Interrupted(f"Interrupted. {done or 'No epoch was finished.'}") from None
    console = open_console()
    notes = card.notes
    scores = (
        f"accuracy {notes['accuracy']} on {notes['tested_on']}, {notes['train_accuracy']} on "
        f"{notes['train_accuracy_on']} it was trained on; trained on {notes['trained_on']}, best epoch chosen on "
        f"{notes['validated_on']}. All accuracies in eval mode and fp32."
    )
    console.print(plain(f"{choice.label} on {card.dataset}: {scores}"), soft_wrap=True)
    if notes["unreadable"] != "0 images":
        console.print(f"Note: {notes['unreadable']} cannot be read and were left out.")
    console.print(plain(f"Record: {path.with_suffix('.training.csv')} and .png"), soft_wrap=True)
    console.print(plain(f"Use it with --weights {path}"), soft_wrap=True)


def _search(choice: Configured, data: "Dataset", recipe: "Recipe", path: Path, device: str) -> None:
    """Searches for a learning rate; writes its table and plot beside where the weights would be."""
    from interpbench.commands.training_progress import bar
    from interpbench.core.devices import resolve_device
    from interpbench.training.find_lr import find_lr
    from interpbench.training.plots import draw_lr_search

    with bar() as progress:
        table, suggestion = find_lr(choice, data, recipe=recipe, device=resolve_device(device), progress=progress)
    table.to_csv(path.with_suffix(".lr.csv"), index=False, float_format="%.6g", lineterminator="\n")
    title = f"{choice.label} on {data.card.name}, {recipe.optimiser.name}"
    draw_lr_search(table, suggestion, title, path.with_suffix(".lr.png"))
    console = open_console()
    console.print(f"The loss falls fastest at a learning rate of {suggestion:.2g}: try --lr {suggestion:.2g}.")
    console.print(plain(f"Search: {path.with_suffix('.lr.csv')} and .png"), soft_wrap=True)


def _choose_model(registry: Registry, text: str) -> Configured:
    from interpbench.training.train import check_trainable

    [(name, values), *more] = parse_specs([text]) or [("", {})]
    if more:
        raise ParameterError(f"Train one model at a time, not {text!r}.")
    choice = registry.configure("model", name, values)
    check_trainable(choice)
    return choice


def _splits(registry: Registry, text: str, flags: dict[str, Any]) -> "list[Dataset]":
    """The data to train and to test on; some data sets call the second part `val`."""
    from interpbench.registry.choosing import configure_dataset

    given = {flag: value for flag, value in flags.items() if value is not None}
    try:
        test = configure_dataset(registry, text, {**given, "split": "test"})
    except ParameterError:
        test = configure_dataset(registry, text, {**given, "split": "val"})
    return [configure_dataset(registry, text, {**given, "split": "train"})(), test()]


def _settings(choice: Configured, data: "DatasetCard", recipe: str | None) -> "tuple[Configured, Recipe]":
    """The model's parameters and the recipe: the one named, else that of its shipped weights, else the default."""
    from interpbench.loading.model import shipped_card, with_parameters
    from interpbench.training.recipe import load_recipe, recorded_recipe

    card = shipped_card(choice, data)
    if recipe is not None or card is None:
        return choice, load_recipe(recipe) if recipe is not None else load_recipe()
    return with_parameters(choice, card), recorded_recipe(card.notes["recipe"])


def _refuse_to_lose(path: Path, resume: bool, overwrite: bool) -> None:
    """Finished weights and unfinished trainings are replaced only if the user says so."""
    from interpbench.training.checkpoint import unfinished

    if path.exists() and not overwrite:
        raise ParameterError(f"{path} exists. Replace it with --overwrite, or give another --output.")
    if unfinished(path).exists() and not (resume or overwrite):
        raise RecipeError(
            f"{unfinished(path)} is an unfinished training. Go on with --resume, start afresh with --overwrite, or "
            "give another --output."
        )
