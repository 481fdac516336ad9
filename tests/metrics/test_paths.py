"""Metrics of what the model says as positions are removed or kept: closed forms, obvious twins, promises of all."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from skimage.segmentation import slic
from torch import Tensor, nn

from interpbench.core.errors import ParameterError
from interpbench.scoring.explanation import Explanation
from tests.metrics import subjects
from tests.metrics.subjects import SIDE, degraded, images, linear, noise, only, score, with_map
from tests.tiny_models import Linear, convolutional

SIZE = SIDE * SIDE
# The parameters that suit images of 8x8 positions.
METRICS: dict[str, dict[str, Any]] = {
    "srg": {"steps": 12},
    "comprehensiveness": {},
    "sufficiency": {},
    "minimal-subset": {"steps": 32},
    "average-drop": {},
    "average-increase": {},
    "average-gain": {},
    "region-perturbation": {"patch": 3},
    "selectivity": {"patch": 3, "fill": "zero"},
    "irof": {"segments": 8},
    "road": {"noise": 0.0},
}
HIGHER = {"srg", "comprehensiveness", "average-increase", "average-gain", "region-perturbation", "irof"}  # fmt: skip
VARIANTS = [
    *METRICS.items(),
    ("minimal-subset", {"steps": 32, "by": "keeping"}),
    ("region-perturbation", {"patch": 3, "first": "least", "regions": 5}),
    ("road", {"first": "both"}),
    ("road", {"output": "probability", "first": "least"}),
]


def decided(saliency: Tensor | None = None) -> Explanation:
    """Of a convolutional network whose answers differ, explained for the classes that it predicts."""
    network = convolutional(SIDE)
    with torch.no_grad():
        network[-1].weight *= 30
        network[-1].bias.zero_()
    x = images() + torch.linspace(-2, 2, SIDE)
    subject = subjects.subject(network, noise(x) if saliency is None else saliency, x)
    with torch.no_grad():
        return replace(subject, target=network(x).argmax(1))


def gentle(share: float = 0.0, count: int = 24) -> Explanation:
    """Of a linear model that is never quite sure, by its exact map, of which a share of positions changed places."""
    weights = 0.1 * subjects.weights()
    x = images(count)
    return subjects.subject(Linear(weights), degraded((weights[1] * x).sum(1), share), x)


# The linear model's closed form: what is left of the logit after the top k of the exact map are 0.


def left(parts: np.ndarray) -> np.ndarray:
    return parts.sum() - np.concatenate([[0], np.cumsum(np.sort(parts)[::-1])])


def squares(values: np.ndarray, side: int) -> np.ndarray:
    return np.array(
        [
            values[i : i + side, j : j + side].sum()
            for i in range(0, SIDE, side)
            for j in range(0, SIDE, side)
        ]
    )


def srg_of(exact: np.ndarray) -> float:
    """12 steps of 6 positions, so 11 in all; least first is what is left of the other end."""
    points = [*range(0, SIZE, 6), SIZE]
    most = left(exact.ravel())
    least = exact.sum() - np.concatenate([[0], np.cumsum(np.sort(exact.ravel()))])
    return float((np.trapezoid(least[points]) - np.trapezoid(most[points])) / (len(points) - 1))


TOP = [1, 4, 7, 13, 32]  # of 64 positions 1, 5, 10, 20 and 50 %
CLOSED: dict[str, Callable[[np.ndarray], float]] = {
    "srg": srg_of,
    "comprehensiveness": lambda exact: exact.sum() - left(exact.ravel())[TOP].mean(),
    "sufficiency": lambda exact: left(exact.ravel())[TOP].mean(),
    "region-perturbation": lambda exact: (exact.sum() - left(squares(exact, 3))).mean(),
    "selectivity": lambda exact: np.trapezoid(left(squares(exact, 3))) / 9,
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_linear_models_closed_form(name: str) -> None:
    subject = linear()
    fill = {"fill": "zero"} if "patch" in METRICS[name] else {"baseline": "zero"}
    found = score(name, subject, output="logit", **{**METRICS[name], **fill}).numpy()
    expected = [CLOSED[name](exact.double().numpy()) for exact in subject.saliency]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


# Obvious twins: an image at a time, a step at a time, on a network that is not linear.


class Twin:
    """One image of a subject, and what the network says of it with some positions filled."""

    def __init__(self, subject: Explanation, i: int) -> None:
        self.network = subject.model.network
        self.x, self.target = subject.x[i], int(subject.target[i])
        self.map = subject.saliency[i].double().numpy()
        self.order = np.argsort(-self.map.ravel())

    def says(self, removed: Sequence[int] = (), fill: Tensor | float = 0.0) -> float:
        return float(self.answer(removed, fill).softmax(0)[self.target])

    def answer(self, removed: Sequence[int] = (), fill: Tensor | float = 0.0) -> Tensor:
        image = self.x.clone().flatten(1)
        image[:, removed] = fill if isinstance(fill, float) else fill.expand_as(image)[:, removed]
        with torch.no_grad():
            answer: Tensor = self.network(image.view_as(self.x)[None])[0]
        return answer

    def mean(self) -> Tensor:
        return self.x.mean((1, 2))[:, None]

    def srg(self) -> float:
        areas = {}
        for name, order in (("most", self.order), ("least", self.order[::-1].copy())):
            counts = [*range(0, SIZE, 6), SIZE]
            areas[name] = np.trapezoid([self.says(order[:k], self.mean()) for k in counts]) / 11
        return float(areas["least"] - areas["most"])

    def comprehensiveness(self) -> float:
        return self.says() - float(np.mean([self.says(self.order[:k]) for k in TOP]))

    def sufficiency(self) -> float:
        return self.says() - float(np.mean([self.says(self.order[k:]) for k in TOP]))

    def minimal_subset(self, by: str = "removing") -> float:
        if int(self.answer(range(SIZE)).argmax()) == self.target:
            return np.nan
        for count in range(2, SIZE + 1, 2):
            removed = self.order[:count] if by == "removing" else self.order[count:]
            same = int(self.answer(removed).argmax()) == self.target
            if same == (by == "keeping"):
                return count / SIZE
        raise AssertionError("the class must change")

    def multiplied(self) -> float:
        weight = (self.map - self.map.min()) / (self.map.max() - self.map.min())
        with torch.no_grad():
            answer = self.network((self.x * torch.from_numpy(weight)).float()[None])[0]
        return float(answer.softmax(0)[self.target])

    def average_drop(self) -> float:
        return max(0, self.says() - self.multiplied()) / self.says()

    def average_increase(self) -> float:
        return float(self.multiplied() > self.says())

    def average_gain(self) -> float:
        return max(0, self.multiplied() - self.says()) / (1 - self.says())

    def by_parts(self, parts: np.ndarray, by: str, fill: Tensor | float) -> list[float]:
        """What the network says after each removal of a part, from none to all."""
        where = [np.flatnonzero(parts.ravel() == part) for part in range(parts.max() + 1)]
        values = [getattr(self.map.ravel()[part], by)() for part in where]
        order = np.argsort(-np.array(values))
        gone = [np.concatenate([[], *(where[p] for p in order[:k])]) for k in range(len(order) + 1)]
        return [self.says(removed.astype(int), fill) for removed in gone]

    def grid(self) -> np.ndarray:
        row, column = np.divmod(np.arange(SIZE), SIDE)
        return (row // 3) * 3 + column // 3

    def region_perturbation(self) -> float:
        curve = self.by_parts(self.grid(), "sum", 0.0)
        return float(np.mean(curve[0] - np.array(curve)))

    def selectivity(self) -> float:
        return float(np.trapezoid(self.by_parts(self.grid(), "sum", 0.0)) / 9)

    def irof(self, card: Any) -> float:
        pixels = self.x.permute(1, 2, 0).double().numpy() * card.std + np.array(card.mean)
        segments = slic(
            pixels.clip(0, 1), n_segments=8, compactness=10, sigma=1, start_label=0
        ).astype(int)
        curve = np.array(self.by_parts(segments, "mean", self.mean()))
        return float(1 - np.trapezoid(curve / curve[0]) / (len(curve) - 1))

    def road(self, first: str = "most", output: str = "accuracy") -> float:
        order, found = self.order if first == "most" else self.order[::-1].copy(), []
        for step in range(1, 10):
            kept = np.ones(SIZE, dtype=np.float32)
            kept[order[: step * SIZE // 10]] = 0
            imputed = NoisyLinearImputer(noise=0)(self.x, torch.from_numpy(kept).view(SIDE, SIDE))
            with torch.no_grad():
                answer = self.network(imputed[None])[0]
            hit = float(answer.argmax() == self.target)
            found.append(hit if output == "accuracy" else float(answer.softmax(0)[self.target]))
        return float(np.mean(found))


@pytest.mark.parametrize("name", METRICS)
def test_equals_an_obvious_twin(name: str) -> None:
    subject = decided()
    values = METRICS[name] | ({"fill": "zero"} if name == "region-perturbation" else {})
    arguments = [subject.model.card] if name == "irof" else []
    twins = [Twin(subject, i) for i in range(len(subject.x))]
    expected = [getattr(twin, name.replace("-", "_"))(*arguments) for twin in twins]
    assert len({round(value, 3) for value in expected if np.isfinite(value)}) >= 2, expected
    tolerance = 2e-3 if name == "road" else 1e-5
    found = score(name, subject, **values).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("minimal-subset", {"by": "keeping"}),
        ("road", {"first": "least"}),
        ("road", {"output": "probability"}),
        ("road", {"first": "least", "output": "probability"}),
    ],
)
def test_variants_equal_an_obvious_twin(name: str, values: dict[str, str]) -> None:
    subject = decided()
    twins = [Twin(subject, i) for i in range(len(subject.x))]
    expected = [getattr(twin, name.replace("-", "_"))(**values) for twin in twins]
    found = score(name, subject, **{**METRICS[name], **values}).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)


def test_drop_and_increase_are_grad_cams() -> None:
    """Its drop is not divided by what there was."""
    subject = decided()
    maps = subject.saliency.numpy()
    least, greatest = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    targets = [ClassifierOutputSoftmaxTarget(int(k)) for k in subject.target]
    # It multiplies [C,H,W] by [H,W].
    arguments = (subject.x, (maps - least) / (greatest - least), targets, subject.model.network)
    drop = DropInConfidence()(*arguments) / subject.output().numpy()
    np.testing.assert_allclose(score("average-drop", subject).numpy(), drop, rtol=0, atol=1e-5)
    increase = IncreaseInConfidence()(*arguments)
    np.testing.assert_array_equal(score("average-increase", subject).numpy(), increase)


# What each promises.


@pytest.mark.parametrize(("name", "values"), VARIANTS)
def test_neither_neighbours_nor_the_batch_size_count(name: str, values: dict[str, Any]) -> None:
    subject = decided()
    together = score(name, subject, batch=16, **values).numpy()
    for batch in (1, 3):
        again = score(name, subject, batch=batch, **values).numpy()
        np.testing.assert_allclose(again, together, rtol=0, atol=1e-5)
    alone = torch.cat([score(name, only(subject, [i]), **values) for i in (4, 1)])
    np.testing.assert_allclose(alone.numpy(), together[[4, 1]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", METRICS)
def test_scores_get_worse_as_the_exact_map_is_degraded(name: str) -> None:
    means = [score(name, gentle(share), **METRICS[name]).nanmean() for share in (0, 0.3, 0.6, 1)]
    better = torch.stack(means) if name in HIGHER else -torch.stack(means)
    assert (better.diff() < 0).all(), means


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("sign", "taken"), [("absolute", torch.abs), ("positive", lambda values: values.clamp(min=0))]
)
def test_signs_are_taken_as_said(name: str, sign: str, taken: Callable[[Tensor], Tensor]) -> None:
    subject = decided()
    found = score(name, subject, sign=sign, **METRICS[name])
    expected = score(name, with_map(subject, taken(subject.saliency)), **METRICS[name])
    torch.testing.assert_close(found, expected, equal_nan=True)
    if name != "average-increase":
        assert not found.equal(score(name, subject, **METRICS[name]))


def test_the_reversed_map_turns_the_relevance_gain_around_and_chance_has_none() -> None:
    subject = gentle()
    exact = score("srg", subject)
    torch.testing.assert_close(score("srg", with_map(subject, -subject.saliency)), -exact)
    chance = score("srg", with_map(subject, noise(subject.x)))
    assert abs(chance.mean()) < 3 * chance.std() / len(chance) ** 0.5 < exact.mean() / 5


def test_the_relevance_gain_is_the_difference_of_two_deletions() -> None:
    subject = decided()
    values = {"steps": 7, "baseline": "blur", "output": "logit"}
    most, least = (score("deletion", subject, first=first, **values) for first in ("most", "least"))
    torch.testing.assert_close(score("srg", subject, **values), least - most, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("srg", {"steps": 65}, "steps=65 are more than the 64 positions"),
        ("minimal-subset", {"steps": 65}, "steps=65 are more than the 64 positions"),
        ("region-perturbation", {"patch": 8}, "patch=8 holds all of an image of 8x8"),
        ("selectivity", {"patch": 9}, "patch=9 holds all of an image of 8x8"),
        ("region-perturbation", {"patch": 2, "regions": 17}, "regions=17 are more than the 16"),
    ],
)
def test_what_cannot_work_is_told(name: str, values: dict[str, Any], message: str) -> None:
    metric = subjects.REGISTRY.configure("metric", name, values)
    with pytest.raises(ParameterError, match=message):
        metric(decided())


def test_a_constant_map_multiplies_nothing() -> None:
    subject = with_map(decided(), torch.cat([torch.ones(1, SIDE, SIDE), noise(images())[1:]]))
    for name in ("average-drop", "average-increase", "average-gain"):
        assert score(name, subject).isnan().tolist() == [True, *[False] * 5]
    negative = with_map(subject, -subject.saliency.abs())
    assert score("average-drop", negative, sign="positive").isnan().all()


def test_shares_of_nothing_are_none() -> None:
    """The model is sure of the one class for some images, of the other for the rest."""
    subject = subjects.subject(Linear(1e4 * subjects.weights()), noise(images()), images())
    sure = subject.output()
    assert set(sure.tolist()) == {0.0, 1.0}
    assert score("average-gain", subject).isnan().equal(sure == 1)
    for name in ("average-drop", "irof"):
        assert score(name, subject, **METRICS[name]).isnan().equal(sure == 0)


def test_a_minimal_subset_is_that_of_the_predicted_class() -> None:
    subject = decided()
    other = replace(subject, target=(subject.target + 1) % 5)
    assert score("minimal-subset", other, steps=32).isnan().all()


def test_where_the_baseline_is_of_the_same_class_no_subset_is_needed() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE, 2))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].bias.copy_(torch.tensor([0.0, 1.0]))
    subject = subjects.subject(network, noise(images()), images())
    for by in ("removing", "keeping"):
        assert score("minimal-subset", subject, steps=32, by=by).isnan().all()


def test_regions_of_equal_sums_fall_in_an_order_of_chance_that_all_maps_share() -> None:
    subject = decided(torch.zeros(6, SIDE, SIDE))
    found = score("selectivity", subject, patch=2, fill="black")
    assert found.equal(score("selectivity", with_map(subject, subject.saliency + 3), patch=2))
    assert len(set(found.tolist())) == 6


def test_superpixels_are_found_once_for_all_methods() -> None:
    subject = decided()
    metric = subjects.REGISTRY.configure("metric", "irof", {"segments": 8})
    metric(subject)
    assert subject.reader is not None
    computed = subject.reader.shared.computed
    metric(with_map(subject, noise(subject.x, seed=1)))
    assert subject.reader.shared.computed == computed


def test_roads_noise_is_added_to_removed_pixels_before_normalisation() -> None:
    subject = decided()
    seen: dict[float, list[Tensor]] = {0.0: [], 0.05: []}
    for deviation, passed in seen.items():
        handle = subject.model.network.register_forward_pre_hook(
            lambda module, inputs, passed=passed: passed.append(inputs[0].clone())
        )
        score("road", subject, noise=deviation)
        handle.remove()
    without, with_noise = (torch.cat(passed) for passed in seen.values())
    pixels = (with_noise - without) * torch.tensor(subject.model.card.std)[:, None, None]
    changed = pixels != 0
    removed = sum(step * SIZE // 10 for step in range(1, 10))
    assert int(changed.sum()) == 3 * removed * len(subject.x)
    assert pixels[changed].std() == pytest.approx(0.05, rel=0.1)


def test_roads_combination_is_half_the_difference() -> None:
    subject = decided()
    most, least = (score("road", subject, first=first) for first in ("most", "least"))
    torch.testing.assert_close(score("road", subject, first="both"), (least - most) / 2)
