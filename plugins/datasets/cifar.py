"""CIFAR-10, through torchvision's own class."""

from pathlib import Path
from typing import Literal

import numpy as np
from torchvision import datasets

from interpbench import DataError, Dataset, DatasetCard, Sample, dataset

REFERENCE = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"


@dataset("cifar10", reference=REFERENCE, licence="not stated by its authors; for research")
def cifar10(*, root: Path = Path("data"), download: bool = False, split: Literal["train", "test"] = "test") -> Dataset:
    """CIFAR-10: 32x32 photographs of ten classes, 50,000 to train on and 10,000 to test on.

    Parameters:
        root: where torchvision's `cifar-10-batches-py` lies (--data-root).
        download: fetch it if it is absent (--download).
        split: train or test.
    """
    try:
        data = datasets.CIFAR10(root, train=split == "train", download=download)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"CIFAR-10 cannot be read from {str(root)!r} ({error}). Give the folder with --data-root, and --download "
            "to fetch it."
        ) from error
    return Cifar10(data, split)


class Cifar10:
    """torchvision's CIFAR10 as samples."""

    def __init__(self, data: datasets.CIFAR10, split: str) -> None:
        self._data = data
        self.ids = [f"cifar10-{split}-{i:05d}" for i in range(len(data))]
        self.labels = list(data.targets)
        self.card = DatasetCard(
            name="cifar10",
            classes=tuple(data.classes),
            revision=f"cifar10-{split}-{datasets.CIFAR10.tgz_md5[:8]}",
            size=32,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            reference=REFERENCE,
        )

    def __getitem__(self, index: int) -> Sample:
        """The sample: image uint8 [32,32,3]."""
        return Sample(self.ids[index], np.asarray(self._data.data[index]), self.labels[index])
