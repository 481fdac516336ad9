"""Checkpoints in the forms that people have: each gives the network's own tensors, and says what was done."""

import argparse
import copy
import pathlib
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchvision import models

import interpbench
from interpbench.core.errors import WeightsError
from interpbench.loading.fitting import load_state
from interpbench.loading.weights import read_weights
from tests.command_line import call
from tests.paths import TINY
from tests.picture_commands import draw_coarsely, photo
from tests.user_models import Network, network

State = dict[str, Tensor]


def trained() -> Network:
    """Other weights than a new network has."""
    made = network()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.25).add_(0.01)
    return made


def state() -> State:
    return dict(trained().state_dict())


def before(prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state().items()}


def other() -> State:
    """Of a second network, which must not be taken."""
    return {name: tensor + 1 for name, tensor in state().items()}


class Holder(nn.Module):
    """A network whose layers stand under `model`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.model = inner


class ModelInside(Holder):
    """One that has an own submodule called `model`, and another beside it."""

    def __init__(self) -> None:
        super().__init__(Network(classes=4))
        self.head = nn.Linear(4, 4)


# what is saved, how the file is called, and what is said of it
FORMS: dict[str, tuple[Callable[[], Any], str, tuple[str, ...]]] = {
    "plain": (state, "w.pth", ()),
    "ordered": (lambda: OrderedDict(state()), "w.bin", ()),
    "state_dict, with what training keeps": (
        lambda: {
            "epoch": 3, "state_dict": state(), "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}},
            "args": argparse.Namespace(lr=0.1, out="x"), "best": np.float64(0.9),
        },
        "w.pth.tar",
        ("'state_dict' was taken; beside it stood epoch, optimizer, args, best",),
    ),
    "model_state_dict": (
        lambda: {"model_state_dict": state(), "loss": torch.tensor(0.1)}, "w.pt", ("beside it stood loss",)
    ),
    "model before ema": (
        lambda: {"ema": other(), "model": state()}, "w.th", ("'model' was taken; beside it stood ema",)
    ),
    "with keys that are no names": (lambda: state() | {7: "x"}, "w.pt", ("7 was left, being no tensor",)),
    "net": (lambda: {"net": state(), "acc": 97.0, "epoch": 199}, "w.ckpt", ("'net' was taken",)),
    "ema alone": (
        lambda: {"ema": before("module."), "step": 7}, "w.pt", ("'ema' was taken", "'module.' was taken off")
    ),
    "teacher alone": (lambda: {"teacher": state()}, "w.pt", ("'teacher' was taken",)),
    "nested": (lambda: {"model": {"state_dict": state(), "name": "x"}}, "w.pt", ("'model.state_dict' was taken",)),
    "DataParallel": (lambda: nn.DataParallel(trained()).state_dict(), "w.PTH", ("'module.' was taken off the names",)),
    "compiled": (lambda: before("_orig_mod."), "w.pt", ("'_orig_mod.' was taken off",)),
    "compiled in DDP": (lambda: before("module._orig_mod."), "w.pt", ("'module.' and '_orig_mod.' was taken off",)),
    "inside a wrapped layer": (
        lambda: {name.replace("conv1.", "conv1.module."): tensor for name, tensor in state().items()}, "w.pt",
        ("'module.'",)
    ),
    "Lightning": (
        lambda: {"state_dict": before("model.") | {"criterion.weight": torch.ones(3)}, "hyper_parameters": {}},
        "w.ckpt",
        ("'model.' was taken off", "'criterion.weight' was left out, being outside of 'model.'"),
    ),
    "backbone in net": (lambda: before("net.backbone."), "w.pt", ("'net.backbone.' was taken off",)),
    "averaged": (
        lambda: AveragedModel(trained()).state_dict(), "w.pt", ("'module.' was taken off", "'n_averaged' was left out")
    ),
    "with thop's counts": (
        lambda: state() | {"total_ops": torch.zeros(1), "conv1.total_params": torch.ones(1)}, "w.pt",
        ("'total_ops', 'conv1.total_params' was left out, being no weight",),
    ),
    "of an old torch": (
        lambda: {name: tensor for name, tensor in state().items() if "num_batches" not in name}, "w.pt",
        ("'norm.num_batches_tracked' is missing, on which no answer depends",),
    ),
    "double": (lambda: {name: tensor.double() for name, tensor in state().items()}, "w.pt", ("Its float64 tensors",)),
    "safetensors, compiled": (lambda: before("_orig_mod."), "w.safetensors", ("'_orig_mod.' was taken off",)),
}  # fmt: skip


def saved(folder: Path, form: str) -> Path:
    make, name, _ = FORMS[form]
    path = folder / name
    save_file(make(), path) if path.suffix == ".safetensors" else torch.save(make(), path)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_gives_the_network_its_weights(form: str, tmp_path: Path) -> None:
    path, fresh = saved(tmp_path, form), network()
    notices = load_state(fresh, read_weights(path)[0], path.name)
    for name, tensor in fresh.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, state()[name]), name
    said = " ".join(notices)
    assert all(text in said for text in FORMS[form][2]), said
    assert bool(notices) == bool(FORMS[form][2])
    assert all(notice.startswith(f"Weights {path.name}: ") for notice in notices)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lower_precision_is_brought_to_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.save({name: tensor.to(dtype) for name, tensor in state().items()}, tmp_path / "w.pt")
    fresh = network()
    [notice] = load_state(fresh, read_weights(tmp_path / "w.pt")[0], "w.pt")
    name = str(dtype).removeprefix("torch.")
    assert notice == f"Weights w.pt: Its {name} tensors are brought to the network's precision."
    assert fresh.fc.weight.dtype == torch.float32
    assert torch.equal(fresh.fc.weight, state()["fc.weight"].to(dtype).float())


def test_prefixes_are_the_network_s_before_they_are_a_wrapper_s() -> None:
    mine, fresh = ModelInside(), ModelInside()
    with torch.no_grad():
        mine.head.weight.zero_()
    for prefix in ("", "module.", "model."):
        load_state(fresh, {prefix + name: t for name, t in mine.state_dict().items()}, "w.pt")
        assert not fresh.head.weight.any()


def test_a_missing_prefix_is_put_before_the_names() -> None:
    fresh = Holder(network())
    [notice] = load_state(fresh, state(), "w.pt")
    assert torch.equal(fresh.model.fc.weight, state()["fc.weight"])
    assert notice == "Weights w.pt: 'model.' was put before the names."


def test_which_of_two_networks_is_meant_is_not_guessed(tmp_path: Path) -> None:
    torch.save({"teacher": state(), "student": other()}, tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=r"hold two networks, teacher and student\. Save the one"
    ):
        read_weights(tmp_path / "w.pt")
    both = before("teacher.") | {f"student.{name}": tensor for name, tensor in other().items()}
    with pytest.raises(
        WeightsError, match=r"several networks that fit the model.*teacher.*student"
    ):
        load_state(network(), both, "w.pt")


class Config:
    """Whoever loads this has run somebody's code."""

    def __setstate__(self, values: dict[str, str]) -> None:
        pathlib.Path(values["trace"]).touch()


def test_python_objects_are_named_and_not_loaded(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    config = Config()
    config.trace = str(trace)  # type: ignore[attr-defined]
    torch.save({"model": state(), "config": config}, tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=r"Python objects \(tests\.loading\.test_checkpoints\.Config\); nothing"
    ):
        read_weights(tmp_path / "w.pt")
    assert not trace.exists()
    torch.save(trained(), tmp_path / "whole.pt")
    with pytest.raises(
        WeightsError, match=r"Python objects \(tests\.user_models\.Network\).*return the module"
    ):
        read_weights(tmp_path / "whole.pt")


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(trained()), tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=r"are a whole TorchScript module\. Return torch\.jit\.load"
    ):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"epoch": 3, "optimizer": {"param_groups": []}},
            "tensors but hold epoch, optimizer. Save",
        ),
        ({}, "tensors but empty"),
        ([torch.ones(1)], "tensors but a list"),
    ],
)
def test_what_is_there_instead_of_tensors_is_named(
    content: Any, message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path / "w.pt")


# --- what does not fit, and why


def resnet(name: str = "resnet18", **options: Any) -> nn.Module:
    with torch.device("meta"):  # shapes and names alone
        return getattr(models, name)(weights=None, **options)


def without(state: State, part: str) -> State:
    return {name: tensor for name, tensor in state.items() if part not in name}


MISFITS: dict[str, tuple[Callable[[], State], tuple[str, ...]]] = {
    "deeper": (
        lambda: resnet("resnet34").state_dict(),
        ("are of a ResNet-34", "'layer1.2.conv1.weight' is not in the model, and"),
    ),
    "bottlenecks": (lambda: resnet("resnet50").state_dict(), ("are of a ResNet-50",)),
    "other classes": (
        lambda: resnet(num_classes=7).state_dict(), ("are for 7 classes, the data set has 1000 ('fc.weight')",)
    ),
    "no head": (
        lambda: without(resnet().state_dict(), "fc."),
        ("without the layer 'fc', such as its head", "'fc.weight' is missing, and 1 more"),
    ),
    "part": (lambda: without(resnet().state_dict(), "layer"), ("they are a part, 8 of 122 tensors",)),
    "adapters": (
        lambda: {"conv1.lora_A": torch.ones(1), "conv1.lora_B": torch.ones(1)}, ("they are of adapters (LoRA)",)
    ),
    "detector": (
        lambda: {f"backbone.body.{name}": tensor for name, tensor in resnet().state_dict().items() if "fc." not in name}
        | {"rpn.head.conv.weight": torch.ones(1)},
        ("they are of a detector",),
    ),
    "strange": (
        lambda: {"patch_embed.proj.weight": torch.ones(1), "blocks.0.norm1.weight": torch.ones(1)},
        ("none of their names is the model's; they have 'patch_embed.proj.weight', 'blocks.0.norm1.weight', "
         "the model has 'conv1.weight', 'bn1.weight', 'bn1.bias'",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_names_its_cause(name: str) -> None:
    make, said = MISFITS[name]
    with pytest.raises(WeightsError) as error:
        load_state(resnet(), make(), "w.pth")
    for text in said:
        assert text in str(error.value)
    assert str(error.value).startswith("Weights w.pth ")


def test_another_width_is_named_by_its_factor() -> None:
    with pytest.raises(
        WeightsError, match=r"of another width, 2 times the model's \('conv1\.weight' has"
    ):
        load_state(Network(4), Network(8).state_dict(), "w.pt")


def test_another_number_of_classes_is_found_for_any_head() -> None:
    class TwoHeads(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.aux = nn.Linear(3, classes)
            self.head = nn.Linear(5, classes, bias=False)
            self.norm = nn.LayerNorm(5)  # registered last, although it comes before

    with pytest.raises(
        WeightsError, match=r"are for 7 classes, the data set has 2 \('aux\.weight'\)"
    ):
        load_state(TwoHeads(2), TwoHeads(7).state_dict(), "w.pt")


def test_a_misfit_behind_a_prefix_is_seen_through_it() -> None:
    seven = {f"module.{name}": t for name, t in Network(classes=7).state_dict().items()}
    with pytest.raises(WeightsError, match="are for 7 classes, the data set has 4"):
        load_state(network(), seven, "w.pt")


# --- what was done reaches whoever runs a command


PLUGIN = """
from interpbench import model
from tests.user_models import Network

@model("mine")
def mine(classes, size):
    return Network(classes=classes)
"""


def test_every_command_says_what_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_coarsely(monkeypatch)
    (tmp_path / "mine.py").write_text(PLUGIN)
    torch.save({"ema": before("module."), "epoch": 3}, tmp_path / "w.ckpt")
    photo(tmp_path / "photo.png", 1)
    plugins = [tmp_path / "mine.py", TINY]
    flags = {"weights": str(tmp_path / "w.ckpt"), "plugin": plugins, "dataset": "tiny", "device": "cpu"}  # fmt: skip
    said = "Weights w.ckpt: 'ema' was taken; beside it stood epoch."
    finished = interpbench.run(
        model="mine", method="center", metric="deletion", steps=2, images=2, ceiling="none", plots=False,
        output=tmp_path / "run", **flags,
    )  # fmt: skip
    assert f"mine: {said}" in finished.info.notices
    explained = interpbench.explain(
        tmp_path / "photo.png", model="mine", method="center", output=tmp_path / "out", **flags
    )
    assert f"mine: {said}" in " ".join(explained.notes)
    code, out, _ = call(
        "doctor", "mine", "--weights", flags["weights"], "--plugin", tmp_path / "mine.py", "--plugin", TINY,
        "--dataset", "tiny", "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    assert said in out
    assert "'module.' was taken off the names." in out


def test_the_file_itself_is_left_as_it_was(tmp_path: Path) -> None:
    given = before("module.")
    kept = copy.deepcopy(given)
    load_state(network(), given, "w.pt")
    assert list(given) == list(kept)
    assert all(torch.equal(given[name], kept[name]) for name in kept)


def test_checkpoints_that_hold_themselves_end(tmp_path: Path) -> None:
    around: dict[str, Any] = {"weight": torch.ones(1)}
    around["model"] = around
    torch.save(around, tmp_path / "around.pt")
    assert set(read_weights(tmp_path / "around.pt")[0]) == {"weight"}
    empty: dict[str, Any] = {}
    empty["model"] = empty
    torch.save(empty, tmp_path / "empty.pt")
    with pytest.raises(WeightsError, match="are not a mapping of names to tensors"):
        read_weights(tmp_path / "empty.pt")


def test_a_file_that_unpacks_to_far_more_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb/data.pkl", bytes(100_000_000))
    assert path.stat().st_size < 200_000
    with pytest.raises(WeightsError, match="compressed file, which holds 100000000 bytes"):
        read_weights(path)
