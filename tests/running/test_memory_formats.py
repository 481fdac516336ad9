"""Gradients are those of ordinary, contiguous tensors, as a user's own check computes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, Saliency
from PIL import Image

import interpbench
from interpbench.core.types import Model
from interpbench.loading.model import load_model
from interpbench.registry.discovery import discover
from tests.paths import TESTS

PLUGIN = TESTS / "plugins" / "flat.py"
REGISTRY = discover([PLUGIN])
DATA = REGISTRY.configure("dataset", "flat")()
METHODS = ["saliency", "gradient-x-input", "asks-gradients", "only-calls"]


@pytest.fixture(scope="module", params=["vgg11_bn", "resnet18"])
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> interpbench.Run:
    """Of a network with max pooling, and of one without, whose gradients come in channels last."""
    return interpbench.run(
        dataset="flat", model=request.param, method=METHODS, metric="deletion", steps=2, images=4, batch_size=1,
        ceiling="none", plugin=PLUGIN, device="cpu", plots=False, output=tmp_path_factory.mktemp("flat") / "run",
    )  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Model:
    """With max pooling, and trained on `planted`."""
    return trained("vgg11_bn")


def trained(name: str) -> Model:
    """A run's model, loaded again."""
    return load_model(REGISTRY.configure("model", name), DATA.card)


def by_captum(model: Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """Maps of one image as a user of captum makes them."""
    mean, std = (np.array(values, dtype=np.float32) for values in (DATA.card.mean, DATA.card.std))
    x = torch.from_numpy(((image / np.float32(255) - mean) / std).transpose(2, 0, 1)[None].copy())
    assert x.is_contiguous()
    target = int(model(x).argmax())
    saliency = Saliency(model).attribute(x.requires_grad_(), target=target).amax(1)
    product = InputXGradient(model).attribute(x, target=target).sum(1)
    return {"saliency": saliency[0].numpy(), "gradient-x-input": product[0].detach().numpy()}


def test_a_runs_maps_are_captums_on_areas_of_one_colour(
    finished: interpbench.Run,
) -> None:
    assert len(finished.tables.examples) == 4
    [name] = finished.leaderboard["model"].unique()
    model = trained(name)
    for example in finished.tables.examples:
        for method, expected in by_captum(model, example.image).items():
            greatest = np.abs(expected).max()
            np.testing.assert_allclose(example.maps[method], expected, rtol=0, atol=1e-5 * greatest)


def test_what_only_calls_the_model_gets_its_fastest_format(finished: interpbench.Run) -> None:
    for example in finished.tables.examples:
        assert example.maps["asks-gradients"].argmax() == 0
        assert example.maps["only-calls"].argmax() > 0


def test_explained_images_are_contiguous_too(model: Model, tmp_path: Path) -> None:
    Image.fromarray(DATA[0].image).save(tmp_path / "a.png")
    done = interpbench.explain(
        tmp_path / "a.png", model="vgg11_bn", method=["asks-gradients", "saliency"], dataset="flat",
        plugin=PLUGIN, device="cpu", output=tmp_path / "out",
    )  # fmt: skip
    maps = {path.stem: np.load(path) for path in Path(done.folder).rglob("*.npy")}
    [seen] = [found for name, found in maps.items() if "asks-gradients" in name]
    [saliency] = [found for name, found in maps.items() if "saliency" in name]
    assert seen.argmax() == 0
    expected = by_captum(model, DATA[0].image)["saliency"]
    np.testing.assert_allclose(saliency, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
