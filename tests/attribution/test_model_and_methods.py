"""What pictures are made of: whose weights, whose classes, which methods."""

from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet18_Weights

from interpbench.attribution.model_and_methods import (
    find_class,
    find_target,
    load_model_and_methods,
)
from interpbench.core.errors import UnknownNameError
from interpbench.loading.weights import WeightsCard, save_weights
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from tests.command_line import call, refused
from tests.paths import TINY
from tests.picture_commands import GAIN, MEAN, STD, photo, record


def test_weights_without_a_card_need_the_name_of_their_data(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 0)
    torch.save({"0.weight": torch.full((1, 3, 1, 1), GAIN)}, tmp_path / "bare.pth")
    arguments = [
        "explain",
        tmp_path / "a.png",
        "--model",
        "quadrants",
        "--weights",
        tmp_path / "bare.pth",
    ]
    arguments += [
        "--plugin",
        TINY,
        "--method",
        "gradient",
        "--device",
        "cpu",
        "--output",
        tmp_path / "out",
    ]
    message = refused(*arguments)
    assert "nobody states size, mean and std" in message
    stated = ["--size", "16", "--mean", "0.5", "--std", "0.25"]
    assert call(*arguments, *stated, "--output", tmp_path / "unnamed")[0] == 0
    assert record(tmp_path / "unnamed")["images"][0]["predictions"][0]["class"].startswith("logit")
    assert call(*arguments, "--dataset", "tiny")[0] == 0
    assert record(tmp_path / "out")["model"]["dataset"] == "tiny"


def shipping(folder: Path, *datasets: str) -> Path:
    """A plugin of a model that ships weights for some data sets, whose classes bear the data set's name."""
    folder.mkdir()
    plugin = folder / "mine.py"
    plugin.write_text(
        "import torch\nfrom interpbench import model\n\n\n@model('mine')\ndef mine(classes, size):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * size * size, classes))\n"
    )
    for name in datasets:
        state = {"1.weight": torch.zeros(2, 48), "1.bias": torch.tensor([0.0, 1.0])}
        card = WeightsCard("mine", {}, name, "1", (f"{name}-a", f"{name}-b"), 4, MEAN, STD)
        save_weights(folder / "weights" / f"{name}-mine.safetensors", state, card)
    return plugin


def test_the_only_shipped_weights_are_the_default_and_several_are_asked_for(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 0)
    rest = [
        "--model",
        "mine",
        "--method",
        "sobel",
        "--device",
        "cpu",
        "--output",
        tmp_path / "out",
        "--overwrite",
    ]
    one = shipping(tmp_path / "one", "fish")
    assert call("explain", tmp_path / "a.png", *rest, "--plugin", one)[0] == 0
    assert record(tmp_path / "out")["images"][0]["predictions"][0]["class"] == "fish-b"
    two = shipping(tmp_path / "two", "birds", "fish")
    message = refused("explain", tmp_path / "a.png", *rest, "--plugin", two)
    assert "weights for birds, fish" in message
    assert "--dataset" in message
    assert call("explain", tmp_path / "a.png", *rest, "--plugin", two, "--dataset", "birds")[0] == 0
    assert record(tmp_path / "out")["images"][0]["predictions"][0]["class"] == "birds-b"
    none = shipping(tmp_path / "none")
    assert "No weights are shipped" in refused(
        "explain", tmp_path / "a.png", *rest, "--plugin", none
    )
    of_imagenet = refused(
        "explain", tmp_path / "a.png", *rest, "--plugin", none, "--dataset", "imagenet-1k"
    )
    assert "no weights for model 'mine' on data set 'imagenet-1k'" in of_imagenet


def test_torchvisions_weights_come_with_the_names_of_imagenet() -> None:
    explained = load_model_and_methods(
        discover(), "resnet18", ["sobel"], "imagenet-1k", Sources(weights=("random",))
    )  # fmt: skip
    assert explained.classes == tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    assert explained.classes[281] == "tabby"
    assert explained.model.card.size == 224


def test_a_model_without_gradients_is_explained_by_black_boxes(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 0)
    black = tmp_path / "black.py"
    black.write_text(
        "import torch\nfrom interpbench import model\n\n\n@model('black', gradients=False)\ndef black(classes, size):\n"
        "    return torch.nn.Sequential(torch.nn.AvgPool2d(size), torch.nn.Flatten(), torch.nn.Linear(3, classes))\n"
    )
    arguments = [
        "explain",
        tmp_path / "a.png",
        "--model",
        "black",
        "--weights",
        "random",
        "--dataset",
        "tiny",
    ]
    arguments += [
        "--plugin",
        TINY,
        "--plugin",
        black,
        "--device",
        "cpu",
        "--output",
        tmp_path / "out",
        "--method",
    ]
    assert "Method 'saliency' needs gradients" in refused(*arguments, "saliency,sobel")
    assert call(*arguments, "sobel,center")[0] == 0


def test_random_weights_are_said_to_be_random(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 0)
    arguments = [
        "--model",
        "quadrants",
        "--weights",
        "random",
        "--dataset",
        "tiny",
        "--plugin",
        TINY,
        "--method",
        "sobel",
    ]
    assert (
        call(
            "explain",
            tmp_path / "a.png",
            *arguments,
            "--device",
            "cpu",
            "--output",
            tmp_path / "out",
        )[0]
        == 0
    )
    assert record(tmp_path / "out")["model"]["weights"] == "random"


NAMED = """
import torch
from interpbench import Pretrained

INPUT = dict(size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
{pretrained}


def build():
    return torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Flatten(), torch.nn.Linear(3, 3))
"""


def of_file(folder: Path, pretrained: str) -> list[object]:
    """The arguments of `explain` for a model in a file that says this of it."""
    photo(folder / "a.png", 0)
    (folder / "own.py").write_text(NAMED.format(pretrained=pretrained))
    model = ["explain", folder / "a.png", "--model", f"{folder / 'own.py'}:build"]
    rest = ["--method", "saliency", "--device", "cpu", "--output", folder / "out", "--overwrite"]
    return [*model, *rest]


def test_a_model_in_a_file_may_name_its_classes(tmp_path: Path) -> None:
    says = "pretrained = Pretrained(source='mine', **INPUT, classes=('ant', 'bee', 'fly'))"
    code, out, error = call(*of_file(tmp_path, says), "--target", "fly")
    assert code == 0, out + error
    found = record(tmp_path / "out")
    assert found["images"][0]["target"]["index"] == 2
    names = {p["index"]: p["class"] for p in found["images"][0]["predictions"]}
    assert names == {0: "ant", 1: "bee", 2: "fly"}
    assert found["model"]["weights"] == "mine"


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [
        ("", "does not say what its classes are. Name the data set"),
        ("pretrained = None", "or name them in its file: pretrained = interpbench.Pretrained"),
        (
            "pretrained = Pretrained('mine', **INPUT, classes=('ant', 'bee'))",
            "gives 3 logits and names 2 classes",
        ),
    ],
)
def test_what_a_file_fails_to_say_of_its_classes_is_said(
    tmp_path: Path, pretrained: str, message: str
) -> None:
    assert message in refused(*of_file(tmp_path, pretrained))


def test_a_class_is_found_by_name_before_index() -> None:
    assert find_class("1", ["0", "2", "1"]) == 2
    assert find_class("b", ["a", "b"]) == 1
    assert find_class("0", ["a", "b"]) == 0
    with pytest.raises(Exception, match="Give an index: 1, 3"):
        find_class("b", ["a", "b", "c", "b"])
    names = [f"class-{i}" for i in range(1000)]
    with pytest.raises(Exception, match="Did you mean 'class-77'") as raised:
        find_class("Class-77", names)
    assert len(str(raised.value)) < 600


def test_a_target_may_be_what_is_predicted_and_its_error_says_so() -> None:
    assert find_target("predicted", ["a", "b"]) is None
    assert find_target("b", ["a", "b"]) == 1
    with pytest.raises(UnknownNameError, match="So will `predicted`"):
        find_target("c", ["a", "b"])
