"""A data set that is learned in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from interpbench.core.errors import UnreadableImageError
from interpbench.core.types import DatasetCard, Sample
from interpbench.registry.discovery import discover
from interpbench.training.recipe import Recipe
from interpbench.training.splits import Splits
from interpbench.training.start import Start
from interpbench.training.train import train


class Stripes:
    """Two classes, bright or dark, 16x16."""

    def __init__(
        self,
        count: int = 64,
        unreadable: tuple[int, ...] = (),
        shape: tuple[int, int, int] = (16, 16, 3),
    ) -> None:
        self.card = DatasetCard(
            "stripes", ("dark", "bright"), "stripes-1", licence="none", reference="made here"
        )
        self.ids = [str(i) for i in range(count)]
        self.labels = [i % 2 for i in range(count)]
        self.unreadable, self.shape = unreadable, shape

    def __getitem__(self, index: int) -> Sample:
        if index in self.unreadable:
            raise UnreadableImageError("no image")
        noise = np.random.default_rng(index).integers(0, 120, self.shape)
        return Sample(
            self.ids[index], (noise + 100 * self.labels[index]).astype(np.uint8), self.labels[index]
        )


def train_stripes(out: Path, **choices: Any) -> None:
    """Four short epochs."""
    model = discover().configure("model", "resnet18", {"width": 2})
    train(
        Start(model),
        Splits(Stripes(), Stripes(20)),
        recipe=Recipe(epochs=4, batch_size=16),
        output=out,
        **choices,
    )


def photographs(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 10) -> Path:
    """A folder of noisy 16x16 images, one subfolder a class, brighter from class to class."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            noise = np.random.default_rng([label, i]).integers(0, 120, (16, 16, 3))
            pixels = (noise + 100 * label / len(classes)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder
