"""Images in memory as a data set: tensors, arrays, a torch Dataset, PIL images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from interpbench.core.errors import DataError, PreparationError
from interpbench.core.preparation import Stated
from interpbench.core.types import UNKNOWN, Dataset, DatasetCard, Sample

ROUNDING = 1e-3  # by which pixels may leave 0..1, half precision being the coarsest
HOW_TO_STATE = (
    "State mean=... and std=... per channel, of pixels in 0..1; preparation='imagenet', 'clip' or "
    "'inception'; or mean=0, std=1 if the model takes pixels as they are"
)
EXPECTED = (
    "a tensor or an array [N,C,H,W], a torch Dataset of (image, label), a list of images, or an "
    "interpbench Dataset"
)


@dataclass(frozen=True)
class InMemory:
    """Images in memory as a data set.

    Attributes:
        card: its revision is a hash of pixels and labels.
        ids: "0001" and so on, in the order in which they were given.
        labels: of the images; UNKNOWN where there are none.
        images: uint8 [H,W,C], or float32 in 0..1.
    """

    card: DatasetCard
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    images: Sequence[np.ndarray]

    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`."""
        return Sample(self.ids[index], self.images[index], self.labels[index])


@dataclass(frozen=True)
class Taken:
    """What was made of a user's images.

    Attributes:
        dataset: the images.
        stated: what is then known of the preparation.
        notices: what was assumed, a sentence each.
    """

    dataset: Dataset
    stated: Stated
    notices: tuple[str, ...] = ()


def is_dataset(value: object) -> bool:
    """Whether it is a data set of ours: it has a card, ids, labels and samples."""
    names = ("card", "ids", "labels", "__getitem__")
    return isinstance(getattr(value, "card", None), DatasetCard) and all(
        hasattr(value, name) for name in names
    )


def take_images(
    images: Any, labels: Any = None, classes: Sequence[str] | None = None,
    stated: Stated = Stated(), *, resized: bool = False,
) -> Taken:  # fmt: skip
    """Images in memory as a data set of pixels.

    uint8 are pixels 0..255, float numbers in 0..1 are pixels; float numbers beyond are taken to be
    normalised by the mean and the std that are stated, and are brought back to pixels.

    Parameters:
        images: as EXPECTED says. Images of a Dataset come with their labels.
        labels: an index of a logit for each image; None where they come with the images, or are not
            known.
        classes: their names, in the order of the labels; None for numbers.
        stated: what the user says of the preparation.
        resized: whether the user wants another size than the images have.

    Raises:
        DataError: if they are no images or labels.
        PreparationError: if it is not known how they are normalised.
    """
    if is_dataset(images):
        if labels is not None or classes is not None:
            raise DataError(
                "labels= and classes= belong to images that have none: this data set has its own."
            )
        return Taken(images, stated)
    name, tensors, found = _unpacked(images)
    stated = _for_channels(stated, {len(tensor) for tensor in tensors})
    tensors, stated, notices = _pixels(tensors, stated)
    sizes = {tuple(tensor.shape[1:]) for tensor in tensors}
    if len(sizes) > 1 and stated.size is None:
        shown = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:4])
        raise PreparationError(
            f"The images have {len(sizes)} sizes ({shown}): give size=..., in pixels or (height, "
            "width), that all are brought to."
        )
    if len(sizes) == 1 and not resized:
        [(height, width)] = sizes
        by = ", ".join(filter(None, [stated.by, "the images' own size"]))
        stated = replace(stated, by=by, size=(height, width), resize=0)
    numbers = _labels(found if labels is None else labels, len(tensors))
    arrays = [np.ascontiguousarray(tensor.permute(1, 2, 0).numpy()) for tensor in tensors]
    card = _card(name, numbers, classes or getattr(images, "classes", None), classes is not None)
    card = replace(card, revision=_revision(arrays, numbers, card.classes))
    width = max(4, len(str(len(arrays))))
    ids = tuple(f"{number:0{width}}" for number in range(1, len(arrays) + 1))
    return Taken(InMemory(card, ids, numbers, arrays), stated, notices)


def _unpacked(images: Any) -> tuple[str, list[Tensor], list[Any] | None]:
    """A name, the images [C,H,W], and the labels that come with them."""
    if isinstance(images, Tensor | np.ndarray):
        batch = torch.as_tensor(images).detach().cpu()
        return "tensors", list(_checked_batch(batch)), None
    if isinstance(images, Image.Image):
        return "images", [_tensor(images)], None
    if isinstance(images, torch.utils.data.DataLoader):
        raise DataError("images= is a DataLoader: give its data set, loader.dataset.")
    sized = hasattr(images, "__len__") and hasattr(images, "__getitem__")
    if not sized or isinstance(images, str | bytes | dict):
        hint = " One that can only be gone through is no such: give a list of its items." * (
            isinstance(images, torch.utils.data.IterableDataset)
        )
        raise DataError(f"images= is a {type(images).__name__}; expected {EXPECTED}.{hint}")
    items = [images[i] for i in range(len(images))]
    if not items:
        raise DataError(f"images= is an empty {type(images).__name__}.")
    paired = [item for item in items if isinstance(item, tuple | list) and len(item) >= 2]
    if paired and len(paired) != len(items):
        raise DataError("Some items of images= are pairs of image and label, others are not.")
    name = "images" if isinstance(images, list | tuple) else type(images).__name__
    if paired:
        return name, [_tensor(item[0]) for item in items], [item[1] for item in items]
    return name, [_tensor(item[0] if isinstance(item, tuple) else item) for item in items], None


def _checked_batch(batch: Tensor) -> Tensor:
    if batch.ndim == 3:
        batch = batch[None]
    if batch.ndim != 4 or not batch.numel():
        raise DataError(f"images= has the shape {list(batch.shape)}; expected [N,C,H,W].")
    _check_channels_first(batch[0])
    return batch


def _tensor(image: Any) -> Tensor:
    """One image [C,H,W]."""
    if isinstance(image, Image.Image):
        if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
            raise DataError(
                f"images= holds a PIL image of mode {image.mode!r}, whose range is not known: give "
                "tensors in 0..1."
            )
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    if not isinstance(image, Tensor | np.ndarray):
        raise DataError(f"images= holds a {type(image).__name__}; expected {EXPECTED}.")
    tensor = torch.as_tensor(image).detach().cpu()
    if tensor.ndim == 2:
        tensor = tensor[None]
    if tensor.ndim != 3 or not tensor.numel():
        raise DataError(
            f"images= holds an image of the shape {list(tensor.shape)}; expected [C,H,W]."
        )
    _check_channels_first(tensor)
    return tensor


def _check_channels_first(image: Tensor) -> None:
    first, *_, last = image.shape
    if first > 4 and last in (1, 3, 4):
        raise DataError(
            f"images= seems to have its channels last, [H,W,C] = {list(image.shape)}: bring them "
            "to the front, .permute(0, 3, 1, 2) or .transpose(0, 3, 1, 2)."
        )


def _for_channels(stated: Stated, counts: set[int]) -> Stated:
    """One number for the mean and the std becomes one for each channel of the images."""
    if stated.mean is None or stated.std is None or len(counts) > 1:
        return stated
    [count] = counts
    given = max(len(stated.mean), len(stated.std))
    if given not in (1, count) or stated.channels is not None:
        return stated
    mean = stated.mean * (count if len(stated.mean) == 1 else 1)
    std = stated.std * (count if len(stated.std) == 1 else 1)
    channels = {1: "grey", 3: "rgb"}.get(count, "own")
    return replace(stated, mean=mean, std=std, channels=channels)  # type: ignore[arg-type]


def _pixels(tensors: list[Tensor], stated: Stated) -> tuple[list[Tensor], Stated, tuple[str, ...]]:
    """The images as pixels, uint8 or float32 in 0..1; what normalises them; what was assumed."""
    types = {tensor.dtype for tensor in tensors}
    if types == {torch.uint8}:
        return tensors, stated, ()
    if not all(tensor.is_floating_point() for tensor in tensors):
        raise DataError(
            f"images= holds {', '.join(sorted(map(str, types)))}; expected torch.uint8 (0..255) or "
            "float numbers (0..1, or normalised)."
        )
    tensors = [tensor.to(torch.float32) for tensor in tensors]
    low = min(float(tensor.min()) for tensor in tensors)
    high = max(float(tensor.max()) for tensor in tensors)
    if not np.isfinite([low, high]).all():
        raise DataError("images= holds numbers that are not finite.")
    found = f"images= holds numbers from {low:.3g} to {high:.3g}"
    if low >= 0 and high <= 1:
        how = f", and are normalised by mean {_words(stated.mean)} and std {_words(stated.std)}"
        said = how if stated.mean and stated.std else ""
        return tensors, stated, (f"{found}, so they are taken to be pixels in 0..1{said}.",)
    untouched = stated.mean and not any(stated.mean) and set(stated.std or ()) == {1.0}
    if untouched and high > low:
        return _as_they_are(tensors, stated, (low, high), found)
    pixels = _unnormalised(tensors, stated, found)
    notice = (
        f"{found}, so they are taken to be normalised by mean {_words(stated.mean)} and std "
        f"{_words(stated.std)}; pictures and baselines are of the pixels before that."
    )
    return pixels, stated, (notice,)


def _as_they_are(
    tensors: list[Tensor], stated: Stated, bounds: tuple[float, float], found: str
) -> tuple[list[Tensor], Stated, tuple[str, ...]]:
    """What the model takes without any normalisation: as pixels from the least to the greatest."""
    low, high = bounds
    span = high - low
    count = len(stated.mean or ())
    whole = replace(stated, mean=(-low / span,) * count, std=(1 / span,) * count)
    notice = (
        f"{found}, and the model takes them as they are: pictures, black and white go from the "
        "least of them to the greatest."
    )
    return [((tensor - low) / span).clamp(0, 1) for tensor in tensors], whole, (notice,)


def _unnormalised(tensors: list[Tensor], stated: Stated, found: str) -> list[Tensor]:
    if stated.mean is None or stated.std is None:
        raise PreparationError(
            f"{found}, which are no pixels in 0..1, and it is not known how they are normalised. "
            f"{HOW_TO_STATE}. Pixels in 0..255 are given as uint8, or divided by 255."
        )
    mean, std = (torch.tensor(values)[:, None, None] for values in (stated.mean, stated.std))
    if len(mean) not in (1, len(tensors[0])) or len(std) not in (1, len(tensors[0])):
        raise PreparationError(
            f"The images have {len(tensors[0])} channels, the mean {len(mean)} and the std "
            f"{len(std)} numbers: give a number a channel, or one for all."
        )
    pixels = [tensor * std + mean for tensor in tensors]
    low = min(float(image.min()) for image in pixels)
    high = max(float(image.max()) for image in pixels)
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise PreparationError(
            f"{found}; were they normalised by mean {_words(stated.mean)} and std "
            f"{_words(stated.std)}, the pixels would be from {low:.3g} to {high:.3g}, and not in "
            "0..1. State the mean and the std that they are normalised by; or give the pixels, as "
            "uint8 or in 0..1."
        )
    if stated.channels == "bgr":
        pixels = [image.flip(0) for image in pixels]
    return [image.clamp(0, 1) for image in pixels]


def _labels(given: Any, count: int) -> tuple[int, ...]:
    if given is None:
        return (UNKNOWN,) * count
    if isinstance(given, Tensor):
        given = given.detach().cpu().numpy()
    try:
        labels = np.asarray(given)
    except ValueError:
        labels = np.array(None)
    if labels.ndim == 2 and len(labels) == count:
        raise DataError(
            f"labels= has the shape {list(labels.shape)}; expected an index for each image: "
            ".argmax(1) of one-hot labels."
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"labels= must be whole numbers, one for each image, not {labels.dtype} of the shape "
            f"{list(labels.shape)}."
        )
    if len(labels) != count:
        raise DataError(f"There are {count} images and {len(labels)} labels.")
    if (labels < 0).any():
        raise DataError("labels= holds a number below 0: labels are indices of logits.")
    return tuple(int(label) for label in labels)


def _card(
    name: str, labels: Sequence[int], classes: Sequence[str] | None, named: bool
) -> DatasetCard:
    """The card; without names, or where those are only the images' own, labels are logits."""
    most = max(labels)
    if named and classes is not None and len(classes) <= most:
        raise DataError(f"classes= names {len(classes)} classes, and the labels go up to {most}.")
    if not classes or isinstance(classes, str) or len(classes) <= most:
        classes = [str(label) for label in range(most + 1)]
    names = tuple(map(str, classes))
    return DatasetCard(name, names, "", logits=None if named else tuple(range(len(names))))


def _revision(
    images: Sequence[np.ndarray], labels: Sequence[int], classes: Sequence[str]
) -> str:  # fmt: skip
    digest = hashlib.sha256(repr((tuple(labels), tuple(classes))).encode())
    for image in images:
        digest.update(f"{image.shape} {image.dtype} ".encode())
        digest.update(image.tobytes())
    return f"pixels-{digest.hexdigest()[:12]}"


def _words(values: Sequence[float] | None) -> str:
    return " ".join(f"{value:.4g}" for value in values or ())
