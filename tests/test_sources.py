"""Models by another library's name, from an ONNX file, and from a function in a Python file."""

import builtins
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torchvision import models

import interpbench
from interpbench.contracts import DatasetCard
from interpbench.discovery import discover
from interpbench.errors import InterpBenchError, ParameterError, PluginError, UnknownNameError, WeightsError
from interpbench.layers import last_spatial_layer
from interpbench.modelling import load_model
from interpbench.plan import make_plan
from interpbench.plugin import Configured, parse_specs
from interpbench.pretrained import hash_tensors, offered
from interpbench.registry import Registry
from interpbench.suite import Suite

FRUIT = DatasetCard("fruit", ("apple", "pear", "plum"), "fruit-1", size=16, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
IMAGENET = DatasetCard("two-of-imagenet", ("tench", "parachute"), "1", imagenet=(0, 701))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


def choose(registry: Registry, text: str) -> Configured:
    ((name, values),) = parse_specs([text])
    return registry.configure("model", name, values)


def images(size: int, count: int = 3) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


# --- torchvision


def test_torchvisions_models_have_their_names_there(registry: Registry) -> None:
    choice = choose(registry, "torchvision:shufflenet_v2_x0_5")
    assert (choice.label, choice.slug) == ("torchvision:shufflenet_v2_x0_5", "torchvision-shufflenet_v2_x0_5")
    network = choice(7, 32)
    assert type(network) is models.ShuffleNetV2
    assert network(images(32)).shape == (3, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet19", "Unknown model of torchvision: 'resnet19'. Did you mean 'resnet18'"),
        ("torchvision:fcn_resnet50", "torchvision's fcn_resnet50 is no image classifier"),
        ("torchvision:fasterrcnn_resnet50_fpn", "is no image classifier"),
        ("torchvision:r3d_18", "is no image classifier"),
        ("torchvision:quantized_resnet18", "is no image classifier"),
        ("torchvision", "model 'torchvision' needs the parameter 'name' .* write torchvision:name=VALUE"),
        ("timm:resnet19", "Unknown model of timm: 'resnet19'. Did you mean .* and [0-9]+ more"),
    ],
)
def test_names_that_a_library_does_not_have_are_refused(registry: Registry, name: str, message: str) -> None:
    with pytest.raises((ParameterError, UnknownNameError), match=message):
        choose(registry, name)


def test_torchvisions_weights_are_the_best_for_imagenet(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = models.ResNet50_Weights.IMAGENET1K_V2
    state = models.resnet50().state_dict()
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **options: dict(state))
    model = load_model(choose(registry, "torchvision:resnet50"), IMAGENET)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.network.state_dict().items())
    assert (model.card.weights, model.card.name) == (str(weights), "torchvision")
    assert (model.card.size, model.card.resize, model.card.classes) == (224, 232, 1000)  # torchvision's documentation
    assert model.card.weights_sha256 == hash_tensors(state)
    assert model.card.logit_of_label == (0, 701)
    assert model.card.target_layer == "layer4"


def test_every_torchvision_classifier_has_its_imagenet_weights(registry: Registry) -> None:
    for name in models.list_models(module=models):
        offer = offered(choose(registry, f"torchvision:{name}"))
        assert offer is not None
        assert offer.source == str(models.get_model_weights(name).DEFAULT)
        assert len(offer.classes) == 1000


def test_on_other_data_torchvisions_models_need_weights(registry: Registry) -> None:
    with pytest.raises(WeightsError, match="There are no weights for model 'torchvision:resnet18' on data set 'fruit'"):
        load_model(choose(registry, "torchvision:resnet18"), FRUIT)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_a_second_head_take_torchvisions_weights_and_give_one_tensor(
    registry: Registry, name: str
) -> None:
    network = choose(registry, f"torchvision:{name}")(5, 96)
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
def test_the_layer_for_cam_is_found(registry: Registry, name: str, size: int, layer: str) -> None:
    """As pytorch-grad-cam's documentation advises: the last convolution's maps, or the last block's norm1."""
    choice = choose(registry, name)
    with torch.no_grad():
        network = choice(3, size)
        for parameter in network.parameters():  # heads that start from zero give no gradient
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=1e-2)
    assert last_spatial_layer(network.eval(), images(size, 2)) == layer


# --- timm


def test_timms_weights_come_with_their_input(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: create(name, **options))
    model = load_model(choose(registry, "timm:resnet10t"), IMAGENET)
    known = timm.get_pretrained_cfg("resnet10t")
    assert model.card.weights == "timm/resnet10t.c3_in1k"
    assert (model.card.size, model.card.mean, model.card.std) == (known.input_size[1], known.mean, known.std)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model.network))
    assert model.card.resize == transform.transforms[0].size
    assert model.card.logit_of_label == (0, 701)
    assert len(model.card.weights_sha256) == 64


def test_timms_other_weights_are_not_taken_for_imagenet_1k(registry: Registry) -> None:
    assert offered(choose(registry, "timm:vit_tiny_patch16_224.augreg_in21k")) is None
    assert offered(choose(registry, "timm:test_resnet.r160_in1k")) is not None


def test_timms_transformers_take_the_size_that_is_asked_for(registry: Registry) -> None:
    assert choose(registry, "timm:vit_tiny_patch16_224")(4, 48).eval()(images(48)).shape == (3, 4)


@pytest.mark.parametrize(("library", "text"), [("timm", "timm:resnet18"), ("onnxruntime", "onnx:{file}")])
def test_a_library_that_is_not_installed_is_named(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, text: str
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == library:
            raise ImportError(name)
        return real(name, *arguments, **options)

    (tmp_path / "x.onnx").touch()
    monkeypatch.setattr(builtins, "__import__", without)
    extra = text.partition(":")[0]
    with pytest.raises(ParameterError, match=rf"{library} is not installed: pip install 'interpbench\[{extra}\]'"):
        load_model(choose(registry, text.format(file=tmp_path / "x.onnx")), FRUIT)


# --- ONNX


def onnx_file(path: Path, classes: int = 3, size: int | str = 16, batch: int | str = "n", channels: int = 3) -> Path:
    """logits = mean over positions of relu(x * kernel) @ weight + bias, written node by node."""
    chance = np.random.default_rng(0)
    tensors = {
        "kernel": chance.normal(size=(4, channels, 3, 3)),
        "weight": chance.normal(size=(4, classes)),
        "bias": chance.normal(size=classes),
    }
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "little",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def twin(path: Path, x: Tensor) -> Tensor:
    """What the file computes, by torch."""
    tensors = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx.load(path).graph.initializer}
    pooled = F.relu(F.conv2d(x, tensors["kernel"], padding=1)).mean((2, 3))
    return pooled @ tensors["weight"] + tensors["bias"]


@pytest.mark.parametrize("batch", ["n", 1, 2])
def test_an_onnx_file_computes_what_its_graph_says_whatever_its_batch(
    registry: Registry, tmp_path: Path, batch: int | str
) -> None:
    path = onnx_file(tmp_path / "little.onnx", batch=batch)
    choice = choose(registry, f"onnx:{path}")
    model = load_model(choice, FRUIT)
    x = images(16, 5).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x), twin(path, x))
    assert (choice.label, model.card.weights) == (f"onnx:{path}", "little.onnx")
    assert model.card.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (model.card.size, model.card.classes, model.card.logit_of_label) == (16, 3, (0, 1, 2))
    assert (model.card.mean, model.card.target_layer) == (FRUIT.mean, None)


def test_the_size_is_the_files_or_else_the_datas(registry: Registry, tmp_path: Path) -> None:
    fixed = onnx_file(tmp_path / "fixed.onnx", size=24)
    free = onnx_file(tmp_path / "free.onnx", size="s")
    assert load_model(choose(registry, f"onnx:{fixed}"), FRUIT).card.size == 24
    assert load_model(choose(registry, f"onnx:{free}"), FRUIT).card.size == 16
    with pytest.raises(WeightsError, match=r"fixed.onnx takes images of 24 pixels, not of 16"):
        choose(registry, f"onnx:{fixed}")(3, 16)


def test_logits_that_are_not_the_datas_classes_are_refused(registry: Registry, tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "seven.onnx", classes=7)
    with pytest.raises(WeightsError, match=r"gives 7 logits, but data set 'fruit' has 3 classes"):
        load_model(choose(registry, f"onnx:{path}"), FRUIT)


def test_a_thousand_logits_are_imagenets(registry: Registry, tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "imagenet.onnx", classes=1000, size=32)
    card = load_model(choose(registry, f"onnx:{path}"), IMAGENET).card
    assert (card.classes, card.logit_of_label, card.dataset) == (1000, (0, 701), "imagenet-1k")
    with pytest.raises(WeightsError, match=r"gives 1000 logits, but data set 'fruit' has 3 classes"):
        load_model(choose(registry, f"onnx:{path}"), FRUIT)


def test_files_that_are_no_image_classifiers_are_refused(registry: Registry, tmp_path: Path) -> None:
    grey = onnx_file(tmp_path / "grey.onnx", channels=1)
    with pytest.raises(WeightsError, match=r"must take square images .* not x: tensor\(float\) \['n', 1, 16, 16\]"):
        load_model(choose(registry, f"onnx:{grey}"), FRUIT)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(WeightsError, match=r"text.onnx is no ONNX file, or a damaged one"):
        load_model(choose(registry, f"onnx:{tmp_path / 'text.onnx'}"), FRUIT)
    with pytest.raises(ParameterError, match="there is no such file"):
        choose(registry, "onnx:gone.onnx")


def test_a_model_that_brings_its_weights_takes_no_random_ones(registry: Registry, tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "little.onnx")
    with pytest.raises(WeightsError, match="brings its own weights: leave --weights random away"):
        load_model(choose(registry, f"onnx:{path}"), FRUIT, weights="random")


SUITE = Suite(
    name="test",
    dataset="planted:count=20",
    models=("resnet18",),
    methods=("saliency", "random", "center"),
    metrics=("deletion",),
    images=4,
)


def plan(registry: Registry, **changes: Any) -> Any:
    asked = changes.pop("asked_methods", False)
    return make_plan(SUITE.changed(changes), registry, device=CPU, asked_methods=asked)


def test_a_suites_methods_that_need_gradients_are_left_out_for_a_black_box(registry: Registry, tmp_path: Path) -> None:
    box = f"onnx:{onnx_file(tmp_path / 'ten.onnx', classes=10, size=64)}"
    found = plan(registry, models=(box, "resnet18"))
    assert [(cell.model, cell.method) for cell in found.cells] == [
        (box, "random"),
        (box, "center"),
        ("resnet18", "saliency"),
        ("resnet18", "random"),
        ("resnet18", "center"),
    ]
    assert found.notices == (f"Left out for {box}, through which no gradients flow: saliency.",)
    everything = plan(registry, models=(box,), methods=("all",), asked_methods=True)
    assert {registry.get("method", cell.method).gradients for cell in everything.cells} == {False}
    assert {"rise", "occlusion"} <= {cell.method for cell in everything.cells}


def test_methods_that_need_gradients_are_refused_for_a_black_box_if_asked_for(
    registry: Registry, tmp_path: Path
) -> None:
    box = f"onnx:{onnx_file(tmp_path / 'ten.onnx', classes=10, size=64)}"
    with pytest.raises(ParameterError, match=f"Method 'saliency' needs gradients, and none flow through model '{box}'"):
        plan(registry, models=(box,), asked_methods=True)
    with pytest.raises(ParameterError, match="Method 'saliency' needs gradients"):
        plan(registry, models=(box,), methods=("saliency",))


def test_a_black_box_runs_with_occlusion_and_rise(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "ten.onnx", classes=10, size=64)
    finished = interpbench.run(
        dataset="planted:count=20",
        model=f"onnx:{path}",
        method=["occlusion:window=16", "rise:masks=8"],
        metric="deletion:steps=4",
        images=4,
        device="cpu",
        output=tmp_path / "run",
        plots=False,
    )
    assert len(finished.failed) == 0
    assert set(finished.scores["model"]) == {f"onnx:{path}"}
    assert finished.scores["value"].between(0, 1).all()
    assert len(finished.scores) == 8


# --- a function in a file

OWN = """
import torch
from torch import nn
from interpbench import method

class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 3)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.convolution(x).relu().mean((2, 3)))

def build(classes, size, *, width: int = 4):
    '''A little network.'''
    torch.manual_seed(5)
    return Net(width, classes)

def ready():
    torch.manual_seed(6)
    return Net(2, 3)

def wrong(classes):
    return Net(2, classes)

def pairs(classes, size):
    return lambda x: (x, x)

def tuples(classes, size):
    class Two(nn.Identity):
        def forward(self, x):
            return x, x
    return Two()

@method("unseen")
def unseen(model, x, target): ...
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def test_a_function_in_a_file_is_a_model_with_its_weights(registry: Registry, own: Path) -> None:
    choice = choose(registry, f"{own}:build")
    model = load_model(choice, FRUIT)
    torch.manual_seed(5)
    expected = choice.plugin.call(3, 16, width=4)
    assert choice.label == f"{own}:build"
    assert choice.plugin.summary == "A little network."
    assert choice.plugin.origin.startswith(str(own))
    torch.testing.assert_close(model(images(16)), expected(images(16)))
    assert (model.card.weights, model.card.classes, model.card.size) == (f"{own}:build", 3, 16)
    assert model.card.target_layer == "convolution"
    assert model.card.weights_sha256 == hash_tensors(expected.state_dict())
    assert registry.names("method") == discover().names("method")


def test_its_keyword_arguments_are_parameters(registry: Registry, own: Path) -> None:
    for text in (f"{own}:build,width=6", f"{own}:build:width=6"):
        choice = choose(registry, text)
        assert choice.label == f"{own}:build:width=6"
        assert load_model(choice, FRUIT).network.get_submodule("convolution").out_channels == 6
    with pytest.raises(UnknownNameError, match=r"'widht'.*Did you mean 'width'"):
        choose(registry, f"{own}:build,widht=6")


def test_it_may_know_its_classes_itself(registry: Registry, own: Path) -> None:
    assert load_model(choose(registry, f"{own}:ready"), FRUIT).card.classes == 3
    with pytest.raises(WeightsError, match="gives 3 logits, but data set 'two-of-imagenet' has 2 classes"):
        load_model(choose(registry, f"{own}:ready"), IMAGENET)


def test_its_weights_may_be_replaced_by_a_files(registry: Registry, own: Path, tmp_path: Path) -> None:
    choice = choose(registry, f"{own}:ready")
    state = {name: torch.ones_like(tensor) for name, tensor in choice(3, 16).state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    model = load_model(choice, FRUIT, weights=str(tmp_path / "w.pt"))
    assert all(bool((tensor == 1).all()) for tensor in model.network.state_dict().values())
    assert model.card.weights == "w.pt"


def test_a_changed_file_is_run_again(registry: Registry, own: Path) -> None:
    first = choose(registry, f"{own}:ready").plugin
    assert choose(registry, f"{own}:ready").plugin.call(3, 16).head.weight.equal(first.call(3, 16).head.weight)
    own.write_text(OWN.replace("manual_seed(6)", "manual_seed(7)"))
    assert not choose(registry, f"{own}:ready").plugin.call(3, 16).head.weight.equal(first.call(3, 16).head.weight)
    own.write_text(OWN)
    assert choose(registry, f"{own}:ready").plugin.call(3, 16).head.weight.equal(first.call(3, 16).head.weight)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("biuld", UnknownNameError, r"Unknown function in .*mine.py .*'biuld'. Did you mean 'build'"),
        ("Net", UnknownNameError, "Unknown function in"),
        ("wrong", PluginError, r"mine.py:\d+: model '.*:wrong' must have the signature \(classes, size, \*"),
        ("pairs", PluginError, r"mine.py:\d+: model '.*' must return a torch.nn.Module, not function"),
        ("tuples", PluginError, r"must give logits \[B,classes\], not tuple for one image"),
    ],
)
def test_what_is_no_model_is_refused(
    registry: Registry, own: Path, function: str, error: type[InterpBenchError], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_model(choose(registry, f"{own}:{function}"), FRUIT)


def test_files_that_are_missing_or_broken_are_named(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"there is no file .*gone.py. Give the path of a Python file"):
        choose(registry, "gone.py:build")
    (tmp_path / "broken.py").write_text("def build(:\n")
    with pytest.raises(PluginError, match=r"broken.py:1: syntax error"):
        choose(registry, f"{tmp_path / 'broken.py'}:build")
    (tmp_path / "fails.py").write_text("\n1 / 0\n")
    with pytest.raises(PluginError, match=r"failed to import: ZeroDivisionError: .*fails.py:2"):
        choose(registry, f"{tmp_path / 'fails.py'}:build")
    (tmp_path / "empty.py").touch()
    with pytest.raises(UnknownNameError, match=r"Unknown function in .*empty.py \(write FILE.py:FUNCTION\)"):
        choose(registry, str(tmp_path / "empty.py"))


def test_methods_are_not_taken_from_functions_in_files(registry: Registry, own: Path) -> None:
    with pytest.raises(UnknownNameError, match="Unknown method"):
        registry.configure("method", f"{own}:build")
