"""A second network that metrics may ask: what is read off which, and what is shared."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.core.errors import ParameterError
from interpbench.registry.discovery import discover
from interpbench.scoring.explanation import Explanation, Inputs, Reader
from interpbench.scoring.perturbation import Perturbation
from tests.metrics.subjects import SIDE, images, noise, score, subject
from tests.tiny_models import convolutional, wrap

REGISTRY = discover()
ASKING = {"single-deletion": {}, "srg": {}, "selectivity": {"patch": 2}}


def both(x: Tensor | None = None) -> tuple[Explanation, Explanation]:
    """Images explained by random maps, with a twin that may be asked; and the same explained of the twin alone."""
    x = images() if x is None else x
    network, other = (convolutional(SIDE, seed=seed) for seed in (0, 1))
    plain = subject(network, noise(x), x)
    reader = Reader(plain.model, BatchSize(16), in_domain=wrap(other, SIDE))
    return replace(plain, reader=reader), subject(other, noise(x), x)


def test_outputs_are_the_twin_s_and_maps_the_explained_one_s() -> None:
    explanation, of_twin = both()
    asked = explanation.asking("in-domain")
    changed = [explanation.x * scale for scale in (0.0, 0.5)]
    assert torch.equal(asked.outputs(changed, "logit"), of_twin.outputs(changed, "logit"))
    assert torch.equal(asked.output(), of_twin.output())
    path = Perturbation(explanation.x, torch.zeros_like(explanation.x), 4)
    assert torch.equal(asked.along(path), of_twin.along(path))
    assert asked.model is explanation.model
    assert torch.equal(asked.explain(changed[1]), explanation.explain(changed[1]))
    assert not torch.equal(asked.explain(changed[1]), of_twin.explain(changed[1]))
    assert explanation.asking("explained").network == "explained"


def outputs(inputs: Inputs) -> Tensor:
    return inputs.outputs([inputs.x], "logit")[:, 0]


def test_what_is_shared_is_shared_for_each_network() -> None:
    explanation, of_twin = both()
    shared = explanation._reader.shared
    first, second = explanation.shared(outputs), explanation.asking("in-domain").shared(outputs)
    assert torch.equal(second, of_twin.shared(outputs))
    assert not torch.equal(first, second)
    assert shared.computed == 2
    assert torch.equal(explanation.shared(outputs), first)
    assert torch.equal(explanation.asking("in-domain").shared(outputs), second)
    assert (shared.computed, shared.given) == (2, 2)


@pytest.mark.parametrize("name", ASKING)
def test_a_metric_that_asks_the_twin_scores_as_if_that_were_the_model(name: str) -> None:
    explanation, of_twin = both()
    metric = REGISTRY.get("metric", name)
    values = ASKING[name]
    found = metric.call(explanation, network="in-domain", **values)
    torch.testing.assert_close(found.double(), score(name, of_twin, **values), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found.double(), score(name, explanation, **values))
    torch.testing.assert_close(
        metric.call(explanation, **values).double(),
        score(name, explanation, **values),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ASKING)
def test_without_a_twin_it_is_said_how_to_give_one(name: str) -> None:
    _, alone = both()
    with pytest.raises(ParameterError, match="give a run its weights with --in-domain FILE"):
        REGISTRY.get("metric", name).call(alone, network="in-domain", **ASKING[name])
