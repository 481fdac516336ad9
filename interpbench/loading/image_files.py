"""Image files in folders, and a file's pixels: upright, and as fine as the file holds them."""

import io
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from interpbench.core.errors import DataError, UnreadableImageError

# What counts as an image in a folder, in any case of its letters, where Pillow can decode it.
_SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm", ".avif",
)  # fmt: skip

# Of a TIFF. What a sample beyond the colours is: alpha, or something that nobody says.
_BITS, _PHOTOMETRIC, _ORIENTATION, _EXTRA = 258, 262, 274, 338
_UNSAID, _ALPHA = 0, (1, 2)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    RuntimeError,
    LookupError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class _Pixels:
    """What a file holds.

    Attributes:
        values: [H,W,C] of the file's own type.
        white: the value that is white; None if the type does not say.
    """

    values: np.ndarray
    white: float | None


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


def read_image(path: Path | bytes, name: str, *, range: float | None = None) -> np.ndarray:
    """An image file as uint8 [H,W,3], RGB; or float32 in 0..1 if it is finer than 8 bits.

    Upright: turned as its EXIF orientation says. Grey becomes RGB. Transparency is dropped, and the
    colours that lie below it count. Of several frames or pages it is the first. A TIFF with other
    channels than these keeps them: [H,W,C].

    What is finer than 8 bits is divided by what its type can hold: 65535 for 16 bits, 2**32 - 1 for
    unsigned 32 bits; floating point numbers must be in 0..1. Nothing is clipped.

    Parameters:
        path: of the file; or what is in it.
        name: what to call it in an error.
        range: the value that is white in images finer than 8 bits; None for that of their type.

    Raises:
        UnreadableImageError: if it cannot be decoded.
        DataError: if it is not known which value is white, or values lie beyond it.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> Image.new("RGB", (32, 24), "red").save("red.png")
        >>> image = interpbench.read_image(Path("red.png"), "red.png")
        >>> image.shape, image[0, 0].tolist()
        ((24, 32, 3), [255, 0, 0])
    """
    try:
        pixels = _decode(path)
    except _UNREADABLE as error:
        raise UnreadableImageError(f"{name}: {error}") from error
    values = pixels.values
    if values.dtype != np.uint8:
        values = _scaled(values, name, range or pixels.white, stated=range is not None)
    return values.repeat(3, axis=2) if values.shape[2] == 1 else values


def read_segmentation(path: Path, name: str, *, channels: Literal[1, 3] = 1) -> np.ndarray:
    """The numbers of a segmentation's file as they are stored, and not turned.

    Parameters:
        path: of the file.
        name: of the sample, for an error.
        channels: 1 for uint8 [H,W], greys or indices of a palette; 3 for uint8 [H,W,3].

    Raises:
        UnreadableImageError: if it cannot be decoded, or is of another type.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> Image.new("L", (3, 2), 7).save("parts.png")
        >>> interpbench.read_segmentation(Path("parts.png"), "parts")
        array([[7, 7, 7],
               [7, 7, 7]], dtype=uint8)
    """
    try:
        with Image.open(path) as image:
            values = np.array(image)
    except _UNREADABLE as error:
        raise UnreadableImageError(f"{name}: its mask cannot be read: {error}") from error
    if values.dtype != np.uint8 or values.shape[2:] != ((3,) if channels == 3 else ()):
        expected = "[H,W,3]" if channels == 3 else "[H,W]"
        raise UnreadableImageError(
            f"{name}: its mask holds {values.dtype} {values.shape}, expected uint8 {expected}"
        )
    return values


def _scaled(values: np.ndarray, name: str, white: float | None, *, stated: bool) -> np.ndarray:
    """float32 in 0..1."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise DataError(f"{name} holds values that are no finite numbers: mend or remove the file.")
    held = f"{name} holds values from {low:g} to {high:g} ({values.dtype})"
    if white is None and values.dtype.kind == "f" and 0 <= low <= high <= 1:
        white = 1.0
    if low < 0:
        raise DataError(
            f"{held}; black is 0 here: add a number to all files that brings the least to 0 or "
            "above, and state the value that is then white."
        )
    if white is None:
        raise DataError(
            f"{held}, and it is not known which value is white: state it, as in "
            "imagefolder:root=DIR,range=4095 or `explain --range 4095`."
        )
    if not 0 <= low <= high <= white:
        whose = "stated" if stated else "its type's"
        raise DataError(
            f"{held}, which is beyond the range 0..{white:g} that is {whose}: state the value that "
            "is white in all images, or leave this one out."
        )
    return (values / np.float64(white)).astype(np.float32)


def _opened(path: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(path) if isinstance(path, bytes) else path


def _decode(path: Path | bytes) -> _Pixels:
    try:
        with Image.open(_opened(path)) as image:
            if image.format == "TIFF" and not _pillow_keeps(image):
                return _read_tiff(path)
            coding = str(image.tile[0][3]) if image.tile else ""
            if image.format == "PNG" and ";16" in coding and not image.mode.startswith("I"):
                return _read_png(path, image, coding)
            image.load()  # which turns a TIFF upright itself, and takes its orientation away
            return _Pixels(_upright(_values(image), _orientation(image)), _white(image))
    except UnidentifiedImageError:
        if _is_called_tiff(path):
            return _read_tiff(path)
        raise


def _is_called_tiff(path: Path | bytes) -> bool:
    """Whether a file's name says that it is a TIFF, or its first bytes where it has no name."""
    if isinstance(path, bytes):
        return path[:4] in (b"II*\0", b"MM\0*")
    return path.suffix.lower() in (".tif", ".tiff") and path.is_file()


def _values(image: Image.Image) -> np.ndarray:
    """[H,W,C] of a loaded image, as Pillow has it."""
    if image.mode.startswith("I") or image.mode == "F":
        return np.asarray(image)[..., None]
    image.info.pop("transparency", None)
    return np.asarray(image.convert("RGB"))


def _white(image: Image.Image) -> float | None:
    if image.format == "PPM" and image.mode == "I":
        return 65535  # which Pillow brings the file's own greatest value to
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        return float(2 ** _tags(image, _BITS, 16)[0] - 1)
    return 65535 if image.mode.startswith("I;16") else None


def _orientation(image: Image.Image) -> object:
    return image.getexif().get(ExifTags.Base.Orientation)


def _upright(values: np.ndarray, orientation: object) -> np.ndarray:
    """[H,W,C], turned as the EXIF standard says where the file's first row and column belong."""
    if orientation in (5, 6, 7, 8):  # the first row is a side
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return np.ascontiguousarray(values)


def _read_png(path: Path | bytes, image: Image.Image, coding: str) -> _Pixels:
    """Of 16 bits and several channels, of which Pillow alone would drop the lower 8 bits."""
    content = path if isinstance(path, bytes) else path.read_bytes()
    packed, interlaced = _packed(content), int(bool(image.info.get("interlace")))

    def decode(mode: str, raw: str) -> np.ndarray:
        return np.asarray(Image.frombytes(mode, image.size, packed, "zip", raw, interlaced))

    if coding.startswith("LA"):  # four bytes: grey, alpha
        four = decode("RGBA", "RGBA")
        high, low = four[..., :1], four[..., 1:2]
    else:  # read as little-endian the other byte of each number comes out
        high, low = (decode(image.mode, f"{image.mode};16{order}")[..., :3] for order in "BL")
    values = high.astype(np.uint16) << 8 | low
    return _Pixels(_upright(values, _orientation(image)), 65535)


def _packed(content: bytes) -> bytes:
    """The image data of a PNG file, compressed."""
    parts, at = [], 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"IDAT":
            parts.append(content[at + 8 : at + 8 + length])
        at += 12 + length
    return b"".join(parts)


def _pillow_keeps(image: Image.Image) -> bool:
    """Whether Pillow reads all that is in a TIFF."""
    if max(_tags(image, _BITS, 1)) <= 8:
        return _UNSAID not in _tags(image, _EXTRA, _ALPHA[0])
    grey = image.mode in ("I;16", "I;16B", "F")
    return grey and _tags(image, _PHOTOMETRIC, _BLACK_IS_ZERO)[0] == _BLACK_IS_ZERO


def _tags(image: Image.Image, number: int, default: int) -> tuple[int, ...]:
    found: Any = image.tag_v2.get(number, default)  # type: ignore[attr-defined]
    return found if isinstance(found, tuple) and found else (default if found == () else found,)


def _read_tiff(path: Path | bytes) -> _Pixels:
    """The first page of a TIFF with any number of channels, of any type of number."""
    from tifffile import TiffFile

    try:
        with TiffFile(_opened(path)) as file:
            page: Any = file.pages.first
            values, axes, orientation = page.asarray(), page.axes, page.tags.valueof(_ORIENTATION)
    except Exception as error:  # of many kinds
        hint = "; pip install imagecodecs" if "imagecodecs" in str(error) else ""
        raise ValueError(f"{error}{hint}") from error
    if axes not in ("YX", "YXS", "SYX") or values.ndim != len(axes) or not values.size:
        raise ValueError(f"a TIFF with the axes {axes}; expected rows, columns and channels")
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        raise ValueError(
            f"a TIFF of {page.photometric.name} colour with {page.bitspersample} bits; "
            "convert it to grey or RGB"
        )
    alphas = sum(int(kind) in _ALPHA for kind in page.extrasamples)
    values = np.moveaxis(values, 0, -1) if axes == "SYX" else values
    values = values[..., None] if axes == "YX" else values[..., : values.shape[-1] - alphas]
    unsigned = values.dtype.kind == "u"
    white = float(np.iinfo(values.dtype).max) if unsigned and values.itemsize <= 4 else None
    if unsigned and page.photometric == _WHITE_IS_ZERO:
        values = np.iinfo(values.dtype).max - values
    return _Pixels(_upright(values, orientation), white)
