"""The engine of `python -m interpbench train`.

A classifier from a data set, seeded, with a record of how it went.
"""

import json
import os
import platform
from pathlib import Path

import pandas as pd
import torch
import torchvision
from torch import nn

from interpbench.core.devices import describe
from interpbench.core.errors import ParameterError, TrainingError
from interpbench.core.seeding import derive
from interpbench.loading.weights import WeightsCard, load_state, save_weights, stored
from interpbench.registry.plugin import Configured, blaming
from interpbench.training.checkpoint import Checkpoint
from interpbench.training.data import Images, decode
from interpbench.training.loop import Training, TrainingListener, evaluate, report_stage
from interpbench.training.plots import draw_training
from interpbench.training.recipe import Recipe
from interpbench.training.splits import Splits

TRAIN_SAMPLE = 10_000  # training images, at most, that the final accuracy is measured on


def train(
    model: Configured,
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

    A card with the weights says how well they do. Beside the weights, `NAME.training.csv` and
    `.png` hold the learning rate, loss and accuracy of each epoch. The best epoch is chosen on
    images held out of the training data; the test data are looked at once, at the end. The same
    recipe gives the same files, on one machine with one number of threads, also if it was killed
    and resumed. The global random state is left as it was.

    Parameters:
        model: the architecture with its parameters.
        splits: to train and to test on: square images of one size, unless the recipe gives a
            `size`.
        recipe: how to train; the default one if None.
        device: where to train.
        output: the safetensors file to write.
        half: stores the weights as float16; the accuracies on the card are those of the rounded
            weights.
        resume: goes on from the last finished epoch of an unfinished training with the same
            `output`.
        progress: called after each batch.

    Raises:
        DataError: if a data set is empty, or its images are not square and of one size.
        ParameterError: if no gradients flow through the model.
        TrainingError: if the loss is no longer a number, or there is nothing to resume.
        WeightsError: if the file cannot be written.
    """
    check_trainable(model)
    recipe, device = recipe or Recipe(), torch.device(device)
    data = decode(splits.train, recipe.size, report_stage("reading train images", progress))
    identity = {
        "model": model.label,
        "data": data.card.revision,
        "recipe": recipe.model_dump_json(),
    }
    checkpoint = Checkpoint.beside(output, identity)
    saved = checkpoint.load() if resume else None
    with torch.random.fork_rng():
        training = Training(build(model, data, recipe), data, recipe, device)
        if saved is not None:
            training.load_state_dict(saved)
        training.run(progress, lambda t: checkpoint.save(t.state_dict()))
    state = stored(training.result, half=half)
    # What is measured is what is saved: rounded, and in single precision again.
    load_state(training.network, state, "just trained")
    tests = decode(splits.test, data.size, report_stage("reading test images", progress))
    card = _card(model, training, data, tests, device)
    save_weights(output, state, card, half=half)
    table = pd.DataFrame(training.rows).astype({"epoch": int})
    table.to_csv(
        output.with_suffix(".training.csv"), index=False, float_format="%.6g", lineterminator="\n"
    )
    draw_training(table, f"{model.name} on {data.card.name}", output.with_suffix(".training.png"))
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


def build(model: Configured, data: Images, recipe: Recipe) -> nn.Module:
    """The model for the data's size and classes with its first weights.

    The recipe's seed decides those.
    """
    with blaming(model):
        torch.manual_seed(derive(recipe.seed, "weights"))
        network: nn.Module = model(len(data.card.classes), data.size)
    return network


def _card(
    model: Configured, training: Training, data: Images, tests: Images, device: torch.device
) -> WeightsCard:
    """The card of weights that were just trained and are on the network.

    Measures their accuracies.
    """
    network, recipe, trained_on = training.network, training.recipe, training.trained_on
    chance = torch.Generator().manual_seed(derive(recipe.seed, "train sample"))
    sample = trained_on.part(torch.randperm(len(trained_on), generator=chance)[:TRAIN_SAMPLE])
    for name, tensor in network.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise TrainingError(
                f"Training broke down: {name!r} is no longer a number. Use a lower learning rate."
            )
    held_out = 0 if training.validated_on is None else len(training.validated_on)
    notes = {
        "accuracy": f"{evaluate(network, tests, device)[1]:.4f}",
        "tested_on": f"{len(tests)} images",
        "train_accuracy": f"{evaluate(network, sample, device)[1]:.4f}",
        "train_accuracy_on": f"{len(sample)} images",
        "trained_on": f"{len(trained_on)} images",
        "validated_on": f"{held_out} images",
        "unreadable": f"{data.unreadable + tests.unreadable} images",
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
        size=data.size,
        mean=data.card.mean or (),
        std=data.card.std or (),
        licence="BSD-3-Clause",
        notes=notes,
    )
