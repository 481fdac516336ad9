"""A network that trains in seconds."""

import pytest
from torch import nn

from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry, model


@pytest.fixture
def tiny() -> Configured:
    registry = Registry()
    with registry.collecting():

        @model("tiny")
        def tiny(classes, size, *, width: int = 4):
            return nn.Sequential(
                nn.Conv2d(3, width, 3),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(width, classes),
            )

    return registry.configure("model", "tiny", {"width": 6})
