"""What holds for every metric that perturbs sets of positions, whatever it makes of the outputs."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.fast.scoring_copy import Scorer
from interpbench.scoring.evaluate import EndPoints, Passes, evaluate
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.shared_results import SharedResults
from tests.metrics import subjects
from tests.metrics.subjects import REGISTRY, noise, only, small, subject, with_map
from tests.tiny_models import Constant

METRICS: dict[str, dict[str, object]] = {
    "faithfulness-correlation": {"sets": 10},
    "mu-fidelity": {"sets": 10, "grid": 4},
    "sensitivity-n": {"sets": 5, "sizes": 2},
    "single-deletion": {"grid": 2},
    "faithfulness-estimate": {},
    "infidelity": {"samples": 5},
    "infidelity of noise": {"samples": 5, "perturbation": "gaussian"},
    "monotonicity": {},
    "monotonicity-correlation": {"samples": 2, "groups": 4},
    "saco": {"groups": 4},
}
BY_RANK = ("faithfulness-estimate", "monotonicity", "monotonicity-correlation", "saco")
each = pytest.mark.parametrize("name", METRICS)


def score(name: str, explanation: Explanation, batch: int = 16, **values: object) -> Tensor:
    return subjects.score(name.split()[0], explanation, batch, **{**METRICS[name], **values})


@each
def test_a_score_depends_on_its_image_alone(name: str) -> None:
    explanation = small()
    together = score(name, explanation)
    assert together.isfinite().all()
    for batch in (1, 3):
        torch.testing.assert_close(score(name, explanation, batch), together, rtol=0, atol=1e-4)
    for rows in ([4], [5, 0]):
        alone = score(name, only(explanation, rows))
        torch.testing.assert_close(alone, together[rows], rtol=0, atol=1e-4)


@each
def test_a_model_that_ignores_the_image_says_nothing_of_a_map(name: str) -> None:
    x = subjects.images(2)
    assert score(name, subject(Constant([1.0, 2.0, 3.0]), noise(x), x)).isnan().all()


@each
def test_sign_is_taken_as_is_said(name: str) -> None:
    explanation = small()
    for sign, values in (
        ("signed", explanation.saliency),
        ("absolute", explanation.saliency.abs()),
        ("positive", explanation.saliency.clamp(min=0)),
    ):
        expected = score(name, with_map(explanation, values), sign="signed")
        torch.testing.assert_close(score(name, explanation, sign=sign), expected)


@each
def test_a_map_s_scale_does_not_count(name: str) -> None:
    explanation = small()
    larger = with_map(explanation, 1000 * explanation.saliency)
    torch.testing.assert_close(score(name, larger), score(name, explanation))


@pytest.mark.parametrize(
    ("name", "budget"),
    [(name, 10_000) for name in METRICS if name not in BY_RANK]
    # Bytes that have room for the outputs, but not for the sets.
    + [("faithfulness-correlation", 490), ("infidelity", 200)],
)
def test_what_no_map_decides_is_asked_of_the_model_once(name: str, budget: int) -> None:
    explanation = small()
    asked: list[int] = []
    explanation.model.network.register_forward_pre_hook(
        lambda m, inputs: asked.append(len(inputs[0]))
    )
    metric = {"it": REGISTRY.configure("metric", name.split()[0], METRICS[name])}
    scorer = Scorer(explanation.model.network, explanation.model)
    passes = Passes(scorer, BatchSize(16), EndPoints(), nullcontext, shared=SharedResults(budget))
    first = evaluate(metric, explanation, passes).scored["it"]
    so_far = sum(asked)
    assert so_far > 0
    other = with_map(explanation, noise(explanation.x, seed=1))
    second = evaluate(metric, other, passes).scored["it"]
    assert sum(asked) == so_far
    torch.testing.assert_close(first, score(name, explanation))
    torch.testing.assert_close(second, score(name, other))


def test_metrics_that_read_another_output_share_their_passes() -> None:
    explanation = small()
    asked: list[int] = []
    explanation.model.network.register_forward_pre_hook(
        lambda m, inputs: asked.append(len(inputs[0]))
    )
    both = {
        output: REGISTRY.configure(
            "metric", "mu-fidelity", {"sets": 20, "grid": 4, "output": output}
        )
        for output in ("logit", "probability")
    }
    scorer = Scorer(explanation.model.network, explanation.model)
    passes = Passes(scorer, BatchSize(16), EndPoints(), nullcontext)
    scored = evaluate(both, explanation, passes).scored
    assert sum(asked) == 20 * len(explanation.x)
    for output, metric in both.items():
        alone = Passes(scorer, BatchSize(16), EndPoints(), nullcontext)
        expected = evaluate({"it": metric}, explanation, alone).scored["it"]
        torch.testing.assert_close(scored[output], expected)
    assert not torch.equal(scored["logit"], scored["probability"])


@pytest.mark.parametrize(
    "name", ["faithfulness-correlation", "infidelity", "monotonicity-correlation"]
)
def test_chance_is_the_seed_s(name: str) -> None:
    explanation = small()
    other = replace(explanation, seed=1, reader=None)
    assert not torch.equal(score(name, other), score(name, explanation))
