"""Every kind of image file gives the pixels that were written into it, and what cannot be known is asked for."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageSequence
from torchvision.io import ImageReadMode, decode_jpeg, read_file

from interpbench.core.errors import DataError, UnreadableImageError
from interpbench.loading.image_files import read_image

HEIGHT, WIDTH = 6, 9
CHANCE = np.random.default_rng(0)
EIGHT = CHANCE.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
SIXTEEN = CHANCE.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
TWELVE = SIXTEEN >> 4
FIVE = CHANCE.integers(0, 256, (HEIGHT, WIDTH, 5), dtype=np.uint8)
FLOAT = CHANCE.random((HEIGHT, WIDTH, 3), dtype=np.float32)
GREY = SIXTEEN[..., 0]
ALPHA = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 1000
BITS = EIGHT[..., :1] > 127


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(values: np.ndarray, exif: bytes = b"") -> Callable[[Path], object]:
    """A PNG of 16 bits by the standard, which Pillow cannot write of more than one channel."""
    height, width, channels = values.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [
        chunk(b"IHDR", header),
        chunk(b"eXIf", exif) if exif else b"",
        chunk(b"IDAT", zlib.compress(rows)),
    ]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")
    return lambda path: path.write_bytes(content)


def netpbm(values: np.ndarray, greatest: int) -> Callable[[Path], object]:
    kind = "P5" if values.shape[2] == 1 else "P6"
    head = f"{kind} {values.shape[1]} {values.shape[0]} {greatest}\n".encode()
    return lambda path: path.write_bytes(
        head + values.astype(">u2" if greatest > 255 else "u1").tobytes()
    )


def tiff(values: np.ndarray, **options: object) -> Callable[[Path], object]:
    return lambda path: tifffile.imwrite(path, values, **options)


def pillow(values: np.ndarray, **options: object) -> Callable[[Path], object]:
    return lambda path: Image.fromarray(values).save(path, **options)


def several(first: np.ndarray, **options: object) -> Callable[[Path], object]:
    pages = [Image.fromarray(first), Image.fromarray(255 - first)]
    return lambda path: pages[0].save(path, save_all=True, append_images=pages[1:], **options)


def transparent_palette(path: Path) -> None:
    image = Image.fromarray(EIGHT).quantize(256)
    image.save(path, transparency=bytes(range(256)))


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes().removeprefix(b"Exif\0\0")


def rgb(values: np.ndarray) -> np.ndarray:
    values = values if values.ndim == 3 else values[..., None]
    return values.repeat(3, 2) if values.shape[2] == 1 else values


@dataclass
class Kind:
    """A kind of file: how it is written, and what is then read."""

    suffix: str
    write: Callable[[Path], object]
    expected: np.ndarray
    white: float
    dtype: type = np.float32
    within: float = 1e-7


FEW = np.array([[[255, 0, 0], [0, 128, 0]], [[0, 0, 255], [7, 8, 9]]], np.uint8).repeat(4, axis=1)
CMYK = np.dstack([EIGHT, np.zeros((HEIGHT, WIDTH), np.uint8)])
KINDS = {
    "16-bit grey PNG": Kind("png", pillow(GREY), rgb(GREY), 65535),
    "16-bit RGB PNG": Kind("png", png(SIXTEEN), SIXTEEN, 65535),
    "16-bit RGBA PNG": Kind("png", png(np.dstack([SIXTEEN, ALPHA])), SIXTEEN, 65535),
    "16-bit grey PNG with alpha": Kind("png", png(np.dstack([GREY, ALPHA])), rgb(GREY), 65535),
    "16-bit RGB PNG, turned": Kind("png", png(SIXTEEN, exif(6)), np.rot90(SIXTEEN, -1), 65535),
    "16-bit grey TIFF": Kind("tif", tiff(GREY), rgb(GREY), 65535),
    "16-bit grey TIFF, big-endian": Kind("tif", tiff(GREY, byteorder=">"), rgb(GREY), 65535),
    "16-bit grey TIFF, white is zero": Kind(
        "tif", tiff(65535 - GREY, photometric="miniswhite"), rgb(GREY), 65535
    ),
    "16-bit RGB TIFF": Kind("tif", tiff(SIXTEEN, photometric="rgb"), SIXTEEN, 65535),
    "16-bit RGB TIFF, compressed": Kind(
        "tif", tiff(SIXTEEN, photometric="rgb", compression="zlib"), SIXTEEN, 65535
    ),
    "16-bit RGB TIFF with alpha": Kind(
        "tif",
        tiff(np.dstack([SIXTEEN, ALPHA]), photometric="rgb", extrasamples=["unassalpha"]),
        SIXTEEN,
        65535,
    ),
    "16-bit RGB TIFF, turned": Kind(
        "tif",
        tiff(SIXTEEN, photometric="rgb", extratags=[(274, "H", 1, 8, True)]),
        np.rot90(SIXTEEN),
        65535,
    ),
    "8-bit RGB TIFF, turned": Kind(
        "tif", pillow(EIGHT, tiffinfo={274: 6}), np.rot90(EIGHT, -1), 255, np.uint8
    ),
    "unsigned 32-bit TIFF": Kind(
        "tif", tiff(GREY.astype(np.uint32) << 16), rgb(GREY.astype(np.uint32) << 16), 2**32 - 1
    ),
    "float TIFF": Kind("tif", tiff(FLOAT, photometric="rgb"), FLOAT, 1),
    "float grey TIFF": Kind("tif", tiff(FLOAT[..., 0]), rgb(FLOAT[..., 0]), 1),
    "double grey TIFF": Kind("tif", tiff(FLOAT[..., 0].astype(float)), rgb(FLOAT[..., 0]), 1),
    "TIFF of 5 channels": Kind("tif", tiff(FIVE, photometric="minisblack", planarconfig="contig"), FIVE, 255, np.uint8),
    "16-bit TIFF of 5 channels, one after another": Kind(
        "tiff",
        tiff(FIVE.transpose(2, 0, 1) * np.uint16(257), photometric="minisblack", planarconfig="separate"),
        FIVE,
        255,
    ),
    "TIFF of RGB and infrared": Kind(
        "tif", tiff(FIVE[..., :4], photometric="rgb", extrasamples=["unspecified"]), FIVE[..., :4], 255, np.uint8
    ),
    "several pages": Kind("tif", several(EIGHT), EIGHT, 255, np.uint8),
    "several pages of 16 bits": Kind(
        "tif", tiff(np.stack([SIXTEEN, 65535 - SIXTEEN]), photometric="rgb"), SIXTEEN, 65535
    ),
    "PGM up to 4095": Kind("pgm", netpbm(TWELVE[..., :1], 4095), rgb(TWELVE[..., :1]), 4095, within=1e-5),
    "PGM up to 65535": Kind("pgm", netpbm(SIXTEEN[..., :1], 65535), rgb(GREY), 65535),
    "PPM up to 4095": Kind("ppm", netpbm(TWELVE, 4095), TWELVE, 4095, np.uint8, within=0.51 / 255),
    "1 bit": Kind("png", pillow(BITS[..., 0]), rgb(BITS * 255), 255, np.uint8),
    "palette": Kind("png", lambda path: Image.fromarray(FEW).quantize(4).save(path), FEW, 255, np.uint8),
    "animated GIF": Kind("gif", several(FEW), FEW, 255, np.uint8),
    "palette with transparency": Kind("png", transparent_palette, EIGHT, 255, np.uint8),
    "RGBA": Kind("png", pillow(np.dstack([EIGHT, FIVE[..., 0]])), EIGHT, 255, np.uint8),
    "grey with alpha": Kind("png", pillow(FIVE[..., :2]), rgb(FIVE[..., 0]), 255, np.uint8),
    "CMYK TIFF": Kind("tif", lambda path: Image.fromarray(CMYK, "CMYK").save(path), 255 - EIGHT, 255, np.uint8),
    "8-bit RGB PNG": Kind("png", pillow(EIGHT), EIGHT, 255, np.uint8),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_pixels_that_were_written_are_read(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / f"a.{kind.suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the writers
        kind.write(path)
    image = read_image(path, "a")
    assert image.dtype == kind.dtype
    shares = image / (255 if kind.dtype is np.uint8 else 1)
    np.testing.assert_allclose(shares, kind.expected / kind.white, rtol=0, atol=kind.within)


@pytest.mark.filterwarnings(
    "ignore:The image decoding"
)  # capabilities of torchvision, it says, will move
@pytest.mark.parametrize("mode", ["RGB", "L", "YCbCr", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_read_as_another_decoder_reads_it(
    tmp_path: Path, mode: str, progressive: bool
) -> None:
    smooth = np.add.outer(np.arange(48), 3 * np.arange(64)).astype(np.uint8)
    colours = np.dstack([smooth, smooth[::-1], smooth // 2])
    Image.fromarray(colours).convert(mode).save(
        tmp_path / "a.jpg", progressive=progressive, quality=95, subsampling=0
    )
    image = read_image(tmp_path / "a.jpg", "a")
    if (
        mode == "CMYK"
    ):  # of which the other decoder makes nothing: without black it is the complement
        np.testing.assert_allclose(image, colours.astype(int), atol=12)
        return
    other = (
        decode_jpeg(read_file(str(tmp_path / "a.jpg")), ImageReadMode.RGB).permute(1, 2, 0).numpy()
    )
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), other.astype(int), atol=1)
    assert int(image.max()) - int(image.min()) > 100


def test_the_first_of_several_frames_counts(tmp_path: Path) -> None:
    several(FEW)(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as file:
        assert len(list(ImageSequence.Iterator(file))) == 2


def test_sixteen_bits_keep_all_their_levels(tmp_path: Path) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pillow(levels)(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", "a")
    assert len(np.unique(image)) == 65536
    assert (image.min(), image.max()) == (0, 1)


@pytest.mark.parametrize(
    ("values", "held"),
    [
        (255 * FLOAT[..., 0], r"from 2\.\d+ to 25\d\.\d+ \(float32\)"),
        (GREY.astype(np.int32), r"from \d+ to \d+ \(int32\)"),
        ((GREY >> 1).astype(np.int16), r"from \d+ to \d+ \(int16\)"),
    ],
)
def test_what_cannot_be_known_is_asked_for(tmp_path: Path, values: np.ndarray, held: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(
        DataError, match=rf"^photos/a holds values {held}, and it is not known.*range=4095"
    ) as error:
        read_image(tmp_path / "a.tif", "photos/a")
    assert not isinstance(error.value, UnreadableImageError)  # a run does not pass over it


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (-FLOAT[..., 0], r"from -0\.\d+ to -0\.\d+ \(float32\); black is 0 here: add"),
        (
            np.where(FLOAT[..., 0] > 0.5, np.nan, 0.5).astype(np.float32),
            "that are no finite numbers: mend or remove the file",
        ),
    ],
)
def test_what_no_range_can_mend_says_so(tmp_path: Path, values: np.ndarray, said: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(DataError, match=f"^photos/a holds values {said}"):
        read_image(tmp_path / "a.tif", "photos/a")


@pytest.mark.parametrize(
    "values", [GREY >> 4, (GREY >> 4).astype(np.int32), (GREY >> 4).astype(np.float32)]
)
def test_a_stated_range_says_which_value_is_white(tmp_path: Path, values: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values)
    image = read_image(tmp_path / "a.tif", "a", range=4095)
    np.testing.assert_allclose(image, rgb(values) / 4095, atol=1e-7)
    with pytest.raises(DataError, match=r"beyond the range 0\.\.1000 that is stated"):
        read_image(tmp_path / "a.tif", "a", range=1000)


def test_a_stated_range_leaves_eight_bits_alone(tmp_path: Path) -> None:
    pillow(EIGHT)(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "a", range=4095), EIGHT)


def test_a_tiff_that_nobody_reads_says_what_to_do(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", CMYK * np.uint16(257), photometric="separated")
    with pytest.raises(
        UnreadableImageError, match="a: a TIFF of SEPARATED colour with 16 bits; convert it"
    ):
        read_image(tmp_path / "a.tif", "a")
    file = io.BytesIO()
    tifffile.imwrite(file, SIXTEEN, photometric="rgb", compression="zlib")
    content = bytearray(file.getvalue())
    at = content.index(struct.pack("<HHI", 259, 3, 1))
    content[at + 8 : at + 10] = struct.pack("<H", 5)  # LZW, it says
    (tmp_path / "b.tif").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"b: .*imagecodecs"):
        read_image(tmp_path / "b.tif", "b")
