"""`train`: weights from a data set."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.commands.shared import Plugins, open_console, open_registry, plain
from interpbench.errors import ParameterError, unknown_name
from interpbench.plugin import Configured

if TYPE_CHECKING:
    from interpbench.contracts import DatasetCard


def train(
    model: Annotated[str, typer.Option(metavar="M", help="Architecture, e.g. resnet18:width=16.")],
    dataset: Annotated[str, typer.Option(metavar="D", help="Data set with a train and a test split.")] = "planted",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="<dataset>-<model>.safetensors.")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    lr: Annotated[float | None, typer.Option(metavar="R", help="The highest learning rate.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0)] = 0,
    precision: Annotated[str | None, typer.Option(metavar="P", help="Of the forward passes: fp32 or bf16.")] = None,
    device: Annotated[str, typer.Option(metavar="D", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    data_root: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download the data set if it is absent.")] = False,
    plugin: Plugins = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --output.")] = False,
) -> None:
    """Train a model on a data set's train split; write its weights with a card that states its test accuracy.

    Where weights are shipped, as for planted, what is left out is as it was for them: the command repeats their making.
    """
    from interpbench.devices import resolve_device
    from interpbench.plan import configure_dataset
    from interpbench.plugin import parse_specs
    from interpbench.training import bar
    from interpbench.training import train as train_model
    from interpbench.weights import check_writable

    registry = open_registry(plugin)
    [(name, values), *more] = parse_specs([model]) or [("", {})]
    if more:
        raise ParameterError(f"Train one model at a time, not {model!r}.")
    choice = registry.configure("model", name, values)
    flags: dict[str, Any] = {}
    if data_root is not None:
        flags["root"] = data_root
    if download:
        flags["download"] = True
    splits = [configure_dataset(registry, dataset, {**flags, "split": split})() for split in ("train", "test")]
    path = output or Path(f"{splits[0].card.name}-{choice.name}.safetensors")
    check_writable(path)
    if path.exists() and not overwrite:
        raise ParameterError(f"{path} exists. Replace it with --overwrite, or give another --output.")
    if precision not in (None, "fp32", "bf16"):
        raise unknown_name("training precision", str(precision), ["fp32", "bf16"])
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision}
    choice, recipe = _as_shipped(choice, splits[0].card)
    recipe |= {name: value for name, value in given.items() if value is not None}
    with bar() as progress:
        card = train_model(
            choice, *splits, seed=seed, device=resolve_device(device), output=path, progress=progress, **recipe
        )
    console = open_console()
    scores = f"accuracy {card.notes['accuracy']} on {card.notes['tested_on']}, trained on {card.notes['trained_on']}"
    console.print(plain(f"{choice.label} on {splits[0].card.name}: {scores}"), soft_wrap=True)
    if card.notes["unreadable"] != "0 images":
        console.print(f"Note: {card.notes['unreadable']} cannot be read and were left out.")
    console.print(plain(f"Use it with --weights {path}"), soft_wrap=True)


def _as_shipped(choice: Configured, data: "DatasetCard") -> tuple[Configured, dict[str, Any]]:
    """The model's parameters and the recipe with which its shipped weights were made, if there are any."""
    from interpbench.modelling import shipped_card, with_parameters

    card = shipped_card(choice, data)
    if card is None:
        return choice, {}
    recipe = json.loads(card.notes["recipe"])
    return with_parameters(choice, card), {key: recipe[key] for key in ("epochs", "batch_size", "lr", "precision")}
