"""CIFAR-10: torchvision's own files, or a folder of images."""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from torchvision import datasets

from interpbench import DataError, Dataset, DatasetCard, ImageFolder, Sample, dataset

REFERENCE = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LUMINANCE = 229  # sum of the first eight of the JPEG standard's example quantisers, which libjpeg scales by quality


@dataset("cifar10", reference=REFERENCE, licence="not stated by its authors; for research")
def cifar10(*, root: Path = Path("data"), download: bool = False, split: Literal["train", "test"] = "test") -> Dataset:
    """CIFAR-10: 32x32 photographs of ten classes, 50,000 to train on and 10,000 to test on.

    Parameters:
        root: a folder with torchvision's `cifar-10-batches-py`, or with image files in `train/<class>` and
            `test/<class>` (--data-root).
        download: fetch torchvision's files if they are absent (--download).
        split: train or test.
    """
    folder = root / split
    if not download and (folder / CLASSES[0]).is_dir():
        return ImageFolder(folder, _card("", f"{REFERENCE}; {_files(folder / CLASSES[0])}"))
    try:
        data = datasets.CIFAR10(root, train=split == "train", download=download)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"CIFAR-10 cannot be read from {str(root)!r} ({error}). Give the folder with --data-root, and --download "
            f"to fetch it; or a folder of images in {split}/{CLASSES[0]}, {split}/{CLASSES[1]} and so on."
        ) from error
    return Cifar10(data, split)


class Cifar10:
    """torchvision's CIFAR10 as samples."""

    def __init__(self, data: datasets.CIFAR10, split: str) -> None:
        self._data = data
        self.ids = [f"cifar10-{split}-{i:05d}" for i in range(len(data))]
        self.labels = list(data.targets)
        self.card = _card(f"cifar10-{split}-{datasets.CIFAR10.tgz_md5[:8]}", REFERENCE)

    def __getitem__(self, index: int) -> Sample:
        """The sample: image uint8 [32,32,3]."""
        return Sample(self.ids[index], np.asarray(self._data.data[index]), self.labels[index])


def _card(revision: str, reference: str) -> DatasetCard:
    return DatasetCard(
        name="cifar10",
        classes=CLASSES,
        revision=revision,
        size=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        reference=reference,
    )


def _files(folder: Path) -> str:
    """What the image files of a class are, told by the first: JPEG loses detail, and models notice.

    libjpeg scales the standard's quantisers by 200 - 2 quality percent from quality 50 up, by 5000 / quality below.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not files or files[0].suffix.lower() not in (".jpg", ".jpeg"):
        return "as image files"
    try:
        with Image.open(files[0]) as image:
            percent = 100 * sum(image.quantization[0][:8]) / LUMINANCE  # type: ignore[attr-defined]
    except (OSError, AttributeError, KeyError):
        return "as JPEG files"
    quality = (200 - percent) / 2 if percent <= 100 else 5000 / percent
    return f"as JPEG files of quality {round(quality)}"
