"""Models of transformers, made and saved here: the same inputs and logits as by its own pipeline."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from interpbench.attribution.model_and_methods import data_card
from interpbench.core.errors import (
    ParameterError,
    PreparationError,
    UnknownNameError,
    WeightsError,
)
from interpbench.core.types import DatasetCard, Model, normalise
from interpbench.loading.images import fit
from interpbench.loading.model import load_model
from interpbench.loading.pretrained import hash_tensors, offered
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from interpbench.testing import load_method
from tests.sources import choose

transformers = pytest.importorskip("transformers")

NAMES = ("cat", "dog", "bird")
PETS = DatasetCard("pets", ("dog", "cat"), "1")
LABELS = {"num_labels": 3, "id2label": dict(enumerate(NAMES))}
SMALL = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
# name -> its configuration, and its processor: with a crop, without one, and with other numbers than the usual.
KINDS: dict[str, tuple[Any, Any]] = {
    "resnet": (
        transformers.ResNetConfig(embedding_size=8, layer_type="basic", **SMALL, **LABELS),
        transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875),
    ),
    "vit": (
        transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
            **LABELS,
        ),
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}),
    ),
    "convnext": (
        transformers.ConvNextConfig(**SMALL, **LABELS),
        transformers.CLIPImageProcessor(
            size={"shortest_edge": 72},
            crop_size={"height": 64, "width": 64},
            rescale_factor=1 / 128,
            image_std=[0.5, 0.3, 0.2],
        ),
    ),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder for each kind, as `save_pretrained` writes them."""
    folder = tmp_path_factory.mktemp("hub")
    transformers.utils.logging.disable_progress_bar()
    for name, (config, processor) in KINDS.items():
        torch.manual_seed(0)
        network = transformers.AutoModelForImageClassification.from_config(config)
        with torch.no_grad():
            for parameter in network.parameters():  # untrained logits hardly differ
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        network.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder


def load(folder: Path, data: DatasetCard = PETS, **options: Any) -> Model:
    return load_model(choose(f"hf:{folder}"), data, **options)


def pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_transformers_own_pipeline(saved: Path, kind: str) -> None:
    """Of images whose crops have an even remainder, and an odd one."""
    model = load(saved / kind)
    processor = transformers.AutoImageProcessor.from_pretrained(saved / kind, backend="pil")
    pipeline = transformers.pipeline(
        "image-classification", model=str(saved / kind), image_processor=processor
    )
    for shape in ((151, 200), (70, 133), (133, 71)):
        image = pixels(*shape)
        answers = pipeline(Image.fromarray(image), function_to_apply="none")
        expected = {answer["label"]: answer["score"] for answer in answers}
        fitted = torch.from_numpy(fit(image, model.card.preparation.framing).copy())
        logits = model(normalise(fitted[None], model.card.preparation))[0].tolist()
        assert dict(zip(NAMES, logits, strict=True)) == pytest.approx(expected, abs=1e-5)


def test_its_preparation_is_its_processor_s_and_classes_are_found_by_their_names(
    saved: Path,
) -> None:
    card = load(saved / "resnet").card
    assert card.preparation.text.startswith(
        "64x64 from the shorter side at 73 (bicubic, crop floored), or as it is at 64x64, RGB, mean"
    )
    assert card.logit_of_label == (1, 0)
    assert (card.weights, card.outputs) == ("resnet", "softmax")
    state = transformers.AutoModelForImageClassification.from_pretrained(saved / "resnet")
    assert card.weights_sha256 == hash_tensors(state.state_dict())
    clip = load(saved / "convnext").card
    assert clip.mean == pytest.approx([128 / 255 * v for v in KINDS["convnext"][1].image_mean])
    assert clip.std == pytest.approx([128 / 255 * v for v in (0.5, 0.3, 0.2)])


def test_its_own_classes_are_known_without_a_data_set(saved: Path) -> None:
    card = data_card(discover(), choose(f"hf:{saved / 'vit'}"), None, Sources())
    assert card.classes == NAMES


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("resnet", "resnet.encoder.stages.3"),
        ("vit", "vit.layers.1.layernorm_before"),
        ("convnext", "convnext.encoder.stages.3"),
    ],
)
def test_the_layer_for_cam_is_found(saved: Path, kind: str, layer: str) -> None:
    """As for other libraries: the last maps before the pooling, or the last block's first norm."""
    assert load(saved / kind).card.target_layer == layer


def test_attention_is_found_in_its_transformers(saved: Path) -> None:
    model = load(saved / "vit")
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = load_method("attention-rollout")(model, x, torch.tensor([0, 1]))
    assert maps.shape == (2, 4, 4)
    eager = transformers.AutoModelForImageClassification.from_pretrained(
        saved / "vit", attn_implementation="eager"
    )
    first, second = eager.eval()(x, output_attentions=True).attentions
    mixed = [(layer.mean(1) + torch.eye(17)) / 2 for layer in (first, second)]
    rollout = (mixed[1] @ mixed[0])[:, 0, 1:].unflatten(1, (4, 4))
    torch.testing.assert_close(maps, rollout, rtol=1e-4, atol=1e-6)


def changed(saved: Path, to: Path, kind: str = "vit", **values: Any) -> Path:
    """A copy of a saved model, whose configuration or processor says something else."""
    import json
    import shutil

    shutil.copytree(saved / kind, to)
    for file in ("config.json", "preprocessor_config.json"):
        said = json.loads((to / file).read_text())
        said.update({key: value for key, value in values.items() if key in said})
        (to / file).write_text(json.dumps(said))
    return to


def test_what_a_processor_does_besides_is_not_passed_over(saved: Path, tmp_path: Path) -> None:
    """This one brings the whole image to a square and cuts out of that, which cannot be stated."""
    folder = changed(saved, tmp_path / "deit")
    transformers.DeiTImageProcessor(
        size={"height": 40, "width": 40}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    with pytest.raises(PreparationError, match="nobody states size, mean and std"):
        load(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(PreparationError, match="nobody states size, mean and std"):
        load(folder)


def test_a_configuration_says_what_the_answers_are(saved: Path, tmp_path: Path) -> None:
    several = changed(saved, tmp_path / "a")
    config = transformers.AutoConfig.from_pretrained(several)
    config.problem_type = "multi_label_classification"
    config.id2label = {i: f"LABEL_{i}" for i in range(3)}
    config.save_pretrained(several)
    offer = offered(choose(f"hf:{several}"))
    assert offer is not None
    assert (offer.outputs, offer.classes) == ("sigmoid", ())
    config.problem_type = "regression"
    config.save_pretrained(several)
    with pytest.raises(WeightsError, match="is for regression, not for classes"):
        load(several)


def test_a_model_without_a_trained_head_is_refused(saved: Path, tmp_path: Path) -> None:
    headless = tmp_path / "headless"
    transformers.ViTModel(KINDS["vit"][0]).save_pretrained(headless)
    KINDS["vit"][1].save_pretrained(headless)
    with pytest.raises(WeightsError, match=r"no weights for classifier.bias, classifier.weight"):
        load(headless)


def test_other_classes_are_refused(saved: Path) -> None:
    with pytest.raises(WeightsError, match=r"knows 3 classes .cat, dog, bird. but not 'fox'"):
        load(saved / "vit", DatasetCard("forest", ("fox", "dog"), "1"))
    with pytest.raises(WeightsError, match="brings its own weights: leave --weights random away"):
        load(saved / "vit", weights="random")


def test_what_is_not_there_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError) as raised:
        offered(choose("hf:nobody/none"))
    assert str(raised.value) == (
        "hf:nobody/none cannot be read: the hub cannot be reached, and it was not downloaded before. "
        "Check the name, or give a folder that `save_pretrained` wrote for an image classifier."
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"empty cannot be read: .*Should have a `model_type`"):
        offered(choose(f"hf:{tmp_path / 'empty'}"))
    with pytest.raises(ParameterError, match="no such folder, and on the hub it would be ORG/NAME"):
        choose("hf:resnet-18")
    with pytest.raises(UnknownNameError, match="Unknown parameter of model 'hf': 'revison'"):
        choose("hf:nobody/none,revison=main")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ParameterError, match=r"not installed: pip install 'interpbench\[hf\]'"):
        offered(choose("hf:nobody/none"))
