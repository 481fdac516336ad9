"""How an image becomes a model's input: stated by somebody, shown, and never guessed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from interpbench.core.errors import PreparationError

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Channels = Literal["rgb", "bgr", "grey", "own"]
Crop = Literal["rounded", "floored"]
Size = int | tuple[int, int]
Number = int | float

MOST_PIXELS = 2**15  # a side: of an input, and of what images are resized to

NUMBER_OF: dict[Channels, int] = {"rgb": 3, "bgr": 3, "grey": 1}


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How an image of any size gets the size of a model's input.

    One that has that size is taken as it is: it has been cropped before, and to enlarge it and crop
    it again would cost detail and the border.

    Attributes:
        height, width: of the input, in pixels.
        resize: length that the shorter side is brought to before the central crop of the input's
            size; None where the whole image is brought to the input's size, whatever its shape.
        interpolation: of the resizing, antialiased as PIL's.
        crop: where the central crop begins if half a pixel is over: `rounded` to the even number,
            as torchvision's, or `floored`, as that of Hugging Face's library transformers.
    """

    height: int
    width: int
    resize: int | None
    interpolation: Interpolation = "bilinear"
    crop: Crop = "rounded"

    @property
    def size(self) -> int:
        """The shorter side."""
        return min(self.height, self.width)

    @property
    def as_square(self) -> int:
        """The side of a square of as many pixels, about."""
        return round(math.sqrt(self.height * self.width))

    @property
    def crops_its_own_size(self) -> bool:
        """Whether an image of the input's size would be resized and cropped if it were not kept."""
        return self.resize is not None and not self.resize == self.height == self.width

    @property
    def framing(self) -> "Framing":
        """This alone, without what else a preparation says."""
        return Framing(**{f.name: getattr(self, f.name) for f in fields(Framing)})

    @classmethod
    def square(cls, size: int) -> "Framing":
        """The shorter side brought to `size`, then the central square."""
        return cls(height=size, width=size, resize=size)


@dataclass(frozen=True, kw_only=True)
class Preparation(Framing):
    """How an image becomes a model's input, float32 [C,height,width].

    Attributes:
        mean, std: per channel of the input, of pixels in 0..1: x = (pixel - mean) / std. A model
            that takes pixels in 0..255 has mean 0 and std 1/255.
        channels: of the input: `rgb`, `bgr`, `grey` (ITU-R 601, as PIL's), or `own`: as the data
            set has them.
        stated_by: who says so, in words.

    Example:
        >>> from interpbench.core.preparation import Preparation
        >>> made = Preparation(
        ...     height=224, width=224, resize=256, mean=(0.5,) * 3, std=(0.25,) * 3)
        >>> made.text.split(", mean")[0]
        '224x224 from the shorter side at 256 (bilinear), or as it is at 224x224, RGB'
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: Channels = "rgb"
    stated_by: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an input: channels, height, width."""
        return len(self.mean), self.height, self.width

    @property
    def text(self) -> str:
        """In words: equal words, equal inputs."""
        whole = (
            "of the whole image" if self.height == self.width else "(height x width) of all of it"
        )
        how = whole if self.resize is None else f"from the shorter side at {self.resize}"
        names = {"own": f"{len(self.mean)} channels", "grey": "grey"}
        channels = names.get(self.channels, self.channels.upper())
        kept = f", or as it is at {self.height}x{self.width}" if self.crops_its_own_size else ""
        crop = ", crop floored" if self.resize is not None and self.crop == "floored" else ""
        mean, std = (" ".join(f"{v:.6g}" for v in values) for values in (self.mean, self.std))
        return (
            f"{self.height}x{self.width} {how} ({self.interpolation}{crop}){kept}, {channels}, "
            f"mean {mean}, std {std}"
        )


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What one source says of the preparation; None for what it does not say.

    Attributes:
        by: the source, in words.
        size: side in pixels of the square input, or (height, width).
        resize: see `Framing`; 0 for None there.
        crop: see `Framing`.
        mean, std, channels, interpolation: see `Preparation`; a single number counts for all
            channels.
    """

    by: str = ""
    size: Size | None = None
    resize: int | None = None
    interpolation: Interpolation | None = None
    crop: Crop | None = None
    channels: Channels | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @classmethod
    def whole(cls, preparation: Preparation) -> "Stated":
        """All that a preparation says."""
        return cls(
            by=preparation.stated_by or "preparation=",
            size=(preparation.height, preparation.width),
            resize=preparation.resize or 0,
            interpolation=preparation.interpolation,
            crop=preparation.crop,
            channels=preparation.channels,
            mean=preparation.mean,
            std=preparation.std,
        )

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None:  # a number, or any sequence of numbers, as people write it
                values = (value,) if isinstance(value, int | float) else tuple(value)
                object.__setattr__(self, name, tuple(map(float, values)))

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return self == Stated(by=self.by)

    def over(self, other: "Stated") -> "Stated":
        """What this states, and what the other does of the rest.

        The other's resize and crop go with its size alone.
        """
        if self.size is not None:
            other = replace(other, resize=None, crop=None)
        said = {
            field.name: getattr(self, field.name)
            for field in fields(Stated)
            if getattr(self, field.name) is not None
        }
        return replace(other, **said)


def settle(sources: Sequence[Stated]) -> Preparation | None:
    """The preparation that sources state together; None if size, mean or std nobody states.

    Parameters:
        sources: the first to state something is believed. Who states the size states how images
            are resized to it: if they do not, the shorter side is brought to it, or the whole image
            where it is not square.

    Raises:
        PreparationError: if the values do not go together.
    """
    whole = Stated()
    used: dict[str, list[str]] = {}
    for source in sources:
        for name in ("size", "mean", "std"):
            if getattr(whole, name) is None and getattr(source, name) is not None:
                used.setdefault(source.by, []).append(name)
        whole = whole.over(source)
    if whole.size is None or whole.mean is None or whole.std is None:
        return None
    height, width = (whole.size,) * 2 if isinstance(whole.size, int) else whole.size
    resize = whole.resize if whole.resize is not None else (height if height == width else 0)
    if 0 < resize < max(height, width) and height == width:
        raise PreparationError(
            f"The shorter side is brought to {resize} pixels, and {height} are cut out of it: "
            "state a resize of at least the size, or 0 for the whole image."
        )
    channels = whole.channels or _channels_of(whole)
    count = NUMBER_OF.get(channels, max(len(whole.mean), len(whole.std)))
    by = next(iter(used)) if len(used) == 1 else "; ".join(
        f"{' and '.join(names)}: {source}" for source, names in used.items()
    )  # fmt: skip
    return Preparation(
        height=height,
        width=width,
        resize=resize or None,
        interpolation=whole.interpolation or "bilinear",
        crop=whole.crop or "rounded",
        mean=_per_channel("mean", whole.mean, count, channels),
        std=_per_channel("std", whole.std, count, channels),
        channels=channels,
        stated_by=by,
    )


def missing(sources: Sequence[Stated]) -> list[str]:
    """Of size, mean and std what nobody states."""
    names = ("size", "mean", "std")
    return [name for name in names if all(getattr(source, name) is None for source in sources)]


def _channels_of(stated: Stated) -> Channels:
    """By how many means there are: one stands for three as well."""
    assert stated.mean is not None
    assert stated.std is not None
    return "rgb" if max(len(stated.mean), len(stated.std)) in (1, 3) else "own"


def _per_channel(
    name: str, values: tuple[float, ...], count: int, channels: Channels
) -> tuple[float, ...]:
    if len(values) not in (1, count):
        raise PreparationError(
            f"The {name} has {len(values)} numbers, but there are {count} channels ({channels}): "
            "give a number a channel, or one for all."
        )
    if name == "std" and not all(value > 0 for value in values):
        raise PreparationError(f"The std is {values}: every number must be above 0.")
    return tuple(float(value) for value in values) * (count if len(values) == 1 else 1)
