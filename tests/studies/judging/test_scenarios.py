"""The truth of the scenarios, found again by changing what the networks see."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from interpbench.attribution.explainer import Explainer
from interpbench.core.devices import Computing
from interpbench.loading.dataset import open_dataset
from interpbench.registry.choosing import Sources, choose_dataset
from interpbench.registry.discovery import discover
from interpbench.studies.judging.scenarios import (
    Scenario,
    conclude_scenarios,
    scenarios,
    score_scenarios,
)
from interpbench.studies.judging.subject import Subject

IMAGES = 8
# Those that are to be fooled, and one that no removal can fool.
NAMES = ("deletion", "insertion", "srg", "roc-auc")


@cache
def subject() -> Subject:
    registry = discover()
    data = open_dataset(choose_dataset(registry, "planted"))
    explainer = Explainer.load(
        registry, "resnet18", ["random"], data.card, Sources(), Computing.of("cpu"), 0
    )
    metrics = {name: registry.configure("metric", name, {}) for name in NAMES}
    return Subject.of(data, explainer, metrics, IMAGES)


@cache
def scenario(name: str) -> Scenario:
    return next(each for each in scenarios(subject()) if each.name == name)


def logits(
    of: Scenario, where: Tensor | None = None, colour: tuple[float, ...] = (0, 0, 0)
) -> Tensor:
    """With the positions in `where` [N,H,W] of a colour, in -2..2 where 0 is middle grey."""
    x = of.images.x
    if where is not None:
        x = torch.where(where[:, None], torch.tensor(colour).view(3, 1, 1), x)
    with torch.no_grad():
        return of.model(x)


def test_each_network_predicts_the_class_that_is_explained() -> None:
    for each in scenarios(subject()):
        assert torch.equal(logits(each).argmax(1), each.images.target)


def test_either_mark_suffices_and_both_are_worth_the_same() -> None:
    of = scenario("redundancy")
    red = of.wrong["one mark"] > 0
    both = of.truth > 0
    assert int(both[0].sum()) == 2 * int(red[0].sum())
    worth = [logits(of, where)[:, 0] for where in (None, red, both & ~red, both)]
    for value, expected in zip(worth, (8.0, 8.0, 8.0, 0.0), strict=True):
        torch.testing.assert_close(value, torch.full_like(value, expected))
    # All else is grey: whatever grey it is, nothing changes.
    torch.testing.assert_close(logits(of, ~both, (1.0,) * 3), logits(of))
    assert not (both & (of.wrong["elsewhere"] > 0)).any()


def test_the_lamp_can_move_the_answer_four_times_as_far_as_the_mark() -> None:
    of = scenario("absence")
    lamp, mark = of.truth == 1, of.truth == 0.25
    assert torch.equal(mark, of.wrong["the mark"] > 0)
    red = tuple((value / 255 - 0.5) / 0.25 for value in (220, 50, 50))
    moved = logits(of)[:, :1] - torch.cat(
        [logits(of, lamp, red)[:, :1], logits(of, mark)[:, :1]], 1
    )
    torch.testing.assert_close(moved, torch.tensor([[4.0, 1.0]]).expand(len(moved), 2))
    torch.testing.assert_close(logits(of, lamp), logits(of))  # what is out already
    elsewhere = ~lamp & ~mark
    torch.testing.assert_close(logits(of, elsewhere, red)[:, 0], logits(of)[:, 0])


def test_the_background_tells_the_class_and_the_object_says_nothing() -> None:
    of = scenario("shortcut")
    background, thing = of.truth > 0, of.wrong["the object"] > 0
    assert torch.equal(background, ~thing)
    grain = torch.rand(of.images.x.shape[2:], generator=torch.Generator().manual_seed(0))
    changed = torch.where(thing[:, None], grain, of.images.x)
    torch.testing.assert_close(of.model(changed), logits(of))
    # Half of the background suffices; in the other tint it is the other class; a flat patch is a third.
    columns = torch.arange(of.images.x.shape[3]) % 2 == 0
    torch.testing.assert_close(logits(of, background & columns), logits(of))
    other = of.images.x.where(thing[:, None], of.images.x[:, [1, 0, 2]])
    assert torch.equal(of.model(other).argmax(1), 1 - of.images.target)
    assert (logits(of, thing).argmax(1) == 2).all()
    assert (logits(of)[:, 2] == 0).all()


def test_annotators_mark_what_is_seen() -> None:
    assert torch.equal(scenario("redundancy").images.mask, scenario("redundancy").truth > 0)
    assert torch.equal(scenario("absence").images.mask, scenario("absence").truth == 0.25)
    objects = scenario("shortcut").images.mask
    assert torch.equal(objects, scenario("shortcut").wrong["the object"] > 0)
    nearest = subject().masks[:, ::2, ::2]
    assert (objects == nearest).double().mean() > 0.95


def test_removal_is_fooled_as_it_follows_from_the_networks() -> None:
    scores = score_scenarios(subject())
    found = conclude_scenarios(subject(), scores).set_index(["metric", "scenario", "wrong"])
    share = found["prefers_truth"]
    assert share["insertion", "redundancy", "one mark"] == 0  # it reaches the answer sooner
    assert share["deletion", "redundancy", "one mark"] == 1  # the other mark keeps the answer up
    for metric in ("deletion", "insertion"):
        assert share[metric, "absence", "the mark"] == 0
        assert share[metric, "absence", "elsewhere"] == 1
    for metric in ("deletion", "srg"):
        assert share[metric, "shortcut", "the object"] == 0
    assert share["roc-auc", "shortcut", "the object"] == 0  # its mask is the object
    assert share["roc-auc", "redundancy", "one mark"] == 1


def test_a_deletion_curve_of_one_mark_is_what_one_computes_by_hand() -> None:
    """The red mark is removed first: the blue one keeps the answer, until ties remove it too."""
    scores = score_scenarios(subject().asking({"deletion": subject().metrics["deletion"]}))
    rows = scores[(scores["scenario"] == "redundancy") & (scores["wrong"] == "one mark")]
    side = 32
    marks, positions = (side // 4) ** 2, side * side
    # Both marks, at random among each other: after k of 2S positions a share of k/2S of each is gone.
    changed = np.arange(0, positions + 1, side)
    left = np.clip(1 - changed / (2 * marks), 0, 1)
    probability = 1 / (1 + np.exp(4 - 8 * left))
    expected = np.trapezoid(probability, changed / positions)
    assert abs(rows["truth_score"].mean() - expected) < 0.005
