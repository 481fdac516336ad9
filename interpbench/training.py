"""The engine of `python -m interpbench train`: a small classifier from a data set, in minutes, seeded."""

import json
import math
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from interpbench.contracts import Dataset, DatasetCard
from interpbench.errors import DataError, InterpBenchError, UnreadableImageError
from interpbench.plugin import Configured
from interpbench.weights import WeightsCard, load_state, save_weights, stored

SMOOTHING = 0.05
WEIGHT_DECAY = 0.05
_BROKE_DOWN = "Training broke down: {}. Use a lower learning rate (--lr), or another --seed."
SHIFT = 1 / 16  # of the image's side: the farthest that augmentation moves an image


@dataclass(frozen=True)
class Recipe:
    """AdamW with a one-cycle learning rate that rises to `lr`, flips and small shifts, label smoothing."""

    epochs: int = 16
    batch_size: int = 128
    lr: float = 5e-3
    seed: int = 0
    precision: str = "fp32"


@dataclass(frozen=True)
class Step:
    """How far a training is: `done` of `total` in this stage, and while it trains this epoch's loss and accuracy."""

    stage: str
    done: int
    total: int
    epoch: int | None = None
    loss: float = math.nan
    accuracy: float = math.nan


Progress = Callable[[Step], None]


def train(
    model: Configured,
    dataset_train: Dataset,
    dataset_test: Dataset,
    *,
    epochs: int = Recipe.epochs,
    batch_size: int = Recipe.batch_size,
    lr: float = Recipe.lr,
    seed: int = Recipe.seed,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: str | torch.device = "cpu",
    output: Path,
    half: bool = True,
    progress: Progress | None = None,
) -> WeightsCard:
    """Trains a model and writes its weights, with a card that says how well they do on the test data.

    The same seed gives the same file, on one machine with one number of threads. The global random state is left as
    it was.

    Args:
        model: the architecture with its parameters.
        dataset_train, dataset_test: square images of one size.
        epochs, batch_size, lr, seed: the recipe.
        precision: of the forward passes while training; bf16 is faster where the processor has it (AMX, AVX512-BF16,
            a recent GPU). Weights and their accuracy are always in fp32.
        device: where to train.
        output: the safetensors file to write.
        half: stores the weights as float16; the accuracy on the card is that of the rounded weights.
        progress: called after each batch, as the one that `bar` gives.

    Raises:
        DataError: if a data set is empty, or its images are not square and of one size.
        InterpBenchError: if the loss is no longer a number.
        WeightsError: if the file cannot be written.
    """
    recipe = Recipe(epochs, batch_size, lr, seed, precision)
    tell = progress or (lambda step: None)
    images, labels = _decode(dataset_train, "reading train images", tell)
    size, classes = images.shape[1], len(dataset_train.card.classes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = model(classes, size).to(device, memory_format=torch.channels_last)
        _fit(network, images, labels, dataset_train.card, recipe, tell)
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise InterpBenchError(_BROKE_DOWN.format("the weights are no longer numbers"))
    # What is measured is what is saved: rounded, and in single precision again.
    state = stored(network.state_dict(), half=half)
    load_state(network, state, "just trained")
    trained = len(labels)
    images, labels = _decode(dataset_test, "reading test images", tell)
    results = {
        "accuracy": f"{_accuracy(network, images, labels, dataset_train.card):.4f}",
        "tested_on": f"{len(labels)} images",
        "trained_on": f"{trained} images",
        "unreadable": f"{len(dataset_train.ids) + len(dataset_test.ids) - trained - len(labels)} images",
    }
    card = _card(model, dataset_train.card, size, recipe, results)
    save_weights(output, state, card, half=half)
    return card


@contextmanager
def bar() -> Iterator[Progress]:
    """A live progress bar in the terminal: stage, epoch, loss, accuracy and time left."""
    from rich import progress as rich  # here, so that training in a script needs no terminal

    columns = ("[progress.description]{task.description}", rich.BarColumn(), "{task.fields[scores]}")
    with rich.Progress(*columns, rich.TimeElapsedColumn(), rich.TimeRemainingColumn()) as display:
        tasks: dict[str, rich.TaskID] = {}

        def show(step: Step) -> None:
            if step.stage not in tasks:
                tasks[step.stage] = display.add_task(step.stage, total=step.total, scores="")
            scores = f"epoch {step.epoch}  loss {step.loss:.3f}  accuracy {step.accuracy:.1%}" if step.epoch else ""
            display.update(tasks[step.stage], completed=step.done, scores=scores)

        yield show


def _decode(dataset: Dataset, stage: str, tell: Progress) -> tuple[Tensor, Tensor]:
    """All images uint8 [N,S,S,3] and labels int64 [N]; an image that cannot be read is left out."""
    images: list[np.ndarray] = []
    labels: list[int] = []
    total = len(dataset.ids)
    for i in range(total):
        try:
            sample = dataset[i]
        except UnreadableImageError:
            continue
        side = len(images[0]) if images else len(sample.image)
        if sample.image.shape != (side, side, 3):
            raise DataError(
                f"Image {sample.id!r} has shape {sample.image.shape}, expected {(side, side, 3)}: training needs "
                "square images of one size. Resize them first."
            )
        images.append(sample.image)
        labels.append(sample.label)
        if i % 100 == 99 or i == total - 1:
            tell(Step(stage, i + 1, total))
    if not images:
        raise DataError(f"Data set {dataset.card.name!r} has no readable image to train or test on.")
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def _fit(network: nn.Module, images: Tensor, labels: Tensor, card: DatasetCard, recipe: Recipe, tell: Progress) -> None:
    """Trains the network in place."""
    chance = torch.Generator().manual_seed(recipe.seed)
    device = next(network.parameters()).device
    steps = math.ceil(len(labels) / recipe.batch_size)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.lr, epochs=recipe.epochs, steps_per_epoch=steps, pct_start=0.2
    )
    network.train()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(labels), generator=chance)
        loss_sum, right, seen = 0.0, 0, 0
        for number, batch in enumerate(order.split(recipe.batch_size)):
            x, y = _input(_augmented(images[batch], chance), card, device), labels[batch].to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                logits = network(x).float()
            loss = nn.functional.cross_entropy(logits, y, label_smoothing=SMOOTHING)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_sum += _finite(loss) * len(y)
            right += int((logits.argmax(1) == y).sum())
            seen += len(y)
            done = epoch * steps + number + 1
            tell(Step("training", done, recipe.epochs * steps, epoch + 1, loss_sum / seen, right / seen))


def _augmented(images: Tensor, chance: torch.Generator) -> Tensor:
    """Each image of uint8 [B,S,S,3] shifted by a few pixels, its edge mirrored, and flipped or not."""
    count, side = images.shape[:2]
    reach = round(side * SHIFT)
    shift = torch.randint(-reach, reach + 1, (2, count, 1), generator=chance)
    flip = torch.randint(0, 2, (count, 1), generator=chance, dtype=torch.bool)
    rows, columns = torch.arange(side) + shift
    rows, columns = (side - 1 - (side - 1 - i.abs()).abs() for i in (rows, columns))
    columns = torch.where(flip, columns.flip(1), columns)
    return images[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _input(images: Tensor, card: DatasetCard, device: torch.device) -> Tensor:
    """uint8 [B,S,S,3] -> float32 [B,3,S,S], normalised; the memory stays in the order channels_last."""
    mean, std = (torch.tensor(values, device=device) for values in (card.mean, card.std))
    return images.to(device).float().div(255).sub(mean).div(std).permute(0, 3, 1, 2)


def _finite(loss: Tensor) -> float:
    """The loss as a number; raises InterpBenchError if it is none."""
    value = loss.item()
    if not math.isfinite(value):
        raise InterpBenchError(_BROKE_DOWN.format(f"the loss is {value}"))
    return value


@torch.inference_mode()
def _accuracy(network: nn.Module, images: Tensor, labels: Tensor, card: DatasetCard) -> float:
    """Share of images whose greatest logit is that of their label."""
    network.eval()
    device = next(network.parameters()).device
    right = 0
    for x, y in zip(images.split(256), labels.split(256), strict=True):
        right += int((network(_input(x, card, device)).argmax(1).cpu() == y).sum())
    return right / len(labels)


def _card(model: Configured, data: DatasetCard, size: int, recipe: Recipe, results: dict[str, str]) -> WeightsCard:
    """The card of weights that were just trained."""
    details = asdict(recipe) | {
        "optimiser": "AdamW, one cycle",
        "weight_decay": WEIGHT_DECAY,
        "label_smoothing": SMOOTHING,
        "augmentation": f"horizontal flip, shift up to {SHIFT} of the side",
    }
    return WeightsCard(
        architecture=model.name,
        parameters=dict(model.values),
        dataset=data.name,
        data_revision=data.revision,
        classes=data.classes,
        size=size,
        mean=data.mean,
        std=data.std,
        licence="BSD-3-Clause",
        notes={
            **results,
            "seed": str(recipe.seed),
            "recipe": json.dumps(details, sort_keys=True),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
    )
