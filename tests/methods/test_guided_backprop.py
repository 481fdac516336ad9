"""Guided backprop on ReLUs that end (ReLU6), against its rule written out as a backward pass; and where it applies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import interpbench
from interpbench.core.errors import MethodError
from interpbench.core.model_guard import Guard
from interpbench.core.types import Model
from interpbench.registry.discovery import discover
from tests.diagnosis.test_examination import doctor
from tests.paths import TINY
from tests.tiny_models import convolutional, wrap

REGISTRY = discover()
TARGET = torch.tensor([1, 0, 4])


class Rule(torch.autograd.Function):
    """ReLU6 forwards; backwards the positive part of the gradient, where 0 < x < 6."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 6)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradient.clamp(min=0) * ((x > 0) & (x < 6))


class Spelled(nn.Module):
    """`convolutional()` with another activation in the place of each ReLU."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = convolutional()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.activation(x) if isinstance(layer, nn.ReLU) else layer(x)
        return x


def images(scale: float) -> Tensor:
    return scale * torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def guided(model: Model, x: Tensor) -> Tensor:
    saliency: Tensor = REGISTRY.configure("method", "guided-backprop")(model, x.clone(), TARGET)
    return saliency


def by_rule(x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    score = wrap(Spelled(Rule.apply))(x).gather(1, TARGET[:, None]).sum()
    return torch.autograd.grad(score, x)[0].abs().amax(1)


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 inplace": nn.ReLU6(inplace=True),
    "nn.Hardtanh": nn.Hardtanh(0.0, 6.0),
    "F.relu6": F.relu6,
    "F.relu6 inplace": lambda x: F.relu6(x, inplace=True),
    "F.hardtanh": lambda x: F.hardtanh(x, 0.0, 6.0),
    "F.hardtanh by name": lambda x: F.hardtanh(x, min_val=0.0, max_val=6.0, inplace=True),
    "F.hardtanh_": lambda x: F.hardtanh_(x, 0.0, 6.0),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_relu6_lets_positive_gradients_back_where_the_unit_is_active(spelling: str) -> None:
    x = images(scale=10)  # so that many units are beyond 6
    model = wrap(Spelled(SPELLINGS[spelling]))
    expected = by_rule(x)
    torch.testing.assert_close(guided(model, x), expected)
    assert not torch.allclose(guided(wrap(convolutional()), x), expected)  # the end matters
    assert not torch.allclose(
        REGISTRY.configure("method", "saliency")(model, x.clone(), TARGET), expected
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_below_its_end_relu6_is_relu(spelling: str) -> None:
    x = images(scale=0.5)
    torch.testing.assert_close(
        guided(wrap(Spelled(SPELLINGS[spelling])), x), guided(wrap(convolutional()), x)
    )


def test_nothing_stays_on_the_model() -> None:
    model = wrap(Spelled(nn.ReLU6()))
    with Guard(model).watching(0) as left:
        guided(model, images(10))
    assert left == []


@pytest.mark.parametrize("activation", [F.gelu, nn.Hardtanh(-1.0, 1.0), F.hardswish, torch.tanh])
def test_a_model_without_rectifiers_is_refused(activation: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(MethodError, match="this model calls no ReLU"):
        guided(wrap(Spelled(activation)), images(1))


def plugin(folder: Path, activation: str) -> Path:
    """A model whose only activation is the one named."""
    file = folder / "other.py"
    file.write_text(
        "from torch import nn\nfrom interpbench import model\n\n\n"
        '@model("other", target_layer="0")\ndef other(classes, size):\n'
        f"    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]\n"
        f"    return nn.Sequential(nn.Conv2d(3, classes, 3), nn.{activation}, *pool)\n"
    )
    return file


@pytest.mark.parametrize(
    ("activation", "applies"), [("ReLU6()", True), ("Hardtanh(0, 2)", True), ("GELU()", False)]
)
def test_a_run_and_the_doctor_say_where_it_does_not_apply(
    tmp_path: Path, activation: str, applies: bool
) -> None:
    file = plugin(tmp_path, activation)
    finished = interpbench.run(
        dataset="tiny", model="other", method=["guided-backprop", "saliency"], metric="pointing-game", images=4,
        weights="random", plugin=[file, TINY], device="cpu", output=tmp_path / "run", plots=False,
    )  # fmt: skip
    assert finished.failed["method"].tolist() == ([] if applies else ["guided-backprop"])
    notices = [notice for notice in finished.info["notices"] if "no ReLU" in notice]
    assert len(notices) == (0 if applies else 1)
    assert all("which rules out guided-backprop. Leave out" in notice for notice in notices)
    code, said = doctor(
        "other",
        "--dataset",
        "tiny",
        "--plugin",
        str(file),
        "--plugin",
        str(TINY),
        "--weights",
        "random",
    )
    assert code == 0  # the network is what it is, and healthy
    assert "Healthy." in said
    assert (
        "Ruled out: methods for ReLUs, such as deconvnet, guided-backprop" in said
    ) is not applies
