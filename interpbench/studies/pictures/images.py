"""A user's image files as a data set, and batches of samples at a model's input size."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files as files_of
from pathlib import Path

import torch
from torch import Tensor

from interpbench.core.errors import DataError
from interpbench.core.types import Dataset, DatasetCard, ModelCard, Sample
from interpbench.loading.image_files import image_files, image_suffixes, read_image
from interpbench.loading.images import ImageSet, fit_sample, image_set

# That scikit-image ships inside its wheel: they need no network.
PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
}


class Files:
    """Image files as a data set of one class, whose name nobody asks for.

    Parameters:
        paths: name -> file.
        range: see `read_image`.
    """

    def __init__(self, paths: Mapping[str, Path], *, range: float | None = None) -> None:
        self.card = DatasetCard("files", ("",), "")
        self.ids = list(paths)
        self.labels = [0] * len(paths)
        self._paths, self._range = paths, range

    def __getitem__(self, index: int) -> Sample:
        """The file's image; raises UnreadableImageError if it cannot be decoded."""
        name = self.ids[index]
        return Sample(name, read_image(self._paths[name], name, range=self._range), 0)


def find_files(paths: Sequence[Path]) -> dict[str, Path]:
    """The image files that are named, and those below folders; each once: path -> file.

    They are sorted by their names within each folder. The name of one of `PHOTOGRAPHS` stands for
    it, where no file is called so.

    Raises:
        DataError: if a path does not exist, or a folder holds no images.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            in_folder = image_files(path)
            if not in_folder:
                suffixes = ", ".join(image_suffixes())
                raise DataError(f"Folder {str(path)!r} holds no images ({suffixes}).")
            found |= {str(file): file for file in in_folder}
        elif path.exists():
            found[str(path)] = path
        elif str(path) in PHOTOGRAPHS:
            found[str(path)] = Path(str(files_of("skimage") / "data" / PHOTOGRAPHS[str(path)]))
        else:
            raise DataError(
                f"There is no image {str(path)!r}. Expected image files, folders of them, or the "
                f"name of a photograph that is shipped: {', '.join(PHOTOGRAPHS)}."
            )
    return found


def batches(
    dataset: Dataset, indices: Sequence[int], card: ModelCard, count: int
) -> Iterator[ImageSet]:
    """The samples at the model's input size, up to `count` of those at `indices` at a time.

    One that cannot be read is left out, and its batch says why; a batch of such samples alone has
    no images.
    """
    framing = card.preparation.framing
    for first in range(0, len(indices), count):
        part = indices[first : first + count]
        results = [fit_sample(dataset, index, framing) for index in part]
        yield image_set(dataset, part, results, framing)


def pixels_id(image: Tensor) -> str:
    """The hash of an image's pixels, uint8 or float32 in 0..1, [H,W,C].

    Chance is seeded with it where images have no lasting ids. It is the same for an image of 8 bits
    in both types.
    """
    if image.dtype != torch.uint8:
        levels = image.mul(255).round()
        image = levels.to(torch.uint8) if torch.equal(levels / 255, image) else image
    return hashlib.sha256(image.numpy().tobytes()).hexdigest()
