"""What a metric's scores can be, which may depend on its parameters."""

import math
from typing import Literal, get_args, get_type_hints

import pytest
from torch import Tensor

from interpbench import Explanation, Perturbation, metric
from interpbench.core.errors import PluginError
from interpbench.registry.discovery import discover
from interpbench.registry.registry import Registry
from interpbench.registry.scale import AREAS, Scale


def scale_of(registry: Registry, name: str, **values: object) -> Scale:
    choice = registry.configure("metric", name, values)
    scale: Scale = choice.plugin.scale(choice.values)
    return scale


@pytest.mark.parametrize("name", ["deletion", "insertion"])
def test_an_area_has_the_scale_of_what_is_read_off_the_model(name: str) -> None:
    registry = discover()
    assert scale_of(registry, name) == Scale("probability", (0.0, 1.0))
    assert scale_of(registry, name, output="logit") == Scale("logit", (-math.inf, math.inf))
    assert scale_of(registry, name, steps=4, baseline="blur") == Scale("probability", (0.0, 1.0))


def test_every_output_that_can_be_read_has_a_scale() -> None:
    assert set(AREAS) == set(get_args(get_type_hints(Perturbation)["output"]))


def correlation(explanation: Explanation, *, form: Literal["r", "squared"] = "r") -> Tensor:
    """Of something with something."""
    return explanation.saliency.mean((1, 2))


def test_a_metric_states_its_scale_by_its_parameters() -> None:
    registry = Registry()
    with registry.collecting():
        metric(
            "correlation",
            better="higher",
            range=lambda form: (0, 1) if form == "squared" else (-1, 1),
            unit=lambda form: "share of variance" if form == "squared" else "correlation",
        )(correlation)
    assert scale_of(registry, "correlation") == Scale("correlation", (-1.0, 1.0))
    assert scale_of(registry, "correlation", form="squared") == Scale(
        "share of variance", (0.0, 1.0)
    )


def test_a_scale_by_a_parameter_that_there_is_not_is_refused() -> None:
    with (
        Registry().collecting(),
        pytest.raises(
            PluginError, match=r"the unit of metric 'wrong' depends on 'shape'.*\(form\)"
        ),
    ):
        metric("wrong", better="higher", unit=lambda form, shape: form + shape)(correlation)


def test_a_range_by_parameters_is_checked_when_it_is_asked_for() -> None:
    registry = Registry()
    with registry.collecting():
        metric("wrong", better="higher", range=lambda form: (1.0, 0.0))(correlation)
    with pytest.raises(PluginError, match=r"'wrong': range=\(1.0, 0.0\) is no range"):
        scale_of(registry, "wrong")
