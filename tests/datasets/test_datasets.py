"""Data sets on disk: what is found, what is said when it is not there, and the mapping to ImageNet's classes."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets
from torchvision.models import ResNet18_Weights

from interpbench.core.errors import DataError, ParameterError, UnreadableImageError
from interpbench.core.types import Dataset
from interpbench.registry.discovery import discover
from interpbench.studies.pictures.images import find_files


def make(name: str, /, **values: object) -> Dataset:
    found: Dataset = discover().configure("dataset", name, values)()
    return found


def picture(
    path: Path, colour: tuple[int, int, int] = (200, 100, 50), size: tuple[int, int] = (5, 4)
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


# --- imagefolder


def test_a_folder_of_images_is_sorted_by_class_and_name(tmp_path: Path) -> None:
    for name in ("dog/b.png", "dog/a.JPG", "cat/z.jpeg", "cat/deep/er/y.bmp"):
        picture(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "readme.md").write_text("no class")
    (tmp_path / ".hidden").mkdir()
    data = make("imagefolder", root=tmp_path)
    assert data.card.classes == ("cat", "dog")
    assert list(data.ids) == ["cat/deep/er/y.bmp", "cat/z.jpeg", "dog/a.JPG", "dog/b.png"]
    assert list(data.labels) == [0, 0, 1, 1]
    assert data.card.name == tmp_path.name
    assert (data.card.size, data.card.imagenet, data.card.has_masks) == (None, None, False)


def test_images_of_any_size_are_read(tmp_path: Path) -> None:
    for i, size in enumerate([(1, 1), (7, 3), (300, 200)]):
        picture(tmp_path / "a" / f"{i}.png", (i, 2, 3), size)
    data = make("imagefolder", root=tmp_path)
    for i, (width, height) in enumerate([(1, 1), (7, 3), (300, 200)]):
        sample = data[i]
        assert (sample.id, sample.label, sample.image.dtype) == (f"a/{i}.png", 0, np.uint8)
        np.testing.assert_array_equal(sample.image, np.full((height, width, 3), [i, 2, 3]))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_grey_and_palette_images_become_rgb(tmp_path: Path, mode: str) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode).save(tmp_path / "a" / "x.png")
    np.testing.assert_array_equal(
        make("imagefolder", root=tmp_path)[0].image, np.full((2, 3, 3), 255)
    )


def test_name_split_and_size_may_be_given(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a" / "1.png")
    picture(tmp_path / "test" / "b" / "2.png")
    data = make("imagefolder", root=str(tmp_path), split="test", name="mine", size="32")
    assert (data.card.name, data.card.classes, data.card.size) == ("mine", ("b",), 32)


def test_the_revision_changes_with_the_files_and_only_with_them(tmp_path: Path) -> None:
    picture(tmp_path / "one" / "a" / "1.png")
    picture(tmp_path / "two" / "a" / "1.png")
    first = make("imagefolder", root=tmp_path / "one").card.revision
    assert make("imagefolder", root=tmp_path / "two").card.revision == first
    revisions = {first}
    picture(tmp_path / "two" / "a" / "2.png")
    revisions.add(make("imagefolder", root=tmp_path / "two").card.revision)
    (tmp_path / "two" / "a" / "2.png").rename(tmp_path / "two" / "a" / "3.png")
    revisions.add(make("imagefolder", root=tmp_path / "two").card.revision)
    picture(tmp_path / "two" / "a" / "3.png", size=(50, 40))
    revisions.add(make("imagefolder", root=tmp_path / "two").card.revision)
    assert len(revisions) == 4


def test_a_damaged_image_is_found_when_it_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png").write_bytes(b"no image")
    data = make("imagefolder", root=tmp_path)
    with pytest.raises(UnreadableImageError, match=r"^a/1\.png: "):
        data[0]


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("no image")
    with pytest.raises(
        DataError, match=r"Class folder '.*b' holds no images \(\.jpg, .*Fill it or remove it"
    ):
        make("imagefolder", root=tmp_path)


def test_a_folder_without_subfolders_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    with pytest.raises(
        DataError, match=r"has no subfolders\. Expected one subfolder of images a class"
    ):
        make("imagefolder", root=tmp_path)


@pytest.mark.parametrize("values", [{"root": "absent"}, {"root": ".", "split": "absent"}])
def test_a_missing_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="There is no image folder 'absent'"):
        make("imagefolder", **values)


def test_imagefolder_needs_a_root() -> None:
    with pytest.raises(ParameterError, match="needs the parameter 'root'"):
        make("imagefolder")


# --- what counts as an image


def test_every_command_counts_the_same_files_as_images(tmp_path: Path) -> None:
    known = Image.registered_extensions()
    names = (
        "a.jpg b.JPEG c.jfif d.Png e.webp f.bmp g.gif h.tif i.TIFF j.ppm k.pgm l.pbm m.pnm n.avif"
    )
    names = [name for name in names.split() if Path(name).suffix.lower() in known]
    assert len(names) >= 13
    for name in [*names, "notes.txt", "film.mp4", "vector.svg"]:
        (tmp_path / "class").mkdir(exist_ok=True)
        (tmp_path / "class" / name).write_bytes(b"?")
    (tmp_path / "class" / "folder.png").mkdir()
    assert [path.name for path in find_files([tmp_path]).values()] == names
    assert make("imagefolder", root=tmp_path).ids == [f"class/{name}" for name in names]


# --- cifar10

CIFAR_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's files with a few images each; only their checksums are the real ones no more."""
    folder = tmp_path / datasets.CIFAR10.base_folder
    folder.mkdir()
    for start, (name, _) in enumerate(datasets.CIFAR10.train_list + datasets.CIFAR10.test_list):
        labels = [(start + i) % 10 for i in range(3)]
        pixels = np.arange(3 * 3072).reshape(3, 3072) % 251 + start
        (folder / name).write_bytes(
            pickle.dumps({"data": pixels.astype(np.uint8), "labels": labels})
        )
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CIFAR_CLASSES)}))
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(
            datasets.CIFAR10, part, [[name, None] for name, _ in getattr(datasets.CIFAR10, part)]
        )
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": None})
    return tmp_path


def test_cifar10_has_ids_labels_and_pixels_in_rgb(cifar: Path) -> None:
    data = make("cifar10", root=cifar)
    assert list(data.ids) == ["cifar10-test-00000", "cifar10-test-00001", "cifar10-test-00002"]
    assert list(data.labels) == [5, 6, 7]  # the test batch is the sixth file
    assert data.card.classes == CIFAR_CLASSES
    assert data.card.size == 32
    sample = data[1]
    assert (sample.id, sample.label, sample.mask) == ("cifar10-test-00001", 6, None)
    # CIFAR's rows: 1024 reds, 1024 greens, 1024 blues, each line by line
    flat = (np.arange(3072, 6144) % 251 + 5).astype(np.uint8)
    for channel in range(3):
        np.testing.assert_array_equal(
            sample.image[..., channel].ravel(), flat[1024 * channel : 1024 * (channel + 1)]
        )


def test_cifar10_splits_differ(cifar: Path) -> None:
    train, test = make("cifar10", root=cifar, split="train"), make("cifar10", root=cifar)
    assert len(train.ids) == 15
    assert list(train.labels)[:4] == [0, 1, 2, 1]
    assert not set(train.ids) & set(test.ids)
    assert train.card.revision != test.card.revision


def test_missing_cifar10_says_which_flags_help(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"CIFAR-10 cannot be read from '.*nowhere'.*--data-root, and --download"
    ):
        make("cifar10", root=tmp_path / "nowhere")


@pytest.mark.parametrize("quality", [20, 75, 95])
def test_cifar10_as_a_folder_says_how_its_files_are_compressed(
    tmp_path: Path, quality: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for split, count in (("train", 2), ("test", 1)):
        for name in CIFAR_CLASSES:
            for i in range(count):
                path = tmp_path / split / name / f"{i:04d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(noise).save(path, quality=quality)
    train, test = make("cifar10", root=tmp_path, split="train"), make("cifar10", root=tmp_path)
    assert (len(train.ids), len(test.ids)) == (20, 10)
    assert test.ids[3] == "cat/0000.jpg"
    assert (test.card.name, test.card.classes, test.card.size) == ("cifar10", CIFAR_CLASSES, 32)
    assert test.card.reference.endswith(f"as JPEG files of quality {quality}")
    assert train.card.revision != test.card.revision
    assert np.array_equal(
        test[3].image, np.asarray(Image.open(tmp_path / "test" / "cat" / "0000.jpg"))
    )


def test_cifar10_as_a_folder_without_a_class_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "test" / "airplane" / "0.png", size=(32, 32))
    with pytest.raises(DataError, match=r"automobile.*holds no images"):
        make("cifar10", root=tmp_path)


def test_damaged_cifar10_is_an_error(cifar: Path) -> None:
    (cifar / datasets.CIFAR10.base_folder / "batches.meta").unlink()
    with pytest.raises(DataError, match="CIFAR-10 cannot be read"):
        make("cifar10", root=cifar)


# --- imagenette

WNIDS = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}


@pytest.fixture
def imagenette(tmp_path: Path) -> Path:
    for i, wnid in enumerate(WNIDS):
        for k in range(2):
            picture(
                tmp_path / "imagenette2-320" / "val" / wnid / f"ILSVRC_{k}.JPEG",
                (20 * i, 20 * i, 20 * i),
            )
    return tmp_path


def test_imagenette_knows_its_classes_among_imagenets(imagenette: Path) -> None:
    card = make("imagenette", root=imagenette).card
    assert card.imagenet == (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
    names = ResNet18_Weights.DEFAULT.meta["categories"]  # torchvision's own list of the 1000 logits
    assert card.classes == tuple(names[i] for i in card.imagenet)


def test_imagenette_has_ids_labels_and_pixels(imagenette: Path) -> None:
    data = make("imagenette", root=imagenette)
    assert list(data.labels) == [i // 2 for i in range(20)]
    assert data.ids[0] == "n01440764/ILSVRC_0.JPEG"
    assert data.ids[19] == "n03888257/ILSVRC_1.JPEG"
    assert data.card.size is None
    sample = data[7]
    assert (sample.id, sample.label) == ("n03000684/ILSVRC_1.JPEG", 3)
    assert sample.image.shape == (4, 5, 3)
    np.testing.assert_allclose(sample.image, 60, atol=2)  # jpeg is not exact


def test_imagenette_with_some_classes_only_keeps_their_indices(imagenette: Path) -> None:
    for wnid in list(WNIDS)[1:9]:
        for file in (imagenette / "imagenette2-320" / "val" / wnid).iterdir():
            file.unlink()
        (imagenette / "imagenette2-320" / "val" / wnid).rmdir()
    data = make("imagenette", root=imagenette)
    assert data.card.imagenet == (0, 701)
    assert data.card.classes == ("tench", "parachute")
    assert list(data.labels) == [0, 0, 1, 1]


def test_variants_and_splits_lie_in_their_own_folders(imagenette: Path) -> None:
    for wnid in WNIDS:
        picture(imagenette / "imagenette2" / "train" / wnid / "a.JPEG")
    full = make("imagenette", root=imagenette, variant="full", split="train")
    assert len(full.ids) == 10
    assert full.card.revision != make("imagenette", root=imagenette).card.revision


@pytest.mark.parametrize("values", [{"root": "nowhere"}, {"variant": "160px"}, {"split": "train"}])
def test_missing_imagenette_says_which_flags_help(imagenette: Path, values: dict[str, str]) -> None:
    root = imagenette / values.pop("root", "")
    with pytest.raises(
        DataError, match=r"Imagenette \(.*\) cannot be read from .*--data-root, and --download"
    ):
        make("imagenette", root=root, **values)


def test_a_damaged_photograph_is_found_when_it_is_read(imagenette: Path) -> None:
    (imagenette / "imagenette2-320" / "val" / "n01440764" / "ILSVRC_0.JPEG").write_bytes(
        b"\xff\xd8\xff"
    )
    with pytest.raises(UnreadableImageError, match=r"^n01440764/ILSVRC_0\.JPEG: "):
        make("imagenette", root=imagenette)[0]
