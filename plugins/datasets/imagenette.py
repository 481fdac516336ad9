"""Imagenette, through torchvision's own class."""

from pathlib import Path
from typing import Literal

from torchvision import datasets

from interpbench import DataError, Dataset, DatasetCard, Sample, dataset, read_image

REFERENCE = "Howard, Imagenette, github.com/fastai/imagenette, 2019"
IMAGENET_WNIDS = Path(__file__).with_name("imagenet_wnids.txt").read_text().split()  # in the order of the logits


@dataset("imagenette", reference=REFERENCE, licence="Apache-2.0; the photographs are ImageNet's")
def imagenette(
    *,
    root: Path = Path("data"),
    download: bool = False,
    split: Literal["train", "val"] = "val",
    variant: Literal["full", "320px", "160px"] = "320px",
) -> Dataset:
    """Imagenette: photographs of ten ImageNet classes, 9,469 to train on and 3,925 to validate.

    Models trained on ImageNet are explained with all of their 1000 logits.

    Parameters:
        root: where torchvision's `imagenette2-320` (by variant) lies (--data-root).
        download: fetch it if it is absent (--download).
        split: train or val.
        variant: full size, or the shorter side at 320 or 160 pixels.
    """
    try:
        data = datasets.Imagenette(root, split=split, size=variant, download=download)
    except (RuntimeError, OSError, KeyError) as error:
        raise DataError(
            f"Imagenette ({variant}, {split}) cannot be read from {str(root)!r} ({error}). Give the folder with "
            "--data-root, and --download to fetch it."
        ) from error
    return Imagenette(data, f"{variant}-{split}")


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
