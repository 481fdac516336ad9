"""A user's image files as a data set, and batches of samples at a model's input size."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interpbench.core.errors import DataError, UnreadableImageError
from interpbench.core.types import Dataset, DatasetCard, ModelCard, Sample
from interpbench.loading.images import (
    ImageSet,
    fit,
    fit_mask,
    image_files,
    image_suffixes,
    read_image,
)


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
    """The image files that are named, and those below folders; each once.

    They are sorted by their names within each folder.

    Raises:
        DataError: if a path does not exist, or a folder holds no images.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            in_folder = image_files(path)
            if not in_folder:
                suffixes = ", ".join(image_suffixes())
                raise DataError(f"Folder {str(path)!r} holds no images ({suffixes}).")
            files += in_folder
        elif path.exists():
            files.append(path)
        else:
            raise DataError(
                f"There is no image {str(path)!r}. Expected image files, or folders of them."
            )
    return list(dict.fromkeys(files))


def batches(
    dataset: Dataset, indices: Sequence[int], card: ModelCard, count: int
) -> Iterator[ImageSet]:
    """The samples at the model's input size, up to `count` of those at `indices` at a time.

    One that cannot be read is left out, and its batch says why; a batch of such samples alone has
    no images.
    """
    for first in range(0, len(indices), count):
        samples: list[Sample] = []
        skipped: dict[str, str] = {}
        for index in indices[first : first + count]:
            try:
                samples.append(dataset[index])
            except UnreadableImageError as error:
                skipped[dataset.ids[index]] = str(error)
        framing = card.preparation.framing
        height, width = framing.height, framing.width
        images = [fit(s.image, framing) for s in samples]
        masks = [fit_mask(s, framing) for s in samples] if dataset.card.has_masks else None
        yield ImageSet(
            ids=tuple(s.id for s in samples),
            images=torch.from_numpy(
                np.stack(images) if images else np.zeros((0, height, width, 3), dtype=np.uint8)
            ),
            labels=torch.tensor([s.label for s in samples], dtype=torch.int64),
            masks=None
            if masks is None
            else torch.from_numpy(np.array(masks, dtype=bool).reshape(-1, height, width)),
            skipped=skipped,
        )


def pixels_id(image: Tensor) -> str:
    """The hash of an image's pixels, uint8 [H,W,3].

    Chance is seeded with it where images have no lasting ids.
    """
    return hashlib.sha256(image.numpy().tobytes()).hexdigest()
