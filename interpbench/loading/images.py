"""Which images of a data set a run takes, and how they become a model's input."""

import hashlib
import itertools
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from interpbench.core.errors import DataError, UnreadableImageError
from interpbench.core.preparation import Framing, Interpolation
from interpbench.core.seeding import shuffled
from interpbench.core.types import Dataset, Sample

# What counts as an image in a folder, in any case of its letters, where Pillow can decode it.
_SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm", ".avif",
)  # fmt: skip

# What turns each EXIF orientation upright. ImageOps.exif_transpose also writes the EXIF data anew,
# which raises errors of many kinds where they are damaged.
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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
        masks: bool [N,height,width], or None where the data have none.
        skipped: id -> why, of the samples that could not be read.
    """

    ids: tuple[str, ...]
    images: Tensor
    labels: Tensor
    masks: Tensor | None
    skipped: dict[str, str]

    @property
    def sha256(self) -> str:
        """Of the pixels, in order: equal for equal images, whatever their files are called."""
        return hashlib.sha256(self.images.numpy().tobytes()).hexdigest()


def choose(dataset: Dataset, count: int | None, seed: int) -> list[int]:
    """The indices of a seeded, class-balanced sample of `count` images, sorted; all for None.

    Classes take turns, each with its images in an order that depends only on the seed and the
    images' ids, so the sample is the same on every machine, and a smaller sample is part of a
    larger one.

    Raises:
        DataError: if the data set has fewer images.
    """
    total = len(dataset.ids)
    if total == 0:
        raise DataError(f"Data set {dataset.card.name!r} holds no images.")
    if count is None:
        return list(range(total))
    if count > total:
        raise DataError(
            f"Data set {dataset.card.name!r} holds {total} images, {count} are asked for: "
            "lower --images."
        )
    by_class: dict[int, list[int]] = defaultdict(list)
    for index in shuffled(dataset.ids, seed):
        by_class[dataset.labels[index]].append(index)
    queues = [queue for _, queue in sorted(by_class.items())]
    rounds = range(max(map(len, queues)))
    in_turn = (queue[turn] for turn in rounds for queue in queues if turn < len(queue))
    return sorted(itertools.islice(in_turn, count))


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
        DataError: if none can be read.
    """
    has_masks = dataset.card.has_masks

    def fitted(index: int) -> _Fitted | str:
        """The sample, or why it cannot be read."""
        try:
            sample = dataset[index]
        except UnreadableImageError as error:
            return str(error)
        mask = fit_mask(sample, framing) if has_masks else None
        return _Fitted(sample.id, fit(sample.image, framing), sample.label, mask)

    if dataset.card.concurrent:
        with ThreadPoolExecutor() as threads:
            results = list(threads.map(fitted, indices))
    else:
        results = [fitted(index) for index in indices]
    skipped = {
        dataset.ids[index]: result
        for index, result in zip(indices, results, strict=True)
        if isinstance(result, str)
    }
    samples = [result for result in results if isinstance(result, _Fitted)]
    if not samples:
        raise DataError(
            f"None of the {len(indices)} images of {dataset.card.name!r} can be read: {skipped}."
        )
    masks = [sample.mask for sample in samples if sample.mask is not None]
    return ImageSet(
        ids=tuple(sample.id for sample in samples),
        images=torch.from_numpy(np.stack([sample.image for sample in samples])),
        labels=torch.tensor([sample.label for sample in samples]),
        masks=torch.from_numpy(np.stack(masks)) if has_masks else None,
        skipped=skipped,
    )


class _Fitted(NamedTuple):
    """A sample at the model's input size."""

    id: str
    image: np.ndarray
    label: int
    mask: np.ndarray | None


@cache
def image_suffixes() -> tuple[str, ...]:
    """The endings of image files, in lower case, as far as Pillow can decode them here."""
    known = Image.registered_extensions()
    return tuple(suffix for suffix in _SUFFIXES if suffix in known)


def image_files(folder: Path) -> list[Path]:
    """The image files below a folder, at any depth, sorted by their paths."""
    suffixes = image_suffixes()
    below = folder.rglob("*")
    return sorted(path for path in below if path.suffix.lower() in suffixes and path.is_file())


def read_image(path: Path, name: str) -> np.ndarray:
    """An image file as uint8 [H,W,3], RGB, upright: turned as its EXIF orientation says.

    Parameters:
        path: of the file.
        name: what to call it in an error.

    Raises:
        UnreadableImageError: if it cannot be decoded.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> Image.new("RGB", (32, 24), "red").save("red.png")
        >>> image = interpbench.read_image(Path("red.png"), "red.png")
        >>> image.shape, image[0, 0].tolist()
        ((24, 32, 3), [255, 0, 0])
    """
    try:
        with Image.open(path) as image:
            turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
            upright = image if turn is None else image.transpose(turn)
            return np.asarray(upright.convert("RGB"))
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(f"{name}: {error}") from error


def fit(image: np.ndarray, framing: Framing) -> np.ndarray:
    """The image at a model's input size: uint8 [H,W,3] -> uint8 [height,width,3].

    Resized (antialiased) and cropped as the framing says: the same as the transforms that come with
    torchvision's weights.
    """
    resample = _RESAMPLING[framing.interpolation]
    return _crop(_resize(Image.fromarray(image), framing, resample), framing)


def fit_mask(sample: Sample, framing: Framing) -> np.ndarray:
    """The sample's mask at a model's input size, bool [height,width]: by nearest neighbour.

    Raises:
        DataError: if the sample has no mask, or one of another size than its image.
    """
    if sample.mask is None or sample.mask.shape != sample.image.shape[:2]:
        raise DataError(
            f"Sample {sample.id!r} needs a mask of its image's size, {sample.image.shape[:2]}."
        )
    mask = Image.fromarray(sample.mask.astype(np.uint8))
    return _crop(_resize(mask, framing, Image.Resampling.NEAREST), framing).astype(bool)


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
    left, top = (round((side - cut) / 2) for side, cut in zip(image.size, wanted, strict=True))
    return np.asarray(image.crop((left, top, left + wanted[0], top + wanted[1])))
