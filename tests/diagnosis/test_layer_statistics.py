"""Activations and gradients by layer: closed forms of known initialisations, and networks with known faults."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import interpbench
from interpbench.diagnosis.layer_statistics import (
    LayerStatistics,
    findings_of,
    layer_statistics,
)
from tests.command_line import call, refused
from tests.tiny_models import wrap

DEPTH, WIDTH = 6, 1024


def normal(count: int = 64, size: int = 8) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def deep(activation: type[nn.Module] = nn.ReLU, gain: float = 2.0, bias: float = 0.0) -> nn.Module:
    """Linear layers whose weights have variance gain / inputs: 2 is He's initialisation."""
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = 3 * 8 * 8
    for outputs in [WIDTH] * DEPTH + [5]:
        linear = nn.Linear(inputs, outputs)
        weight = torch.randn(outputs, inputs, generator=generator)
        linear.weight.data = weight * math.sqrt(gain / inputs)
        linear.bias.data.fill_(bias)
        layers += [linear, activation()]
        inputs = outputs
    return nn.Sequential(*layers[:-1])


def statistics(network: nn.Module, x: Tensor | None = None) -> dict[str, LayerStatistics]:
    found = layer_statistics(wrap(network), normal() if x is None else x)
    return {each.layer: each for each in found}


def test_he_s_initialisation_keeps_the_spread_of_all_layers() -> None:
    """In front of a ReLU the second moment is 2, behind it 1, of which the mean is 1/sqrt(pi)."""
    found = statistics(deep())
    for i in range(1, 2 * DEPTH, 2):
        before, after = found[str(i)], found[str(i + 1)]
        assert before.std == pytest.approx(math.sqrt(2), rel=0.25)
        assert math.hypot(after.mean, after.std) == pytest.approx(1, rel=0.25)
        assert after.mean == pytest.approx(1 / math.sqrt(math.pi), rel=0.25)
        assert after.dead < 0.1
        assert math.isnan(before.dead)
    lengths = [each.gradient_length for each in found.values()]
    assert max(lengths) < 4 * min(lengths)
    assert findings_of(list(found.values())) == ()


def test_a_bias_far_below_zero_leaves_every_unit_dead() -> None:
    found = statistics(deep(bias=-1e3))
    assert [found[str(i)].dead for i in range(2, 2 * DEPTH + 1, 2)] == [1.0] * DEPTH
    assert found["1"].gradient_std == found["1"].gradient_length == 0
    kinds = {each.kind: each for each in findings_of(list(found.values()))}
    assert len(kinds["dead units"].where) == DEPTH
    assert "100% of the units never fire" in kinds["dead units"].what
    assert "1" in kinds["vanishing gradient"].where
    assert not any(each.rules_out for each in kinds.values())


def test_weights_of_zero_leave_every_unit_dead() -> None:
    found = statistics(deep(gain=0.0))
    assert found["1"].std == found["2"].std == 0
    assert found["2"].dead == 1
    assert found["1"].gradient_length == 0


def test_a_quarter_of_dead_channels_is_a_quarter() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network[0].bias.data[:2] = -1e3
    found = statistics(network)
    assert found["1"].dead == 0.25
    assert found["1"].shape == (8, 6, 6)


def test_units_that_fire_for_one_image_of_all_batches_are_not_dead() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.ReLU())
    network[1].weight.data.fill_(1)
    network[1].bias.data.fill_(0)
    x = -torch.ones(40, 3, 8, 8)  # more than a batch
    assert statistics(network, x)["2"].dead == 1
    x[3] = 1
    assert statistics(network, x)["2"].dead == 0


def test_small_weights_vanish_and_large_ones_explode_and_saturate() -> None:
    def kinds(network: nn.Module) -> set[str]:
        return {each.kind for each in findings_of(list(statistics(network).values()))}

    assert kinds(deep(nn.Sigmoid, gain=0.1)) == {"vanishing gradient"}
    assert "exploding gradient" in kinds(deep(gain=400.0))
    assert "saturated units" in kinds(deep(nn.Tanh, gain=400.0))
    assert kinds(deep(nn.Tanh, gain=1.0)) == set()


def test_saturated_is_the_share_near_a_limit() -> None:
    network = nn.Sequential(nn.Flatten(), nn.ReLU6(), nn.Linear(3 * 8 * 8, 5))
    x = torch.zeros(2, 3, 8, 8)
    x[:, 0] = 7
    found = statistics(network, x)
    assert found["1"].saturated == pytest.approx(1 / 3)
    assert found["1"].dead == pytest.approx(2 / 3)
    sigmoid = nn.Sequential(nn.Flatten(), nn.Sigmoid(), nn.Linear(3 * 8 * 8, 5))
    x[:, 1] = -7
    assert statistics(sigmoid, x)["1"].saturated == pytest.approx(2 / 3)


def test_mean_and_spread_are_numpy_s_and_gradients_the_weights() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1))
    x = normal(20)
    found = statistics(network, x)
    values = network(x).numpy()
    assert found["1"].mean == pytest.approx(values.mean(), rel=1e-5)
    assert found["1"].std == pytest.approx(values.std(), rel=1e-5)
    weights = network[1].weight.numpy()
    assert found["0"].gradient_mean == pytest.approx(weights.mean(), rel=1e-5)
    assert found["0"].gradient_std == pytest.approx(weights.std(), rel=1e-5)
    assert found["0"].gradient_length == pytest.approx(np.linalg.norm(weights), rel=1e-5)


def test_a_layer_is_seen_before_it_is_overwritten_and_nothing_stays_behind() -> None:
    def network(*, inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(inplace=inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    assert statistics(network(inplace=True)) == pytest.approx(
        statistics(network(inplace=False)), nan_ok=True
    )
    watched = network(inplace=True)
    statistics(watched)
    assert not any(layer._forward_hooks for layer in watched.modules())
    assert all(parameter.grad is None for parameter in watched.parameters())


def test_the_command_shows_and_writes_the_table(tmp_path: Path) -> None:
    asked = ["doctor", "resnet18", "--device", "cpu", "--output", tmp_path / "out"]
    code, out, _ = call(*asked)
    assert code == 0
    assert "Activations and gradients of the greatest logit, 32 images" in out
    assert "Table and picture of" in out
    table = pd.read_csv(tmp_path / "out" / "layers.csv")
    assert table["layer"].tolist()[:3] == ["conv1", "bn1", "relu"]
    assert table.loc[table["kind"] == "ReLU", "dead"].notna().all()
    assert (table["gradient_std"] > 0).all()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "doctor.json", "layers.csv", "layers.png",
    ]  # fmt: skip
    assert "--overwrite" in refused(*asked)


def test_a_network_that_is_dead_is_said_to_be() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )
    network[0].bias.data.fill_(-100)
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    report = interpbench.doctor(network, images=images, mean=0.5, std=0.25, device="cpu")
    assert (report.images, report.layers[1].dead) == (4, 1)
    assert {"dead units", "vanishing gradient", "output"} <= report.diagnosis.kinds
