"""The bundled architectures at small and at torchvision's sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from interpbench.attribution.attribute import Batch, attribute
from interpbench.core.batch_size import BatchSize
from interpbench.core.errors import PluginError
from interpbench.core.layers import find_layer
from interpbench.core.model_guard import Guard
from interpbench.core.types import DatasetCard
from interpbench.loading.fitting import load_state
from interpbench.loading.model import load_model
from interpbench.loading.weights import read_weights
from interpbench.registry.bundled_folder import bundled_folder
from interpbench.registry.discovery import discover
from interpbench.registry.plugin import blaming

REGISTRY = discover()
RESNETS = ("resnet18", "resnet34", "resnet50")
VGGS = tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn"))
NAMES = ("alexnet", *RESNETS, *VGGS)
MOBILENETS = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
TRANSFORMERS = ("vit_b_16", "vit_small")


def build(name, size, width=None, classes=10, **values):
    values |= {} if width is None else {"width": width}
    return REGISTRY.configure("model", name, values)(classes, size).eval()


def shapes_of(network):
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def map_size(network, layer, size):
    shapes = []
    find_layer(network, layer).register_forward_hook(
        lambda _, __, output: shapes.append(tuple(output.shape))
    )
    with torch.inference_mode():
        logits = network(torch.zeros(2, 3, size, size))
    return logits.shape, shapes[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "width"), [(32, 4), (64, 4), (64, 8)])
def test_small_variants(name, size, width):
    layer = REGISTRY.get("model", name).target_layer
    logits, shape = map_size(build(name, size, width), layer, size)
    assert logits == (2, 10)
    assert shape[1] == width * {"alexnet": 4, "resnet50": 32}.get(name, 8)
    assert shape[2] == shape[3] == (8 if name == "alexnet" else size // 8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [64, 128, 224])
def test_torchvisions_stem_at_its_width_is_torchvisions_network(name, size):
    with torch.device("meta"):
        network = build(name, size, stem="torchvision", classes=1000)
        reference = getattr(models, name)()
    assert type(network) is type(reference)
    assert shapes_of(network) == shapes_of(reference)
    assert repr(network) == repr(reference)  # strides, poolings, dropout


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [16, 128])
def test_torchvisions_stem_at_another_width_is_its_network_in_that_proportion(name, width):
    """Feature layers of the same names, kinds, strides and paddings, with so much more or fewer channels."""
    with torch.device("meta"):
        network = build(name, 128, width, stem="torchvision")
        reference = getattr(models, name)()
    convolutions, expected = (
        [m for m in n.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
        for n in (network, reference)
    )
    assert len(convolutions) == len(expected)
    for ours, theirs in zip(convolutions, expected, strict=True):
        same = ("kernel_size", "stride", "padding", "dilation")
        pair = lambda value: value if isinstance(value, tuple) else (value, value)  # noqa: E731
        assert [pair(getattr(ours, n)) for n in same] == [pair(getattr(theirs, n)) for n in same]
        if isinstance(ours, nn.Conv2d):
            assert ours.out_channels * 64 == theirs.out_channels * width
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [10]
    layer = REGISTRY.get("model", name).target_layer
    assert type(find_layer(network, layer)) is type(find_layer(reference, layer))


@pytest.mark.parametrize("name", NAMES)
def test_auto_is_what_it_was_before_there_was_a_choice(name):
    with torch.device("meta"):
        for size, width, stem in ((64, 64, "small"), (128, 64, "torchvision"), (128, 32, "small")):
            assert repr(build(name, size, width)) == repr(build(name, size, width, stem=stem))


@pytest.mark.parametrize(
    ("name", "values", "side"),
    [
        *((name, {"stem": "torchvision", "width": 8}, 4) for name in RESNETS),
        *((name, {"stem": "small", "width": 8}, 16) for name in RESNETS),
        *((name, {"stem": "torchvision", "width": 8}, 8) for name in VGGS),
        *((name, {"stem": "small", "width": 8}, 16) for name in VGGS),
        ("alexnet", {"stem": "torchvision", "width": 8}, 7),
        ("alexnet", {"stem": "torchvision", "width": 8, "lrn": True}, 7),
        ("alexnet", {"stem": "torchvision", "width": 64}, 7),
        ("alexnet", {"stem": "small", "width": 8}, 16),
        ("vit_small", {"width": 64, "depth": 1, "patch": 8}, 16),
        ("vit_small", {"width": 64, "depth": 1}, 8),
    ],
)
def test_gradcam_sees_the_last_map_of_each_variant_at_128_pixels(name, values, side):
    """It is as fine as the variant promises, and among ten classes some have a map, which negative ones do not."""
    torch.manual_seed(0)
    choice = REGISTRY.configure("model", name, values)
    card = DatasetCard("any", tuple("abcdefghij"), "1", size=128, mean=(0.5,) * 3, std=(0.25,) * 3)
    model = load_model(choice, card, weights="random")
    shapes = []
    model.target_layer.register_forward_hook(lambda _, __, output: shapes.append(output.shape))
    x = torch.randn(10, 3, 128, 128)
    gradcam = REGISTRY.configure("method", "gradcam")
    batch = Batch(x, torch.arange(10), list(card.classes))
    maps = attribute(gradcam, model, Guard(model), batch, 0, BatchSize(16)).maps.saliency
    seen = shapes[0]
    assert seen[-2:] == (side, side) if len(seen) == 4 else seen[1] == side**2 + 1
    assert maps.shape == (10, 128, 128)
    assert maps.isfinite().all()
    assert (maps.flatten(1).std(1) > 0).sum() >= 3


@pytest.mark.parametrize(("patch", "tokens"), [(8, 257), (16, 65), (32, 17), (None, 65)])
def test_patches_of_a_transformer_can_be_chosen(patch, tokens):
    with torch.device("meta"):
        network = build("vit_small", 128, 64, depth=1, patch=patch)
    assert network.encoder.pos_embedding.shape == (1, tokens, 64)


@pytest.mark.parametrize("name", MOBILENETS)
@pytest.mark.parametrize(("size", "side"), [(32, 4), (64, 8), (224, 7)])
def test_small_mobilenets_end_in_an_eighth_of_the_images_side(name, size, side):
    logits, shape = map_size(
        build(name, size, 0.25), REGISTRY.get("model", name).target_layer, size
    )
    assert logits == (2, 10)
    assert shape[2:] == (side, side)


@pytest.mark.parametrize("name", MOBILENETS)
def test_small_mobilenets_have_torchvisions_names_and_shapes(name):
    with torch.device("meta"):
        shapes = [
            {k: t.shape for k, t in build(name, size).state_dict().items()}
            for size in (32, 64, 224)
        ]
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize(("size", "tokens"), [(32, 65), (64, 65), (224, 197)])
def test_small_transformer(size, tokens):
    network = REGISTRY.configure("model", "vit_small", {"width": 128, "depth": 2})(10, size).eval()
    logits, shape = map_size(network, REGISTRY.get("model", "vit_small").target_layer, size)
    assert logits == (2, 10)
    assert shape == (2, tokens, 128)
    assert [block.num_heads for block in network.encoder.layers] == [2, 2]
    assert network(torch.randn(2, 3, size, size)).std() > 0  # torchvision's own head is zero


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformers_target_layer_is_in_its_last_block(name):
    with torch.device("meta"):
        network = build(name, 64)
    last = list(network.encoder.layers.children())[-1]
    assert find_layer(network, REGISTRY.get("model", name).target_layer) is last.ln_1


@pytest.mark.parametrize(
    ("name", "size", "values", "message"),
    [
        ("vit_b_16", 40, {}, "images of 40 pixels cannot be cut into patches of 16"),
        ("vit_small", 30, {}, "images of 30 pixels cannot be cut into patches of 4"),
        ("vit_small", 128, {"patch": 12}, "images of 128 pixels cannot be cut into patches of 12"),
        (
            "vit_small",
            32,
            {"width": 200},
            "width=200 cannot be shared among 3 heads: give a multiple of 64",
        ),
    ],
)
def test_transformers_refuse_what_they_cannot_cut(name, size, values, message):
    choice = REGISTRY.configure("model", name, values)
    with pytest.raises(PluginError, match=message), blaming(choice):
        choice(10, size)


@pytest.mark.parametrize("name", [*NAMES, *MOBILENETS, "vit_b_16"])
def test_at_224_it_is_torchvisions(name):
    with torch.device("meta"):
        network = build(name, 224, classes=1000)
        reference = getattr(models, name)()
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in reference.state_dict().items()}
    assert isinstance(network, type(reference))
    assert REGISTRY.get("model", name).pretrained.meta["num_params"] == sum(
        p.numel() for p in network.parameters()
    )


@pytest.mark.parametrize("name", ["alexnet", "resnet18"])
def test_logits_and_map_at_224(name):
    layer = REGISTRY.get("model", name).target_layer
    logits, shape = map_size(build(name, 224), layer, 224)
    assert logits == (2, 10)
    assert shape[2:] == {"alexnet": (13, 13), "resnet18": (7, 7)}[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_target_layer_is_the_same_module_at_both_sizes(name):
    layer = REGISTRY.get("model", name).target_layer
    with torch.device("meta"):
        small, large = (build(name, size).get_submodule(layer) for size in (64, 224))
    assert type(small) is type(large)
    assert getattr(small, "inplace", None) == getattr(large, "inplace", None)


@pytest.mark.parametrize("name", VGGS)
def test_small_vggs_have_torchvisions_layers_under_its_names(name):
    with torch.device("meta"):
        small, large = (dict(build(name, size).features.named_modules()) for size in (32, 224))
    kinds = [
        {n: type(m) for n, m in layers.items() if not list(m.children())}
        for layers in (small, large)
    ]
    poolings = [n for n, kind in kinds[1].items() if kind is nn.MaxPool2d]
    assert {n: kinds[0][n] for n in poolings[3:]} == dict.fromkeys(poolings[3:], nn.Identity)
    assert kinds[0] | dict.fromkeys(poolings[3:], nn.MaxPool2d) == kinds[1]
    last_relu = [n for n, kind in kinds[1].items() if kind is nn.ReLU][-1]
    assert REGISTRY.get("model", name).target_layer == f"features.{last_relu}"
    assert any(kind is nn.BatchNorm2d for kind in kinds[0].values()) == name.endswith("_bn")


@pytest.mark.parametrize("name", [*RESNETS, *VGGS])
def test_each_depth_has_its_own_documentation_and_origin(name):
    plugin = REGISTRY.get("model", name)
    depth, family = "".join(c for c in name if c.isdigit()), "VGG" if "vgg" in name else "ResNet"
    assert plugin.summary.startswith(f"{family}-{depth}")
    assert "width: channels of the first" in plugin.doc
    assert Path(plugin.origin.rpartition(":")[0]).name == f"{family.lower()}.py"
    if family == "VGG":
        assert ("with batch norm" in plugin.summary, "without batch norm" in plugin.summary) == (
            name.endswith("_bn"),
            not name.endswith("_bn"),
        )


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", RESNETS)
def test_resnets_with_other_norms_have_no_batch_norm_and_do_not_mix_images(name, size):
    for norm in ("group", "layer"):
        with torch.device("meta"):
            network = build(name, size, norm=norm)
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
        plain = [m for m in build_meta(name, size).modules() if isinstance(m, nn.BatchNorm2d)]
        assert [n.num_channels for n in norms] == [n.num_features for n in plain]
        assert all(n.num_groups == (32 if norm == "group" else 1) for n in norms)
    network = build("resnet18", 32, 4, norm="group").train()
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(network(x)[:1], network(x[:1]))


def build_meta(name, size):
    with torch.device("meta"):
        return build(name, size)


@pytest.mark.parametrize(
    ("width", "groups"), [(10, [2, 4, 8, 16]), (12, [4, 8, 16, 32]), (3, [1, 2, 4, 8])]
)
def test_groups_divide_the_channels(width, groups):
    network = build("resnet18", 32, width, norm="group")
    assert [getattr(network, f"layer{i}")[0].bn1.num_groups for i in (1, 2, 3, 4)] == groups
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize(("size", "width"), [(32, 4), (224, None)])
def test_alexnets_local_response_norm_is_the_papers(size, width):
    """Krizhevsky et al. 2012, section 3.3, written out; it follows the ReLUs of the first two convolutions."""
    network = build("alexnet", size, width, lrn=True)
    norms = [n for n, m in network.features.named_modules() if isinstance(m, nn.LocalResponseNorm)]
    assert norms == ["1.1", "4.1"]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    a = 10 * torch.rand(2, 12, 3, 3).contiguous(memory_format=torch.channels_last)
    expected = torch.empty_like(a)
    for i in range(12):
        near = a[:, max(0, i - 2) : min(11, i + 2) + 1]
        expected[:, i] = a[:, i] / (2 + 1e-4 * near.square().sum(1)) ** 0.75
    for name in norms:
        before, norm = network.features.get_submodule(name[0])
        assert isinstance(before, nn.ReLU)
        torch.testing.assert_close(norm(a), expected)
    assert network(torch.randn(2, 3, size, size)).shape == (2, 10)


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "vgg11_bn"])
def test_shipped_weights_do_what_their_card_says(name):
    """On 500 of the 2000 images that the card speaks of: within three standard errors of its accuracy."""
    path = bundled_folder() / "models" / "weights" / f"planted-{name}.safetensors"
    state, card = read_weights(path)
    data = REGISTRY.configure("dataset", "planted")()
    assert path.stat().st_size < 3e6
    assert (card.architecture, card.data_revision) == (name, data.card.revision)
    assert (card.classes, card.mean, card.std) == (data.card.classes, data.card.mean, data.card.std)
    claimed = float(card.notes["accuracy"])
    assert claimed >= 0.97
    assert card.notes["tested_on"] == "2000 images"

    network = build(name, card.size, card.parameters["width"])
    load_state(network, state, path.name)
    samples = [data[i] for i in range(500)]
    images = torch.from_numpy(np.stack([s.image for s in samples])).float() / 255
    x = ((images - torch.tensor(card.mean)) / torch.tensor(card.std)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        right = (
            (network(x).argmax(1) == torch.tensor([s.label for s in samples])).float().mean().item()
        )
    assert right == pytest.approx(claimed, abs=3 * (claimed * (1 - claimed) / 500) ** 0.5)
