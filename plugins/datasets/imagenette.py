"""Imagenette, through torchvision's own class, with the masks of ImageNet-S if they are there."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from torchvision import datasets

from interpbench import (
    IGNORE,
    DataError,
    Dataset,
    DatasetCard,
    Sample,
    UnreadableImageError,
    dataset,
    read_image,
    read_segmentation,
)

REFERENCE = "Howard, Imagenette, github.com/fastai/imagenette, 2019"
IMAGENET_WNIDS = Path(__file__).with_name("imagenet_wnids.txt").read_text().split()  # in the order of the logits
MASKS = "Gao, Li, Yang, Cheng, Han, Torr, Large-scale Unsupervised Semantic Segmentation, TPAMI 2022"
MASK_FOLDERS = ("validation-segmentation", "train-semi-segmentation")  # of ImageNet-S, images of either split
CLASSES_OF_MASKS = (50, 300, 919)
HARD_TO_TELL = 1000  # in the masks of ImageNet-S


@dataset("imagenette", reference=REFERENCE, licence="Apache-2.0; the photographs are ImageNet's")
def imagenette(
    *,
    root: Path = Path("data"),
    download: bool = False,
    split: Literal["train", "val"] = "val",
    variant: Literal["full", "320px", "160px"] = "320px",
    masks: Path | None = None,
) -> Dataset:
    """Imagenette: photographs of ten ImageNet classes, 9,469 to train on and 3,925 to validate.

    Models trained on ImageNet are explained with all of their 1000 logits.

    Parameters:
        root: where torchvision's `imagenette2-320` (by variant) lies (--data-root).
        download: fetch it if it is absent (--download).
        split: train or val.
        variant: full size, or the shorter side at 320 or 160 pixels.
        masks: a folder of ImageNet-S, such as ImageNetS919, with all of its classes: the images that have a mask
            there, found by their file's name, are the data set. Localisation metrics leave out what the masks
            ignore as too hard to tell.
    """
    try:
        data = datasets.Imagenette(root, split=split, size=variant, download=download)
    except (RuntimeError, OSError, KeyError) as error:
        raise DataError(
            f"Imagenette ({variant}, {split}) cannot be read from {str(root)!r} ({error}). Give the folder with "
            "--data-root, and --download to fetch it."
        ) from error
    return Imagenette(data, f"{variant}-{split}") if masks is None else Segmented(data, f"{variant}-{split}", masks)


class Imagenette:
    """torchvision's Imagenette as samples; an id is the file's name with its class folder."""

    def __init__(self, data: datasets.Imagenette, part: str) -> None:
        self._paths = [Path(path) for path, _ in data._samples]
        self.ids = [f"{path.parent.name}/{path.name}" for path in self._paths]
        self.labels = [label for _, label in data._samples]
        self.card = DatasetCard(
            name="imagenette",
            classes=tuple(names[0] for names in data.classes),
            revision=f"imagenette2-{part}",
            imagenet=tuple(IMAGENET_WNIDS.index(wnid) for wnid in data.wnids),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            reference=REFERENCE,
            concurrent=True,
        )

    def __getitem__(self, index: int) -> Sample:
        """The sample: image uint8 [H,W,3]; raises UnreadableImageError if it cannot be decoded."""
        return Sample(self.ids[index], read_image(self._paths[index], self.ids[index]), self.labels[index])


class Segmented(Imagenette):
    """The samples of which ImageNet-S has a mask."""

    def __init__(self, data: datasets.Imagenette, part: str, masks: Path) -> None:
        super().__init__(data, part)
        numbers, files = _of_imagenet_s(masks)
        kept = [i for i, path in enumerate(self._paths) if (path.parent.name, path.stem) in files]
        if not kept:
            raise DataError(
                f"None of the {len(self.ids)} images of Imagenette has a mask in {str(masks)!r}. Expected a folder of "
                f"ImageNet-S with {MASK_FOLDERS[0]}/n01440764/ILSVRC2012_val_00000293.png and the like."
            )
        self._paths = [self._paths[i] for i in kept]
        self.ids, self.labels = [self.ids[i] for i in kept], [self.labels[i] for i in kept]
        self._masks = [files[path.parent.name, path.stem] for path in self._paths]
        self._numbers = [numbers[path.parent.name] for path in self._paths]
        self.card = replace(
            self.card,
            revision=f"{self.card.revision}, {len(kept)} masks of ImageNet-S",
            reference=f"{REFERENCE}; masks: {MASKS}",
            has_masks=True,
            ignored="what is too hard to tell",
        )

    def __getitem__(self, index: int) -> Sample:
        """The sample, its mask uint8 [H,W]; raises UnreadableImageError if one cannot be decoded, or does not fit."""
        sample = super().__getitem__(index)
        stored = read_segmentation(self._masks[index], sample.id, channels=3).astype(np.int32)
        numbers = stored[..., 0] + 256 * stored[..., 1]
        mask = np.where(numbers == HARD_TO_TELL, IGNORE, numbers == self._numbers[index]).astype(np.uint8)
        if not (mask == 1).any():
            raise UnreadableImageError(f"{sample.id}: its mask holds no position of its class, {self._numbers[index]}")
        return replace(sample, mask=_resized(mask, sample))


def _of_imagenet_s(folder: Path) -> tuple[dict[str, int], dict[tuple[str, str], Path]]:
    """The number of each class in the masks, and (class, stem of the image's file) -> file of its mask.

    Classes are numbered in the order of their WordNet ids, which the subfolders tell if all are there.
    """
    parts = [folder / name for name in MASK_FOLDERS if (folder / name).is_dir()]
    wnids = sorted({path.name for part in parts for path in part.iterdir() if path.is_dir()})
    if len(wnids) not in CLASSES_OF_MASKS:
        raise DataError(
            f"{str(folder)!r} has {len(wnids)} classes of masks in {' and '.join(MASK_FOLDERS)}. Expected a whole "
            "folder of ImageNet-S, of 919, 300 or 50 classes: masks are numbered in the order of all subfolders."
        )
    files = {(path.parent.name, path.stem): path for part in parts for path in sorted(part.glob("n*/*.png"))}
    return {wnid: number for number, wnid in enumerate(wnids, 1)}, files


def _resized(mask: np.ndarray, sample: Sample) -> np.ndarray:
    """A mask of the original photograph at the size of its image, which is that photograph resized."""
    (tall, wide), (height, width) = mask.shape, sample.image.shape[:2]
    if min(abs(width - height * wide / tall), abs(height - width * tall / wide)) > 1:
        raise UnreadableImageError(
            f"{sample.id}: its mask is {tall}x{wide}, the image {height}x{width}: cropped, where no mask fits"
        )
    return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
