"""Which images of a data set a run takes, and how they become a model's input."""

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from interpbench.core.errors import DataError, UnreadableImageError
from interpbench.core.preparation import Framing, Interpolation
from interpbench.core.seeding import shuffled
from interpbench.core.types import IGNORE, Dataset, DatasetCard, Sample

if TYPE_CHECKING:
    from hashlib import _Hash

REASONS = 5  # that are named where no image can be read
DARK = 1 / 8  # of white: 12 bits in 16 reach a sixteenth
_RESAMPLING: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class ImageSet:
    """The images of a run at a model's input size, on the CPU.

    Attributes:
        ids: of the samples.
        images: uint8 [N,height,width,C], or float32 in 0..1.
        labels: int64 [N], indices of the data set's classes.
        masks: bool [N,height,width], the evidence, or None where the data have none.
        skipped: id -> why, of the samples that could not be read.
        sha256: of the pixels, in order: equal for equal images, whatever their files are called.
        ignored: bool [N,height,width], what masks leave out, or None where they leave out nothing.
        kept: how many had the input's size and were taken as they are, instead of being resized
            and cropped.
    """

    ids: tuple[str, ...]
    images: Tensor
    labels: Tensor
    masks: Tensor | None
    skipped: dict[str, str]
    sha256: str
    ignored: Tensor | None = None
    kept: int = 0

    @property
    def brightest(self) -> float:
        """The greatest value, as a share of what the type can hold; 1 where there are 8 bits."""
        if not self.images.is_floating_point() or not self.images.numel():
            return 1.0
        return float(self.images.max())

    @property
    def shown(self) -> str:
        """Which channels pictures show; empty where these are the colours, or grey."""
        count = self.images.shape[3]
        if count in (1, 3):
            return ""
        which = "the first as grey" if count == 2 else "the first three as red, green and blue"
        return f"of {count} channels pictures show {which}"

    def pictures(self, indices: Sequence[int] | slice = slice(None)) -> np.ndarray:
        """Some of the images as people can see them, uint8 [n,height,width,3].

        One channel is grey; which of others are shown says `shown`.
        """
        images = self.images[indices]
        images = images[..., :3] if images.shape[3] >= 3 else images[..., :1]
        if images.dtype != torch.uint8:
            images = images.mul(255).round().to(torch.uint8)
        return images.expand(*images.shape[:3], 3).numpy()


def too_dark(brightest: float) -> str:
    """A word on images finer than 8 bits of which none comes near to white, or "".

    Parameters:
        brightest: the greatest value of all, as a share of what the type can hold.
    """
    if brightest > DARK:
        return ""
    return (
        f"The brightest pixel of these images has {brightest:.1%} of what their type can hold: "
        "if they have fewer bits, say which value is white, such as range=4095."
    )


def kept_in_words(kept: int, count: int, framing: Framing) -> str:
    """How many images of so many were neither resized nor cropped where others would be, or ""."""
    if not kept:
        return ""
    return (
        f"{kept} of {count} images are {framing.height}x{framing.width} already and taken as they "
        "are, neither resized nor cropped."
    )


def image_set(
    dataset: Dataset,
    indices: Sequence[int],
    results: Sequence["Fitted | str"],
    framing: Framing,
    pixels: "_Hash | None" = None,
) -> ImageSet:
    """The samples that could be fitted, and why the others could not; there may be none.

    Where one image is float32, all become so.

    Parameters:
        dataset, indices: which samples.
        results: what came of fitting each.
        framing: that they were fitted to.
        pixels: a sha256 that goes on over several sets; it takes in this one's.

    Raises:
        DataError: if their images have different numbers of channels.
    """
    samples = [result for result in results if isinstance(result, Fitted)]
    images = [sample.image for sample in samples]
    digest = hashlib.sha256()
    for image in images:
        for each in (digest,) if pixels is None else (digest, pixels):
            each.update(image.tobytes())
    for sample in samples:
        if sample.image.shape[2] != images[0].shape[2]:
            raise DataError(
                f"Image {sample.id!r} has {sample.image.shape[2]} channels, {samples[0].id!r} has "
                f"{images[0].shape[2]}: the images of a data set must have the same."
            )
    if any(image.dtype != np.uint8 for image in images):
        images = [as_float(image) for image in images]
    shape = (framing.height, framing.width)
    masks = [sample.mask for sample in samples if sample.mask is not None]
    marked = torch.from_numpy(np.array(masks, dtype=np.uint8).reshape(-1, *shape))
    return ImageSet(
        ids=tuple(sample.id for sample in samples),
        images=torch.from_numpy(np.stack(images) if images else np.zeros((0, *shape, 3), np.uint8)),
        labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        masks=marked == 1 if dataset.card.has_masks else None,
        skipped={
            dataset.ids[index]: result
            for index, result in zip(indices, results, strict=True)
            if isinstance(result, str)
        },
        sha256=digest.hexdigest(),
        ignored=marked == IGNORE if dataset.card.ignored else None,
        kept=sum(sample.kept for sample in samples),
    )


def choose(dataset: Dataset, count: int | None, seed: int, *, in_turn: bool = False) -> list[int]:
    """The indices of a seeded, class-balanced sample of `count` images, sorted; all for None.

    Classes take turns, each with its images in an order that depends only on the seed and the
    images' ids, so the sample is the same on every machine, and a smaller sample is part of a
    larger one.

    Parameters:
        dataset, count, seed: of what, how many, and of which chance.
        in_turn: leaves them in that order, so that however many come first are such a sample too.

    Raises:
        DataError: if the data set has fewer images.
    """
    total = len(dataset.ids)
    if total == 0:
        raise DataError(f"Data set {dataset.card.name!r} holds no images.")
    if count is None and not in_turn:
        return list(range(total))
    if count is not None and count > total:
        raise DataError(
            f"Data set {dataset.card.name!r} holds {total} images, {count} are asked for: "
            "lower --images."
        )
    by_class: dict[int, list[int]] = defaultdict(list)
    for index in shuffled(dataset.ids, seed):
        by_class[dataset.labels[index]].append(index)
    queues = [queue for _, queue in sorted(by_class.items())]
    rounds = range(max(map(len, queues)))
    taking_turns = (queue[turn] for turn in rounds for queue in queues if turn < len(queue))
    chosen = list(itertools.islice(taking_turns, count))
    return chosen if in_turn else sorted(chosen)


def default_count(dataset: Dataset, count: int) -> tuple[int, tuple[str, ...]]:
    """How many images are taken where the user names no number: the default, or all if there are
    fewer.

    Returns:
        the number, and a notice if it is not the default.
    """
    total = len(dataset.ids)
    if total >= count:
        return count, ()
    notice = (
        f"Data set {dataset.card.name!r} holds {total} images: all are taken instead of the usual "
        f"{count}."
    )
    return total, (notice,)


def load_images(dataset: Dataset, indices: list[int], framing: Framing) -> ImageSet:
    """Decodes and fits the samples; one that cannot be read is skipped and named.

    Raises:
        DataError: if none can be read, or one is not what a sample should be.
    """
    images = read_images(dataset, indices, framing)
    refuse_none(dataset, len(images.ids), images.skipped)
    return images


def refuse_none(dataset: Dataset, readable: int, skipped: Mapping[str, str]) -> None:
    """Raises a DataError where no image could be read, which says why."""
    if not readable:
        raise DataError(
            f"None of the {len(skipped)} images of {dataset.card.name!r} can be read: "
            f"{dict(itertools.islice(skipped.items(), REASONS))}."
        )


def read_images(
    dataset: Dataset, indices: list[int], framing: Framing, pixels: "_Hash | None" = None
) -> ImageSet:
    """As `load_images`, but there may be none.

    Parameters:
        dataset, indices, framing: which samples, and how they are fitted.
        pixels: see `image_set`.
    """

    def fitted(index: int) -> Fitted | str:
        return fit_sample(dataset, index, framing)

    if dataset.card.concurrent:
        with ThreadPoolExecutor() as threads:
            results = list(threads.map(fitted, indices))
    else:
        results = [fitted(index) for index in indices]
    return image_set(dataset, indices, results, framing, pixels)


class Fitted(NamedTuple):
    """A sample at the model's input size; `kept` if it was taken as it is instead of cropped."""

    id: str
    image: np.ndarray
    label: int
    mask: np.ndarray | None
    kept: bool


def fit_sample(dataset: Dataset, index: int, framing: Framing) -> Fitted | str:
    """A sample at a model's input size, or why it cannot be read.

    Raises:
        DataError: if it is not what a sample should be.
    """
    try:
        sample = dataset[index]
    except UnreadableImageError as error:
        return str(error)
    check_image(sample)
    if dataset.card.has_masks:
        check_mask(sample, dataset.card)
    mask = fit_mask(sample, framing) if dataset.card.has_masks else None
    kept = framing.crops_its_own_size and _has_size(sample.image, framing)
    return Fitted(sample.id, fit(sample.image, framing), sample.label, mask, kept)


def check_image(sample: Sample) -> None:
    """Raises a DataError if a sample's image is not what `Sample` promises."""
    image = sample.image
    found = f"{type(image).__name__} {getattr(image, 'dtype', '')} {getattr(image, 'shape', '')}"
    is_image = isinstance(image, np.ndarray) and image.ndim == 3 and image.size > 0
    if not is_image or image.dtype not in (np.uint8, np.float32):
        raise DataError(
            f"The image of sample {sample.id!r} is {found}; expected a numpy array [H,W,C] of "
            "uint8, or of float32 in 0..1."
        )
    if image.dtype == np.float32 and not 0 <= image.min() <= image.max() <= 1:
        raise DataError(
            f"The image of sample {sample.id!r} has values from {image.min():g} to "
            f"{image.max():g}; expected float32 in 0..1, before any normalisation: the model's "
            "preparation does that. Divide pixels in 0..255 by 255."
        )


def check_mask(sample: Sample, card: DatasetCard) -> None:
    """Raises a DataError if a mask is not what `Sample` and the data set's card promise."""
    mask = sample.mask
    if mask is None or mask.shape != sample.image.shape[:2]:
        raise DataError(
            f"Sample {sample.id!r} needs a mask of its image's size, {sample.image.shape[:2]}."
        )
    allowed = [0, 1, IGNORE] if card.ignored else [0, 1]
    others = [] if mask.dtype == bool else np.setdiff1d(mask, allowed)[:3].tolist()
    if mask.dtype not in (bool, np.uint8) or others:
        holds = f"{mask.dtype}, with {others}" if others else str(mask.dtype)
        raise DataError(
            f"The mask of sample {sample.id!r} is of {holds}; expected bool, or uint8 of 0 and 1 "
            f"(the evidence), and of {IGNORE} where the data set's card says what is ignored."
        )


def as_float(image: np.ndarray) -> np.ndarray:
    """uint8, or float32 in 0..1 -> float32 in 0..1."""
    return image if image.dtype == np.float32 else image.astype(np.float32) / np.float32(255)


def fit(image: np.ndarray, framing: Framing) -> np.ndarray:
    """The image at a model's input size: uint8 or float32 in 0..1, [H,W,C] -> [height,width,C].

    Resized (antialiased) and cropped as the framing says: the same as the transforms that come with
    torchvision's weights. An image that has the input's size is taken as it is.
    """
    if _has_size(image, framing):
        return image
    resample = _RESAMPLING[framing.interpolation]

    def fitted(pixels: np.ndarray) -> np.ndarray:
        return _crop(_resize(Image.fromarray(pixels), framing, resample), framing)

    if image.dtype == np.uint8 and image.shape[2] == 3:
        return fitted(image)
    channels = [fitted(np.ascontiguousarray(channel)) for channel in np.moveaxis(image, -1, 0)]
    whole = np.stack(channels, axis=-1)
    # Bicubic and Lanczos overshoot, which whole numbers cut off by themselves.
    return whole if image.dtype == np.uint8 else whole.clip(0, 1)


def fit_mask(sample: Sample, framing: Framing) -> np.ndarray:
    """The sample's mask at a model's input size, [height,width]: by nearest neighbour.

    Of the type that it has, bool or uint8.
    """
    assert sample.mask is not None  # see `check_mask`
    if _has_size(sample.mask, framing):
        return sample.mask
    mask = Image.fromarray(sample.mask.astype(np.uint8))
    fitted = _crop(_resize(mask, framing, Image.Resampling.NEAREST), framing)
    return fitted.astype(sample.mask.dtype)


def _has_size(pixels: np.ndarray, framing: Framing) -> bool:
    return pixels.shape[:2] == (framing.height, framing.width)


def _resize(image: Image.Image, framing: Framing, resample: Image.Resampling) -> Image.Image:
    width, height = image.size
    if framing.resize is None:
        return image.resize((framing.width, framing.height), resample)
    shorter, longer = sorted((width, height))
    if shorter == framing.resize:
        return image
    long_side = int(framing.resize * longer / shorter)
    size = (framing.resize, long_side) if width <= height else (long_side, framing.resize)
    return image.resize(size, resample)


def _crop(image: Image.Image, framing: Framing) -> np.ndarray:
    wanted = (framing.width, framing.height)
    spare = [side - cut for side, cut in zip(image.size, wanted, strict=True)]
    left, top = (n // 2 if framing.crop == "floored" else round(n / 2) for n in spare)
    return np.asarray(image.crop((left, top, left + wanted[0], top + wanted[1])))
