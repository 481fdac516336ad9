"""Data sets whose samples have masks with an ignored part, on small fakes of their layout, scored by known maps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import interpbench
from interpbench import IGNORE, DataError, Dataset, UnreadableImageError
from interpbench.registry.discovery import discover
from tests.command_line import refused

SIDE = 16
INSIDE, BORDER, OUTSIDE = 1, 2, 3  # of `parts`
# How red the parts of an image are, which is its saliency here. In the first the evidence is brightest but for the
# border, in the second its surroundings are.
REDNESS = ({INSIDE: 100, BORDER: 250, OUTSIDE: 50}, {INSIDE: 50, BORDER: 250, OUTSIDE: 100})


def parts() -> np.ndarray:
    """A square of 4x4, a border of one position around it, and the rest."""
    drawn = np.full((SIDE, SIDE), OUTSIDE, dtype=np.uint8)
    drawn[3:9, 5:11] = BORDER
    drawn[4:8, 6:10] = INSIDE
    return drawn


def photograph(path: Path, redness: dict[int, int], suffix: str = "PNG") -> None:
    """An image without loss, whatever its file is called."""
    red = np.vectorize(redness.get)(parts()).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([red, red // 2, red * 0], axis=-1)).save(path, suffix)


def save(path: Path, values: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if mode == "P":
        image.putpalette([i // 3 for i in range(768)])
    image.save(path)


def pets(root: Path) -> str:
    """Two breeds; trimaps have 1 for the animal, 2 for its surroundings, 3 for the border."""
    folder = root / "oxford-iiit-pet"
    trimap = np.choose(parts(), [0, 1, 3, 2])
    for name, redness in zip(("Abyssinian_1", "Bombay_2"), REDNESS, strict=True):
        photograph(folder / "images" / f"{name}.jpg", redness)
        save(folder / "annotations" / "trimaps" / f"{name}.png", trimap)
    (folder / "annotations" / "test.txt").write_text("Abyssinian_1 1 1 1\nBombay_2 2 1 2\n")
    return "oxford-iiit-pet"


def voc(root: Path) -> str:
    """A cat (8) and an aeroplane (1), beside a smaller person (15); 255 is void."""
    folder = root / "VOCdevkit" / "VOC2012"
    for name, number, redness in zip(("2007_1", "2007_2"), (8, 1), REDNESS, strict=True):
        mask = np.choose(parts(), [0, number, 255, 0])
        mask[15, :10] = 15  # ten positions, of the surroundings
        photograph(folder / "JPEGImages" / f"{name}.jpg", redness)
        save(folder / "SegmentationClass" / f"{name}.png", mask, "P")
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_1\n2007_2\n")
    return "voc"


def imagenette(root: Path) -> str:
    """A tench of the validation part and a springer of the training part; numbers are R + 256 G, 1000 is ignored.

    The masks' folder has 300 classes, of which the tench is the first and the springer the last; a third photograph has
    no mask.
    """
    images = root / "imagenette2-320" / "val"
    names = ("n01440764/ILSVRC2012_val_1", "n02102040/n02102040_2")
    places = ("validation-segmentation", "train-semi-segmentation")
    for name, place, number, redness in zip(names, places, (1, 300), REDNESS, strict=True):
        photograph(images / f"{name}.JPEG", redness)
        numbers = np.choose(parts(), [0, number, 1000, 0])
        numbers[15, :10] = 2  # ten positions of another class, of the surroundings
        stored = np.stack([numbers % 256, numbers // 256, 0 * numbers], axis=-1)
        save(
            root / "masks" / place / f"{name}.png", stored.repeat(3, 0).repeat(3, 1)
        )  # the original is larger
    photograph(images / "n02102040" / "unmasked.JPEG", REDNESS[0])
    for i in range(298):
        (root / "masks" / places[i % 2] / f"n02{i:06d}").mkdir()
    return f"imagenette:masks={root / 'masks'}"


def make(text: str, root: Path) -> Dataset:
    name, _, rest = text.partition(":")
    values = {"root": root} | ({"masks": rest.partition("=")[2]} if rest else {})
    data: Dataset = discover().configure("dataset", name, values)()
    return data


def redness(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The map of which the score is known: red, 0..255."""
    mean, std = model.card.mean[0], model.card.std[0]
    return (x[:, 0] * std + mean) * 255


@pytest.mark.parametrize("fake", [pets, voc, imagenette])
def test_pointing_game_and_energy_leave_out_what_is_ignored(fake: object, tmp_path: Path) -> None:
    text = fake(tmp_path)  # type: ignore[operator]
    classes = len(make(text, tmp_path).card.classes)
    network = nn.Sequential(nn.AvgPool2d(SIDE), nn.Flatten(), nn.Linear(3, classes))
    run = interpbench.run(
        dataset=text, data_root=tmp_path, model={"any": network}, method=redness,
        metric=["pointing-game", "energy-inside"], images=2, size=SIDE, ceiling="none", device="cpu",
        plots=False, output=tmp_path / "run",
    )  # fmt: skip
    scores = run.scores.sort_values("sample_id").pivot(
        index="sample_id", columns="metric", values="value"
    )
    assert scores["pointing-game"].tolist() == [1, 0]
    inside, outside = 16, 256 - 36
    expected = [r[INSIDE] * inside / (r[INSIDE] * inside + r[OUTSIDE] * outside) for r in REDNESS]
    np.testing.assert_allclose(scores["energy-inside"], expected, rtol=1e-5)
    [notice] = [n for n in run.info.notices if "nothing counts on" in n]
    assert notice.startswith("pointing-game and energy-inside: nothing counts on ")


@pytest.mark.parametrize(
    ("fake", "ids", "labels"),
    [
        (pets, ["Abyssinian_1", "Bombay_2"], ["Abyssinian", "Bombay"]),
        (voc, ["2007_1", "2007_2"], ["cat", "aeroplane"]),
        (imagenette, ["n01440764/ILSVRC2012_val_1.JPEG", "n02102040/n02102040_2.JPEG"], ["tench", "English springer"]),
    ],
)  # fmt: skip
def test_samples_have_masks_of_evidence_and_of_what_is_ignored(
    fake: object, ids: list[str], labels: list[str], tmp_path: Path
) -> None:
    data = make(fake(tmp_path), tmp_path)  # type: ignore[operator]
    assert list(data.ids) == ids
    assert [data.card.classes[label] for label in data.labels] == labels
    assert data.card.has_masks
    assert data.card.ignored
    expected = np.choose(parts(), [0, 1, IGNORE, 0])
    for i, name in enumerate(ids):
        sample = data[i]
        assert (sample.id, sample.image.shape) == (name, (SIDE, SIDE, 3))
        assert sample.mask is not None
        assert sample.mask.dtype == np.uint8
        np.testing.assert_array_equal(sample.mask, expected)


def test_without_masks_imagenette_has_all_images(tmp_path: Path) -> None:
    imagenette(tmp_path)
    data = make("imagenette", tmp_path)
    assert len(data.ids) == 3
    assert not data.card.has_masks
    assert (
        data.card.revision != make(f"imagenette:masks={tmp_path / 'masks'}", tmp_path).card.revision
    )


def test_masks_of_cropped_images_are_refused_one_by_one(tmp_path: Path) -> None:
    text = imagenette(tmp_path)
    image = tmp_path / "imagenette2-320" / "val" / "n01440764" / "ILSVRC2012_val_1.JPEG"
    Image.new("RGB", (24, 16)).save(image, "PNG")
    with pytest.raises(
        UnreadableImageError,
        match="its mask is 48x48, the image 16x24: cropped, where no mask fits",
    ):
        make(text, tmp_path)[0]


def test_a_folder_of_masks_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    text = imagenette(tmp_path)
    (tmp_path / "masks" / "validation-segmentation" / "n02000000").rmdir()
    said = refused(
        "run",
        "--dataset",
        text,
        "--data-root",
        tmp_path,
        "--model",
        "resnet18",
        "--weights",
        "random",
    )
    assert "has 299 classes of masks" in said
    assert "of 919, 300 or 50 classes" in said
    (tmp_path / "masks" / "validation-segmentation" / "n02000000").mkdir()
    (tmp_path / "masks" / "validation-segmentation" / "n01440764" / "ILSVRC2012_val_1.png").unlink()
    (tmp_path / "masks" / "train-semi-segmentation" / "n02102040" / "n02102040_2.png").unlink()
    with pytest.raises(DataError, match="None of the 3 images of Imagenette has a mask in"):
        make(text, tmp_path)


def test_a_mask_without_the_class_of_its_image_is_skipped_by_name(tmp_path: Path) -> None:
    text = imagenette(tmp_path)
    save(
        tmp_path / "masks/validation-segmentation/n01440764/ILSVRC2012_val_1.png",
        np.zeros((SIDE, SIDE, 3)),
    )
    with pytest.raises(
        UnreadableImageError,
        match=r"ILSVRC2012_val_1\.JPEG: its mask holds no position of its class, 1",
    ):
        make(text, tmp_path)[0]


def test_masks_that_are_damaged_or_of_another_kind_are_named(tmp_path: Path) -> None:
    pets(tmp_path)
    trimaps = tmp_path / "oxford-iiit-pet" / "annotations" / "trimaps"
    (trimaps / "Abyssinian_1.png").write_bytes(b"no picture")
    save(trimaps / "Bombay_2.png", np.zeros((SIDE, SIDE, 3)))
    data = make("oxford-iiit-pet", tmp_path)
    with pytest.raises(UnreadableImageError, match=r"^Abyssinian_1: its mask cannot be read"):
        data[0]
    with pytest.raises(
        UnreadableImageError, match=r"^Bombay_2: its mask holds uint8 \(16, 16, 3\), expected"
    ):
        data[1]
    save(trimaps / "Bombay_2.png", np.full((SIDE, SIDE), 9))
    with pytest.raises(DataError, match="The trimap of 'Bombay_2' holds 9; expected 1, 2 and 3"):
        data[1]


def test_a_mask_without_any_class_is_named(tmp_path: Path) -> None:
    voc(tmp_path)
    save(
        tmp_path / "VOCdevkit/VOC2012/SegmentationClass/2007_2.png", np.full((SIDE, SIDE), 255), "P"
    )
    with pytest.raises(DataError, match=r"2007_2\.png holds none of the 20 classes"):
        make("voc", tmp_path)


@pytest.mark.parametrize("name", ["oxford-iiit-pet", "voc"])
def test_what_is_missing_says_which_flags_help(name: str, tmp_path: Path) -> None:
    said = refused(
        "run",
        "--dataset",
        name,
        "--data-root",
        tmp_path,
        "--model",
        "resnet18",
        "--weights",
        "random",
    )
    assert "--data-root, and --download to fetch it" in said


def test_the_parts_to_train_and_to_test_on_are_those_of_the_files(tmp_path: Path) -> None:
    pets(tmp_path)
    annotations = tmp_path / "oxford-iiit-pet" / "annotations"
    (annotations / "trainval.txt").write_text("Bombay_2 2 1 2\nAbyssinian_1 1 1 1\n")
    train = discover().configure(
        "dataset", "oxford-iiit-pet", {"root": tmp_path, "split": "train"}
    )()
    assert (list(train.ids), list(train.labels)) == (["Bombay_2", "Abyssinian_1"], [1, 0])
    assert train.card.classes == ("Abyssinian", "Bombay")
    assert torch.tensor(train[0].image).shape == (SIDE, SIDE, 3)
