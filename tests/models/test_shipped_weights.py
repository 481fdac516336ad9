"""The weights beside the model plugins: small, sound, documented, and where `run` finds them."""

import csv
from pathlib import Path

import pytest
import torch

from interpbench.core.types import DatasetCard
from interpbench.loading.in_domain import load_in_domain
from interpbench.loading.model import load_model
from interpbench.loading.weights import read_weights, sha256
from interpbench.registry.bundled_folder import bundled_folder
from interpbench.registry.discovery import discover
from interpbench.training.recipe import recorded_recipe

FILES = sorted((bundled_folder() / "models" / "weights").glob("*.safetensors"))
IN_DOMAIN = sorted((bundled_folder() / "models" / "weights" / "in-domain").glob("*.safetensors"))
CIFAR = {
    "resnet18": 0.88,
    "vgg11_bn": 0.85,
    "alexnet": 0.77,
    "mobilenet_v2": 0.82,
    "vit_small": 0.65,
}
PUBLISHED = {
    "accuracy",
    "tested_on",
    "train_accuracy",
    "train_accuracy_on",
    "trained_on",
    "device",
    "torch",
    "seed",
}


def card_of(path: Path):
    card = read_weights(path)[1]
    assert card is not None
    return card


def test_they_are_small() -> None:
    sizes = [path.stat().st_size for path in (*FILES, *IN_DOMAIN)]
    assert max(sizes) < 8e6
    assert sum(sizes) < 40e6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_is_named_after_its_card_stored_in_half_and_loads(path: Path) -> None:
    tensors, _ = read_weights(path)
    card = card_of(path)
    assert path.stem == f"{card.dataset}-{card.architecture}"
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float16}
    choice = discover().configure("model", card.architecture)
    # Another copy of the data has another revision, and the same classes in an order of its own.
    data = DatasetCard(card.dataset, card.classes[::-1], "another copy", size=card.size)
    model = load_model(choice, data)
    assert (model.card.weights, model.card.weights_sha256) == (path.name, sha256(path))
    assert model.card.logit_of_label == tuple(reversed(range(len(card.classes))))
    logits = model(torch.zeros(2, 3, card.size, card.size))
    assert logits.shape == (2, len(card.classes))
    assert logits.isfinite().all()


@pytest.mark.parametrize("path", IN_DOMAIN, ids=lambda path: path.stem)
def test_each_of_a_twin_is_tuned_from_the_shipped_ones_and_as_good_on_whole_images(
    path: Path,
) -> None:
    card = card_of(path)
    shipped = path.parent.parent / path.name
    assert card.notes["started_from_sha256"] == sha256(shipped)
    recipe = recorded_recipe(card.notes["recipe"])
    assert (recipe.augmentation.removed_cell, recipe.augmentation.cells, recipe.validation) == (
        0.5,
        4,
        0,
    )
    assert float(card.notes["accuracy"]) > float(card_of(shipped).notes["accuracy"]) - 0.01
    choice = discover().configure("model", card.architecture)
    data = DatasetCard(card.dataset, card.classes, "another copy", size=card.size)
    twin = load_in_domain(choice, load_model(choice, data), data, None)
    assert twin.card.weights_sha256 == sha256(path)


def test_cifar10_has_its_five_models() -> None:
    assert {
        card_of(path).architecture for path in FILES if path.stem.startswith("cifar10-")
    } == set(CIFAR)


@pytest.mark.parametrize("name", CIFAR)
def test_a_cifar10_card_says_how_well_and_on_what(name: str) -> None:
    path = bundled_folder() / "models" / "weights" / f"cifar10-{name}.safetensors"
    card = card_of(path)
    assert float(card.notes["accuracy"]) >= CIFAR[name]
    assert set(card.notes) >= PUBLISHED
    assert card.notes["tested_on"] == "8000 images"
    assert card.notes["data"].endswith("JPEG files of quality 75")
    assert card.size == 32
    with path.with_suffix(".training.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == recorded_recipe(card.notes["recipe"]).epochs
    # What was held out of the training data promised what the test data showed, within three standard errors of both.
    best = max(float(row["validation_accuracy"]) for row in rows)
    assert float(card.notes["accuracy"]) == pytest.approx(
        best, abs=3 * (0.25 / 1000 + 0.25 / 8000) ** 0.5
    )
    assert path.with_suffix(".training.png").is_file()
