"""The images of a training in memory, and the batches that they are drawn in."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2.functional import resize

from interpbench.core.errors import DataError, UnreadableImageError
from interpbench.core.preparation import Framing
from interpbench.core.seeding import derive
from interpbench.core.types import Dataset, DatasetCard, Sample
from interpbench.loading.images import check_image, fit

Transform = Callable[[Tensor], Tensor]
TOLD = 100  # images between two words of how far the reading is
MEAN, STD = (0.5,) * 3, (0.25,) * 3  # of a data set that leaves it open


@dataclass(frozen=True)
class Images:
    """Images uint8 [N,3,S,S], labels int64 [N], and how many could not be read.

    With their data set's card, and the sizes that they had before they were resized, in words.
    """

    images: Tensor
    labels: Tensor
    card: DatasetCard
    unreadable: int = 0
    sizes: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """The images' side in pixels."""
        return self.images.shape[-1]

    def part(self, indices: Tensor) -> "Images":
        """The images at the indices int64 [n]."""
        return Images(self.images[indices], self.labels[indices], self.card)

    def at(self, size: int) -> "Images":
        """The images brought to that side, bilinearly and antialiased."""
        return self if size == self.size else replace(self, images=resize(self.images, [size]))


def decode(dataset: Dataset, size: int | None, tell: Callable[[int, int], None]) -> Images:
    """All readable images of a data set, in memory, at 8 bits.

    Parameters:
        dataset: of any images; without `size`, of square ones of one size.
        size: the shorter side is brought to this many pixels, and the centre is cut out; None for
            as they are.
        tell: called with how many of how many are done.

    Raises:
        DataError: if there is none, or they are not RGB, square and of one size.
    """
    images = np.empty(0, np.uint8)
    labels: list[int] = []
    sizes: set[tuple[int, int]] = set()
    total = len(dataset.ids)
    for i in range(total):
        if i % TOLD == 0 and i:
            tell(i, total)
        try:
            sample = dataset[i]
        except UnreadableImageError:
            continue
        image = _pixels(sample, size)
        height, width = sample.image.shape[:2]
        sizes.add((width, height))
        side = images.shape[-1] if labels else len(image)
        if image.shape != (side, side, 3):
            raise DataError(
                f"Image {sample.id!r} has shape {image.shape}, expected {(side, side, 3)}: "
                "training needs square images of one size. Say which with --size, and they are "
                "resized and cropped."
            )
        if not labels:  # all at once: a list and its stack would take twice the memory
            images = np.empty((total, 3, side, side), np.uint8)
        images[len(labels)] = image.transpose(2, 0, 1)
        labels.append(sample.label)
    if not labels:
        raise DataError(
            f"Data set {dataset.card.name!r} has no readable image to train or test on."
        )
    tell(total, total)
    readable = len(labels)
    return Images(
        torch.from_numpy(images[:readable]),
        torch.tensor(labels),
        with_colours(dataset.card),
        total - readable,
        _in_words(sizes),
    )


def _pixels(sample: Sample, size: int | None) -> np.ndarray:
    """The sample's image, uint8 [H,W,3]; at that size if there is one."""
    check_image(sample)
    if sample.image.shape[2] != 3:
        raise DataError(
            f"Image {sample.id!r} has {sample.image.shape[2]} channels: training is for images "
            "of three, RGB."
        )
    image = sample.image if size is None else fit(sample.image, Framing.square(size))
    return image if image.dtype == np.uint8 else np.rint(255 * image).astype(np.uint8)


def _in_words(sizes: set[tuple[int, int]]) -> str:
    """Widths and heights in pixels: the one there is, or that of the smallest and largest area."""
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    least, most = (f"{width}x{height}" for width, height in (ordered[0], ordered[-1]))
    return f"{least} pixels" if least == most else f"{least} to {most} pixels"


def with_colours(card: DatasetCard) -> DatasetCard:
    """A data set's card with what images are normalised by, where the data set leaves it open."""
    return replace(card, mean=card.mean or MEAN, std=card.std or STD)


def hold_out(images: Images, share: float, seed: int) -> tuple[Images, Images | None]:
    """The images to train on, and a seeded share of them that is held out.

    At least one is held out; None for a share of 0.
    """
    if share == 0:
        return images, None
    count = max(1, round(share * len(images)))
    if count == len(images):
        raise DataError(
            f"{len(images)} images are too few to hold {share:.0%} of them out for validation."
        )
    order = torch.randperm(
        len(images), generator=torch.Generator().manual_seed(derive(seed, "validation"))
    )
    return images.part(order[count:].sort().values), images.part(order[:count].sort().values)


class Batches:
    """The batches of a training's epochs, each image transformed anew.

    Order and transforms depend on the seed, the epoch and the place in the epoch alone, not on how
    many processes make the batches nor on what was drawn before.
    """

    def __init__(
        self, data: Images, batch_size: int, transform: Transform, seed: int, workers: int
    ) -> None:
        self._data = data
        self._size = min(batch_size, len(data))
        self._transform = transform
        self._seed = seed
        self._workers = workers

    def __len__(self) -> int:
        return len(self._data) // self._size

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """uint8 [B,3,S,S] and int64 [B], of all images in a new order.

        An incomplete last batch is left out.
        """
        chance = torch.Generator().manual_seed(derive(self._seed, "order", number))
        order = torch.randperm(len(self._data), generator=chance)
        batches = order[: len(self) * self._size].split(self._size)
        made = _Made(
            self._data, batches, self._transform, derive(self._seed, "augmentation", number)
        )
        # One item is one batch, so that a worker seeds and makes it as a whole.
        yield from DataLoader(
            made, batch_size=None, num_workers=self._workers, generator=torch.Generator()
        )


class _Made(TorchDataset[tuple[Tensor, Tensor]]):
    """The batches of one epoch."""

    def __init__(
        self, data: Images, batches: tuple[Tensor, ...], transform: Transform, seed: int
    ) -> None:
        self._data, self._batches, self._transform, self._seed = data, batches, transform, seed

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        batch = self._batches[number]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self._seed, number))
            images = torch.stack([self._transform(image) for image in self._data.images[batch]])
        return images, self._data.labels[batch]


def workers_for(device: torch.device) -> int:
    """Processes that make batches: a CPU is busy enough with the model."""
    return 0 if device.type == "cpu" else min(8, max(0, (os.cpu_count() or 1) - 1))


def as_input(
    images: Tensor,
    card: DatasetCard,
    device: torch.device,
    layout: torch.memory_format = torch.channels_last,
) -> Tensor:
    """uint8 [B,3,S,S] -> float32 [B,3,S,S] in that memory layout, normalised."""
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (card.mean, card.std))
    x = images.to(device, non_blocking=True).to(torch.float32, memory_format=layout)
    return x.div_(255).sub_(mean).div_(std)
