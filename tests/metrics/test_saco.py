"""SaCo: a linear model's closed form, and the paper's loops."""

import pytest
import torch

from interpbench.scoring.explanation import Explanation
from tests.metrics.subjects import degraded, images, linear, noise, score, small, with_map

LINEAR = {
    "baseline": "zero",
    "output": "logit",
}  # with which the linear model loses what its exact map says


def test_the_exact_map_of_a_linear_model_has_1_and_its_negative_minus_1() -> None:
    exact = linear()
    ones = torch.ones(len(exact.x)).double()
    torch.testing.assert_close(score("saco", exact, **LINEAR), ones)
    torch.testing.assert_close(score("saco", with_map(exact, -exact.saliency), **LINEAR), -ones)


def test_scores_fall_to_0_as_the_exact_map_is_spoilt() -> None:
    exact = linear(x=images(30))
    maps = [degraded(exact.saliency, share) for share in (0, 0.4, 0.7)] + [noise(exact.x)]
    means = torch.stack([score("saco", with_map(exact, each), **LINEAR).mean() for each in maps])
    assert (means.diff() < -0.05).all(), means
    assert abs(means[-1]) < 0.15


def by_the_paper(explanation: Explanation, i: int, groups: int) -> float:
    """Of image i alone, by loops over pairs of groups; the map is scaled to 0..1 first."""
    values = explanation.saliency[i]
    values = (values - values.min()) / (values.max() - values.min())
    x, network = explanation.x[i], explanation.model.network
    order = values.flatten().argsort(descending=True).view(groups, -1)
    sums, changes = [], []
    with torch.no_grad():
        before = network(x[None]).softmax(1)[0, 1]
        for group in order:
            perturbed = x.clone().flatten(1)
            perturbed[:, group] = x.mean((1, 2))[:, None]
            changes.append(float(before - network(perturbed.view_as(x)[None]).softmax(1)[0, 1]))
            sums.append(float(values.flatten()[group].sum()))
    total = weights = 0.0
    for a in range(groups - 1):
        for b in range(a + 1, groups):
            weight = sums[a] - sums[b] if changes[a] >= changes[b] else sums[b] - sums[a]
            total, weights = total + weight, weights + abs(weight)
    return total / weights


def test_it_is_what_the_paper_s_loops_give() -> None:
    explanation = small()
    expected = [by_the_paper(explanation, i, groups=8) for i in range(len(explanation.x))]
    assert score("saco", explanation, groups=8).tolist() == pytest.approx(expected, abs=1e-5)


def test_more_groups_than_positions_are_refused() -> None:
    with pytest.raises(AssertionError, match="65 groups cannot be made of 8x8 positions"):
        score("saco", linear(), groups=65)
