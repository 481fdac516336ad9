"""Recipes: what is bundled is valid, what is wrong is named, and flags win."""

import json
from pathlib import Path

import pytest

from interpbench.core.errors import RecipeError, UnknownNameError
from interpbench.loading.weights import read_weights
from interpbench.registry.bundled_folder import bundled_folder
from interpbench.training.recipe import Recipe, load_recipe, recipe_names, recorded_recipe

CROPS = "[augmentation]\ncrop = 0\nresized_crop = 0.4"


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_bundled_recipes_are_valid_and_described(name: str) -> None:
    assert load_recipe(name).description


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, "epochs = 3\n[optimiser]\nname = 'sgd'\n[augmentation]\nmixup = 0.2\n")
    )
    assert (recipe.epochs, recipe.optimiser.name, recipe.augmentation.mixup) == (3, "sgd", 0.2)
    assert recipe.optimiser.lr == Recipe().optimiser.lr
    assert recipe.augmentation.flip == Recipe().augmentation.flip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "'epochs'"),
        ("[optimiser]\nlearning_rate = 1", "'optimiser.learning_rate'.*optimiser.lr"),
        ("[optimiser]\nname = 'adamm'", "optimiser.name.*'adam'"),
        ("[optimiser]\nlr = -1", "optimiser.lr.*greater than 0"),
        ("[augmentation]\nerasing = 2", "augmentation.erasing.*less than or equal to 1"),
        ("precision = 'fp64'", "precision.*'fp32'"),
        ("[augmentation]\nresized_crop = 0.4", "crop = 4 and resized_crop = 0.4 both crop.*to 0"),
        ("size = 32\nstored = 40", "`stored` is the size that random resized crops are cut from"),
        (f"size = 32\nstored = 31\n{CROPS}", "at most as many pixels, and that is 32"),
        (f"stored = 31\n{CROPS}", "at most as many pixels, and that is not given"),
        ("validation = 0\n[schedule]\nname = 'plateau'", "validation loss"),
        ("epochs = ", "no valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("size = 128", 128),
        (f"size = 128\n{CROPS}", 160),
        (f"size = 128\nstored = 200\n{CROPS}", 200),
        (CROPS, None),
    ],
)
def test_training_images_are_kept_larger_for_resized_crops(
    tmp_path: Path, text: str, side: int | None
) -> None:
    assert load_recipe(write(tmp_path, text)).kept_at == side


def test_unknown_names_list_the_near_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'cifar10'"):
        load_recipe("cifar100")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(str(tmp_path / "absent.toml"))


def test_flags_win_where_they_are_given() -> None:
    changed = load_recipe("cifar10").changed({"epochs": 2, "lr": 0.5, "seed": None})
    assert (changed.epochs, changed.optimiser.lr, changed.seed) == (2, 0.5, 0)
    assert changed.optimiser.name == load_recipe("cifar10").optimiser.name
    with pytest.raises(RecipeError, match="epochs"):
        changed.changed({"epochs": 0})


@pytest.mark.parametrize(
    "path",
    sorted((bundled_folder() / "models" / "weights").glob("*.safetensors")),
    ids=lambda path: path.stem,
)
def test_the_recipes_of_shipped_weights_can_be_repeated(path: Path) -> None:
    card = read_weights(path)[1]
    assert card is not None
    written = json.loads(card.notes["recipe"])
    recipe = recorded_recipe(card.notes["recipe"])
    assert recipe.epochs == written["epochs"]
    assert recipe.optimiser.lr == (written.get("lr") or written["optimiser"]["lr"])
