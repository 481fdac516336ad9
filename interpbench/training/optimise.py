"""Loss, optimiser and learning rate, as the recipe has them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from interpbench.training.recipe import Loss, Optimiser, Recipe


def loss_of(logits: Tensor, probabilities: Tensor, settings: Loss) -> Tensor:
    """The mean loss of a batch, a scalar.

    Parameters:
        logits: float32 [B,K].
        probabilities: of the classes, float32 [B,K], rows summing to 1: labels may be mixed.
        settings: with gamma, the focal loss -sum p (1 - q)^gamma log q of the softmax q; else
            cross-entropy.
    """
    classes = logits.shape[1]
    target = probabilities * (1 - settings.label_smoothing) + settings.label_smoothing / classes
    log = logits.log_softmax(1)
    if settings.name == "focal":
        log = log * (1 - log.exp()) ** settings.gamma
    return -(target * log).sum(1).mean()


def make_optimiser(network: nn.Module, settings: Optimiser) -> torch.optim.Optimizer:
    """The optimiser over the network's parameters; norms, biases and embeddings are not decayed."""
    groups = parameter_groups(network, settings.weight_decay)
    lr, momentum = settings.lr, settings.momentum
    match settings.name:
        case "sgd":
            return torch.optim.SGD(groups, lr)
        case "momentum" | "nesterov":
            return torch.optim.SGD(
                groups, lr, momentum=momentum, nesterov=settings.name == "nesterov"
            )
        case "adagrad":
            return torch.optim.Adagrad(groups, lr)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr, momentum=momentum)
        case "adam":
            return torch.optim.Adam(groups, lr, betas=(momentum, 0.999))
        case "adamw":
            return torch.optim.AdamW(groups, lr, betas=(momentum, 0.999))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: matrices and kernels, which decay, and all else, which does not.

    That is norms, biases, class tokens and positions.
    """
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    decays = {
        name for name, p in trained if p.ndim >= 2 and name.rpartition(".")[2].endswith("weight")
    }
    return [
        {"params": [p for name, p in trained if name in decays], "weight_decay": weight_decay},
        {"params": [p for name, p in trained if name not in decays], "weight_decay": 0.0},
    ]


class LearningRate:
    """The learning rate's schedule.

    It moves on after each batch or each epoch, as its kind is meant to be.
    """

    def __init__(
        self, optimiser: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int
    ) -> None:
        self._optimiser = optimiser
        self._name = recipe.schedule.name
        self._schedule = _make_schedule(optimiser, recipe, recipe.epochs * steps_per_epoch)

    @property
    def now(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimiser.param_groups[0]["lr"])

    def after_batch(self) -> None:
        if self._name in ("one-cycle", "cosine"):
            self._schedule.step()

    def after_epoch(self, validation_loss: float) -> None:
        if self._name == "plateau":
            self._schedule.step(validation_loss)  # type: ignore[arg-type]
        elif self._name == "step":
            self._schedule.step()

    def state_dict(self) -> dict[str, Any]:
        return self._schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._schedule.load_state_dict(state)


def _make_schedule(
    optimiser: torch.optim.Optimizer, recipe: Recipe, steps: int
) -> lr_scheduler.LRScheduler:
    settings = recipe.schedule
    match settings.name:
        case "one-cycle":
            share = settings.warmup
            if share * steps == 1:
                # torch divides by zero; with a warm-up just shorter it begins at the top.
                share *= 1 - 1e-9
            return lr_scheduler.OneCycleLR(
                optimiser,
                recipe.optimiser.lr,
                total_steps=steps,
                pct_start=share,
                cycle_momentum=False,
            )
        case "cosine":
            warmup = min(round(settings.warmup * steps), steps - 1)  # the last step falls
            fall = lr_scheduler.CosineAnnealingLR(optimiser, steps - warmup)
            if warmup == 0:
                return fall
            rise = lr_scheduler.LinearLR(optimiser, start_factor=0.01, total_iters=warmup)
            return lr_scheduler.SequentialLR(optimiser, [rise, fall], milestones=[warmup])
        case "step":
            return lr_scheduler.StepLR(optimiser, settings.every, settings.factor)
        case "plateau":
            return lr_scheduler.ReduceLROnPlateau(
                optimiser, factor=settings.factor, patience=settings.patience
            )
        case "constant":
            return lr_scheduler.LambdaLR(optimiser, lambda step: 1.0)
