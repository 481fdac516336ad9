"""Losses against torch's own and a loop, optimisers by their update rules, learning rates by their closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer
from torchvision.models.resnet import BasicBlock, ResNet

from interpbench.training.optimise import LearningRate, loss_of, make_optimiser, parameter_groups
from interpbench.training.recipe import Loss, Optimiser, Recipe

LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
HOT = F.one_hot(LABELS, 4).double()
MIXED = 0.3 * HOT + 0.7 * HOT.flip(0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("target", [HOT, MIXED])
def test_cross_entropy_is_torchs(smoothing: float, target: torch.Tensor) -> None:
    loss = loss_of(LOGITS, target, Loss(label_smoothing=smoothing))
    torch.testing.assert_close(loss, F.cross_entropy(LOGITS, target, label_smoothing=smoothing))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_the_papers(gamma: float) -> None:
    loss = loss_of(LOGITS, HOT, Loss(name="focal", label_smoothing=0, gamma=gamma))
    terms = []
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        p = math.exp(row[label]) / sum(map(math.exp, row))
        terms.append(-((1 - p) ** gamma) * math.log(p))
    assert loss.item() == pytest.approx(sum(terms) / len(terms))


def test_norms_biases_and_positions_do_not_decay() -> None:
    networks = [
        ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3),
        VisionTransformer(32, 8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=3),
    ]
    for network in networks:
        decays, keeps = parameter_groups(network, 0.1)
        assert (decays["weight_decay"], keeps["weight_decay"]) == (0.1, 0.0)
        kinds = nn.Conv2d | nn.Linear
        expected = {id(m.weight) for m in network.modules() if isinstance(m, kinds)}
        expected |= {
            id(m.in_proj_weight) for m in network.modules() if isinstance(m, nn.MultiheadAttention)
        }
        assert {id(p) for p in decays["params"]} == expected
        assert len(decays["params"]) + len(keeps["params"]) == len(list(network.parameters()))


def walk(settings: Optimiser, gradients: list[float], start: float = 1.0) -> list[float]:
    """A single weight after each step with these gradients."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, start)
    optimiser = make_optimiser(network, settings)
    seen = []
    for gradient in gradients:
        network.weight.grad = torch.full_like(network.weight, gradient)
        optimiser.step()
        seen.append(network.weight.item())
    return seen


def test_each_optimiser_follows_its_rule() -> None:
    def steps(name: str, decay: float = 0.0) -> list[float]:
        return walk(Optimiser(name=name, lr=0.1, momentum=0.5, weight_decay=decay), [1.0, 1.0])

    assert steps("sgd") == pytest.approx([0.9, 0.8])
    assert steps("momentum") == pytest.approx([0.9, 0.9 - 0.1 * 1.5])
    assert steps("nesterov") == pytest.approx(
        [1 - 0.1 * 1.5, 1 - 0.1 * 1.5 - 0.1 * (1 + 0.5 * 1.5)]
    )
    assert steps("adagrad") == pytest.approx([0.9, 0.9 - 0.1 / math.sqrt(2)])
    first = 1 / math.sqrt(0.01)  # the running mean of squares begins at 0 and keeps 0.99
    second = 0.5 * first + 1 / math.sqrt(0.0199)
    assert steps("rmsprop") == pytest.approx(
        [1 - 0.1 * first, 1 - 0.1 * (first + second)], abs=1e-6
    )
    assert steps("adam") == pytest.approx([0.9, 0.8])  # equal gradients: bias-corrected steps of lr
    assert steps("adamw", decay=0.5) == pytest.approx(
        [0.95 - 0.1, 0.85 * 0.95 - 0.1]
    )  # decay is decoupled
    assert steps("sgd", decay=0.5) == pytest.approx(
        [1 - 0.15, 0.85 - 0.1 * (1 + 0.5 * 0.85)]
    )  # decay is a gradient


def rates(
    schedule: dict, epochs: int = 4, steps: int = 5, losses: list[float] | None = None
) -> list[float]:
    """The learning rate of every step of a training whose highest rate is 1."""
    recipe = Recipe(epochs=epochs, optimiser=Optimiser(name="sgd", lr=1.0), schedule=schedule)
    optimiser = make_optimiser(nn.Linear(1, 1), recipe.optimiser)
    rate = LearningRate(optimiser, recipe, steps)
    seen = []
    for epoch in range(epochs):
        for _ in range(steps):
            seen.append(rate.now)
            optimiser.step()
            rate.after_batch()
        rate.after_epoch(losses[epoch] if losses else 0.0)
    return seen


def cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def test_constant_stays() -> None:
    assert rates({"name": "constant"}) == [1.0] * 20


def test_one_cycle_rises_and_falls_batch_by_batch() -> None:
    up = [cosine(1 / 25, 1, i / 4) for i in range(5)]  # the top is the last step of the warm-up
    down = [cosine(1, 1 / 25 / 1e4, (i + 1) / 15) for i in range(15)]
    assert rates({"name": "one-cycle", "warmup": 0.25}) == pytest.approx(up + down)


@pytest.mark.parametrize(("warmup", "steps"), [(0.2, 5), (0.5, 2), (1 / 3, 3)])
def test_one_cycle_with_a_warm_up_of_one_step_begins_at_the_top(warmup: float, steps: int) -> None:
    down = [cosine(1, 1 / 25 / 1e4, i / (steps - 1)) for i in range(steps)]
    assert rates({"name": "one-cycle", "warmup": warmup}, epochs=1, steps=steps) == pytest.approx(
        down
    )


def test_cosine_warms_up_linearly_and_falls_to_nothing() -> None:
    up = [0.01 + 0.99 * i / 5 for i in range(5)]
    down = [cosine(1, 0, i / 15) for i in range(15)]
    assert rates({"name": "cosine", "warmup": 0.25}) == pytest.approx(up + down)
    assert rates({"name": "cosine", "warmup": 0.0}) == pytest.approx(
        [cosine(1, 0, i / 20) for i in range(20)]
    )


@given(
    name=st.sampled_from(["one-cycle", "cosine"]),
    warmup=st.floats(0, 1, exclude_max=True) | st.integers(2, 9).map(lambda n: 1 / n),
    steps=st.integers(1, 12),
)
def test_no_schedule_is_too_short(name: str, warmup: float, steps: int) -> None:
    seen = rates({"name": name, "warmup": warmup}, epochs=1, steps=steps)
    assert all(0 < rate <= 1 + 1e-9 for rate in seen)


def test_step_drops_between_epochs() -> None:
    assert rates({"name": "step", "every": 2, "factor": 0.1}) == pytest.approx(
        [1.0] * 10 + [0.1] * 10
    )


def test_plateau_drops_when_the_validation_loss_no_longer_falls() -> None:
    seen = rates({"name": "plateau", "patience": 0, "factor": 0.5}, losses=[3.0, 2.0, 2.0, 1.0])
    assert seen == pytest.approx([1.0] * 15 + [0.5] * 5)
