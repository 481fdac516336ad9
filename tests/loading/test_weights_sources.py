"""Models of torchvision and timm by the names that they have there."""

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torchvision import models

from interpbench.core.errors import ParameterError, UnknownNameError, WeightsError
from interpbench.core.layers import last_spatial_layer
from interpbench.loading.model import load_model
from interpbench.loading.pretrained import hash_tensors, offered
from tests.sources import FRUIT, IMAGENET, choose, images

# --- torchvision


def test_torchvisions_models_have_their_names_there() -> None:
    choice = choose("torchvision:shufflenet_v2_x0_5")
    assert (choice.label, choice.slug) == (
        "torchvision:shufflenet_v2_x0_5",
        "torchvision-shufflenet_v2_x0_5",
    )
    network = choice(7, 32)
    assert type(network) is models.ShuffleNetV2
    assert network(images(32)).shape == (3, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "torchvision:resnet19",
            "Unknown model of torchvision: 'resnet19'. Did you mean 'resnet18'",
        ),
        ("torchvision:fcn_resnet50", "torchvision's fcn_resnet50 is no image classifier"),
        ("torchvision:fasterrcnn_resnet50_fpn", "is no image classifier"),
        ("torchvision:r3d_18", "is no image classifier"),
        ("torchvision:quantized_resnet18", "is no image classifier"),
        (
            "torchvision",
            "model 'torchvision' needs the parameter 'name' .* write torchvision:name=VALUE",
        ),
        (
            "timm:resnet19",
            "Unknown model of timm: 'resnet19'. Did you mean 'resnet[0-9a-z]+'.* or '[0-9a-z]+'[?]$",
        ),
    ],
)
def test_names_that_a_library_does_not_have_are_refused(name: str, message: str) -> None:
    with pytest.raises((ParameterError, UnknownNameError), match=message):
        choose(name)


def test_torchvisions_weights_are_the_best_for_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = models.ResNet50_Weights.IMAGENET1K_V2
    state = models.resnet50().state_dict()
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **options: dict(state))
    model = load_model(choose("torchvision:resnet50"), IMAGENET)
    assert all(
        torch.equal(tensor, state[name]) for name, tensor in model.network.state_dict().items()
    )
    assert (model.card.weights, model.card.name) == (str(weights), "torchvision")
    assert (model.card.size, model.card.preparation.resize, model.card.classes) == (
        224,
        232,
        1000,
    )  # torchvision's documentation
    assert model.card.weights_sha256 == hash_tensors(state)
    assert model.card.logit_of_label == (0, 701)
    assert model.card.target_layer == "layer4"


def test_every_torchvision_classifier_has_its_imagenet_weights() -> None:
    for name in models.list_models(module=models):
        offer = offered(choose(f"torchvision:{name}"))
        assert offer is not None
        assert offer.source == str(models.get_model_weights(name).DEFAULT)
        assert len(offer.classes) == 1000


@pytest.mark.parametrize("name", ["torchvision:vit_b_32", "timm:resmlp_12_224"])
def test_an_untrained_head_is_not_the_zeros_that_the_library_begins_with(name: str) -> None:
    """Else the gradient of every logit would be zero, and all maps of it constant."""
    model = load_model(choose(name), replace(FRUIT, size=32), weights="random", seed=3)
    x = images(model.card.size, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    assert gradient.flatten(1).std(dim=1).min() > 0
    again = load_model(choose(name), replace(FRUIT, size=32), weights="random", seed=3)
    assert hash_tensors(again.network.state_dict()) == hash_tensors(model.network.state_dict())


def test_on_other_data_torchvisions_models_need_weights() -> None:
    with pytest.raises(
        WeightsError,
        match="There are no weights for model 'torchvision:resnet18' on data set 'fruit'",
    ):
        load_model(choose("torchvision:resnet18"), FRUIT)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_a_second_head_take_torchvisions_weights_and_give_one_tensor(
    name: str,
) -> None:
    network = choose(f"torchvision:{name}")(5, 96)
    with torch.device("meta"):
        reference = models.get_model(name, num_classes=5, aux_logits=True, init_weights=False)
    assert network.state_dict().keys() == reference.state_dict().keys()
    for mode in (True, False):
        assert network.train(mode)(images(299 if mode else 96, 2)).shape == (2, 5)
    assert network.transform_input


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("torchvision:convnext_tiny", 64, "features"),
        ("torchvision:densenet121", 64, "features"),
        ("torchvision:efficientnet_b0", 64, "features"),
        ("torchvision:swin_t", 64, "permute"),
        ("torchvision:vit_b_32", 64, "encoder.layers.encoder_layer_11.ln_1"),
        ("timm:vit_tiny_patch16_224", 64, "blocks.11.norm1"),
        ("timm:resnet10t", 64, "layer4"),
        ("timm:swin_tiny_patch4_window7_224", 224, "norm"),
        ("timm:deit_tiny_distilled_patch16_224", 64, "blocks.11.norm1"),
        ("timm:convnext_atto", 64, "stages"),
    ],
)
def test_the_layer_for_cam_is_found(name: str, size: int, layer: str) -> None:
    """As pytorch-grad-cam's documentation advises: the last convolution's maps, or the last block's norm1."""
    choice = choose(name)
    with torch.no_grad():
        network = choice(3, size)
        for parameter in network.parameters():  # heads that start from zero give no gradient
            parameter.add_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=1e-2
            )
    assert last_spatial_layer(network.eval(), images(size, 2)) == layer


# --- timm


def test_timms_weights_come_with_their_input(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained=False, **options: create(name, **options)
    )
    model = load_model(choose("timm:resnet10t"), IMAGENET)
    known = timm.get_pretrained_cfg("resnet10t")
    assert model.card.weights == "timm/resnet10t.c3_in1k"
    assert (model.card.size, model.card.mean, model.card.std) == (
        known.input_size[1],
        known.mean,
        known.std,
    )
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model.network))
    assert model.card.preparation.resize == transform.transforms[0].size
    assert model.card.logit_of_label == (0, 701)
    assert len(model.card.weights_sha256) == 64


def test_timms_other_weights_are_not_taken_for_imagenet_1k() -> None:
    assert offered(choose("timm:vit_tiny_patch16_224.augreg_in21k")) is None
    assert offered(choose("timm:test_resnet.r160_in1k")) is not None


def test_timms_transformers_take_the_size_that_is_asked_for() -> None:
    assert choose("timm:vit_tiny_patch16_224")(4, 48).eval()(images(48)).shape == (3, 4)


@pytest.mark.parametrize(
    ("library", "text"), [("timm", "timm:resnet18"), ("onnxruntime", "onnx:{file}")]
)
def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, text: str
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == library:
            raise ImportError(name)
        return real(name, *arguments, **options)

    (tmp_path / "x.onnx").touch()
    monkeypatch.setattr(builtins, "__import__", without)
    extra = text.partition(":")[0]
    with pytest.raises(
        ParameterError, match=rf"{library} is not installed: pip install 'interpbench\[{extra}\]'"
    ):
        load_model(choose(text.format(file=tmp_path / "x.onnx")), FRUIT)
