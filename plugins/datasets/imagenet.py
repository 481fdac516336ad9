"""ImageNet-1k, or any part of its 1000 classes, in folders called by WordNet ids; and photographs without classes."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torchvision.models import AlexNet_Weights

from interpbench import DataError, Dataset, DatasetCard, ImageFolder, Sample, class_folders, dataset

REFERENCE = "Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015"
LICENCE = "for research and education, by the terms of image-net.org"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WNIDS = Path(__file__).with_name("imagenet_wnids.txt").read_text().split()  # in the order of the logits
NAMES: Sequence[str] = AlexNet_Weights.IMAGENET1K_V1.meta["categories"]
NO_LABEL = -1


@dataset("imagenet", reference=REFERENCE, licence=LICENCE)
def imagenet(*, root: Path | None = None, split: Literal["train", "val"] = "val") -> Dataset:
    """ImageNet-1k from a folder with one subfolder of images a class, called by its WordNet id (n01440764).

    Any part of the 1000 classes will do: models trained on ImageNet are explained with all of their 1000 logits. The
    subfolders lie in `val` and `train` of root, as torchvision.datasets.ImageNet leaves them, in
    `ILSVRC/Data/CLS-LOC/val` and `train`, or, for the split val, in root itself.

    Parameters:
        root: the folder (--data-root). Without it there are classes and no images, which is enough for `explain`.
        split: val or train.
    """
    if root is None:
        return ClassesAlone()
    folder = _folder(root, split)
    wnids = class_folders(folder)
    strange = [name for name in wnids if name not in WNIDS]
    if strange:
        raise DataError(
            f"{len(strange)} of the {len(wnids)} folders in {str(folder)!r} are no classes of ImageNet-1k, such as "
            f"{strange[0]!r}. Expected WordNet ids such as n01440764; for other classes take --dataset imagefolder."
        )
    return ImageFolder(folder, _card([WNIDS.index(wnid) for wnid in wnids]), wnids)


@dataset("photos")
def photos(*, root: Path = Path("photos")) -> Dataset:
    """The photographs below a folder, at any depth, of which nobody says the class, for models of ImageNet's classes.

    Such models are explained with all of their 1000 logits; how accurate they are is unknown. Where the class is
    known, take `imagenet` or `imagefolder`.

    Parameters:
        root: the folder (--data-root).
    """
    if not root.is_dir():
        raise DataError(f"There is no folder {str(root)!r}. Give that of your photographs with --data-root.")
    return Photos(root)


class Photos(ImageFolder):
    """Images without labels."""

    def __init__(self, root: Path) -> None:
        card = replace(_card(range(len(WNIDS))), name="photos", reference="", licence="")
        super().__init__(root, card, ["."])
        self.labels = [NO_LABEL] * len(self.ids)


class ClassesAlone:
    """The 1000 classes for models whose images come from elsewhere; there are no samples."""

    def __init__(self) -> None:
        self.card = replace(_card(range(len(WNIDS))), size=224)  # as imagenet-1k

    @property
    def ids(self) -> Sequence[str]:
        """Raises DataError."""
        raise _nowhere()

    @property
    def labels(self) -> Sequence[int]:
        """Raises DataError."""
        raise _nowhere()

    def __getitem__(self, index: int, /) -> Sample:
        raise _nowhere()


def _nowhere() -> DataError:
    return DataError(
        "Nothing says where ImageNet's images lie. Give their folder with --data-root: it has one subfolder a class, "
        "called by its WordNet id (n01440764), or folders val and train with such subfolders."
    )


def _folder(root: Path, split: str) -> Path:
    """Where the class folders of a split lie."""
    places = [root / split, root / "ILSVRC" / "Data" / "CLS-LOC" / split]
    if split == "val":
        places.append(root)
    for place in places:
        if place.is_dir() and any(re.fullmatch(r"n\d{8}", path.name) for path in place.iterdir()):
            return place
    hint = ""
    if split == "val" and (root / "train").is_dir():
        hint = " There is a folder train: split=train takes it."
    raise DataError(
        f"There are no class folders of ImageNet for the split {split} in {str(root)!r}. Expected folders called by "
        f"their WordNet ids (n01440764), in {split}/{' or in the folder itself' if split == 'val' else ''}.{hint}"
    )


def _card(logits: Sequence[int]) -> DatasetCard:
    """Of the classes with these logits, by their English names."""
    names = tuple(NAMES[i] for i in logits)
    return DatasetCard(
        name="imagenet", classes=names, revision="", mean=MEAN, std=STD, imagenet=tuple(logits), reference=REFERENCE,
        licence=LICENCE,
    )  # fmt: skip
