"""Monotonicity, of steps and by correlation: a linear model's closed form, and slow twins."""

import numpy as np
import pytest
import torch
from scipy import stats

from interpbench import baseline
from interpbench.scoring.explanation import Explanation
from tests.metrics import subjects
from tests.metrics.subjects import degraded, images, linear, noise, only, score, small, with_map

POSITIONS = 64


def test_a_step_of_a_linear_model_rises_if_its_positions_add_to_the_output() -> None:
    exact = linear()
    for explanation in (exact, with_map(exact, noise(exact.x))):
        groups = (
            POSITIONS - 1 - explanation.rank.flatten(1)
        ) // 8  # the least salient are the first
        added = torch.stack(
            [(exact.saliency.flatten(1) * (groups == k)).sum(1) for k in range(1, 8)], 1
        )
        found = score("monotonicity", explanation, baseline="zero", output="logit")
        torch.testing.assert_close(found, (added >= 0).double().mean(1))


def test_if_all_contribute_no_step_falls() -> None:
    exact = linear(x=images().abs() * subjects.weights()[1].sign())
    found = score("monotonicity", exact, baseline="zero", output="logit", steps=POSITIONS)
    assert (found == 1).all()
    less = with_map(exact, -exact.saliency)  # any order will do
    assert (score("monotonicity", less, baseline="zero", output="logit") == 1).all()


def by_the_paper(explanation: Explanation, i: int) -> tuple[bool, float]:
    """Whether the output never falls as single positions are added, and at how many it does not."""
    x = baseline("black", explanation.x, explanation.model.card)[i].clone()
    seen = []
    for place in explanation.saliency[i].flatten().argsort().tolist():
        row, column = divmod(place, 8)
        x[:, row, column] = explanation.x[i, :, row, column]
        with torch.no_grad():
            seen.append(float(explanation.model.network(x[None]).softmax(1)[0, 1]))
    return bool(np.all(np.diff(seen) >= 0)), float(np.mean(np.diff(seen) >= 0))


def test_steps_are_the_paper_s() -> None:
    explanation = small()
    expected = [by_the_paper(explanation, i) for i in range(len(explanation.x))]
    found = score("monotonicity", explanation, steps=POSITIONS)
    assert found.tolist() == pytest.approx([share for _, share in expected], abs=1e-6)
    assert (found == 1).tolist() == [never for never, _ in expected]


def test_more_steps_than_positions_are_refused() -> None:
    with pytest.raises(AssertionError, match="65 steps are more than 8x8 positions"):
        score("monotonicity", linear(), steps=65)


def expected_effects(explanation: Explanation) -> torch.Tensor:
    """What noise in a position does to a linear model's logit, as its mean square: the closed form, [B,H,W]."""
    card, weight = explanation.model.card, subjects.weights()[1]
    mean, std = (torch.tensor(values)[:, None, None] for values in (card.mean, card.std))
    shift = (weight * ((0.5 - mean) / std - explanation.x)).sum(1)
    return shift.square() + (weight / std).square().sum(0) / 12


def test_a_map_of_what_noise_does_to_a_linear_model_has_nearly_1() -> None:
    explanation = only(linear(), [0, 1])
    exact = with_map(explanation, expected_effects(explanation))
    found = score("monotonicity-correlation", exact, groups=POSITIONS, samples=60, output="logit")
    assert found.min() > 0.9


def test_correlations_fall_to_0_as_the_map_is_spoilt() -> None:
    explanation = linear(x=images(30))
    exact = expected_effects(explanation)
    values = {"groups": 16, "samples": 6, "output": "logit"}
    maps = [degraded(exact, share) for share in (0, 0.5, 0.8)] + [noise(explanation.x)]
    means = torch.stack(
        [
            score("monotonicity-correlation", with_map(explanation, each), **values).mean()
            for each in maps
        ]
    )
    assert (means.diff() < -0.03).all(), means
    assert abs(means[-1]) < 0.15


def test_correlations_are_a_slow_twin_s() -> None:
    """On the images that the model was given; groups are what differs in them."""
    explanation, groups, samples = small(), 8, 3
    asked: list[torch.Tensor] = []
    hook = explanation.model.network.register_forward_pre_hook(
        lambda module, inputs: asked.append(inputs[0].clone())
    )
    found = score("monotonicity-correlation", explanation, groups=groups, samples=samples)
    hook.remove()
    given = torch.cat(asked).unflatten(0, (-1, len(explanation.x)))[: groups * samples]
    for i in range(len(explanation.x)):
        effects: dict[tuple[int, ...], list[float]] = {}
        with torch.no_grad():
            before = explanation.model.network(explanation.x[[i]]).softmax(1)[0, 1]
            for perturbed in given[:, i]:
                after = explanation.model.network(perturbed[None]).softmax(1)[0, 1]
                places = (
                    (perturbed != explanation.x[i]).all(0).flatten().nonzero().flatten().tolist()
                )
                effects.setdefault(tuple(places), []).append(float((after - before) ** 2))
        assert [len(each) for each in effects.values()] == [samples] * groups
        values = explanation.saliency[i].flatten().abs()
        sums = [float(values[list(places)].sum()) for places in effects]
        expected = stats.spearmanr(sums, [np.mean(each) for each in effects.values()]).statistic
        assert float(found[i]) == pytest.approx(expected, abs=1e-9)
