"""Images in data sets of Hugging Face's library: the same pixels as of files, and faults said in a sentence."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import interpbench
from interpbench.core.errors import (
    DataError,
    InterpBenchError,
    ParameterError,
    UnknownNameError,
    UnreadableImageError,
)
from interpbench.loading.dataset import open_dataset
from interpbench.loading.image_files import read_image
from interpbench.registry.choosing import choose_dataset
from interpbench.testing import check_dataset, load_plugin
from tests.sources import REGISTRY

Save = Callable[..., str]
NAMES = ["dog", "cat"]


@pytest.fixture(scope="module")
def hf() -> ModuleType:
    return pytest.importorskip("datasets", reason="pip install 'interpbench[hf]'")


def files(folder: Path) -> list[Path]:
    """A photograph that lies on its side, one in grey, one of 16 bits, a TIFF of five channels, one with alpha."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(pixels[..., 0]).save(folder / "grey.png")
    Image.fromarray(rng.integers(0, 65536, (24, 32), dtype=np.uint16)).save(folder / "deep.png")
    import tifffile

    five = rng.integers(0, 65536, (24, 32, 5), dtype=np.uint16)
    tifffile.imwrite(folder / "five.tif", five, photometric="minisblack", planarconfig="contig")
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(folder / "alpha.png")
    return [
        folder / name for name in ("turned.jpg", "grey.png", "deep.png", "five.tif", "alpha.png")
    ]


@pytest.fixture
def save(tmp_path: Path, hf: ModuleType) -> Save:
    """Writes rows of small pictures as a data set; what a user calls it."""

    def saved(name: str = "pets", *, kind: Any = None, **columns: Any) -> str:
        count = len(next(iter(columns.values()))) if columns else 4
        columns.setdefault("image", [picture(i) for i in range(count)])
        columns.setdefault("label", [i % 2 for i in range(count)])
        rows = hf.Dataset.from_dict(columns).cast_column("image", hf.Image())
        kind = hf.ClassLabel(names=NAMES) if kind is None else kind
        rows = rows.cast_column("label", kind) if kind else rows
        rows.save_to_disk(tmp_path / name)
        return f"hf:{tmp_path / name}"

    return saved


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))


def opened(text: str, **options: Any) -> Any:
    return open_dataset(choose_dataset(REGISTRY, text, **options))


def test_images_are_read_as_files_are(tmp_path: Path, save: Save) -> None:
    paths = files(tmp_path)
    stored = [{"bytes": path.read_bytes(), "path": None} for path in paths]
    data = opened(save(image=stored))
    for index, path in enumerate(paths):
        expected = read_image(path, path.name)
        found = data[index].image
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected), path.name


def test_classes_ids_and_splits(tmp_path: Path, save: Save, hf: ModuleType) -> None:
    data = opened(save())
    assert (data.card.name, data.card.classes, data.labels) == (
        "pets",
        ("dog", "cat"),
        [0, 1, 0, 1],
    )
    assert data.ids == [f"all-{i:06d}" for i in range(4)]
    named = opened(
        save("named", kind=False, label=["fox", "cat", "fox"], key=["c", "a", "b"])
        + ",id=key,label=label"
    )
    assert (named.card.classes, named.labels, named.ids) == (
        ("cat", "fox"),
        [1, 0, 1],
        ["c", "a", "b"],
    )
    numbers = opened(save("numbers", kind=False, label=[7, 3, -1]) + ",label=label")
    assert (numbers.card.logits, numbers.labels) == ((3, 7), [1, 0, -1])
    rows = hf.load_from_disk(str(tmp_path / "pets"))
    hf.DatasetDict({"train": rows, "validation": rows.select([2])}).save_to_disk(
        tmp_path / "splits"
    )
    text = f"hf:{tmp_path / 'splits'}"
    assert opened(text).ids == ["validation-000000"]
    assert len(opened(text, split="train").ids) == 4
    assert np.array_equal(opened(text)[0].image, data[2].image)


def test_its_revision_changes_with_images_labels_and_order(save: Save) -> None:
    first = opened(save()).card.revision
    assert opened(save("again")).card.revision == first
    others = [
        save("other", image=[picture(9), *map(picture, range(1, 4))]),
        save("labels", label=[1, 0, 0, 1]),
        save("order", image=[picture(i) for i in (1, 0, 2, 3)]),
    ]
    assert len({first, *(opened(text).card.revision for text in others)}) == 4


def test_it_keeps_what_every_data_set_promises(save: Save) -> None:
    outcomes = check_dataset(load_plugin("dataset", save()))
    assert [str(outcome) for outcome in outcomes if outcome.failed] == []


def test_a_row_without_an_image_is_skipped_and_named(save: Save) -> None:
    stored = [{"bytes": b"no image", "path": None}, None]
    data = opened(save(image=stored))
    for index in range(2):
        with pytest.raises(UnreadableImageError, match=f"all-00000{index}: "):
            data[index]


def test_from_the_hub(hf: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its name, split, configuration and revision; what the hub would answer is made here."""
    rows = hf.Dataset.from_dict({"image": [picture(0)], "label": [1]})
    rows = rows.cast_column("image", hf.Image()).cast_column("label", hf.ClassLabel(names=NAMES))
    asked: list[Any] = []

    def builder(place: str, **options: Any) -> Any:
        asked.append((place, options))
        info = type("Info", (), {"splits": {"train": 1, "test": 1}})
        return type("Builder", (), {"info": info})

    def load(place: str, **options: Any) -> Any:
        asked.append((place, options))
        return rows

    monkeypatch.setattr(hf, "load_dataset_builder", builder)
    monkeypatch.setattr(hf, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    data = opened("hf:somebody/pets,config=small,revision=v1")
    where = {"name": "small", "revision": "v1"}
    assert asked == [("somebody/pets", where), ("somebody/pets", {"split": "test", **where})]
    assert (data.card.name, data.ids) == ("somebody/pets", ["test-000000"])


@pytest.mark.parametrize(
    ("after", "error", "message"),
    [
        (",image=photo", DataError, "has no column 'photo'; its columns are"),
        (",image=key", DataError, "has no images in column 'key', but Value"),
        (",label=key", DataError, "expected a class in each row"),
        (",id=label", DataError, "'0' twice in column 'label'"),
        (",split=tset", UnknownNameError, "Unknown split of hf:.*'tset'"),
        ("x", DataError, "There is no folder"),
    ],
)
def test_what_is_wrong_is_said(
    save: Save, after: str, error: type[InterpBenchError], message: str
) -> None:
    text = save(key=[0.5, 1.5, 2.5, 3.5])
    with pytest.raises(error, match=message):
        opened(text + after)


def test_several_columns_and_splits_are_asked_about(
    tmp_path: Path, save: Save, hf: ModuleType
) -> None:
    with pytest.raises(ParameterError, match="no column of ClassLabel: say which, label=COLUMN"):
        opened(save("plain", kind=False))
    rows = hf.load_from_disk(str(tmp_path / "plain"))
    hf.DatasetDict({"a": rows, "b": rows}).save_to_disk(tmp_path / "splits")
    with pytest.raises(ParameterError, match=r"has the splits a, b: say which, hf:.*,split=a"):
        opened(f"hf:{tmp_path / 'splits'}")
    with pytest.raises(ParameterError, match="parameters follow after a comma: hf:ORG/NAME,split"):
        opened("hf:ORG/NAME:split=test")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ParameterError, match=r"is not installed: pip install 'interpbench\[hf\]'"):
        opened("hf:nobody/none")


def test_a_run_on_it(tmp_path: Path, save: Save) -> None:
    finished = interpbench.run(
        dataset=save(), model="resnet18:width=4", weights="random", method="saliency,random",
        metric="deletion", steps=2, images=2, ceiling="none", device="cpu", plots=False, size=32,
        output=tmp_path / "run",
    )  # fmt: skip
    assert finished.failed.empty
    assert set(finished.scores["dataset"]) == {"pets"}


def test_what_is_read_from_memory_is_what_a_file_holds() -> None:
    content = io.BytesIO()
    picture(1).save(content, "png")
    assert np.array_equal(read_image(content.getvalue(), "mine"), np.asarray(picture(1)))
