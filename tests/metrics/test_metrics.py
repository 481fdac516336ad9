"""Bundled metrics on maps whose score is known in advance."""

import pytest
import torch
from torch import Tensor

from interpbench.registry.discovery import discover
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.ranking import rank, tie_breakers
from tests.scores import scored
from tests.tiny_models import Linear, wrap

REGISTRY = discover()
SIDE = 8


def explanation(saliency: Tensor, weight: Tensor | None = None) -> Explanation:
    count = len(saliency)
    ids = tuple(f"image-{i}" for i in range(count))
    x = torch.ones(count, 3, SIDE, SIDE)
    model = wrap(Linear(torch.zeros(2, 3, SIDE, SIDE) if weight is None else weight), SIDE, 2)
    target = torch.ones(count, dtype=torch.int64)
    ranks, _ = rank(saliency, tie_breakers(ids, SIDE * SIDE, 0))
    return Explanation(
        model=model,
        x=x,
        target=target,
        label=target,
        mask=None,
        ids=ids,
        saliency=saliency,
        rank=ranks,
    )


def score(name: str, subject: Explanation, **values: object) -> list[float]:
    metric = REGISTRY.configure("metric", name, values)
    return scored(metric, subject).per_image.tolist()


def decisive_weight() -> Tensor:
    """Only the first row counts, and decides between two classes."""
    weight = torch.zeros(2, 3, SIDE, SIDE)
    weight[1, :, 0] = 10
    return weight


def test_deletion_is_least_and_insertion_greatest_for_the_true_order() -> None:
    good = torch.zeros(1, SIDE, SIDE)
    good[0, 0] = 1
    values = {}
    for name, saliency in (("good", good), ("bad", -good)):
        subject = explanation(saliency, weight=decisive_weight())
        # The image is all ones; after the first step of one row only zeros count.
        values[name] = (
            score("deletion", subject)[0],
            score("insertion", subject, baseline="zero")[0],
        )
    # Good: 1, then seven and a half steps of 1/2. Bad: 1 until the last step.
    assert values["good"] == pytest.approx(
        ((1 / 2 + 7 * 0.5 + 0.5 / 2) / 8, (0.5 / 2 + 7 + 1 / 2) / 8), abs=1e-6
    )
    assert values["bad"] == pytest.approx(
        ((1 / 2 + 7 + 0.5 / 2) / 8, (0.5 / 2 + 7 * 0.5 + 1 / 2) / 8), abs=1e-6
    )


def test_output_logit_reads_the_logit() -> None:
    weight = torch.zeros(2, 3, SIDE, SIDE)
    weight[1] = 1
    saliency = torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    # A uniform linear model falls in a straight line from 3·64 to 0.
    assert score("deletion", explanation(saliency, weight=weight), output="logit") == pytest.approx(
        [96], rel=1e-6
    )


def test_steps_and_baseline_reach_the_engine() -> None:
    saliency = torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    subject = explanation(saliency, weight=decisive_weight())
    metric = REGISTRY.configure("metric", "deletion", {"steps": 4, "baseline": "white"})
    found = scored(metric, subject)
    assert found.outputs is not None
    assert found.outputs.shape == (1, 5)
    assert found.outputs[0, -1] > 0.5  # white, not zero


@pytest.mark.parametrize(
    ("answer", "message"),
    [(torch.zeros(3), r"returned \[3\]; expected a tensor \[1\]"), (None, "NoneType")],
)
def test_a_metric_that_breaks_its_promise_is_told_so(answer: object, message: str) -> None:
    from interpbench.registry.registry import Registry, metric

    registry = Registry()
    with registry.collecting():
        metric("broken", better="higher")(lambda explanation: answer)
    with pytest.raises(AssertionError, match=message):
        scored(registry.configure("metric", "broken"), explanation(torch.rand(1, SIDE, SIDE)))
