"""`mosaic`: images of different classes beside each other, with the exact mask of the one that is asked for.

The grid pointing game. A mosaic holds one image of its label's class and, in its other cells, images of other classes,
which are evidence for these and for nothing else. So the positive saliency for the label belongs into the label's cell;
which share lies there is the metric `energy-inside`, and a map that knows nothing has 1 / grid² in the mean.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field, NonNegativeInt

from interpbench import DataError, Dataset, ParameterError, Sample, dataset

REFERENCE = (
    "Böhle, Fritz, Schiele, Convolutional Dynamic Alignment Networks, CVPR 2021 (the grid pointing game); Rao, Böhle, "
    "Schiele, Towards Better Understanding Attribution Methods, CVPR 2022"
)
REVISION = "mosaic-1"  # another string whenever any pixel changes


@dataset("mosaic", reference=REFERENCE, licence="that of the images it is made of")
def mosaic(
    *,
    of: str,
    grid: Annotated[int, Field(ge=2, le=8)] = 2,
    size: Annotated[int, Field(ge=16, le=4096)] | None = None,
    only: Path | None = None,
    seed: NonNegativeInt = 0,
    open_data: Callable[..., Dataset],
) -> Dataset:
    """Mosaics of another data set's images, for the grid pointing game: `mosaic:planted`, `mosaic:of=cifar10,grid=3`.

    A mosaic for each image that has a label: it stands in one of the cells, images of other classes, each of another,
    in the rest; all drawn from seed and id alone. The label is its class, the mask its cell. The metric `energy-inside`
    is then the share of the positive saliency in that cell, which is the score of the grid pointing game. A run must
    explain the label (`--target label`, as suite `grid-pointing-game` does), since the model may predict the class of
    any cell. The papers ask for the classes of all cells of a mosaic; here it is one, drawn at random.

    As in the papers, images stay as large as they are, and models are run at the mosaic's size: a network that has
    learned things of one size hardly knows them at half of it. One that takes its own size alone needs another `size`,
    into which images are made to fit. Whether a model still knows the images, its accuracy tells: it predicts the class
    of any cell, and so the label's for about 1 of grid² mosaics; one that knows nothing, for 1 of all classes.

    The papers choose images that the model classifies rightly and with confidence. A data set does not know the model:
    `only=FILE` takes the images whose ids it lists, such as those of an earlier run's scores.csv whose label is the
    target that was predicted.

    Parameters:
        of: the data set, as one types it, in double quotes if it has several parameters:
            `of="planted:count=50,seed=1"`. `--data-root` and `--download` are passed on to it.
        grid: cells a side.
        size: side in pixels; none for grid times that of the images, where they have one. Each image is made to fit its
            cell, its centre is cut out; cells differ by a pixel at most.
        only: a text file of the ids of images that may be used, one a line, or to leave out, with a `!` before each.
        seed: of what is drawn.
    """
    data = open_data(of, only)
    if data.card.made_of:
        raise ParameterError(f"A mosaic of {of!r} would be one of mosaics: name the data set that those are made of.")
    if size is None:
        if data.card.size is None:
            raise ParameterError(
                f"The images of {data.card.name!r} are of many sizes: say how large a mosaic is, {grid} times the "
                f"input that the models were trained on, such as size={grid * 128} or size={grid * 224}."
            )
        size = grid * data.card.size
    return Mosaic(data, grid, size, seed)


class Mosaic:
    """A mosaic for each image of a data set that has a label, under that image's id."""

    def __init__(self, data: Dataset, grid: int, size: int, seed: int) -> None:
        self._data, self._grid, self._seed = data, grid, seed
        self._edges = [round(cell * size / grid) for cell in range(grid + 1)]
        self._of_class: dict[int, list[int]] = defaultdict(list)
        for index, label in enumerate(data.labels):
            if label >= 0:
                self._of_class[label].append(index)
        if len(self._of_class) < grid**2:
            raise DataError(
                f"A mosaic of {grid}x{grid} images takes {grid**2} classes, and {data.card.name!r} has images of "
                f"{len(self._of_class)}. Give a smaller grid, or data of more classes."
            )
        self._indices = sorted(index for indices in self._of_class.values() for index in indices)
        self.ids = [data.ids[index] for index in self._indices]
        self.labels = [data.labels[index] for index in self._indices]
        self.card = replace(
            data.card,
            name=f"mosaic-{data.card.name}",
            revision=f"{REVISION}, {grid}x{grid} of {data.card.name} {data.card.revision}, {size} pixels, seed {seed}",
            size=size,
            has_masks=True,
            ignored="",
            reference=f"{REFERENCE}; images: {data.card.reference or data.card.name}",
            made_of=data.card.name,
            label_alone=True,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """The mosaic: image [size,size,C] of the images' type, mask bool [size,size].

        Raises:
            UnreadableImageError: if one of its images cannot be decoded.
        """
        place, members = self.cells(index)
        size = self._edges[-1]
        mask = np.zeros((size, size), dtype=bool)
        for cell, member in enumerate(members):
            picture = self._data[member].image
            if cell == 0:
                image = np.zeros((size, size, picture.shape[2]), picture.dtype)
            where = self._where(cell)
            image[where] = _fitted(picture, image[where].shape[:2])
            mask[where] = cell == place
        return Sample(self.ids[index], image, self.labels[index], mask)

    def cells(self, index: int) -> tuple[int, list[int]]:
        """Which cell is the label's, counted line by line, and the index in the data set of each cell's image."""
        name, label = self.ids[index], self.labels[index]
        others = sorted((self._draw(name, "class", other), other) for other in self._of_class if other != label)
        members = []
        for _, other in others[: self._grid**2 - 1]:
            candidates = self._of_class[other]
            members.append(candidates[self._draw(name, "image", other) % len(candidates)])
        place = self._draw(name, "place") % self._grid**2
        return place, [*members[:place], self._indices[index], *members[place:]]

    def _where(self, cell: int) -> tuple[slice, slice]:
        row, column = divmod(cell, self._grid)
        return slice(*self._edges[row : row + 2]), slice(*self._edges[column : column + 2])

    def _draw(self, *names: object) -> int:
        """A number that the seed and what it is for decide, the same on every machine."""
        text = "\x1f".join(map(str, (self._seed, *names)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _fitted(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The centre of an image [H,W,C] of that shape's proportions, brought to it; as it is where it fits."""
    if image.shape[:2] == shape:
        return image
    channels = [
        ImageOps.fit(Image.fromarray(channel), shape[::-1], Image.Resampling.BILINEAR)
        for channel in np.moveaxis(image, 2, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)
