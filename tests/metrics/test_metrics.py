"""Bundled metrics on maps whose score is known in advance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from torch import Tensor

from interpbench.registry.discovery import discover
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.ranking import rank, tie_breakers
from tests.scores import scored
from tests.tiny_models import Linear, wrap

REGISTRY = discover()
SIDE = 8


def explanation(
    saliency: Tensor,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    ignored: Tensor | None = None,
) -> Explanation:
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
        mask=mask,
        ids=ids,
        ignored=ignored,
        saliency=saliency,
        rank=ranks,
    )


def score(name: str, subject: Explanation, **values: object) -> list[float]:
    metric = REGISTRY.configure("metric", name, values)
    return scored(metric, subject).per_image.tolist()


def corner_mask(count: int = 1) -> Tensor:
    mask = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    mask[:, :2, :4] = True
    return mask


def test_pointing_game_hits_inside_and_misses_outside() -> None:
    saliency = torch.rand(2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    saliency[0, 1, 3] = 2
    saliency[1, 2, 3] = 2
    assert score("pointing-game", explanation(saliency, corner_mask(2))) == [1, 0]


def test_pointing_game_on_ties_hits_in_proportion_to_the_area() -> None:
    flat = torch.zeros(400, SIDE, SIDE)
    hits = sum(score("pointing-game", explanation(flat, corner_mask(400)))) / 400
    assert hits == pytest.approx(8 / 64, abs=0.06)


def test_energy_inside_is_the_share_of_positive_saliency() -> None:
    saliency = torch.zeros(4, SIDE, SIDE)
    saliency[0, 0, 0], saliency[0, 7, 7] = 3, 1
    saliency[1, 0, 0], saliency[1, 7, 7] = 3, -9
    saliency[2] = -1
    saliency[3] = 1e30
    assert score("energy-inside", explanation(saliency, corner_mask(4))) == [0.75, 1, 0, 8 / 64]


def test_energy_of_tiny_values_is_not_lost() -> None:
    saliency = torch.zeros(1, SIDE, SIDE)
    saliency[0, 0, 0], saliency[0, 7, 7] = 1e-38, 1e-38
    assert score("energy-inside", explanation(saliency, corner_mask())) == pytest.approx([0.5])


MARKS = of_numpy.arrays(
    np.int8, (SIDE, SIDE), elements=st.integers(0, 2)
)  # evidence is 1, 2 is ignored


@settings(deadline=None, max_examples=50)
@given(of_numpy.arrays(np.int8, (SIDE, SIDE), elements=st.integers(-3, 9)), MARKS)
def test_what_is_ignored_counts_neither_as_evidence_nor_as_its_surroundings(
    values: np.ndarray, marks: np.ndarray
) -> None:
    """Beside a loop over the positions, in the order of the ranks."""
    saliency = torch.from_numpy(values).float()[None]
    mask, ignored = torch.from_numpy(marks == 1)[None], torch.from_numpy(marks == 2)[None]
    subject = explanation(saliency, mask, ignored=ignored)
    order = subject.rank[0].flatten().argsort().tolist()
    counted = [k for k in order if marks.flat[k] != 2]
    hit = float(bool(counted) and marks.flat[counted[0]] == 1)
    positive = {k: max(0, int(values.flat[k])) for k in counted}
    inside = sum(value for k, value in positive.items() if marks.flat[k] == 1)
    assert score("pointing-game", subject) == [hit]
    energy = inside / sum(positive.values()) if any(positive.values()) else 0
    assert score("energy-inside", subject) == pytest.approx([energy])
    nothing = explanation(saliency, mask, ignored=torch.zeros_like(mask))
    for name in ("pointing-game", "energy-inside"):
        assert score(name, nothing) == score(name, explanation(saliency, mask))


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
