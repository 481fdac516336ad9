"""Pascal VOC's segmented photographs, through torchvision's own class."""

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

REFERENCE = "Everingham, Van Gool, Williams, Winn, Zisserman, The Pascal Visual Object Classes Challenge, IJCV 2010"
LICENCE = "the photographs are flickr's, by its terms of use"
CLASSES = (  # number 1 and on of the masks
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOID = 255  # in the masks: borders, and objects that are too hard to tell


@dataset("voc", reference=REFERENCE, licence=LICENCE)
def voc(
    *,
    root: Path = Path("data"),
    download: bool = False,
    split: Literal["train", "val"] = "val",
    year: Literal["2007", "2012"] = "2012",
) -> Dataset:
    """Pascal VOC's segmented photographs of twenty classes: 1,464 to train on and 1,449 to validate (2012).

    An image counts for the class that covers most of it, and the mask is of all objects of that class; those of
    other classes belong to its surroundings. Localisation metrics leave out what the masks call void.

    Parameters:
        root: where torchvision's `VOCdevkit` lies (--data-root).
        download: fetch it if it is absent (--download).
        split: train or val.
        year: 2007, which is much smaller, or 2012.
    """
    try:
        data = datasets.VOCSegmentation(root, year=year, image_set=split, download=download)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"Pascal VOC {year} ({split}) cannot be read from {str(root)!r} ({error}). Give the folder that holds "
            f"`VOCdevkit/VOC{year}` with --data-root, and --download to fetch it."
        ) from error
    return Voc(data, f"voc{year}-{split}")


class Voc:
    """torchvision's VOCSegmentation as samples; an id is the file's name without its ending."""

    def __init__(self, data: datasets.VOCSegmentation, part: str) -> None:
        self._images, self._masks = [Path(path) for path in data.images], [Path(path) for path in data.masks]
        self.ids = [path.stem for path in self._images]
        self.labels = [self._label(i) for i in range(len(self.ids))]
        self.card = DatasetCard(
            name="voc",
            classes=CLASSES,
            revision=f"{part}-{len(self.ids)}",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            has_masks=True,
            ignored="the borders of objects and on what is too hard to tell",
            reference=REFERENCE,
            licence=LICENCE,
            concurrent=True,
        )

    def _label(self, index: int) -> int:
        """The class that covers most of an image."""
        counts = np.bincount(self._segmentation(index).ravel(), minlength=256)[1 : len(CLASSES) + 1]
        if not counts.any():
            raise DataError(f"The mask {self._masks[index]} holds none of the {len(CLASSES)} classes.")
        return int(counts.argmax())

    def _segmentation(self, index: int) -> np.ndarray:
        """The classes' numbers [H,W]."""
        return read_segmentation(self._masks[index], self.ids[index])

    def __getitem__(self, index: int) -> Sample:
        """The sample: image uint8 [H,W,3], mask uint8 [H,W]; raises UnreadableImageError if one cannot be decoded."""
        name, label, numbers = self.ids[index], self.labels[index], self._segmentation(index)
        mask = np.where(numbers == VOID, IGNORE, numbers == label + 1).astype(np.uint8)
        return Sample(name, read_image(self._images[index], name), label, mask)
