"""`train` as a user runs it."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from interpbench import api
from interpbench.core.errors import ParameterError
from interpbench.loading.weights import read_weights
from interpbench.registry.discovery import discover
from interpbench.training.loop import TrainingStep
from interpbench.training.splits import open_splits
from tests.command_line import call, refused, undrawn
from tests.paths import TINY

MODEL = ["--model", "resnet18:width=4", "--device", "cpu"]
BASE = ["train", *MODEL, "--dataset", "tiny", "--plugin", str(TINY)]


@undrawn()
def test_train_writes_weights_that_run_uses(tmp_path: Path) -> None:
    weights = tmp_path / "tiny.safetensors"
    arguments = [*BASE, "--output", str(weights)]
    code, out, error = call(*arguments, "--epochs", "1")
    assert code == 0, error
    assert "trained on 39 images" in out
    assert "chosen on 1 images" in out
    assert "eval mode" in out
    assert "exists" in refused(*arguments)
    assert "Cannot write the weights" in refused(*arguments[:-1], str(TINY / "weights.safetensors"))
    code, out, _ = call(
        "run", "--dataset", "tiny", "--model", "resnet18", "--weights", str(weights), "--plugin", str(TINY),
        "--images", "2", "--method", "gradcam", "--metric", "all", "--ceiling", "none", "--output",
        str(tmp_path / "run"),
    )  # fmt: skip
    assert "half-broken" in out  # `all` metrics include the one that fails
    assert code == 1
    assert "RANDOM" not in out


def test_a_recipe_file_and_a_folder_of_photographs_of_any_size(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("test", 4)):
        for label, colour in enumerate(("red", "blue")):
            for i in range(count):
                path = tmp_path / "photos" / split / colour / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40 + i, 50 - 3 * label), colour).save(path)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        "epochs = 2\nbatch_size = 6\nsize = 32\nvalidation = 0.25\n[augmentation]\nmixup = 0.2\n"
    )
    out = tmp_path / "photos.safetensors"
    data = ["--dataset", "imagefolder", "--data-root", str(tmp_path / "photos")]
    code, _, error = call("train", *MODEL, *data, "--recipe", recipe, "--seed", "7", "--out", out)
    assert code == 0, error
    card = read_weights(out)[1]
    assert card is not None
    assert (card.size, card.classes, card.notes["seed"]) == (32, ("blue", "red"), "7")
    used = json.loads(card.notes["recipe"])
    assert (used["epochs"], used["augmentation"]["mixup"], used["seed"]) == (2, 0.2, 7)
    with out.with_suffix(".training.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert out.with_suffix(".training.png").is_file()
    assert "--size" in refused("train", *MODEL, *data, "--out", str(tmp_path / "other.safetensors"))


def test_weights_without_an_output_are_named_after_the_data_and_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "mine.py").write_text(
        "from torch import nn\n\n\n"
        "def build(classes, size):\n"
        "    return nn.Sequential(nn.Conv2d(3, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    model = ["--model", "nets/mine.py:build", "--device", "cpu", "--epochs", "1"]
    code, _, error = call("train", *model, "--dataset", "tiny", "--plugin", TINY)
    assert code == 0, error
    assert (tmp_path / "tiny-nets-mine.py-build.safetensors").is_file()


def test_a_black_box_is_refused_before_the_data_are_looked_for(tmp_path: Path) -> None:
    box = tmp_path / "box.py"
    box.write_text(
        "from interpbench import model\n\n\n"
        "@model('box', gradients=False)\n"
        "def box(classes, size):\n"
        "    raise AssertionError\n"
    )
    for more in ([], ["--find-lr"]):
        arguments = [
            "train",
            "--plugin",
            str(box),
            "--model",
            "box",
            "--dataset",
            "imagefolder:root=gone",
            *more,
        ]
        assert "Model 'box' cannot be trained: no gradients flow through it." in refused(*arguments)


def test_find_lr_writes_its_search_and_no_weights(tmp_path: Path) -> None:
    code, out, error = call(
        *BASE, "--find-lr", "--batch-size", "8", "--output", tmp_path / "w.safetensors"
    )
    assert code == 0, error
    assert "try --lr" in out
    assert {path.name for path in tmp_path.iterdir()} == {"w.lr.csv", "w.lr.png"}


def test_one_call_returns_the_weights_and_their_card(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    asked = {"dataset": "tiny", "epochs": 1, "device": "cpu", "output": weights, "plugin": TINY}
    trained = api.train("resnet18:width=4", **asked)
    assert (trained.model, trained.weights) == ("resnet18:width=4", weights)
    assert trained.card == read_weights(weights)[1]
    assert trained.record == tmp_path / "w.training.csv"
    assert trained.record.is_file()
    with pytest.raises(ParameterError, match="exists"):
        api.train("resnet18:width=4", **asked)
    search = api.find_lr(
        "resnet18:width=4", dataset="tiny", batch_size=8, device="cpu", output=weights, plugin=TINY
    )
    assert search.suggestion in search.table["lr"].to_list()
    assert search.record.is_file()


@pytest.mark.parametrize(
    ("epoch", "advice"), [(1, "No epoch was finished."), (2, "and --resume: {}.unfinished.")]
)
def test_ctrl_c_says_how_to_go_on(tmp_path: Path, epoch: int, advice: str) -> None:
    def stop(step: TrainingStep) -> None:
        if step.epoch == epoch:
            raise KeyboardInterrupt

    weights = tmp_path / "w.safetensors"
    asked = {"dataset": "tiny", "epochs": 2, "device": "cpu", "output": weights, "plugin": TINY}
    with pytest.raises(KeyboardInterrupt) as interrupted:
        api.train("resnet18:width=4", **asked, progress=stop)
    assert interrupted.value.__notes__[0].endswith(advice.format(weights))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_data_set_that_breaks_is_named(tmp_path: Path, split: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(
        "from interpbench import dataset\nfrom tests.training.data import Stripes\n\n\n"
        "@dataset('broken')\n"
        "def broken(*, split: str = 'test'):\n"
        f"    if split == {split!r}:\n"
        "        raise ZeroDivisionError('by nought')\n"
        "    return Stripes()\n"
    )
    said = refused(
        "train",
        *MODEL,
        "--dataset",
        "broken",
        "--plugin",
        file,
        "--output",
        tmp_path / "w.safetensors",
    )
    named = f"Error: dataset 'broken:split=train' failed: ZeroDivisionError: by nought ({file}:8)."
    assert said == (named if split == "train" else named.replace(":split=train", ""))


@pytest.mark.parametrize("split", ["test", "val"])
def test_the_second_split_is_called_test_or_val(tmp_path: Path, split: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from typing import Literal\nfrom interpbench import dataset\nfrom tests.training.data import Stripes\n\n\n"
        "@dataset('mine')\n"
        f"def mine(*, split: Literal['train', {split!r}] = 'train'):\n"
        "    return Stripes(30 if split == 'train' else 7)\n"
    )
    splits = open_splits(discover([file]), "mine")
    assert (len(splits.train.ids), len(splits.test.ids)) == (30, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "cifar11"], "Did you mean 'cifar10'"),
        (["--recipe", "absent.toml"], "cannot be read"),
        (["--epochs", "0"], "'epochs'"),
        (["--lr", "-1"], "optimiser.lr"),
        (["--precision", "fp64"], "'precision'"),
        (["--resume"], "no unfinished training"),
        (["--model", "resnet18,alexnet"], "one model"),
        (["--device", "tpu"], "Unknown device"),
    ],
)
def test_wrong_input_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in refused(*BASE, "--output", str(tmp_path / "w.safetensors"), *arguments)


def test_an_unfinished_training_is_not_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors.unfinished").touch()
    assert "--resume" in refused(*BASE, "--output", str(tmp_path / "w.safetensors"))
