"""Weights on disk: what goes in comes out, wrong files are named and never executed."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from interpbench.core.errors import WeightsError
from interpbench.loading.fitting import load_state
from interpbench.loading.weights import WeightsCard, read_weights, save_weights, sha256

CARD = WeightsCard(
    architecture="resnet18",
    parameters={"width": 8},
    dataset="planted",
    data_revision="planted-1",
    classes=("a", "b"),
    size=64,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.2, 0.2),
    licence="BSD-3-Clause",
    notes={"accuracy": "0.98", "seed": "0"},
)


def network(classes=2, width=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, classes))


def test_round_trip(tmp_path):
    path = tmp_path / "new folder" / "w.safetensors"
    state = network().state_dict()
    save_weights(path, state, CARD)
    tensors, card = read_weights(path)
    assert card == CARD
    assert set(tensors) == set(state)
    for name, tensor in state.items():
        assert torch.equal(tensors[name], tensor)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_half_rounds_and_loads_as_single(tmp_path):
    path = tmp_path / "w.safetensors"
    trained = network()
    save_weights(path, trained.state_dict(), CARD, half=True)
    tensors, _ = read_weights(path)
    assert tensors["0.weight"].dtype == torch.float16
    assert tensors["1.num_batches_tracked"].dtype == torch.int64
    fresh = network()
    load_state(fresh, tensors, path.name)
    assert fresh[0].weight.dtype == torch.float32
    assert torch.equal(fresh[0].weight, trained[0].weight.half().float())


def test_equal_input_gives_equal_bytes(tmp_path):
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path in paths:
        save_weights(path, network().state_dict(), CARD)
    assert len({sha256(path) for path in paths}) == 1


def test_torch_file(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(network().state_dict(), path)
    tensors, card = read_weights(path)
    assert card is None
    load_state(network(), tensors, path.name)


def test_safetensors_of_others_have_no_card(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(2)}, path, {"format": "pt"})
    assert read_weights(path)[1] is None


def test_a_card_that_is_none_of_ours(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(2)}, path, {"interpbench": '{"architecture": "x"}'})
    with pytest.raises(WeightsError, match="card"):
        read_weights(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.bias"), "'0.bias' is missing"),
        (lambda s: s.update(extra=torch.ones(1)), "'extra' is not in the model"),
        (
            lambda s: s.update({"0.weight": torch.ones(5, 3)}),
            r"'0.weight' has shape \(5, 3\).*\(4, 3\)",
        ),
        (
            lambda s: s.update({"2.weight": torch.ones(7, 4)}),
            "are for 7 classes, the data set has 2",
        ),
    ],
)
def test_the_first_mismatch_is_named(change, message):
    state = network().state_dict()
    change(state)
    with pytest.raises(WeightsError, match=message):
        load_state(network(), state, "w.pt")


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.complex64])
def test_tensors_of_no_real_numbers_are_no_weights(kind):
    state = network().state_dict()
    state["0.weight"] = state["0.weight"].to(kind)
    with pytest.raises(WeightsError, match=r"'0.weight' holds .*, the model's floats"):
        load_state(network(), state, "w.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": (0.2, 0.0, 0.2)}, "the std is of pixels in 0..1"),
        ({"mean": (123.7, 116.3, 103.5)}, "the mean is of pixels in 0..1"),
        ({"mean": (0.5, 0.5)}, "a number a channel"),
        ({"classes": ("a", "a")}, "'a' is there twice"),
        ({"size": 0}, "size: .* greater than or equal to 1"),
        ({"size": True}, "size: .* valid integer"),
        ({"unheard": 1}, "unheard: Unexpected keyword argument"),
    ],
)
def test_a_card_that_cannot_be_is_refused_with_its_key(tmp_path, change, message):
    path = tmp_path / "w.safetensors"
    card = json.dumps(json.loads(CARD.as_json()) | change)
    save_file(network().state_dict(), path, {"interpbench": card})
    with pytest.raises(WeightsError, match=f"The card of weights .*{message}"):
        read_weights(path)


def test_a_mismatch_changes_nothing():
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(WeightsError):
        load_state(target, {name: t + 1 for name, t in before.items() if name != "2.bias"}, "w.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


class Malice:
    """Unpickling it would make the file `path`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_a_pickle_is_not_executed(tmp_path):
    trace = tmp_path / "trace"
    torch.save({"w": Malice(trace)}, tmp_path / "zip.pt")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"w": Malice(trace)}))
    for name in ("zip.pt", "bare.pth"):
        with pytest.raises(WeightsError, match=name):
            read_weights(tmp_path / name)
    assert not trace.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "zeros"])
def test_damaged_files(tmp_path, suffix, damage):
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_weights(path, network().state_dict(), CARD)
    else:
        torch.save(network().state_dict(), path)
    content = path.read_bytes()
    damaged = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "text": b"version https://git-lfs.github.com/spec/v1\n" * 9,
        "zeros": bytes(len(content)),
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(WeightsError, match=path.name):
        read_weights(path)


def test_other_files(tmp_path):
    with pytest.raises(WeightsError, match="There is no weights' file"):
        read_weights(tmp_path / "absent.safetensors")
    (tmp_path / "w.onnx").touch()
    with pytest.raises(WeightsError, match=r"expected \.safetensors, \.pt, \.pth"):
        read_weights(tmp_path / "w.onnx")
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="mapping of names to tensors"):
        read_weights(tmp_path / "list.pt")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="Cannot write"):
        save_weights(tmp_path / "file" / "w.safetensors", network().state_dict(), CARD)
