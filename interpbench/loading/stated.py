"""What a user states of a model's preparation: a name, a TOML file, single values."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from interpbench.core.errors import PreparationError
from interpbench.core.outputs import Outputs
from interpbench.core.preparation import (
    MOST_PIXELS,
    Channels,
    Crop,
    Interpolation,
    Preparation,
    Size,
    Stated,
)
from interpbench.core.text import shown
from interpbench.core.types import Pretrained
from interpbench.files import toml_settings
from interpbench.files.toml_settings import Settings

FOLDER = Path(__file__).parent / "preparations"
Side = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]  # no text, and no truth values
Numbers = str | float | Sequence[float]


class PreparationFile(Settings):
    """What a file of `--preparation` may say.

    Attributes:
        description: of it.
        size: side in pixels of the square input, or [height, width].
        resize: length that the shorter side is brought to before the central crop; 0 to bring the
            whole image to the size. The size by default.
        interpolation: nearest, bilinear, bicubic or lanczos.
        crop: rounded, as torchvision's, or floored, as that of transformers.
        channels: rgb, bgr, grey, or own (as the data set has them).
        range: 1 for pixels in 0..1, 255 for 0..255; the mean and the std are in its units.
        mean, std: one number, or one a channel of the input, in its order.
    """

    description: str = ""
    size: Side | tuple[Side, Side] | None = None
    resize: Annotated[int, Field(ge=0, le=MOST_PIXELS)] | None = None
    interpolation: Interpolation | None = None
    crop: Crop | None = None
    channels: Channels | None = None
    range: Literal[1, 255] = 1
    mean: tuple[Number, ...] | None = None
    std: tuple[Number, ...] | None = None

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return [value] if isinstance(value, int | float) else value

    def stated(self, by: str) -> Stated:
        """As one source among others, of pixels in 0..1."""
        mean, std = (
            None if values is None else tuple(value / self.range for value in values)
            for values in (self.mean, self.std)
        )
        if self.range == 255 and mean is None and std is None:  # pixels as they come
            mean, std = (0.0,), (1 / 255,)
        return Stated(
            by=by,
            size=self.size,
            resize=self.resize,
            interpolation=self.interpolation,
            crop=self.crop,
            channels=self.channels,
            mean=mean,
            std=std,
        )


class ModelFile(PreparationFile):
    """What a file beside a model may say: its preparation, its classes, and its outputs.

    Attributes:
        classes: names of the logits, in their order.
        outputs: what the network's answers are, see `core.outputs`.
    """

    classes: tuple[str, ...] = ()
    outputs: Outputs | None = None


def completed(weights: Pretrained) -> Pretrained:
    """What a plugin says of its weights, and of the rest what a file beside the model says.

    Raises:
        PreparationError: if that file is not valid; the message names the key.
    """
    if weights.beside is None or not weights.beside.is_file():
        return weights
    name = str(weights.beside)
    file = toml_settings.load(ModelFile, "model", name, FOLDER, PreparationError)
    said = weights.stated.over(file.stated(weights.source))
    return replace(
        weights,
        size=said.size,
        resize=said.resize,
        mean=said.mean,
        std=said.std,
        interpolation=said.interpolation,
        crop=said.crop,
        channels=said.channels,
        classes=weights.classes or file.classes,
        outputs=weights.outputs or file.outputs,
    )


def preparation_names() -> list[str]:
    """The preparations that have names."""
    return toml_settings.names(FOLDER)


def named_preparation(name: str) -> Stated:
    """A preparation by name, or of any TOML file by path.

    Raises:
        UnknownNameError: if there is none of that name.
        PreparationError: if the file is missing or not valid; the message names the key.
    """
    file = toml_settings.load(PreparationFile, "preparation", name, FOLDER, PreparationError)
    return file.stated(f"--preparation {name}")


def stated_by_user(
    preparation: str | Path | Preparation | None = None,
    *,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    size: Size | str | None = None,
    resize: int | None = None,
) -> Stated:
    """What flags say together; single values win over `preparation`.

    Parameters:
        preparation: a name, a TOML file, or a preparation as it is.
        mean, std: of pixels in 0..1, one number or one a channel; text has commas.
        size: side in pixels, or (height, width), as text `64,96`.
        resize: length of the shorter side before the central crop; 0 for none.

    Raises:
        PreparationError: if a value is not valid.
        UnknownNameError: if there is no preparation of that name.

    Example:
        >>> from interpbench.loading.stated import stated_by_user
        >>> stated_by_user("imagenet", size="96").mean
        (0.485, 0.456, 0.406)
    """
    flags = {
        "mean": _numbers("mean", mean),
        "std": _numbers("std", std),
        "size": _size(size),
        "resize": _resize(resize),
    }
    given = [f"--{name}" for name, value in flags.items() if value is not None]
    if preparation is None:
        whole = Stated()
    elif isinstance(preparation, Preparation):
        whole = Stated.whole(preparation)
    else:
        whole = named_preparation(str(preparation))
    if not given:
        return whole
    by = ", ".join([whole.by, *given] if whole.by else given)
    single = Stated(**flags)  # type: ignore[arg-type]  # each is of its field's type
    return replace(single.over(whole), by=by)


def _numbers(name: str, value: Numbers | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    if isinstance(value, int | float):
        value = (value,)
    parts = value.split(",") if isinstance(value, str) else value
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        raise PreparationError(
            f"--{name} {shown(value)}: expected one number, or one a channel with commas between."
        ) from None
    if any(not -1 <= number <= 2 for number in numbers):
        raise PreparationError(
            f"--{name} {shown(value)}: these are not of pixels in 0..1. Divide them by 255, or "
            "give a file to --preparation with `range = 255`."
        )
    return numbers


def _size(value: Size | str | None) -> Size | None:
    if value is None:
        return None
    parts = value.replace("x", ",").split(",") if isinstance(value, str) else value
    try:
        sides = (int(parts),) if isinstance(parts, int) else tuple(int(part) for part in parts)
    except ValueError:
        sides = ()
    if len(sides) not in (1, 2) or not all(1 <= side <= MOST_PIXELS for side in sides):
        raise PreparationError(
            f"--size {shown(value)}: expected the side in pixels, or HEIGHT,WIDTH, such as 224 or "
            f"64,96; at most {MOST_PIXELS}."
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _resize(value: int | None) -> int | None:
    if value is not None and not 0 <= value <= MOST_PIXELS:
        raise PreparationError(
            f"--resize {shown(value)}: expected pixels, or 0 to resize the whole image; at "
            f"most {MOST_PIXELS}."
        )
    return value
