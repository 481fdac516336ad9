"""A function in a Python file as a model."""

from pathlib import Path

import pytest
import torch

from interpbench.core.errors import InterpBenchError, PluginError, UnknownNameError, WeightsError
from interpbench.core.preparation import Stated
from interpbench.loading.model import load_model
from interpbench.loading.pretrained import hash_tensors
from interpbench.registry.discovery import discover
from tests.sources import FRUIT, IMAGENET, REGISTRY, choose, images

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


def test_a_function_in_a_file_is_a_model_with_its_weights(own: Path) -> None:
    choice = choose(f"{own}:build")
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
    assert REGISTRY.names("method") == discover().names("method")


def test_its_keyword_arguments_are_parameters(own: Path) -> None:
    for text in (f"{own}:build,width=6", f"{own}:build:width=6"):
        choice = choose(text)
        assert choice.label == f"{own}:build:width=6"
        assert load_model(choice, FRUIT).network.get_submodule("convolution").out_channels == 6
    with pytest.raises(UnknownNameError, match=r"'widht'.*Did you mean 'width'"):
        choose(f"{own}:build,widht=6")


def test_it_may_know_its_classes_itself(own: Path) -> None:
    assert load_model(choose(f"{own}:ready"), FRUIT).card.classes == 3
    with pytest.raises(
        WeightsError, match="gives 3 logits, but data set 'two-of-imagenet' has 2 classes"
    ):
        load_model(
            choose(f"{own}:ready"), IMAGENET, stated=Stated(size=16, mean=(0.5,), std=(0.25,))
        )


def test_its_weights_may_be_replaced_by_a_files(own: Path, tmp_path: Path) -> None:
    choice = choose(f"{own}:ready")
    state = {name: torch.ones_like(tensor) for name, tensor in choice(3, 16).state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    model = load_model(choice, FRUIT, weights=str(tmp_path / "w.pt"))
    assert all(bool((tensor == 1).all()) for tensor in model.network.state_dict().values())
    assert model.card.weights == "w.pt"


def test_a_changed_file_is_run_again(own: Path) -> None:
    first = choose(f"{own}:ready").plugin
    assert (
        choose(f"{own}:ready").plugin.call(3, 16).head.weight.equal(first.call(3, 16).head.weight)
    )
    own.write_text(OWN.replace("manual_seed(6)", "manual_seed(7)"))
    assert (
        not choose(f"{own}:ready")
        .plugin.call(3, 16)
        .head.weight.equal(first.call(3, 16).head.weight)
    )
    own.write_text(OWN)
    assert (
        choose(f"{own}:ready").plugin.call(3, 16).head.weight.equal(first.call(3, 16).head.weight)
    )


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (
            "biuld",
            UnknownNameError,
            r"Unknown function in .*mine.py .*'biuld'. Did you mean 'build'",
        ),
        ("Net", UnknownNameError, "Unknown function in"),
        (
            "wrong",
            PluginError,
            r"mine.py:\d+: model '.*:wrong' must have the signature \(classes, size, \*",
        ),
        (
            "pairs",
            PluginError,
            r"mine.py:\d+: model '.*' must return a torch.nn.Module, not function",
        ),
        ("tuples", PluginError, r"returns maps, \[0\] \[2, 3, 16, 16\] for 2 images"),
    ],
)
def test_what_is_no_model_is_refused(
    own: Path, function: str, error: type[InterpBenchError], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_model(choose(f"{own}:{function}"), FRUIT)


def test_files_that_are_missing_or_broken_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        PluginError, match=r"there is no file .*gone.py. Give the path of a Python file"
    ):
        choose("gone.py:build")
    (tmp_path / "broken.py").write_text("def build(:\n")
    with pytest.raises(PluginError, match=r"broken.py:1: syntax error"):
        choose(f"{tmp_path / 'broken.py'}:build")
    (tmp_path / "fails.py").write_text("\n1 / 0\n")
    with pytest.raises(PluginError, match=r"failed to import: ZeroDivisionError: .*fails.py:2"):
        choose(f"{tmp_path / 'fails.py'}:build")
    (tmp_path / "empty.py").touch()
    with pytest.raises(
        UnknownNameError, match=r"Unknown function in .*empty.py \(write FILE.py:FUNCTION\)"
    ):
        choose(str(tmp_path / "empty.py"))


def test_methods_are_not_taken_from_functions_in_files(own: Path) -> None:
    with pytest.raises(UnknownNameError, match="Unknown method"):
        REGISTRY.configure("method", f"{own}:build")
