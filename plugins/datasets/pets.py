"""The Oxford-IIIT Pet data set with its trimaps, through torchvision's own class."""

from pathlib import Path
from typing import Literal

import numpy as np
from torchvision import datasets

from interpbench import (
    IGNORE,
    DataError,
    Dataset,
    DatasetCard,
    Sample,
    dataset,
    read_image,
    read_segmentation,
)

REFERENCE = "Parkhi, Vedaldi, Zisserman, Jawahar, Cats and Dogs, CVPR 2012"
LICENCE = "CC BY-SA 4.0; the photographs belong to their owners"
PARTS = {"train": "trainval", "test": "test"}  # what the files call them
# What the numbers of a trimap mean: nothing, the animal, its surroundings, the border between them.
MEANING = np.array([0, 1, 0, IGNORE], dtype=np.uint8)


@dataset("oxford-iiit-pet", reference=REFERENCE, licence=LICENCE)
def oxford_iiit_pet(
    *, root: Path = Path("data"), download: bool = False, split: Literal["train", "test"] = "test"
) -> Dataset:
    """Photographs of 37 breeds of cats and dogs, 3,680 to train on and 3,669 to test on, with the animal as mask.

    Localisation metrics leave out the border of the animal, which the trimaps mark, about 10 pixels wide.

    Parameters:
        root: where torchvision's `oxford-iiit-pet` lies (--data-root).
        download: fetch it if it is absent (--download).
        split: train or test.
    """
    try:
        data = datasets.OxfordIIITPet(root, split=PARTS[split], download=download)
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"Oxford-IIIT Pet ({split}) cannot be read from {str(root)!r} ({error}). Give the folder that holds "
            "`oxford-iiit-pet` with --data-root, and --download to fetch it."
        ) from error
    return Pets(data, split)


class Pets:
    """torchvision's OxfordIIITPet as samples; an id is the file's name without its ending."""

    def __init__(self, data: datasets.OxfordIIITPet, split: str) -> None:
        self._images, self._trimaps = data._images, data._segs
        self.ids = [path.stem for path in self._images]
        self.labels = list(data._labels)
        self.card = DatasetCard(
            name="oxford-iiit-pet",
            classes=tuple(data.classes),
            revision=f"oxford-iiit-pet-{split}-{len(self.ids)}",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            has_masks=True,
            ignored="the border of the animal",
            reference=REFERENCE,
            licence=LICENCE,
            concurrent=True,
        )

    def __getitem__(self, index: int) -> Sample:
        """The sample: image uint8 [H,W,3], mask uint8 [H,W]; raises UnreadableImageError if one cannot be decoded."""
        name = self.ids[index]
        trimap = read_segmentation(self._trimaps[index], name)
        if trimap.max() >= len(MEANING):
            raise DataError(f"The trimap of {name!r} holds {trimap.max()}; expected 1, 2 and 3. Fetch the data again.")
        return Sample(name, read_image(self._images[index], name), self.labels[index], MEANING[trimap])
