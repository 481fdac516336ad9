"""Any part of ImageNet's 1000 classes, in the folders that people have, and what each command makes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torch import nn
from torchvision.models import ResNet18_Weights

from interpbench import model
from interpbench.core.errors import DataError
from interpbench.core.types import Dataset
from interpbench.loading.model import load_model
from interpbench.loading.stated import stated_by_user
from interpbench.registry.discovery import discover
from tests.command_line import call, refused
from tests.picture_commands import record

SYNSETS = ImageNetInfo().label_names()  # timm's list of the 1000 logits
NAMES = ResNet18_Weights.DEFAULT.meta["categories"]  # torchvision's
SOME = {"n02123045": 281, "n01440764": 0, "n15075141": 999}  # tabby, tench, toilet tissue
OWN = """
import torch
from interpbench import Pretrained

pretrained = Pretrained(source="mine", size=16)


def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(16, 1000),
    )
"""


def make(**values: object) -> Dataset:
    found: Dataset = discover().configure("dataset", "imagenet", values)()
    return found


def photographs(folder: Path, count: int = 2) -> Path:
    """Noise in a few class folders."""
    for wnid, index in SOME.items():
        (folder / wnid).mkdir(parents=True)
        for i in range(count):
            noise = np.random.default_rng([index, i]).integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / wnid / f"{wnid}_{i}.JPEG")
    return folder


def test_the_table_is_that_of_other_libraries() -> None:
    card = make().card
    assert discover().get("dataset", "imagenet").call.__globals__["WNIDS"] == SYNSETS
    assert card.imagenet == tuple(range(1000))
    assert card.classes == tuple(NAMES)


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ("", {}),
        ("val", {}),
        ("train", {"split": "train"}),
        ("ILSVRC/Data/CLS-LOC/val", {}),
        ("ILSVRC/Data/CLS-LOC/train", {"split": "train"}),
    ],
)
def test_a_part_of_the_classes_keeps_their_logits(
    tmp_path: Path, place: str, values: dict[str, str]
) -> None:
    photographs(tmp_path / place)
    data = make(root=tmp_path, **values)
    assert data.card.imagenet == (0, 281, 999)
    assert data.card.classes == tuple(NAMES[i] for i in (0, 281, 999))
    assert list(data.labels) == [0, 0, 1, 1, 2, 2]
    assert data.ids[2] == "n02123045/n02123045_0.JPEG"
    assert data[2].image.shape == (20, 24, 3)
    assert (data.card.mean, data.card.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert data.card.revision.startswith("files-")


def test_folders_that_are_none_of_the_classes_are_refused(tmp_path: Path) -> None:
    photographs(tmp_path)
    (tmp_path / "n00000001").mkdir()
    with pytest.raises(DataError, match=r"1 of the 4 folders in .* such as 'n00000001'"):
        make(root=tmp_path)


def test_a_missing_split_is_said(tmp_path: Path) -> None:
    photographs(tmp_path / "train")
    with pytest.raises(DataError, match=r"for the split val in .* There is a folder train"):
        make(root=tmp_path)
    with pytest.raises(
        DataError, match="for the split train in"
    ):  # what is tested on is not trained on
        make(root=tmp_path / "train", split="train")


def test_without_a_folder_there_are_classes_and_no_images() -> None:
    with pytest.raises(DataError, match="Give their folder with --data-root"):
        _ = make().ids
    assert "Give their folder with --data-root" in refused(
        "run", "--dataset", "imagenet", "--model", "resnet18", "--weights", "random"
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three classes, and a model of 1000 logits."""
    folder = tmp_path_factory.mktemp("imagenet")
    photographs(folder / "images" / "val")
    (folder / "own.py").write_text(OWN)
    return folder


def flags(place: Path) -> list[object]:
    return ["--model", f"{place / 'own.py'}:build", "--method", "saliency", "--device", "cpu"]


def data(place: Path) -> list[object]:
    return ["--dataset", "imagenet", "--data-root", place / "images"]


def test_run_and_gallery_know_all_of_the_logits(place: Path, tmp_path: Path) -> None:
    code, out, error = call(
        "run",
        *data(place),
        *flags(place),
        "--metric",
        "deletion",
        "--ceiling",
        "none",
        "--output",
        tmp_path / "run",
    )
    assert code == 0, out + error
    assert "accuracy 0.0% on 6 images" in out
    assert "holds 6 images: all are taken instead of the usual 30" in out
    code, out, error = call(
        "gallery", *data(place), *flags(place), "--output", tmp_path / "gallery"
    )
    assert code == 0, out + error
    table = (tmp_path / "gallery" / "gallery.csv").read_text()
    predicted = {line.split(",")[2] for line in table.splitlines()[1:]}
    assert predicted <= set(NAMES)  # ImageNet's names, though none of the three folders'
    assert not predicted & {NAMES[i] for i in SOME.values()}


def test_a_network_without_weights_of_its_own_has_the_logits_of_its_file(place: Path) -> None:
    def plain(classes: int, size: int) -> nn.Module:
        return nn.Sequential(nn.AvgPool2d(size), nn.Flatten(), nn.Linear(3, classes))

    registry = discover()
    with registry.collecting():
        model("plain")(plain)
    choice, card = registry.configure("model", "plain"), make(root=place / "images").card
    for count, logits in ((1000, (0, 281, 999)), (3, (0, 1, 2))):  # as it came, and fine-tuned
        torch.save(plain(count, 8).state_dict(), place / "plain.pth")
        loaded = load_model(
            choice, card, weights=str(place / "plain.pth"), stated=stated_by_user(size=8)
        )
        assert (loaded.card.classes, loaded.card.logit_of_label) == (count, logits)


def test_explain_needs_no_folder(place: Path, tmp_path: Path) -> None:
    image = place / "images" / "val" / "n01440764" / "n01440764_0.JPEG"
    said = {}
    for name in ("imagenet", "imagenet-1k"):
        arguments = [image, *flags(place), "--dataset", name, "--output", tmp_path / name]
        code, out, error = call("explain", *arguments, "--target", "tench")
        assert code == 0, out + error
        said[name] = record(tmp_path / name)["images"][0] | {"panel": ""}
    assert said["imagenet"] == said["imagenet-1k"]
    assert said["imagenet"]["target"]["index"] == 0


def test_doctor_and_sanity_take_it(place: Path, tmp_path: Path) -> None:
    code, out, error = call("doctor", f"{place / 'own.py'}:build", *data(place), "--device", "cpu")
    assert code == 0, out + error
    assert "two images of imagenet" in out
    code, out, error = call(
        "sanity",
        *data(place),
        *flags(place),
        "--test",
        "random-logit",
        "--output",
        tmp_path / "sanity",
    )
    assert code == 0, out + error
    assert "holds 6 images: all are taken instead of the usual 16" in out


def test_train_takes_both_splits(place: Path, tmp_path: Path) -> None:
    photographs(tmp_path / "train", count=4)
    photographs(tmp_path / "val", count=1)
    code, out, error = call(
        "train", "--model", "resnet18:width=2", "--dataset", "imagenet", "--data-root", tmp_path, "--size", 16,
        "--epochs", 1, "--batch-size", 4, "--device", "cpu", "--output", tmp_path / "mine.safetensors",
    )  # fmt: skip
    assert code == 0, out + error
    assert "on 3 images" in out
    assert "for the split train" in refused(
        "train",
        "--model",
        "resnet18:width=2",
        "--dataset",
        "imagenet",
        "--data-root",
        tmp_path / "val",
    )


def test_photographs_below_a_folder_need_no_classes(place: Path, tmp_path: Path) -> None:
    data: Dataset = discover().configure("dataset", "photos", {"root": place / "images"})()
    assert data.ids[:2] == ["val/n01440764/n01440764_0.JPEG", "val/n01440764/n01440764_1.JPEG"]
    assert (len(data.ids), set(data.labels)) == (6, {-1})
    assert (data.card.name, data.card.classes) == ("photos", tuple(NAMES))
    assert data[3].image.shape == (20, 24, 3)
    shown = ["run", "--dataset", "photos", "--data-root"]
    rest = ["--metric", "deletion", "--steps", 4, "--ceiling", "none", "--output", tmp_path / "run"]
    code, out, error = call(*shown, place / "images", *flags(place), *rest)
    assert code == 0, out + error
    assert "accuracy unknown" in out
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused(*shown, tmp_path / "empty", *flags(place))
    assert "your photographs with --data-root" in refused(*shown, tmp_path / "no", *flags(place))
