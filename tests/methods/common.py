"""What tests of methods share: small models, images, and methods called as the runner calls them."""

from typing import Any

import torch
from torch import Tensor

from interpbench.core.types import Model
from interpbench.registry.discovery import discover
from interpbench.testing import maps_of
from tests.tiny_models import NARROW, calibrate, wrap

REGISTRY = discover()
CONVOLUTIONAL = ["alexnet", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "vgg11", "vgg16_bn"]
METHODS = REGISTRY.names("method")
BATCH, CLASSES = 3, 10
TARGET = torch.tensor([1, 7, 4])
# Parameters that make slow methods quick; the others have their defaults.
QUICK: dict[str, dict[str, Any]] = {
    "ablationcam": {"channels": 8},
    "blur-integrated-gradients": {"steps": 4},
    "deepshap": {"samples": 3},
    "expected-gradients": {"samples": 4},
    "extremal-perturbation": {"steps": 2, "cells": 4},
    "guided-integrated-gradients": {"steps": 4},
    "integrated-gradients": {"steps": 4},
    "kernel-shap": {"samples": 24, "segments": 8},
    "lime": {"samples": 24, "segments": 8},
    "occlusion": {"window": 8},
    "rise": {"masks": 16},
    "scorecam": {"channels": 8},
    "smoothgrad": {"samples": 4},
    "smoothgrad-squared": {"samples": 4},
    "sobol-attribution": {"cells": 2, "designs": 4},
    "vargrad": {"samples": 4},
}


def small_model(name: str, size: int, batch_size: int = 16) -> Model:
    """A bundled architecture, narrow, as torchvision has it: with in-place ReLUs."""
    torch.manual_seed(0)
    choice = REGISTRY.configure("model", name, NARROW.get(name, {"width": 8}))
    network = choice(CLASSES, size)
    if name.startswith("mobilenet"):
        calibrate(network, size)
    model = wrap(network, size, CLASSES, batch_size, choice.plugin.target_layer)
    assert any(getattr(m, "inplace", False) for m in model.modules()) or name not in CONVOLUTIONAL
    return model


def images(size: int, count: int = BATCH) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def map_of(name: str, model: Model, x: Tensor, target: Tensor = TARGET, **values: Any) -> Tensor:
    found = maps_of(REGISTRY.configure("method", name, values), model, x, target)
    return found.saliency


def difference(actual: Tensor, expected: Tensor) -> float:
    """The greatest difference, as a share of the greatest value."""
    expected = expected.detach()
    assert actual.shape == expected.shape
    assert expected.abs().max() > 0
    return float((actual - expected).abs().max() / expected.abs().max())


def close(actual: Tensor, expected: Tensor) -> None:
    """To 1e-6 of the greatest value."""
    assert difference(actual, expected) <= 1e-6
