"""The sample is balanced and the same everywhere; an image becomes exactly the input that torchvision would make."""

import contextlib
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.models import AlexNet_Weights, ResNet18_Weights, VGG16_Weights

from interpbench.core.errors import DataError, UnreadableImageError
from interpbench.core.preparation import Framing, Preparation
from interpbench.core.types import IGNORE, DatasetCard, Sample, normalise
from interpbench.loading.image_files import read_image
from interpbench.loading.images import choose, fit, fit_mask, kept_in_words, load_images
from interpbench.studies.pictures.images import pixels_id


class Memory:
    """A data set in memory; images whose id starts with `bad` cannot be read."""

    def __init__(
        self,
        labels: list[int],
        ids: list[str] | None = None,
        has_masks: bool = False,
        size: int = 8,
    ) -> None:
        self.labels = labels
        self.ids = ids or [f"image-{i}" for i in range(len(labels))]
        self.size = size
        classes = tuple(f"class {i}" for i in range(max(labels, default=0) + 1))
        self.card = DatasetCard("memory", classes, "1", has_masks=has_masks)

    def __getitem__(self, index: int) -> Sample:
        if self.ids[index].startswith("bad"):
            raise UnreadableImageError(f"{self.ids[index]}: cannot be decoded")
        image = np.full((self.size, self.size, 3), index, np.uint8)
        mask = np.eye(self.size, dtype=bool) if self.card.has_masks else None
        return Sample(self.ids[index], image, self.labels[index], mask)


def card(size: int, resize: int | None = None) -> Preparation:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Preparation(height=size, width=size, resize=resize or size, mean=mean, std=std)


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- which images


PINNED = [0, 2, 4, 6, 7, 11]  # two of each class


def test_the_sample_is_pinned() -> None:
    assert choose(Memory([i % 3 for i in range(12)]), 6, seed=0) == PINNED
    assert choose(Memory([i % 3 for i in range(12)]), 6, seed=1) != PINNED


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 2**31), st.data())
def test_a_sample_is_balanced_sorted_and_part_of_every_larger_one(
    labels: list[int], seed: int, data: st.DataObject
) -> None:
    dataset = Memory(labels)
    count = data.draw(st.integers(1, len(labels)))
    chosen = choose(dataset, count, seed)
    assert len(set(chosen)) == count
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(choose(dataset, min(count + 1, len(labels)), seed))
    taken = {c: sum(labels[i] == c for i in chosen) for c in set(labels)}
    for c, n in taken.items():  # a class has at most one fewer than another, unless it is used up
        assert n >= max(taken.values()) - 1 or n == labels.count(c)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=20), st.randoms())
def test_the_sample_depends_on_ids_and_not_on_their_order(
    labels: list[int], chance: object
) -> None:
    count = len(labels) // 2
    order = list(range(len(labels)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    one, other = Memory(labels), Memory([labels[i] for i in order], [f"image-{i}" for i in order])
    assert {one.ids[i] for i in choose(one, count, 0)} == {
        other.ids[i] for i in choose(other, count, 0)
    }


def test_without_a_count_all_are_taken() -> None:
    assert choose(Memory([0, 1, 1, 0]), None, seed=3) == [0, 1, 2, 3]


def test_more_images_than_there_are_is_an_error_that_says_how_many() -> None:
    with pytest.raises(DataError, match="'memory' holds 3 images, 4 are asked for: lower --images"):
        choose(Memory([0, 1, 2]), 4, seed=0)


@pytest.mark.parametrize("count", [None, 1])
def test_an_empty_data_set_is_an_error(count: int | None) -> None:
    with pytest.raises(DataError, match="'memory' holds no images"):
        choose(Memory([]), count, seed=0)


# --- how they become input


@pytest.mark.parametrize(
    "weights", [ResNet18_Weights.DEFAULT, VGG16_Weights.DEFAULT, AlexNet_Weights.DEFAULT]
)
@pytest.mark.parametrize(
    ("height", "width"),
    [
        (1, 1),
        (3, 500),
        (199, 301),
        (225, 224),
        (256, 256),
        (256, 257),
        (257, 513),
        (320, 427),
        (601, 333),
    ],
)
def test_input_equals_torchvisions_transforms(weights: object, height: int, width: int) -> None:
    preset = weights.transforms()  # type: ignore[attr-defined]
    image = random_image(height, width)
    model_card = card(preset.crop_size[0], preset.resize_size[0])
    mine = normalise(torch.tensor(fit(image, model_card))[None], model_card)[0]
    torch.testing.assert_close(mine, preset(Image.fromarray(image)), rtol=0, atol=1e-6)


FRAMINGS = [
    Framing(height=20, width=32, resize=None),
    Framing(height=20, width=32, resize=36, interpolation="bicubic"),
    Framing(height=32, width=20, resize=32, interpolation="lanczos"),
    Framing(height=16, width=16, resize=24, interpolation="nearest"),
]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_floats_are_fitted_as_whole_numbers_are(framing: Framing) -> None:
    """The same but for the rounding of whole numbers, and within 0..1 as well where they overshoot."""
    image = 80 + random_image(47, 61) // 3
    whole, floats = fit(image, framing), fit(image.astype(np.float32) / 255, framing)
    assert floats.dtype == np.float32
    assert floats.shape == whole.shape == (framing.height, framing.width, 3)
    np.testing.assert_allclose(255 * floats, whole, atol=1.01)  # in two passes, each rounded
    extreme = fit((image > 122).astype(np.float32), framing)
    assert extreme.min() >= 0
    assert extreme.max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_channel_is_fitted_for_itself(framing: Framing, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (31, 44, channels), dtype=np.uint8)
    fitted = fit(image, framing)
    assert fitted.dtype == np.uint8
    for i in range(channels):
        np.testing.assert_array_equal(fitted[..., i], fit(image[..., [i] * 3], framing)[..., 0])


@pytest.mark.parametrize(
    "framing",
    [
        card(32),
        card(64),
        card(64, 72),
        Framing(height=20, width=32, resize=36, interpolation="bicubic"),
        Framing(height=20, width=32, resize=None),
    ],
)
def test_an_image_of_the_models_size_is_untouched_and_so_is_its_mask(framing: Framing) -> None:
    image = random_image(framing.height, framing.width)
    np.testing.assert_array_equal(fit(image, framing), image)
    sample = Sample("a", image, 0, image[..., 0] > 99)
    np.testing.assert_array_equal(fit_mask(sample, framing), sample.mask)


def test_images_that_are_kept_instead_of_cropped_are_counted() -> None:
    data = Given(random_image(8, 8), random_image(8, 9), random_image(8, 8))
    loaded = load_images(data, [0, 1, 2], card(8, 9))
    assert loaded.kept == 2
    said = kept_in_words(loaded.kept, 3, card(8, 9))
    assert said.startswith("2 of 3 images are 8x8 already and taken as they are")
    for framing in (card(8), card(16, 18), Framing(height=8, width=8, resize=None)):
        assert load_images(data, [0, 1, 2], framing).kept == 0
    assert kept_in_words(0, 3, card(8, 9)) == ""


def test_a_preparation_says_which_images_are_kept() -> None:
    kept = ", or as it is at 8x8"
    assert kept in card(8, 9).text
    assert kept not in card(8).text
    assert (
        "or as it is at 8x9" in Preparation(height=8, width=9, resize=9, mean=(0,), std=(1,)).text
    )
    assert "as it is" not in Preparation(height=8, width=9, resize=None, mean=(0,), std=(1,)).text


@pytest.mark.parametrize(("height", "width"), [(20, 20), (40, 60), (64, 64), (31, 90), (128, 64)])
def test_a_mask_follows_its_image(height: int, width: int) -> None:
    """A square painted into the image lies where its mask lies, except within two pixels of its edge."""
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 2, width // 3 : 2 * width // 3] = True
    image = np.where(mask[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    model_card = card(32, 40)
    fitted = fit(image, model_card)[..., 0]
    fitted_mask = fit_mask(Sample("a", image, 0, mask), model_card)
    assert fitted_mask.dtype == bool
    assert fitted_mask.shape == (32, 32)
    assert fitted_mask.any()
    clear = (fitted < 3) | (fitted > 252)
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(fitted_mask[clear], fitted[clear] > 127)


def test_a_mask_takes_the_nearest_position() -> None:
    mask = np.random.default_rng(0).random((20, 20)) < 0.5
    nearest = [int((i + 0.5) * 20 / 8) for i in range(8)]
    fitted = fit_mask(Sample("a", np.zeros((20, 20, 3), np.uint8), 0, mask), card(8))
    np.testing.assert_array_equal(fitted, mask[np.ix_(nearest, nearest)])


def test_enlarging_a_mask_repeats_its_positions() -> None:
    mask = np.array([[True, False], [False, True]])
    sample = Sample("a", np.zeros((2, 2, 3), np.uint8), 0, mask)
    np.testing.assert_array_equal(
        fit_mask(sample, card(6)), mask.repeat(3, axis=0).repeat(3, axis=1)
    )


class Masked(Memory):
    """One white image with the mask that it is given."""

    def __init__(self, mask: np.ndarray | None, ignored: str = "") -> None:
        super().__init__([0], has_masks=True)
        self.card = replace(self.card, ignored=ignored)
        self.mask = mask

    def __getitem__(self, index: int) -> Sample:
        return Sample("a", np.full((2, 2, 3), 255, np.uint8), 0, self.mask)


@pytest.mark.parametrize("mask", [None, np.zeros((2, 3), bool)])
def test_a_mask_of_another_size_or_none_is_an_error(mask: np.ndarray | None) -> None:
    with pytest.raises(DataError, match=r"Sample 'a' needs a mask of its image's size, \(2, 2\)"):
        load_images(Masked(mask), [0], card(2))


@pytest.mark.parametrize(
    ("mask", "ignored", "holds"),
    [
        (np.full((2, 2), IGNORE, np.uint8), "", r"uint8, with \[255\]"),
        (np.full((2, 2), 7, np.uint8), "the border", r"uint8, with \[7\]"),
        (np.ones((2, 2), np.int64), "", "int64"),
        (np.ones((2, 2), np.float32), "the border", "float32"),
    ],
)
def test_a_mask_that_holds_what_nobody_said_is_an_error(
    mask: np.ndarray, ignored: str, holds: str
) -> None:
    with pytest.raises(DataError, match=rf"The mask of sample 'a' is of {holds}; expected bool"):
        load_images(Masked(mask, ignored), [0], card(2))


def test_masks_are_split_into_evidence_and_what_is_ignored() -> None:
    mask = np.array([[0, 1], [IGNORE, 1]], np.uint8)
    loaded = load_images(Masked(mask, "the border"), [0], card(4))
    enlarged = torch.from_numpy(mask.repeat(2, 0).repeat(2, 1))[None]
    assert loaded.masks is not None
    assert loaded.ignored is not None
    assert torch.equal(loaded.masks, enlarged == 1)
    assert torch.equal(loaded.ignored, enlarged == IGNORE)
    assert load_images(Masked(mask == 1), [0], card(4)).ignored is None


# --- reading


class Given(Memory):
    """The images that it is given."""

    def __init__(self, *images: object) -> None:
        super().__init__([0] * len(images))
        self.given = images

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.ids[index], self.given[index], 0)  # type: ignore[arg-type]


def test_where_one_image_is_of_floats_all_become_so() -> None:
    whole = random_image(8, 8)
    floats = np.random.default_rng(0).random((8, 8, 3), dtype=np.float32)
    loaded = load_images(Given(whole, floats), [0, 1], card(8))
    assert loaded.images.dtype == torch.float32
    np.testing.assert_array_equal(loaded.images[0].numpy(), whole / np.float32(255))
    np.testing.assert_array_equal(loaded.images[1].numpy(), floats)
    alone = load_images(Given(whole), [0], card(8))
    assert torch.equal(normalise(alone.images, card(8))[0], normalise(loaded.images, card(8))[0])
    assert pixels_id(alone.images[0]) == pixels_id(loaded.images[0])  # whatever it lies beside
    assert pixels_id(loaded.images[1]) != pixels_id(loaded.images[1] * 0.999)


def test_images_of_other_channels_in_one_data_set_are_an_error_that_names_one() -> None:
    data = Given(np.zeros((8, 8, 5), np.uint8), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="Image 'image-1' has 3 channels, 'image-0' has 5"):
        load_images(data, [0, 1], card(8))


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (
            np.zeros((8, 8), np.uint8),
            r"is ndarray uint8 \(8, 8\); expected a numpy array \[H,W,C\]",
        ),
        (np.zeros((8, 8, 3)), r"is ndarray float64 .*expected .* uint8, or of float32 in 0\.\.1"),
        (torch.zeros(8, 8, 3), r"is Tensor torch\.float32 .*expected a numpy array"),
        (np.full((8, 8, 3), 200, np.float32), r"values from 200 to 200; expected .*Divide pixels"),
        (np.full((8, 8, 3), -2, np.float32), r"values from -2 to -2; .*before any normalisation"),
        (np.full((8, 8, 3), np.nan, np.float32), r"values from nan to nan"),
    ],
)
def test_what_is_no_image_is_an_error_that_says_what_one_is(image: object, what: str) -> None:
    with pytest.raises(DataError, match=rf"The image of sample 'image-0' .*{what}"):
        load_images(Given(image), [0], card(8))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("deep", [False, True])
def test_pictures_show_colours_or_grey_and_say_which_channels(channels: int, deep: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    given = pixels.astype(np.float32) / 255 if deep else pixels
    loaded = load_images(Given(given, given), [0, 1], card(8))
    [shown] = loaded.pictures([1])
    assert shown.dtype == np.uint8
    first = pixels[..., :3] if channels >= 3 else pixels[..., :1].repeat(3, axis=2)
    np.testing.assert_array_equal(shown, first)
    assert (loaded.shown == "") == (channels in (1, 3))
    if channels == 5:
        assert loaded.shown == "of 5 channels pictures show the first three as red, green and blue"


def test_loaded_images_keep_ids_labels_and_masks() -> None:
    loaded = load_images(Memory([0, 1, 2], has_masks=True), [2, 0], card(8))
    assert loaded.ids == ("image-2", "image-0")
    assert loaded.labels.tolist() == [2, 0]
    assert loaded.images.dtype == torch.uint8
    assert loaded.images.shape == (2, 8, 8, 3)
    assert loaded.images.flatten(1).float().mean(1).tolist() == [2, 0]
    assert loaded.masks is not None
    assert loaded.masks.dtype == torch.bool
    assert loaded.masks.sum((1, 2)).tolist() == [8, 8]
    assert loaded.skipped == {}


def test_unreadable_images_are_skipped_and_named() -> None:
    loaded = load_images(Memory([0, 1, 2], ["a", "bad-b", "c"]), [0, 1, 2], card(8))
    assert loaded.ids == ("a", "c")
    assert loaded.labels.tolist() == [0, 2]
    assert loaded.skipped == {"bad-b": "bad-b: cannot be decoded"}
    assert loaded.masks is None


class Slow(Memory):
    """Later samples are ready earlier, and several are asked for at once."""

    def __init__(self, labels: list[int], ids: list[str], concurrent: bool) -> None:
        super().__init__(labels, ids, has_masks=True)
        self.card = replace(self.card, concurrent=concurrent)
        self.asked_by: set[int] = set()

    def __getitem__(self, index: int) -> Sample:
        self.asked_by.add(threading.get_ident())
        time.sleep(0.002 * (len(self.ids) - index))
        return super().__getitem__(index)


def test_several_threads_load_what_one_does() -> None:
    ids = ["a", "bad", "c", "d", "worse", "bad too", "g", "h"]
    one, several = (Slow([0, 1, 0, 1, 0, 1, 0, 1], ids, concurrent) for concurrent in (False, True))
    expected, found = (load_images(data, [0, 1, 3, 4, 5, 6, 7], card(8)) for data in (one, several))
    assert (len(one.asked_by), len(several.asked_by) > 1) == (1, True)
    assert found.ids == expected.ids == ("a", "d", "worse", "g", "h")
    assert found.skipped == expected.skipped
    assert found.sha256 == expected.sha256
    assert torch.equal(found.labels, expected.labels)
    assert found.masks is not None
    assert found.masks.shape == (5, 8, 8)


def test_if_no_image_can_be_read_that_is_an_error_that_names_them() -> None:
    with pytest.raises(
        DataError, match=r"None of the 2 images of 'memory' can be read.*bad-1.*bad-2"
    ):
        load_images(Memory([0, 1], ["bad-1", "bad-2"]), [0, 1], card(8))


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK", "RGB"])
def test_every_kind_of_image_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    """A picture that is grey, so that it looks the same in every mode."""
    grey = np.repeat(np.array([[0, 255], [255, 0]], np.uint8), 4, axis=1)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.fromarray(grey).convert("RGB").convert(mode).save(path)
    image = read_image(path, "a")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, grey[..., None].repeat(3, axis=2))


def test_a_palette_keeps_its_colours(tmp_path: Path) -> None:
    colours = np.array([[[255, 0, 0], [0, 128, 0]], [[0, 0, 255], [7, 8, 9]]], np.uint8)
    Image.fromarray(colours).quantize(4).save(tmp_path / "a.gif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif", "a"), colours)


# What undoes each orientation, as the EXIF standard tells it: where the first row and column of the file belong.
UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),  # the first row is the right side
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels),  # the first row is the left side
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format_", ["png", "jpeg", "webp"])
def test_photographs_are_turned_upright(tmp_path: Path, format_: str, orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, options in (("plain", {}), ("turned", {"exif": exif})):
        Image.fromarray(pixels).save(tmp_path / name, format_, **options)
    expected = UPRIGHT[orientation](read_image(tmp_path / "plain", "plain"))
    np.testing.assert_array_equal(read_image(tmp_path / "turned", "turned"), expected)


@pytest.mark.filterwarnings("ignore")  # Pillow's remarks on damaged files
@pytest.mark.parametrize("format_", ["jpeg", "webp"])
def test_damaged_exif_data_do_no_harm(tmp_path: Path, format_: str) -> None:
    exif = Image.Exif()
    exif.update({0x010F: "maker", 0x0112: 6, 0x011A: 72.5, 0x8769: {36867: "2020:01:01"}})
    path = tmp_path / f"a.{format_}"
    Image.new("RGB", (8, 4), "red").save(path, exif=exif)
    content = path.read_bytes()
    begin = content.index(b"MM\0*") if b"MM\0*" in content else content.index(b"II*\0")
    chance = np.random.default_rng(0)
    shapes = set()
    for _ in range(300):
        broken = bytearray(content)
        for position in begin + chance.integers(0, 100, 2):
            broken[position] = chance.integers(0, 256)
        path.write_bytes(broken)
        with contextlib.suppress(UnreadableImageError):
            shapes.add(read_image(path, "a").shape)
    assert shapes == {(8, 4, 3), (4, 8, 3)}  # turned, where that can still be read


@pytest.mark.filterwarnings("ignore")  # Pillow's remarks on damaged files
@pytest.mark.parametrize("format_", ["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_damaged_files_are_unreadable_and_nothing_worse(tmp_path: Path, format_: str) -> None:
    path = tmp_path / f"a.{format_}"
    Image.fromarray(random_image(17, 23)).save(path)
    content = path.read_bytes()
    chance = np.random.default_rng(0)
    failures = 0
    for _ in range(60):
        broken = bytearray(content[: chance.integers(0, len(content) + 1)])
        for position in chance.integers(0, max(1, len(broken)), 3):
            if position < len(broken):
                broken[position] = chance.integers(0, 256)
        path.write_bytes(broken)
        try:
            assert read_image(path, "a").shape[2] == 3
        except UnreadableImageError:
            failures += 1
    assert failures


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"^folder/a: "):
        read_image(tmp_path / "a.png", "folder/a")
