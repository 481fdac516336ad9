"""The engine of `python -m interpbench train`.

A classifier from a data set, seeded, with a record of how it went.
"""

import json
import math
import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
import torchvision
from torch import nn

from interpbench.core.devices import describe
from interpbench.core.errors import ParameterError, TrainingError
from interpbench.core.seeding import derive
from interpbench.files.atomic import write_text_atomically
from interpbench.loading.fitting import load_state
from interpbench.loading.weights import HELD_OUT, WeightsCard, save_weights, stored
from interpbench.registry.plugin import Configured
from interpbench.training.checkpoint import Checkpoint
from interpbench.training.data import Images, decode
from interpbench.training.loop import (
    Training,
    TrainingListener,
    TrainingStep,
    evaluate,
    report_stage,
)
from interpbench.training.plots import draw_training
from interpbench.training.recipe import Recipe
from interpbench.training.splits import Splits
from interpbench.training.start import Start

TRAIN_SAMPLE = 10_000  # training images, at most, that the final accuracy is measured on
FEW = 20  # images that tell one epoch from another by chance alone


def train(
    start: Start,
    splits: Splits,
    *,
    recipe: Recipe | None = None,
    device: str | torch.device = "cpu",
    output: Path,
    half: bool = True,
    resume: bool = False,
    progress: TrainingListener = lambda step: None,
) -> WeightsCard:
    """Trains a model and writes its weights, and the record of the training.

    A card with the weights says how well they do. Beside the weights, `NAME.held-out.txt` lists the
    samples that were held out of data without parts, and `NAME.training.csv` and
    `.png` hold the learning rate, loss and accuracy of each epoch. The best epoch is chosen on
    images held out of the training data; the test data are looked at once, at the end. The same
    recipe gives the same files, on one machine with one number of threads, also if it was killed
    and resumed. The global random state is left as it was.

    Parameters:
        start: the architecture with its parameters, and the weights to start from, if any. Where
            these state the size and normalisation of their input, they are those of this training,
            unless the recipe gives a `size`.
        splits: to train and to test on: square images of one size, unless the recipe or the weights
            give a `size`.
        recipe: how to train; the default one if None.
        device: where to train.
        output: the safetensors file to write.
        half: stores the weights as float16; the accuracies on the card are those of the rounded
            weights.
        resume: goes on from the last finished epoch of an unfinished training with the same
            `output`.
        progress: called after each batch, and with notes on what the user should know.

    Raises:
        DataError: if a data set is empty, or its images are not square and of one size.
        ParameterError: if no gradients flow through the model.
        TrainingError: if the loss is no longer a number, or there is nothing to resume.
        WeightsError: if the weights to start from misfit, or the file cannot be written.
    """
    check_trainable(start.model)
    recipe, device = start.sized(recipe or Recipe()), torch.device(device)
    data = decode(splits.train, recipe.kept_at, report_stage("reading train images", progress))
    data = replace(data, card=start.normalised(data.card))
    checkpoint = Checkpoint.beside(output, _identity(start, data, recipe))
    saved = checkpoint.load() if resume else None
    with torch.random.fork_rng():
        network, anew = build(start, data, recipe)
        training = Training(network, data, recipe, device)
        origin = _origin(start, splits, anew)
        for note in _notices(start, training, origin):
            progress(TrainingStep("starting", 0, 0, note=note))
        if saved is not None:
            training.load_state_dict(saved)
        training.run(progress, lambda t: checkpoint.save(t.state_dict()))
    state = stored(training.result, half=half)
    # What is measured is what is saved: rounded, and in single precision again.
    load_state(training.network, state, "just trained")
    tests = decode(splits.test, training.size, report_stage("reading test images", progress))
    tests = replace(tests, card=start.normalised(tests.card))
    card = _card(start.model, training, data, tests, progress)
    card = replace(card, notes=card.notes | origin)
    save_weights(output, state, card, half=half)
    if splits.held_out:
        listed = "".join(f"{name}\n" for name in splits.test.ids)
        write_text_atomically(output.with_suffix(HELD_OUT), listed)
    table = pd.DataFrame(training.rows).astype({"epoch": int})
    table.to_csv(
        output.with_suffix(".training.csv"), index=False, float_format="%.6g", lineterminator="\n"
    )
    title = f"{start.model.label} on {card.dataset}"
    draw_training(table, title, output.with_suffix(".training.png"))
    checkpoint.remove()
    return card


def check_trainable(model: Configured) -> None:
    """Raises ParameterError for a black box, which has no weights that a gradient could change."""
    if not model.plugin.gradients:
        raise ParameterError(
            f"Model {model.label!r} cannot be trained: no gradients flow through it. Train the "
            "network that it was made from, or an architecture of `python -m interpbench list "
            "models`."
        )


def build(start: Start, data: Images, recipe: Recipe) -> tuple[nn.Module, tuple[str, ...]]:
    """The network for the data's size and classes, and the layers of it that start anew.

    The recipe's seed decides what is drawn: see `Start.build`.
    """
    return start.build(len(data.card.classes), recipe.size or data.size, recipe.seed)


def _identity(start: Start, data: Images, recipe: Recipe) -> dict[str, str]:
    """What must be the same for a training to be continued."""
    identity = {
        "model": start.model.label,
        "data": data.card.revision,
        "recipe": recipe.model_dump_json(),
    }
    return identity if start.weights is None else identity | {"start": start.weights.sha256}


def _origin(start: Start, splits: Splits, anew: tuple[str, ...]) -> dict[str, str]:
    """What a card notes of where the training started and how its test data were cut."""
    notes = {"held_out": splits.held_out} if splits.held_out else {}
    if start.weights is None:
        return notes
    owner = start.normalised_by or splits.train.card.name
    return notes | {
        "started_from": start.weights.source,
        "started_from_sha256": start.weights.sha256,
        "started_anew": ", ".join(anew) or "nothing",
        "normalisation": f"that of {owner}",
    }


def _notices(start: Start, training: Training, origin: dict[str, str]) -> Iterator[str]:
    """What the user should know before time is spent."""
    if "held_out" in origin:
        yield f"Held out to test on: {origin['held_out']}."
    if start.weights is not None:
        yield (
            f"Starts from {origin['started_from']}; layers that start anew: "
            f"{origin['started_anew']}."
        )
        if not start.states_normalisation:
            yield (
                f"{origin['started_from']} does not say how its images were normalised: here they "
                f"are as for {origin['normalisation'].removeprefix('that of ')}, if that is wrong "
                "say it with --preparation, or --mean and --std."
            )
    if training.validated_on is not None and len(training.validated_on) < FEW:
        yield _few(len(training.validated_on), len(training.trained_on))


def _few(validated_on: int, trained_on: int) -> str:
    """That the best epoch is chosen on few images, and what to do."""
    share = math.ceil(100 * FEW / (validated_on + trained_on)) / 100
    more = f"Hold out more of them (`validation = {share}`)" if share <= 0.5 else "Give more images"
    return (
        f"The best epoch is chosen on {validated_on} images: with fewer than {FEW} that is mostly "
        f"chance. {more}, or take the last epoch (`validation = 0`), in a recipe: --recipe "
        "FILE.toml."
    )


def _card(
    model: Configured,
    training: Training,
    data: Images,
    tests: Images,
    progress: TrainingListener,
) -> WeightsCard:
    """The card of weights that were just trained and are on the network.

    Measures their accuracies.
    """
    network, recipe, trained_on = training.network, training.recipe, training.trained_on
    device = training.device
    chance = torch.Generator().manual_seed(derive(recipe.seed, "train sample"))
    chosen = torch.randperm(len(trained_on), generator=chance)[:TRAIN_SAMPLE]
    sample = trained_on.part(chosen).at(training.size)
    for name, tensor in network.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise TrainingError(
                f"Training broke down: {name!r} is no longer a number. Use a lower learning rate."
            )
    measured = report_stage("testing", progress), report_stage("testing on train images", progress)
    held_out = 0 if training.validated_on is None else len(training.validated_on)
    notes = {
        "accuracy": f"{evaluate(network, tests, device, measured[0])[1]:.4f}",
        "tested_on": f"{len(tests)} images",
        "train_accuracy": f"{evaluate(network, sample, device, measured[1])[1]:.4f}",
        "train_accuracy_on": f"{len(sample)} images",
        "trained_on": f"{len(trained_on)} images",
        "validated_on": f"{held_out} images",
        "unreadable": f"{data.unreadable + tests.unreadable} images",
        "images": data.sizes,
        "test_images": tests.sizes,
        "data": data.card.reference,
        "device": f"{describe(device)}, {os.cpu_count()} cores"
        if device.type == "cpu"
        else describe(device),
        "seed": str(recipe.seed),
        "recipe": json.dumps(recipe.model_dump(), sort_keys=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    return WeightsCard(
        architecture=model.name,
        parameters=dict(model.values),
        dataset=data.card.name,
        data_revision=data.card.revision,
        classes=data.card.classes,
        size=training.size,
        mean=data.card.mean or (),
        std=data.card.std or (),
        notes=notes,
    )
