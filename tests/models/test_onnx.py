"""ONNX files as black boxes."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

import interpbench
from interpbench.core.errors import ParameterError, WeightsError
from interpbench.core.preparation import Stated
from interpbench.loading.model import load_model
from interpbench.running.plan import make_plan
from interpbench.suite.selection import Selection
from interpbench.suite.suite import Suite
from tests.sources import FRUIT, IMAGENET, REGISTRY, choose, images

CPU = torch.device("cpu")


def onnx_file(
    path: Path, classes: int = 3, size: int | str = 16, batch: int | str = "n", channels: int = 3
) -> Path:
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
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in tensors.items()
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def twin(path: Path, x: Tensor) -> Tensor:
    """What the file computes, by torch."""
    tensors = {
        t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
        for t in onnx.load(path).graph.initializer
    }
    pooled = F.relu(F.conv2d(x, tensors["kernel"], padding=1)).mean((2, 3))
    return pooled @ tensors["weight"] + tensors["bias"]


@pytest.mark.parametrize("batch", ["n", 1, 2])
def test_an_onnx_file_computes_what_its_graph_says_whatever_its_batch(
    tmp_path: Path, batch: int | str
) -> None:
    path = onnx_file(tmp_path / "little.onnx", batch=batch)
    choice = choose(f"onnx:{path}")
    model = load_model(choice, FRUIT)
    x = images(16, 5).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x), twin(path, x))
    assert (choice.label, model.card.weights) == (f"onnx:{path}", "little.onnx")
    assert model.card.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (model.card.size, model.card.classes, model.card.logit_of_label) == (16, 3, (0, 1, 2))
    assert (model.card.mean, model.card.target_layer) == (FRUIT.mean, None)


def test_the_size_is_the_files_or_else_the_datas(tmp_path: Path) -> None:
    fixed = onnx_file(tmp_path / "fixed.onnx", size=24)
    free = onnx_file(tmp_path / "free.onnx", size="s")
    assert load_model(choose(f"onnx:{fixed}"), FRUIT).card.size == 24
    assert load_model(choose(f"onnx:{free}"), FRUIT).card.size == 16
    with pytest.raises(WeightsError, match=r"fixed.onnx takes images of 24 pixels, not of 16"):
        choose(f"onnx:{fixed}")(3, 16)


def test_logits_that_are_not_the_datas_classes_are_refused(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "seven.onnx", classes=7)
    with pytest.raises(WeightsError, match=r"gives 7 logits, but data set 'fruit' has 3 classes"):
        load_model(choose(f"onnx:{path}"), FRUIT)


def test_a_thousand_logits_are_imagenets(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "imagenet.onnx", classes=1000, size=32)
    stated = Stated(mean=(0.0,), std=(1.0,))
    card = load_model(choose(f"onnx:{path}"), IMAGENET, stated=stated).card
    assert (card.classes, card.logit_of_label, card.dataset) == (1000, (0, 701), "imagenet-1k")
    with pytest.raises(
        WeightsError, match=r"gives 1000 logits, but data set 'fruit' has 3 classes"
    ):
        load_model(choose(f"onnx:{path}"), FRUIT)


def test_files_that_are_no_image_classifiers_are_refused(tmp_path: Path) -> None:
    grey = onnx_file(tmp_path / "grey.onnx", channels=1)
    with pytest.raises(
        WeightsError, match=r"must take square images .* not x: tensor\(float\) \['n', 1, 16, 16\]"
    ):
        load_model(choose(f"onnx:{grey}"), FRUIT)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(WeightsError, match=r"text.onnx is no ONNX file, or a damaged one"):
        load_model(choose(f"onnx:{tmp_path / 'text.onnx'}"), FRUIT)
    with pytest.raises(ParameterError, match="there is no such file"):
        choose("onnx:gone.onnx")


def test_a_model_that_brings_its_weights_takes_no_random_ones(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "little.onnx")
    with pytest.raises(WeightsError, match="brings its own weights: leave --weights random away"):
        load_model(choose(f"onnx:{path}"), FRUIT, weights="random")


SUITE = Suite(
    name="test",
    dataset="planted:count=20",
    models=("resnet18",),
    methods=("saliency", "random", "center"),
    metrics=("deletion",),
    images=4,
    ceiling="none",
)


def plan(**changes: Any) -> Any:
    asked = changes.pop("asked_methods", False)
    named = frozenset({"method"} if asked else ())
    return make_plan(Selection(SUITE.changed(changes), named), REGISTRY)


def test_a_suites_methods_that_need_gradients_are_left_out_for_a_black_box(tmp_path: Path) -> None:
    box = f"onnx:{onnx_file(tmp_path / 'ten.onnx', classes=10, size=64)}"
    found = plan(models=(box, "resnet18"))
    assert [(cell.model, cell.method) for cell in found.cells] == [
        (box, "random"),
        (box, "center"),
        ("resnet18", "saliency"),
        ("resnet18", "random"),
        ("resnet18", "center"),
    ]
    assert f"Left out for {box}, through which no gradients flow: saliency." in found.notices
    everything = plan(models=(box,), methods=("all",), asked_methods=True)
    assert {REGISTRY.get("method", cell.method).gradients for cell in everything.cells} == {False}
    assert {"rise", "occlusion"} <= {cell.method for cell in everything.cells}


def test_methods_that_need_gradients_are_refused_for_a_black_box_if_asked_for(
    tmp_path: Path,
) -> None:
    box = f"onnx:{onnx_file(tmp_path / 'ten.onnx', classes=10, size=64)}"
    with pytest.raises(
        ParameterError,
        match=f"Method 'saliency' needs gradients, and none flow through model '{box}'",
    ):
        plan(models=(box,), asked_methods=True)
    with pytest.raises(ParameterError, match="Method 'saliency' needs gradients"):
        plan(models=(box,), methods=("saliency",))


def test_a_black_box_runs_with_occlusion_and_rise(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "ten.onnx", classes=10, size=64)
    finished = interpbench.run(
        dataset="planted:count=20",
        model=f"onnx:{path}",
        method=["occlusion:window=16", "rise:masks=8", "random"],
        metric="deletion:steps=4",
        images=4,
        device="cpu",
        output=tmp_path / "run",
        plots=False,
    )
    assert len(finished.failed) == 0
    assert set(finished.scores["model"]) == {f"onnx:{path}"}
    assert finished.scores["value"].between(0, 1).all()
    assert len(finished.scores) == 12
    assert len(finished.tables.ceilings) == 4
