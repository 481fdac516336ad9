"""Which weights a model gets, what their card decides, and what is said when they do not fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import ResNet18_Weights

from interpbench.core.errors import NoWeightsError, PluginError, WeightsError
from interpbench.core.types import DatasetCard, Model
from interpbench.loading.chosen_weights import shipped_weights, weights_file
from interpbench.loading.model import load_model
from interpbench.loading.weights import WeightsCard, save_weights
from interpbench.registry.discovery import discover, load_file
from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry
from tests.sources import choose

FRUIT = DatasetCard(
    "fruit",
    ("apple", "pear", "plum"),
    "fruit-1",
    size=16,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
)
IMAGENET = DatasetCard("two-of-imagenet", ("tench", "parachute"), "1", imagenet=(0, 701))

PLUGIN = """
from torch import nn
from interpbench import model

@model("little", target_layer="0", licence="MIT", reference="Me")
def little(classes, size, *, width: int = 4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

@model("other")
def other(classes, size):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, classes))

@model("no-module")
def no_module(classes, size):
    return lambda x: x
"""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    file = tmp_path / "plugins" / "little.py"
    file.parent.mkdir()
    file.write_text(PLUGIN)
    found = Registry()
    load_file(file, found)
    return found


@pytest.fixture
def little(registry: Registry) -> Configured:
    return registry.configure("model", "little")


def card_for(data: DatasetCard, **changes: Any) -> WeightsCard:
    card = WeightsCard(
        "little", {"width": 4}, data.name, data.revision, data.classes, 16, data.mean, data.std
    )
    return replace(card, **changes)


def save(
    choice: Configured, path: Path, card: WeightsCard, seed: int = 1
) -> dict[str, torch.Tensor]:
    """Random weights as a file; the tensors."""
    torch.manual_seed(seed)
    plugin = choice.plugin.configure(card.parameters)
    state = plugin(len(card.classes), card.size).state_dict()
    save_weights(path, state, card)
    return dict(state)


def same(model: Model, state: dict[str, torch.Tensor]) -> bool:
    own = model.network.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[name], state[name]) for name in own)


# --- where weights come from


def test_without_weights_the_error_says_what_to_do(little: Configured) -> None:
    with pytest.raises(WeightsError) as error:
        load_model(little, FRUIT)
    assert str(error.value) == (
        "There are no weights for model 'little' on data set 'fruit'. Pass --weights FILE, train some on that data "
        "set with `python -m interpbench train --model little --dataset ...`, or ask for untrained ones with "
        "--weights random."
    )


def test_weights_that_are_not_numbers_are_refused(little: Configured, tmp_path: Path) -> None:
    state = load_model(little, FRUIT, weights="random").network.state_dict()
    broken = {name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()}
    torch.save(broken, tmp_path / "broken.pth")
    with pytest.raises(WeightsError, match=f"NaN or infinite numbers in '{next(iter(broken))}'"):
        load_model(little, FRUIT, weights=str(tmp_path / "broken.pth"))


def test_random_weights_are_given_when_asked_for_and_say_so(little: Configured) -> None:
    model = load_model(little, FRUIT, weights="random")
    assert model.card.weights == "random"
    assert model.card.weights_sha256 == ""
    assert (model.card.classes, model.card.size, model.card.preparation.resize) == (3, 16, 16)
    assert (model.card.mean, model.card.std) == (FRUIT.mean, FRUIT.std)
    assert model.card.logit_of_label == (0, 1, 2)
    assert model.target_layer is model.network.get_submodule("0")


@pytest.mark.parametrize(
    ("model", "dataset", "expected"),
    [
        ("torchvision:resnet34", "cifar10", "cifar10-torchvision-resnet34.safetensors"),
        ("resnet18:width=8", "photos:2024/old", "photos-2024-old-resnet18.safetensors"),
    ],
)
def test_a_file_of_weights_has_a_name_that_every_system_takes(
    model: str, dataset: str, expected: str
) -> None:
    assert weights_file(choose(model), dataset) == expected


def test_random_weights_depend_on_the_seed_alone(little: Configured) -> None:
    first = load_model(little, FRUIT, weights="random", seed=1)
    torch.manual_seed(99)
    assert same(load_model(little, FRUIT, weights="random", seed=1), first.network.state_dict())
    assert not same(load_model(little, FRUIT, weights="random", seed=2), first.network.state_dict())


def test_loading_does_not_touch_the_global_random_state(little: Configured) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_model(little, FRUIT, weights="random")
    assert torch.equal(torch.rand(1), expected)


def test_a_model_is_in_eval_mode_frozen_and_knows_its_batch_size(little: Configured) -> None:
    model = load_model(little, FRUIT, weights="random", batch_size=lambda size: 2 * size)
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    assert model.batch_size == 32
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 3)


def test_weights_shipped_beside_the_plugin_are_found(little: Configured, tmp_path: Path) -> None:
    path = tmp_path / "plugins" / "weights" / "fruit-little.safetensors"
    assert shipped_weights(little, "fruit") == path
    state = save(little, path, card_for(FRUIT, licence="CC0", notes={"accuracy": "0.99"}))
    model = load_model(little, FRUIT)
    assert same(model, state)
    assert (model.card.weights, model.card.licence) == ("fruit-little.safetensors", "CC0")
    assert model.card.notes == {"accuracy": "0.99"}
    assert len(model.card.weights_sha256) == 64


def test_shipped_weights_serve_other_revisions_and_parts_of_their_data(
    little: Configured, tmp_path: Path
) -> None:
    path = tmp_path / "plugins" / "weights" / "fruit-little.safetensors"
    state = save(
        little,
        path,
        card_for(FRUIT, data_revision="fruit-0", classes=("plum", "fig", "apple", "pear")),
    )
    model = load_model(little, FRUIT)
    assert same(model, state)
    assert model.card.logit_of_label == (2, 3, 0)


@pytest.mark.parametrize(
    "change", [{"classes": ("apple", "pear", "fig")}, {"parameters": {"width": 8}}]
)
def test_shipped_weights_of_other_classes_or_width_are_not_taken(
    registry: Registry, tmp_path: Path, change: dict[str, Any]
) -> None:
    choice = registry.configure("model", "little", {"width": 4})
    save(
        choice,
        tmp_path / "plugins" / "weights" / "fruit-little.safetensors",
        card_for(FRUIT, **change),
    )
    with pytest.raises(WeightsError, match="There are no weights for model 'little'"):
        load_model(choice, FRUIT)


def test_shipped_weights_decide_the_width_that_the_user_left_out(
    little: Configured, tmp_path: Path
) -> None:
    path = tmp_path / "plugins" / "weights" / "fruit-little.safetensors"
    save(little, path, card_for(FRUIT, parameters={"width": 7}))
    assert load_model(little, FRUIT).card.parameters == {"width": 7}


def test_a_parameter_younger_than_the_weights_had_its_default(
    little: Configured, tmp_path: Path
) -> None:
    path = tmp_path / "plugins" / "weights" / "fruit-little.safetensors"
    save(little, path, card_for(FRUIT, parameters={}))
    assert load_model(little.plugin.configure({"width": 4}), FRUIT).card.parameters == {"width": 4}
    with pytest.raises(WeightsError, match="There are no weights for model 'little:width=5'"):
        load_model(little.plugin.configure({"width": 5}), FRUIT)


def test_a_named_file_wins_over_shipped_weights(little: Configured, tmp_path: Path) -> None:
    save(
        little,
        tmp_path / "plugins" / "weights" / "fruit-little.safetensors",
        card_for(FRUIT),
        seed=1,
    )
    state = save(little, tmp_path / "mine.safetensors", card_for(FRUIT), seed=2)
    model = load_model(little, FRUIT, weights=str(tmp_path / "mine.safetensors"))
    assert same(model, state)
    assert model.card.weights == "mine.safetensors"


# --- what the card decides


def test_the_card_of_a_file_decides_width_size_and_normalisation(
    little: Configured, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    card = card_for(
        FRUIT,
        parameters={"width": 6},
        size=24,
        mean=(0.5, 0.5, 0.5),
        std=(0.1, 0.1, 0.1),
        dataset="shop",
    )
    state = save(little, path, card)
    model = load_model(little, FRUIT, weights=str(path))
    assert same(model, state)
    assert model.card.parameters == {"width": 6}
    assert (model.card.size, model.card.preparation.resize) == (24, 24)
    assert (model.card.mean, model.card.std) == ((0.5, 0.5, 0.5), (0.1, 0.1, 0.1))
    assert model.card.dataset == "shop"


def test_classes_are_matched_by_name(little: Configured, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(little, path, card_for(FRUIT, classes=("plum", "fig", "apple", "pear")))
    model = load_model(little, FRUIT, weights=str(path))
    assert model.card.classes == 4
    assert model.card.logit_of_label == (2, 3, 0)


def test_a_class_that_the_weights_do_not_know_is_named(little: Configured, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(little, path, card_for(FRUIT, classes=("apple", "plum")))
    with pytest.raises(
        WeightsError, match=r"knows 2 classes \(apple, plum\) but not 'pear'.*3 classes of 'fruit'"
    ):
        load_model(little, FRUIT, weights=str(path))


def test_weights_of_another_architecture_are_refused(
    registry: Registry, little: Configured, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    save(little, path, card_for(FRUIT))
    with pytest.raises(
        WeightsError, match=r"w\.safetensors holds weights of 'little', not of 'other'"
    ):
        load_model(registry.configure("model", "other"), FRUIT, weights=str(path))


@pytest.mark.parametrize("width", [4, 8])  # 4 is the default, but it is asked for
def test_parameters_that_conflict_with_the_card_are_refused(
    registry: Registry, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "w.safetensors"
    asked = registry.configure("model", "little", {"width": width})
    save(asked, path, card_for(FRUIT, parameters={"width": 6}))
    with pytest.raises(
        WeightsError, match=rf"was trained with {{'width': 6}}, but '{asked.label}' is asked for"
    ):
        load_model(asked, FRUIT, weights=str(path))


def test_parameters_that_agree_with_the_card_are_fine(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    asked = registry.configure("model", "little", {"width": 6})
    state = save(asked, path, card_for(FRUIT, parameters={"width": 6}))
    assert same(load_model(asked, FRUIT, weights=str(path)), state)


def test_a_plain_state_dict_takes_the_data_sets_card(little: Configured, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    state = little(3, 16).state_dict()
    torch.save(state, path)
    model = load_model(little, FRUIT, weights=str(path))
    assert same(model, dict(state))
    assert (model.card.size, model.card.mean, model.card.weights) == (16, FRUIT.mean, "w.pt")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 5, 3)),
            r"'0\.weight' has shape \(5, 3, 3, 3\), the model's has \(4, 3, 3, 3\)",
        ),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), r"'3\.weight' is missing"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.Flatten(), nn.Linear(4, 9)),
            r"are for 9 classes, the data set has 3 \('3\.weight'\)",
        ),
        (
            nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.Identity(), nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 3)
            ),
            r"'4\.weight' is not in the model",
        ),
    ],
)
def test_the_first_mismatch_is_named(
    little: Configured, tmp_path: Path, network: nn.Module, message: str
) -> None:
    torch.save(network.state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=rf"Weights w\.pt .*{message}"):
        load_model(little, FRUIT, weights=str(tmp_path / "w.pt"))


def test_a_missing_file_is_named(little: Configured, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"There is no weights' file .*gone\.safetensors"):
        load_model(little, FRUIT, weights=str(tmp_path / "gone.safetensors"))


def test_a_plugin_that_returns_no_module_is_named(registry: Registry) -> None:
    with pytest.raises(
        PluginError,
        match=r"little\.py:\d+: model 'no-module' must return a torch\.nn\.Module, not func",
    ):
        load_model(registry.configure("model", "no-module"), FRUIT, weights="random")


def test_data_without_a_size_gets_224_pixels(little: Configured) -> None:
    model = load_model(little, replace(FRUIT, size=None), weights="random")
    assert (model.card.size, model.card.preparation.resize) == (224, 224)


# --- data whose classes are ImageNet's


def test_imagenets_classes_are_explained_with_1000_logits() -> None:
    model = load_model(discover().configure("model", "resnet18"), IMAGENET, weights="random")
    assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert (model.card.classes, model.card.logit_of_label) == (1000, (0, 701))
    assert (model.card.size, model.card.preparation.resize) == (
        224,
        256,
    )  # as in torchvision's documentation of the weights
    assert (model.card.mean, model.card.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (model.card.dataset, model.card.weights) == ("imagenet-1k", "random")


def test_torchvisions_weights_may_be_given_as_a_file(tmp_path: Path) -> None:
    choice = discover().configure("model", "resnet18")
    state = choice(1000, 224).state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    model = load_model(choice, IMAGENET, weights=str(tmp_path / "resnet18.pth"))
    assert same(model, dict(state))
    assert (model.card.classes, model.card.size, model.card.preparation.resize) == (1000, 224, 256)


def test_a_model_without_imagenet_weights_gets_the_data_sets_classes(little: Configured) -> None:
    assert load_model(little, IMAGENET, weights="random").card.classes == 2


@pytest.mark.parametrize(
    ("name", "values"), [("resnet18", {"norm": "group"}), ("alexnet", {"lrn": True})]
)
def test_torchvisions_weights_are_for_the_default_parameters_alone(
    name: str, values: dict[str, Any]
) -> None:
    choice = discover().configure("model", name, values)
    with pytest.raises(
        NoWeightsError, match=f"IMAGENET1K_V1 is for '{name}' with its default parameters alone"
    ):
        load_model(choice, IMAGENET)


def test_a_failed_download_says_where_to_put_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = ResNet18_Weights.DEFAULT
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(WeightsError) as error:
        load_model(discover().configure("model", "resnet18"), IMAGENET)
    assert f"{weights} could not be downloaded from {weights.url} (URLError: " in str(error.value)
    assert str(tmp_path / "hub" / "checkpoints") in str(error.value)


def test_a_damaged_download_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / Path(ResNet18_Weights.DEFAULT.url).name).write_bytes(b"half of it")
    with pytest.raises(WeightsError, match="could not be downloaded"):
        load_model(discover().configure("model", "resnet18"), IMAGENET)


def test_torchvisions_weights_do_not_fit_another_width(tmp_path: Path) -> None:
    registry = discover()
    torch.save(
        registry.configure("model", "resnet18")(1000, 224).state_dict(), tmp_path / "resnet18.pth"
    )
    narrow = registry.configure("model", "resnet18", {"width": 8})
    with pytest.raises(
        WeightsError,
        match=r"'conv1\.weight' has shape \(64, 3, 7, 7\), the model's has \(8, 3, 3, 3\)",
    ):
        load_model(narrow, IMAGENET, weights=str(tmp_path / "resnet18.pth"))
