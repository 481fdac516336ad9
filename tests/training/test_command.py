"""`train` as a user runs it."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from interpbench.loading.weights import read_weights
from tests.command_line import interpbench, refused
from tests.paths import TINY

MODEL = ["--model", "resnet18:width=4", "--device", "cpu"]
BASE = ["train", *MODEL, "--dataset", "tiny", "--plugin", str(TINY)]


def test_train_writes_weights_that_run_uses(tmp_path: Path) -> None:
    weights = tmp_path / "tiny.safetensors"
    arguments = [*BASE, "--output", str(weights)]
    done = interpbench(*arguments, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "trained on 39 images" in done.stdout
    assert "chosen on 1 images" in done.stdout
    assert "eval mode" in done.stdout
    assert "exists" in refused(*arguments)
    assert "Cannot write the weights" in refused(*arguments[:-1], str(TINY / "weights.safetensors"))
    done = interpbench(
        "run", "--dataset", "tiny", "--model", "resnet18", "--weights", str(weights), "--plugin", str(TINY),
        "--images", "4", "--method", "gradcam", "--metric", "all", "--output", str(tmp_path / "run"),
    )  # fmt: skip
    assert "half-broken" in done.stdout  # `all` metrics include the one that fails
    assert done.returncode == 1
    assert "RANDOM" not in done.stdout


def test_a_recipe_file_and_a_folder_of_photographs_of_any_size(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("test", 4)):
        for label, colour in enumerate(("red", "blue")):
            for i in range(count):
                path = tmp_path / "photos" / split / colour / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40 + i, 50 - 3 * label), colour).save(path)
    recipe = tmp_path / "mine.toml"
    recipe.write_text("epochs = 2\nbatch_size = 6\nsize = 32\nvalidation = 0.25\n[augmentation]\nmixup = 0.2\n")
    out = tmp_path / "photos.safetensors"
    data = ["--dataset", "imagefolder", "--data-root", str(tmp_path / "photos")]
    done = interpbench("train", *MODEL, *data, "--recipe", str(recipe), "--seed", "7", "--out", str(out))
    assert done.returncode == 0, done.stderr
    card = read_weights(out)[1]
    assert card is not None
    assert (card.size, card.classes, card.notes["seed"]) == (32, ("blue", "red"), "7")
    used = json.loads(card.notes["recipe"])
    assert (used["epochs"], used["augmentation"]["mixup"], used["seed"]) == (2, 0.2, 7)
    with out.with_suffix(".training.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert out.with_suffix(".training.png").is_file()
    assert "--size" in refused("train", *MODEL, *data, "--out", str(tmp_path / "other.safetensors"))


def test_weights_without_an_output_are_named_after_the_data_and_the_model(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "mine.py").write_text(
        "from torch import nn\n\n\n"
        "def build(classes, size):\n"
        "    return nn.Sequential(nn.Conv2d(3, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    model = ["--model", "nets/mine.py:build", "--device", "cpu", "--epochs", "1"]
    done = interpbench("train", *model, "--dataset", "tiny", "--plugin", str(TINY), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
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
        arguments = ["train", "--plugin", str(box), "--model", "box", "--dataset", "imagefolder:root=gone", *more]
        assert "Model 'box' cannot be trained: no gradients flow through it." in refused(*arguments)


def test_find_lr_writes_its_search_and_no_weights(tmp_path: Path) -> None:
    done = interpbench(*BASE, "--find-lr", "--batch-size", "8", "--output", str(tmp_path / "w.safetensors"))
    assert done.returncode == 0, done.stderr
    assert "try --lr" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"w.lr.csv", "w.lr.png"}


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
