"""Maps in data sets of Hugging Face's library: scored as those in files are, or refused before anything runs."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from interpbench.core.errors import (
    DataError,
    MethodError,
    ParameterError,
    RunFolderError,
    UnknownNameError,
)
from interpbench.loading.map_rows import RowsOfMaps
from tests.running.test_maps import IDS, as_npy, maps_of, planned, refuse, run, scores

Save = Callable[..., str]


@pytest.fixture(scope="module")
def hf() -> ModuleType:
    return pytest.importorskip(
        "datasets", reason="datasets is not installed: pip install 'interpbench[hf]'"
    )


@pytest.fixture
def save(tmp_path: Path, hf: ModuleType) -> Save:
    """Writes columns as a data set; what a user calls it."""

    def saved(
        name: str = "mine", features: dict[str, Any] | None = None, **columns: Sequence[Any]
    ) -> str:
        data = hf.Dataset.from_dict(columns)
        for column, feature in (features or {}).items():
            data = data.cast_column(column, feature)
        data.save_to_disk(tmp_path / name)
        return f"hf:{tmp_path / name}"

    return saved


def lists() -> list[Any]:
    return [found.tolist() for found in maps_of().values()]


def test_maps_score_and_are_hashed_as_those_in_files(
    tmp_path: Path, save: Save, hf: ModuleType
) -> None:
    """Lists, arrays with a format of their own, images of floats, and splits, in any order of the rows."""
    arrays = list(maps_of().values())
    root = save("lists", sample_id=IDS[::-1], map=lists()[::-1])
    save("images", {"map": hf.Image()}, id=IDS, map=[Image.fromarray(found) for found in arrays])
    square = hf.Features({"id": hf.Value("string"), "saliency": hf.Array3D((1, 16, 16), "float32")})
    whole = hf.Dataset.from_dict(
        {"id": IDS, "saliency": [found[None] for found in arrays]}, features=square
    )
    whole.with_format("torch").save_to_disk(tmp_path / "arrays")
    halves = {"train": whole.select(range(3)), "test": whole.select(range(3, 8))}
    hf.DatasetDict(halves).save_to_disk(tmp_path / "splits")
    others = [f"hf:{tmp_path / name}" for name in ("images", "arrays", "splits")]
    files = as_npy(tmp_path / "files", maps_of())
    methods = {"maps": [root, *others, files], "method": f"center,maps:{root}"}
    finished = run(tmp_path, **methods, metric="deletion", steps=4)
    assert finished.failed.empty
    expected = scores(finished, "files")
    assert len(expected) == 8
    for name in ("lists", "images", "arrays", "splits", f"maps:{root}"):
        assert scores(finished, name).to_csv() == expected.to_csv(), name
        record = finished.info.plugins[f"method {name}"]
        assert record.source_hash == finished.info.plugins["method files"].source_hash, name
    assert finished.info.plugins["method lists"].parameters == {"root": root}
    assert finished.info.plugins["method lists"].origin == f"maps: {root}"


def test_grey_images_and_whole_numbers(tmp_path: Path, save: Save, hf: ModuleType) -> None:
    grey = [np.uint8(found * 255) for found in maps_of().values()]
    save("images", {"map": hf.Image()}, id=IDS, map=[Image.fromarray(found) for found in grey])
    save("numbers", id=IDS, map=[found.tolist() for found in grey])
    hashes = {
        planned(f"hf:{tmp_path / name}").methods[name].plugin.source_hash
        for name in ("images", "numbers")
    }
    files = planned(as_npy(tmp_path / "files", dict(zip(IDS, grey, strict=True))))
    assert hashes == {files.methods["files"].plugin.source_hash}


def test_several_methods_and_ids_that_are_numbers(tmp_path: Path, save: Save) -> None:
    """Methods that a column names; one of them by hand where its name is taken."""
    other = [found.T.tolist() for found in maps_of().values()]
    root = save(id=IDS * 2, map=lists() + other, method=["upright"] * 8 + ["turned"] * 8)
    finished = run(tmp_path, maps=root, method=f"maps:{root}#turned", metric="deletion", steps=4)
    assert set(finished.leaderboard["method"]) == {"upright", "turned", f"maps:{root}#turned"}
    assert scores(finished, "turned").to_csv() == scores(finished, f"maps:{root}#turned").to_csv()
    assert scores(finished, "turned").to_csv() != scores(finished, "upright").to_csv()
    said = refuse(tmp_path / "no", DataError, method=f"maps:{root}")
    assert (
        f"{root} holds the maps of several methods, turned, upright: name one of them, {root}#METHOD"
        in said
    )
    said = refuse(tmp_path / "no", UnknownNameError, method=f"maps:{root}#turnt")
    assert f"Unknown method of {root}: 'turnt'. Did you mean 'turned'?" in said
    numbers = save("numbers", id=list(range(8)), map=lists())
    assert np.array_equal(RowsOfMaps(numbers).read("3"), maps_of()[IDS[3]])


def test_resume_refuses_other_maps(tmp_path: Path, save: Save) -> None:
    run(tmp_path, maps=save("a/mine", id=IDS, map=lists()))
    before = (tmp_path / "run" / "scores.csv").read_bytes()
    run(tmp_path, maps=save("b/mine", id=IDS[::-1], map=lists()[::-1]), resume=True)
    assert (tmp_path / "run" / "scores.csv").read_bytes() == before
    with pytest.raises(RunFolderError, match="Method 'mine' has changed"):
        run(tmp_path, maps=save("c/mine", id=IDS, map=lists()[::-1]), resume=True)


class TestTargets:
    """What the column says of the classes that maps are for."""

    def test_by_index_by_name_and_by_the_data_set_s_own_classes(
        self, save: Save, hf: ModuleType
    ) -> None:
        names = ["nw", "ne", "sw", "se"]
        kept = hf.ClassLabel(names=names[::-1])  # counted otherwise than the model's logits
        roots = [
            save("by-index", id=IDS, map=lists(), target=[i % 4 for i in range(8)]),
            save("by-name", id=IDS, map=lists(), target=[names[i % 4] for i in range(8)]),
            save(
                "by-class",
                {"target": kept},
                id=IDS,
                map=lists(),
                target=[3 - i % 4 for i in range(8)],
            ),
        ]
        for root in roots:
            [method] = [
                found for label, found in planned(root).methods.items() if label != "center"
            ]
            x = torch.zeros(8, 3, 16, 16)
            assert method(None, x, torch.arange(8) % 4, ids=IDS).shape == x[:, 0].shape
            with pytest.raises(
                MethodError, match=f"'tiny-003' is for class 'se' .3., as column 'target' of {root}"
            ):
                method(None, x, torch.arange(8) % 3, ids=IDS)

    def test_unknown_classes(self, tmp_path: Path, save: Save) -> None:
        root = save(id=IDS, map=lists(), target=[4] * 8)
        said = refuse(tmp_path, DataError, maps=root)
        assert (
            f"Unknown class of 'tiny-000' in column 'target' of {root}: 4. Expected the index"
            in said
        )


class TestRefusals:
    """All before anything runs, with the data set's name."""

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"id": None, "key": IDS}, "has no column sample_id or id; its columns are map, key. Expected"),
            ({"map": None}, "has no column map or saliency; its columns are id. Expected"),
            ({"saliency": [1] * 8}, "has columns map and saliency; its columns are id, map, saliency. Expected"),
            ({"id": [*IDS[:7], None]}, "says nothing in column id of row 7"),
            ({"id": [*IDS[:7], IDS[2]]}, "holds several maps of sample 'tiny-002': which is meant?"),
            ({"id": ["a", *IDS[1:]]}, "no map of 1 of the run's 8 samples: 'tiny-000'. Looked for hf:"),
            ({"map": [[[0.5] * 17] * 16] * 8}, "['tiny-000'] is [16, 17], larger than the model's input"),
            ({"map": [[[[0.5] * 16] * 16] * 3] * 8}, "['tiny-000'] is [3, 16, 16]; expected a map [H,W]"),
            ({"map": [[[0.5, 1], [1]]] * 8}, "['tiny-000'] holds object; expected a map"),
            ({"map": [*lists()[:7], None]}, "['tiny-007'] holds object; expected a map"),
            ({"map": [[["a"]]] * 8}, "['tiny-000'] holds object; expected a map"),
        ],
    )  # fmt: skip
    def test_what_is_no_data_set_of_maps(
        self, tmp_path: Path, save: Save, changes: dict[str, Any], reason: str
    ) -> None:
        columns = {"id": IDS, "map": lists()} | changes
        root = save(**{name: values for name, values in columns.items() if values is not None})
        said = refuse(tmp_path, DataError, maps=root)
        assert reason in said
        assert root in said

    @pytest.mark.parametrize("mode", ["RGB", "P", "1", "LA"])
    def test_images_that_are_not_grey(
        self, tmp_path: Path, save: Save, hf: ModuleType, mode: str
    ) -> None:
        root = save(features={"map": hf.Image()}, id=IDS, map=[Image.new(mode, (16, 16))] * 8)
        said = refuse(tmp_path, DataError, maps=root)
        assert f"{root}['tiny-000'] is an image of mode {mode}; expected a grey one" in said

    def test_images_that_cannot_be_read(self, tmp_path: Path, save: Save, hf: ModuleType) -> None:
        root = save(
            features={"map": hf.Image()}, id=IDS, map=[{"bytes": b"none", "path": None}] * 8
        )
        assert f"{root}['tiny-000'] cannot be read" in refuse(tmp_path, DataError, maps=root)

    def test_no_data_set(
        self, tmp_path: Path, hf: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unknown(name: str) -> None:
            raise hf.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")

        monkeypatch.setattr(hf, "load_dataset", unknown)
        said = refuse(tmp_path, DataError, maps="hf:nobody/none")
        assert (
            "no such folder, and the data set 'nobody/none' cannot be read (DatasetNotFoundError: "
            in said
        )
        assert (
            "Expected hf:FOLDER, a data set that `save_to_disk` wrote, or hf:ORG/NAME on the hub."
            in said
        )
        said = refuse(tmp_path, DataError, maps=f"hf:{tmp_path}/none")
        assert f"There is no folder '{tmp_path}/none'. Expected hf:FOLDER" in said
        as_npy(tmp_path / "files", maps_of())
        said = refuse(tmp_path, DataError, maps=f"hf:{tmp_path}/files")
        assert f"The folder '{tmp_path}/files' cannot be read (FileNotFoundError: " in said

    def test_without_the_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "datasets", None)
        said = refuse(tmp_path, ParameterError, maps="hf:nobody/none")
        assert (
            "hf:nobody/none needs the library `datasets`, which is not installed: pip install"
            in said
        )


def test_from_the_hub(tmp_path: Path, hf: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name; what the hub would answer is made here."""
    asked = []

    def answer(name: str) -> Any:
        asked.append(name)
        return hf.DatasetDict({"train": hf.Dataset.from_dict({"id": IDS, "map": lists()})})

    monkeypatch.setattr(hf, "load_dataset", answer)
    monkeypatch.chdir(tmp_path)
    plan = planned("hf:somebody/maps-1.0")
    assert set(asked) == {"somebody/maps-1.0"}
    assert plan.methods["maps-1.0"].plugin.origin == "maps: hf:somebody/maps-1.0"
    files = planned(as_npy(tmp_path / "files", maps_of()))
    assert plan.methods["maps-1.0"].plugin.source_hash == files.methods["files"].plugin.source_hash
