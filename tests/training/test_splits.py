"""A held-out part of plain class folders, and what is said where parts are missing."""

import hashlib
from pathlib import Path

import pytest
import torch

from interpbench import api
from interpbench.core.errors import DataError, ParameterError, TrainingError
from interpbench.core.types import DatasetCard, Sample
from interpbench.loading.dataset import open_dataset
from interpbench.loading.fitting import load_state
from interpbench.loading.model import load_model
from interpbench.loading.part import listed_part
from interpbench.loading.weights import read_weights
from interpbench.registry.choosing import choose_dataset
from interpbench.registry.discovery import discover
from interpbench.training.splits import Whole, open_data, open_splits
from tests.command_line import call, refused
from tests.training.data import Stripes, photographs

MODEL = ["--model", "resnet18:width=2", "--device", "cpu", "--epochs", "1"]


class Named:
    """Ids and labels, in the order that they are given."""

    def __init__(self, names: list[str], classes: tuple[str, ...] = ("a", "b", "c")) -> None:
        self.card = DatasetCard("named", classes, "named-1")
        self.ids = names
        self.labels = [classes.index(name[0]) for name in names]

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.ids[index], None, self.labels[index])


NAMES = [f"a/{i}" for i in range(20)] + [f"b/{i}" for i in range(10)] + [f"c/{i}" for i in range(3)]


def lowest(names: list[str], count: int, seed: int) -> set[str]:
    """Those whose hash with the seed is lowest, computed anew."""

    def number(text: str) -> int:
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    key = number(f"{seed}\x1fsplit")
    return set(sorted(names, key=lambda name: number(f"{key}\x1f{name}"))[:count])


@pytest.mark.parametrize("seed", [0, 5])
def test_each_class_gives_its_share_by_ids_and_seed_alone(seed: int) -> None:
    parts = Whole(Named(NAMES), 0.2).parts(seed)
    expected = (
        lowest(NAMES[:20], 4, seed) | lowest(NAMES[20:30], 2, seed) | lowest(NAMES[30:], 1, seed)
    )
    assert set(parts.test.ids) == expected
    assert set(parts.train.ids) == set(NAMES) - expected
    assert len(parts.train.ids) + len(parts.test.ids) == len(NAMES)
    shuffled = Whole(Named(NAMES[::-1]), 0.2).parts(seed)
    assert set(shuffled.test.ids) == expected
    more = Whole(Named([*NAMES, "d/0", "d/1"], ("a", "b", "c", "d")), 0.2).parts(seed)
    assert {name for name in more.test.ids if name[0] != "d"} == expected


def test_the_parts_are_data_sets_of_their_own() -> None:
    whole = Stripes(20)
    parts, others = Whole(whole, 0.3).parts(0), Whole(whole, 0.3).parts(1)
    for part in (parts.train, parts.test):
        for index, name in enumerate(part.ids):
            sample = part[index]
            assert (sample.id, sample.label) == (name, part.labels[index])
            assert (sample.image == whole[int(name)].image).all()
    revisions = {part.card.revision for cut in (parts, others) for part in (cut.train, cut.test)}
    assert len(revisions | {whole.card.revision}) == 5
    assert parts.held_out == "6 of 20 images (0.3 of each class, seed 0)"


@pytest.mark.parametrize(("share", "test"), [(0.01, 2), (0.99, 6)])
def test_a_class_keeps_an_image_on_either_side(share: float, test: int) -> None:
    parts = Whole(Stripes(8), share).parts(0)
    assert (len(parts.test.ids), set(parts.test.labels)) == (test, {0, 1})
    assert set(parts.train.labels) == {0, 1}


def test_a_class_of_one_image_cannot_be_cut() -> None:
    with pytest.raises(DataError, match="Class 'c' has one image: --split needs two"):
        Whole(Named(["a/0", "a/1", "b/0", "b/1", "c/0"]), 0.2).parts(0)


def test_the_accuracy_is_that_on_the_held_out_part(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos", each=20)
    data = f"imagefolder:root={root}"
    asked = {
        "dataset": data,
        "split": 0.25,
        "seed": 3,
        "epochs": 2,
        "batch_size": 4,
        "device": "cpu",
    }
    trained = api.train("resnet18:width=2", **asked, output=tmp_path / "w.safetensors")
    notes = trained.card.notes
    assert notes["held_out"] == "10 of 40 images (0.25 of each class, seed 3)"
    assert notes["tested_on"] == "10 images"
    assert any(notes["held_out"] in notice for notice in trained.notices)
    model = discover().configure("model", "resnet18", {"width": 2})
    network = model(2, 16).eval()
    load_state(network, read_weights(trained.weights)[0], "")
    test = open_data(discover(), data, share=0.25).parts(3).test
    right = 0
    for index, label in enumerate(test.labels):
        pixels = torch.tensor(test[index].image).permute(2, 0, 1) / 255
        right += network(((pixels - 0.5) / 0.25)[None]).argmax().item() == label
    assert float(notes["accuracy"]) == pytest.approx(right / 10)
    assert trained.held_out is not None
    assert trained.held_out.read_text().split() == test.ids
    whole = open_dataset(choose_dataset(discover(), data))
    alone = listed_part(whole, trained.held_out)
    told, silent = (
        load_model(discover().configure("model", "resnet18", {"width": 2}), part.card,
                   weights=str(trained.weights)).notices
        for part in (whole, alone)
    )  # fmt: skip
    assert any("10 of 40 images" in notice and "w.held-out.txt" in notice for notice in told)
    assert not any("flatter" in notice for notice in silent)


def test_an_unfinished_training_is_not_resumed_on_another_cut(tmp_path: Path) -> None:
    data = f"imagefolder:root={photographs(tmp_path / 'photos')}"

    def stop(step: object) -> None:
        if getattr(step, "epoch", None) == 2:
            raise KeyboardInterrupt

    asked = {"dataset": data, "epochs": 2, "device": "cpu", "output": tmp_path / "w.safetensors"}
    with pytest.raises(KeyboardInterrupt):
        api.train("resnet18:width=2", **asked, split=0.2, progress=stop)
    with pytest.raises(TrainingError, match="another data"):
        api.train("resnet18:width=2", **asked, split=0.3, resume=True)


def test_plain_folders_without_a_split_are_told_both_ways(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos", each=5)
    plain = ["train", *MODEL, "--dataset", f"imagefolder:root={root}"]
    out = ["--output", tmp_path / "w.safetensors"]
    said = refused(*plain, *out)
    assert f"'{root}' has no folder `train/`" in said
    assert "a `test/` folder" in said
    assert "--split 0.2" in said
    code, printed, error = call(*plain, *out, "--split", "0.2")
    assert code == 0, error
    assert "Held out to test on: 2 of 10 images (0.2 of each class, seed 0)." in printed
    assert "on 2 images" in printed


def test_a_folder_without_a_test_part_is_told_so_and_val_stands_for_it(tmp_path: Path) -> None:
    text = f"imagefolder:root={tmp_path}"
    photographs(tmp_path / "train", each=3)
    with pytest.raises(DataError, match="no folder `test/`"):
        open_splits(discover(), text)
    photographs(tmp_path / "val", each=2)
    splits = open_splits(discover(), text)
    assert (len(splits.train.ids), len(splits.test.ids)) == (6, 4)
    photographs(tmp_path / "test", each=1)
    assert len(open_splits(discover(), text).test.ids) == 2


@pytest.mark.parametrize("share", ["0", "1", "-0.2", "20", "nan"])
def test_a_share_is_between_nothing_and_all(share: str) -> None:
    said = refused("train", *MODEL, "--dataset", "imagefolder:root=photos", "--split", share)
    assert "is no share of the images: give a number between 0 and 1" in said


def test_data_with_parts_are_not_cut_unless_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="parts of its own"):
        open_data(discover(), "planted:count=20", share=0.2)
    named = open_data(discover(), "planted:count=20,split=train", share=0.5).parts(0)
    assert (len(named.train.ids), len(named.test.ids)) == (10, 10)
    for part in ("train", "test"):
        photographs(tmp_path / part, each=4)
    text = f"imagefolder:root={tmp_path}"
    with pytest.raises(ParameterError, match="leave --split out"):
        open_data(discover(), text, share=0.25)
    cut = open_data(discover(), f"{text},split=train", share=0.25).parts(0)
    assert (len(cut.train.ids), len(cut.test.ids)) == (6, 2)


def test_a_data_set_that_knows_no_parts_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from interpbench import dataset\nfrom tests.training.data import Stripes\n\n\n"
        "@dataset('mine')\ndef mine():\n    return Stripes(30)\n"
    )
    with pytest.raises(ParameterError, match=r"no parts .* --split 0\.2"):
        open_splits(discover([file]), "mine")
    parts = open_data(discover([file]), "mine", share=0.2).parts(0)
    assert (len(parts.train.ids), len(parts.test.ids)) == (24, 6)
