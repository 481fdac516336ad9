"""The loop of a training: epochs, their record, the best weights, checkpoints.

A checkpoint is written after each epoch.
"""

import itertools
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from interpbench.core.errors import TrainingError
from interpbench.core.seeding import derive
from interpbench.training.augment import Mixing, image_transform
from interpbench.training.data import Batches, Images, as_input, hold_out, workers_for
from interpbench.training.optimise import LearningRate, loss_of, make_optimiser
from interpbench.training.recipe import Recipe

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainingStep:
    """How far a training is: `done` of `total` in this stage.

    And, while it trains, the epoch, of how many, with its loss and accuracy so far. Or a note, on
    what the user should know before it goes on.
    """

    stage: str
    done: int
    total: int
    epoch: int | None = None
    loss: float = math.nan
    accuracy: float = math.nan
    epochs: int | None = None
    note: str = ""


TrainingListener = Callable[[TrainingStep], None]


def report_stage(name: str, progress: TrainingListener) -> Callable[[int, int], None]:
    """Tells `progress` of a stage's steps, given how many of how many are done."""
    return lambda done, total: progress(TrainingStep(name, done, total))


Row = dict[str, float]


class Training:
    """A network being trained. Everything but what `state_dict` holds follows from the recipe.

    Attributes:
        network: trained in place; `result` is what came of it.
        rows: one an epoch: epoch, the learning rate of its last step, loss and accuracy in training
            and validation.
        size: side in pixels of the network's input.
        trained_on, validated_on: the images of each part; the former may be larger than `size`.
    """

    def __init__(
        self, network: nn.Module, data: Images, recipe: Recipe, device: torch.device
    ) -> None:
        self.recipe = recipe
        self.device = device
        self._layout = layout_of(network, device)
        self.network = network.to(device).to(memory_format=self._layout)
        self.size = recipe.size or data.size
        self.trained_on, held_out = hold_out(data, recipe.validation, recipe.seed)
        self.validated_on = None if held_out is None else held_out.at(self.size)
        self.rows: list[Row] = []
        self._card = data.card
        self._batches = Batches(
            self.trained_on,
            recipe.batch_size,
            image_transform(recipe.augmentation, data.card, self.size),
            recipe.seed,
            workers_for(device),
        )
        self._mixing = Mixing(recipe.augmentation, len(data.card.classes))
        self._optimiser = make_optimiser(network, recipe.optimiser)
        self._rate = LearningRate(self._optimiser, recipe, len(self._batches))
        self._scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        averaging = get_ema_multi_avg_fn(recipe.ema)
        self._average = (
            AveragedModel(network, multi_avg_fn=averaging, use_buffers=True) if recipe.ema else None
        )
        self._best: dict[str, Tensor] = {}
        self._best_accuracy = -1.0
        self._forward = _compiled(network, device) if recipe.compile else network

    @property
    def result(self) -> dict[str, Tensor]:
        """The state dict of the epoch that was best in validation.

        Of the last epoch where nothing is held out.
        """
        return self._best

    def run(self, tell: TrainingListener, after_epoch: Callable[["Training"], None]) -> None:
        """Trains the epochs that are left.

        Parameters:
            tell: called after each batch.
            after_epoch: called after each epoch, to save what is done.

        Raises:
            TrainingError: if the loss is no longer a number.
        """
        with _dropout(self.network, self.recipe.dropout):
            for epoch in range(len(self.rows), self.recipe.epochs):
                # Dropout and mixing draw from the global state: each epoch has its own, so that it
                # can be resumed.
                torch.manual_seed(derive(self.recipe.seed, "epoch", epoch))
                row = self._train(epoch, tell)
                row |= self._validate()
                self._rate.after_epoch(row.get("validation_loss", math.nan))
                self.rows.append(row)
                after_epoch(self)

    def ramp(self, rates: Iterable[float]) -> Iterator[tuple[float, float]]:
        """One step of the optimiser at each of the learning rates.

        Yields the rate and the loss before the step.
        """
        self.network.train()
        batches = (batch for epoch in itertools.count() for batch in self._batches.epoch(epoch))
        for rate, (images, labels) in zip(rates, batches, strict=False):
            for group in self._optimiser.param_groups:
                group["lr"] = rate
            loss, _ = self._step(*self._input(images, labels.to(self.device)))
            yield rate, loss.item()

    def _input(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A batch as the network takes it, and the target probabilities."""
        return self._mixing(as_input(images, self._card, self.device, self._layout), labels)

    def _train(self, epoch: int, tell: TrainingListener) -> Row:
        """One epoch's row: loss and accuracy are means over its batches, as the weights changed."""
        self.network.train()
        loss_sum, right, seen, rate = 0.0, 0, 0, self._rate.now
        count, epochs = len(self._batches), self.recipe.epochs
        for number, (images, labels) in enumerate(self._batches.epoch(epoch)):
            labels = labels.to(self.device)
            rate = self._rate.now  # after the step it is already the next one's
            loss, logits = self._step(*self._input(images, labels))
            loss_sum += _finite(loss) * len(labels)
            right += int((logits.argmax(1) == labels).sum())
            seen += len(labels)
            done, scores = epoch * count + number + 1, (loss_sum / seen, right / seen)
            tell(TrainingStep("training", done, epochs * count, epoch + 1, *scores, epochs))
        return {
            "epoch": epoch + 1,
            "lr": rate,
            "loss": loss_sum / seen,
            "accuracy": right / seen,
        }

    def _step(self, x: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the optimiser; loss (scalar) and logits [B,K]."""
        recipe = self.recipe
        with (
            torch.autocast(
                self.device.type, DTYPES[recipe.precision], enabled=recipe.precision != "fp32"
            ),
            _attention(self.device),
        ):
            logits = self._forward(x).float()
            loss = loss_of(logits, probabilities, recipe.loss)
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        if recipe.clip:
            self._scaler.unscale_(self._optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._rate.after_batch()
        if self._average is not None:
            self._average.update_parameters(self.network)
        return loss.detach(), logits.detach()

    def _validate(self) -> Row:
        """Keeps the weights if they are the best so far.

        Returns loss and accuracy on the images that are held out.
        """
        network = self.network if self._average is None else self._average.module
        row: Row = {}
        accuracy = 0.0
        if self.validated_on is not None:
            loss, accuracy = evaluate(network, self.validated_on, self.device)
            row = {"validation_loss": loss, "validation_accuracy": accuracy}
        if self.validated_on is None or accuracy >= self._best_accuracy:
            self._best_accuracy = accuracy
            self._best = {
                name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()
            }
        return row

    def state_dict(self) -> dict[str, Any]:
        """All that a training needs to go on after this epoch.

        In types that torch.load takes with weights_only.
        """
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "rate": self._rate.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "best": self._best,
            "best_accuracy": self._best_accuracy,
            "rows": self.rows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._rate.load_state_dict(state["rate"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._best, self._best_accuracy = state["best"], state["best_accuracy"]
        self.rows = state["rows"]


@torch.no_grad()
def evaluate(
    network: nn.Module,
    data: Images,
    device: torch.device,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy, in eval mode and fp32.

    Accuracy is the share of images whose greatest logit is their label's. `tell` is called with how
    many images of how many are done.
    """
    network.eval()
    loss, right, done = 0.0, 0, 0
    for images, labels in zip(data.images.split(256), data.labels.split(256), strict=True):
        logits = network(as_input(images, data.card, device)).cpu()
        loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
        right += int((logits.argmax(1) == labels).sum())
        done += len(labels)
        tell(done, len(data))
    return loss / len(data), right / len(data)


def layout_of(network: nn.Module, device: torch.device) -> torch.memory_format:
    """channels_last, which is fastest, where it is safe.

    It is not on a CPU where a pointwise convolution with a stride has few channels. There the
    gradient of its weights writes past a buffer (fewer input channels than a block of 16, or 8
    without AVX-512: https://github.com/uxlfoundation/oneDNN/issues/6035), and the process dies or
    the numbers are wrong.
    """
    narrow = any(
        isinstance(module, nn.Conv2d)
        and max(module.kernel_size) == 1
        and max(module.stride) > 1
        and module.in_channels // module.groups < 16
        for module in network.modules()
    )
    return torch.contiguous_format if narrow and device.type == "cpu" else torch.channels_last


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """Plain attention on a CPU.

    The backward pass of torch's fused one takes several times as long there.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


@contextmanager
def _dropout(network: nn.Module, probability: float) -> Iterator[None]:
    """Drops inputs of the last linear layer while the network trains."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if probability == 0:
        yield
        return
    if not linear:
        raise TrainingError(
            "`dropout` is for the input of the last linear layer, and "
            "this model has none: leave it 0."
        )

    def drop(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (nn.functional.dropout(inputs[0], probability, module.training), *inputs[1:])

    handle = linear[-1].register_forward_pre_hook(drop)
    try:
        yield
    finally:
        handle.remove()


def _compiled(network: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    if device.type == "cpu" and not any(
        shutil.which(name) for name in ("c++", "g++", "clang++", "cl")
    ):
        raise TrainingError(
            "compile = true needs a C++ compiler on a CPU. Install g++ or clang, or leave it false."
        )
    return torch.compile(network)


def _finite(loss: Tensor) -> float:
    """The loss as a number; raises TrainingError if it is none."""
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingError(
            f"Training broke down: the loss is {value}. Use a lower learning rate (--lr; --find-lr "
            "shows which are too high), a longer warm-up or gradient clipping (`clip = 1.0` in "
            "the recipe), or another --seed."
        )
    return value
