"""Data sets and models as on the command line, for the tests of where models come from."""

import torch
from torch import Tensor

from interpbench.core.types import DatasetCard
from interpbench.registry.discovery import discover
from interpbench.registry.plugin import Configured
from interpbench.registry.spec import parse_specs

REGISTRY = discover()
FRUIT = DatasetCard(
    "fruit",
    ("apple", "pear", "plum"),
    "fruit-1",
    size=16,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
)
IMAGENET = DatasetCard("two-of-imagenet", ("tench", "parachute"), "1", imagenet=(0, 701))


def choose(text: str) -> Configured:
    """The model that is typed so."""
    ((name, values),) = parse_specs([text])
    return REGISTRY.configure("model", name, values)


def images(size: int, count: int = 3) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))
