"""Images with large areas of one colour, and methods that say how images reach them."""

from dataclasses import replace

import torch
from torch import Tensor

from interpbench import Dataset, Model, Sample, dataset, method
from interpbench.registry.discovery import discover

SIZE = 64


class Flat:
    """The images of `planted`, whose left two thirds are of one colour."""

    def __init__(self, planted: Dataset) -> None:
        self._planted = planted
        self.card = replace(planted.card, has_masks=False)
        self.ids, self.labels = planted.ids[:4], planted.labels[:4]

    def __getitem__(self, index: int) -> Sample:
        sample = self._planted[index]
        image = sample.image.copy()
        image[:, :40] = (255, 247, 12 * index)
        return replace(sample, image=image, mask=None)


@dataset("flat")
def flat(*, split: str = "test") -> Dataset:
    """Mostly of one colour."""
    return Flat(discover().configure("dataset", "planted", {})())


def _contiguous(model: Model, x: Tensor) -> Tensor:
    """A map that is brightest at the left if images and weights are contiguous, and at the right if not."""
    plain = x.is_contiguous() and all(weight.is_contiguous() for weight in model.parameters())
    ramp = torch.arange(SIZE, dtype=torch.float32).expand(len(x), SIZE, SIZE)
    return -ramp if plain else ramp


@method("asks-gradients")
def asks_gradients(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """How images come to a method that may ask for gradients."""
    return _contiguous(model, x)


@method("only-calls", gradients=False)
def only_calls(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """How they come to one that only calls the model."""
    return _contiguous(model, x)
