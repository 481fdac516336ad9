"""A user's image files as a data set, and batches of samples at a model's input size."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interpbench.core.errors import (
    DataError,
    UnreadableImageError,
)
from interpbench.core.types import Dataset, DatasetCard, ModelCard, Sample
from interpbench.loading.images import ImageSet, fit, fit_mask, read_image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


class Files:
    """Image files as a data set of one class, whose name nobody asks for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.card = DatasetCard("files", ("",), "")
        self.ids = [str(path) for path in paths]
        self.labels = [0] * len(paths)
        self._paths = paths

    def __getitem__(self, index: int) -> Sample:
        """The file's image; raises UnreadableImageError if it cannot be decoded."""
        return Sample(self.ids[index], read_image(self._paths[index], self.ids[index]), 0)


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The image files that are named, and those below folders, sorted by their names within each folder; each once.

    Raises:
        DataError: if a path does not exist, or a folder holds no images.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not found:
                raise DataError(f"Folder {str(path)!r} holds no images ({', '.join(SUFFIXES)}).")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"There is no image {str(path)!r}. Expected image files, or folders of them.")
    return list(dict.fromkeys(files))


def batches(
    dataset: Dataset, indices: Sequence[int], card: ModelCard, count: int, skipped: dict[str, str]
) -> Iterator[ImageSet]:
    """The samples at the model's input size, up to `count` of those at `indices` at a time.

    One that cannot be read is left out, and `skipped` says why.
    """
    for first in range(0, len(indices), count):
        samples: list[Sample] = []
        for index in indices[first : first + count]:
            try:
                samples.append(dataset[index])
            except UnreadableImageError as error:
                skipped[dataset.ids[index]] = str(error)
        if samples:
            masks = [fit_mask(s, card) for s in samples] if dataset.card.has_masks else None
            yield ImageSet(
                ids=tuple(s.id for s in samples),
                images=torch.from_numpy(np.stack([fit(s.image, card) for s in samples])),
                labels=torch.tensor([s.label for s in samples]),
                masks=None if masks is None else torch.from_numpy(np.stack(masks)),
                skipped={},
            )


def pixels_id(image: Tensor) -> str:
    """The hash of an image's pixels, uint8 [H,W,3]: what chance is seeded with where images have no lasting ids."""
    return hashlib.sha256(image.numpy().tobytes()).hexdigest()
