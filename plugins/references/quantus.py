"""Metrics as Quantus (`pip install quantus`) computes them.

Quantus changes the values of an image one by one, each channel by itself, and what a removed value becomes is one
number. Where that is not the question it gets a mask of ones in the place of the image, whose zeros the model sees as
removed positions: so positions are its features, and any baseline is its 0.
"""

import contextlib
import importlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpbench import (
    Explanation,
    baseline,
    cells,
    layer_activations,
    metric_reference,
    part_count,
    random_sets,
    superpixels,
    uniform_images,
)

LIBRARY = "quantus"
SINGLE = 1e-5  # logits are rounded to single precision by ours, inputs by Quantus
MASKS = (
    "Quantus changes each channel by itself, by one number: compared on masks of positions, 1 for the image and 0 for "
    "the baseline."
)
TIES = "Equal values fall in the order of an unstable sort in Quantus, in a seeded random order in ours."
quantus = partial(metric_reference, library=LIBRARY)


class Masked(nn.Module):
    """A model of masks [K·B,1,h,w]: 1 keeps the positions of an image, 0 gives them the fill's values.

    Parameters:
        explanation: whose model and images [B,C,H,W].
        fill: float32 [B,C,H,W]; or a function of how often the model was asked before.

    Attributes:
        seen: what the model has said so far, float64 [K·B,classes] each.
    """

    def __init__(self, explanation: Explanation, fill: Tensor | Callable[[int], Tensor]) -> None:
        super().__init__()
        self.inner = explanation.model
        self.x, self.fill = explanation.x, fill
        self.seen: list[Tensor] = []

    def forward(self, masks: Tensor) -> Tensor:
        fill = self.fill if isinstance(self.fill, Tensor) else self.fill(len(self.seen))
        keeps = F.interpolate(masks, size=self.x.shape[2:], mode="nearest") > 0.5
        copies = len(masks) // len(self.x)
        x, fill = (images.repeat_interleave(copies, 0) for images in (self.x, fill))
        logits: Tensor = self.inner(torch.where(keeps, x, fill))
        self.seen.append(logits)
        return logits


def _without(explanation: Explanation, name: Any) -> Masked:
    return Masked(explanation, baseline(name, explanation.x, explanation.model.card)).eval()


def _library() -> ModuleType:
    return importlib.import_module("quantus")


@contextmanager
def _as_it_likes() -> Iterator[None]:
    """numpy as Quantus 0.6 knows it, newer ones have no `trapz`; and its advice is not printed."""
    with patch.object(np, "trapz", np.trapezoid, create=True), contextlib.redirect_stdout(io.StringIO()):
        yield


def _ask(
    metric: Any, explanation: Explanation, model: nn.Module | None, x: Tensor | None = None, *,
    maps: Tensor | None = None, softmax: bool = False, **more: Any,
) -> Any:  # fmt: skip
    """What a metric of Quantus says.

    Parameters:
        metric: from `_metric`.
        explanation: whose targets and maps.
        model: that is asked.
        x: its images; masks of ones by default.
        maps: [B,1,h,w]; those of the explanation by default.
        softmax: whether probabilities are read, rather than logits.
        more: arguments of the call.
    """
    a = explanation.saliency[:, None] if maps is None else maps
    x = torch.ones_like(a) if x is None else x
    with _as_it_likes():
        return metric(
            model=model, x_batch=x.numpy().copy(), y_batch=explanation.target.numpy(),
            a_batch=a.double().numpy().copy(), channel_first=True, softmax=softmax, device="cpu", **more,
        )  # fmt: skip


def _metric(name: str, **parameters: Any) -> Any:
    """A metric of Quantus that changes nothing of the maps unless it is told to."""
    quiet = {"disable_warnings": True, "return_aggregate": False}
    with _as_it_likes():
        return getattr(_library(), name)(**{"normalise": False, "abs": False, **quiet, **parameters})


def _scores(found: Any) -> Tensor:
    return torch.from_numpy(np.asarray(found, dtype=np.float64).reshape(-1))


def _probabilities(logits: Tensor, explanation: Explanation) -> Tensor:
    """Of the targets, float64 [B]."""
    return logits.softmax(1).gather(1, explanation.target[:, None])[:, 0].double()


def ties(explanation: Explanation) -> str:
    """Why maps with equal values cannot be compared."""
    ordered = explanation.saliency.flatten(1).sort(1).values
    return TIES if bool((ordered.diff(dim=1) == 0).any()) else ""


def _area(model: Masked, after: Any, explanation: Explanation) -> Tensor:
    """The trapezoid rule over 0..1 with the untouched image, which Quantus leaves out, [B]."""
    curves = torch.from_numpy(np.asarray(after, dtype=np.float64))
    curves = torch.cat([_probabilities(model(torch.ones(len(curves), 1, 1, 1)), explanation)[:, None], curves], 1)
    return torch.trapezoid(curves, dim=1) / (curves.shape[1] - 1)


START = "It leaves out the untouched image and does not divide the area: compared with both mended. "


@quantus("deletion", tolerance=SINGLE, why=START + MASKS, unless=ties)
def deletion(explanation: Explanation) -> Tensor:
    """PixelFlipping."""
    model = _without(explanation, "zero")
    flipping = _metric("PixelFlipping", features_in_step=explanation.x.shape[3], perturb_baseline=0.0)
    return _area(model, _ask(flipping, explanation, model, softmax=True), explanation)


CHANNELS = (
    "Quantus sorts the channels of a position, whose values are equal, in an order of chance: compared with a stable "
    "sort."
)


@contextmanager
def _stable() -> Iterator[None]:
    """numpy sorts stably where it is not told how."""
    sort = np.argsort
    with patch.object(np, "argsort", lambda a, axis=-1, **how: sort(a, axis=axis, **{"kind": "stable", **how})):
        yield


def _flipped(explanation: Explanation, per_step: int) -> Tensor:
    flipping = _metric("PixelFlipping", features_in_step=per_step, return_auc_per_sample=True)
    return _scores(_ask(flipping, explanation, explanation.model, explanation.x, softmax=True))


@quantus("pixel-flipping", tolerance=SINGLE, why=CHANNELS, unless=ties)
def pixel_flipping(
    explanation: Explanation, *, features: str = "values", per_step: int = 64, ends: str = "end",
    area: str = "trapezoid", baseline: str = "minimum",
) -> Tensor:  # fmt: skip
    """PixelFlipping of values."""
    with _stable():
        return _flipped(explanation, per_step)


@quantus(
    "pixel-flipping",
    variant="its own sort",
    tolerance=None,
    why="Quantus sorts the channels of a position, whose values are equal, in an order that depends on the machine; "
    "ours takes the first channel first.",
)
def pixel_flipping_as_it_is(
    explanation: Explanation, *, features: str = "values", per_step: int = 64, ends: str = "end",
    area: str = "trapezoid", baseline: str = "minimum",
) -> Tensor:  # fmt: skip
    """PixelFlipping of values."""
    return _flipped(explanation, per_step)


def _of_values(name: str, explanation: Explanation, *, softmax: bool = False, **parameters: Any) -> Tensor:
    """A correlation over values, with a stable sort."""
    with _stable():
        one = _metric(name, **parameters)
        return _scores(_ask(one, explanation, explanation.model, explanation.x, softmax=softmax))


@quantus("faithfulness-correlation-of-values", tolerance=SINGLE, why="Compared on the random sets of ours.")
def faithfulness_correlation_of_values(explanation: Explanation, *, sets: int = 100, size: int = 224) -> Tensor:
    """FaithfulnessCorrelation of values."""
    drawn = [
        [torch.randperm(explanation.x[0].numel(), generator=generator)[:size].numpy() for _ in range(sets)]
        for generator in explanation.generators("sets of values")
    ]
    runs = iter([of_image[run] for run in range(sets) for of_image in drawn])
    with patch.object(np.random, "choice", lambda *_, **__: next(runs)):
        return _of_values("FaithfulnessCorrelation", explanation, nr_runs=sets, subset_size=size)


@quantus("faithfulness-estimate-of-values", tolerance=SINGLE, why=CHANNELS, unless=ties)
def faithfulness_estimate_of_values(explanation: Explanation, *, per_step: int = 64) -> Tensor:
    """FaithfulnessEstimate of values."""
    return _of_values("FaithfulnessEstimate", explanation, features_in_step=per_step)


@quantus(
    "monotonicity-correlation-of-values",
    tolerance=1e-3,
    why=f"{CHANNELS} With the random numbers of ours; effects that are nearly equal may change places.",
    unless=ties,
)
def monotonicity_correlation_of_values(
    explanation: Explanation, *, per_step: int = 64, samples: int = 2
) -> Tensor:
    """MonotonicityCorrelation of values."""
    groups = -(-explanation.x[0].numel() // per_step)
    drawn = [torch.rand(groups, samples, generator=g) for g in explanation.generators("changed values")]
    numbers = iter(torch.stack(drawn, 2).flatten(0, 1).double().numpy())
    asked = {"features_in_step": per_step, "nr_samples": samples, "abs": True}
    with patch.object(np.random, "uniform", lambda **_: next(numbers)):
        return _of_values("MonotonicityCorrelation", explanation, softmax=True, **asked)


@quantus("faithfulness-correlation", tolerance=SINGLE, why="Compared on the random sets of ours. " + MASKS)
def faithfulness_correlation(explanation: Explanation) -> Tensor:
    """FaithfulnessCorrelation."""
    return _over_sets(explanation, part_count(0.05, explanation.saliency[0].numel()), "black")


def _over_sets(explanation: Explanation, size: int, name: str, sets: int = 100) -> Tensor:
    """FaithfulnessCorrelation with the random sets of ours."""
    chosen = random_sets(explanation, sets, size).chosen
    numbers = chosen if chosen.dtype != torch.bool else chosen.nonzero()[:, 2].view(len(chosen), sets, size)
    drawn = iter(numbers.transpose(0, 1).flatten(0, 1).numpy())  # a run, an image
    correlation = _metric("FaithfulnessCorrelation", nr_runs=sets, subset_size=size, perturb_baseline=0.0)
    with patch.object(np.random, "choice", lambda *_, **__: next(drawn)):
        return _scores(_ask(correlation, explanation, _without(explanation, name)))


@quantus(
    "sensitivity-n",
    variant="of single sizes",
    tolerance=SINGLE,
    why="Compared with FaithfulnessCorrelation over the random sets of ours, averaged over their sizes. " + MASKS,
)
def sensitivity_n(explanation: Explanation, *, sizes: int = 2) -> Tensor:
    """FaithfulnessCorrelation of each size."""
    numbers = [part_count(share, explanation.saliency[0].numel()) for share in (0.01, 0.8)]
    return torch.stack([_over_sets(explanation, number, "zero") for number in numbers]).mean(0)


@quantus(
    "sensitivity-n",
    tolerance=None,
    why="Quantus follows one nested path, most salient first, in place of random sets of n positions, correlates the "
    "sums of each step over the images in place of each image's over its sets, and reads the first batch alone.",
)
def sensitivity_n_as_it_is(explanation: Explanation, *, sizes: int = 2) -> Tensor:
    """SensitivityN."""
    one = _metric("SensitivityN", features_in_step=64, perturb_baseline=0.0)
    found = _ask(one, explanation, _without(explanation, "zero"), softmax=True)
    return _scores([np.mean(found)] * len(explanation.ids))


@quantus("faithfulness-estimate", tolerance=SINGLE, why=MASKS, unless=ties)
def faithfulness_estimate(explanation: Explanation) -> Tensor:
    """FaithfulnessEstimate."""
    estimate = _metric("FaithfulnessEstimate", features_in_step=explanation.x.shape[3], perturb_baseline=0.0)
    return _scores(_ask(estimate, explanation, _without(explanation, "black")))


@quantus(
    "monotonicity",
    tolerance=None,
    why="Quantus puts the baseline into the baseline: the output never changes, and every map is monotonic.",
)
def monotonicity_as_it_is(explanation: Explanation) -> Tensor:
    """Monotonicity."""
    one = _metric("Monotonicity", features_in_step=explanation.x.shape[3], perturb_baseline=0.0)
    return _scores(_ask(one, explanation, _without(explanation, "black"), softmax=True))


@quantus(
    "monotonicity",
    variant="mended",
    tolerance=SINGLE,
    why="Quantus puts the baseline into the baseline, and says whether all steps rise: compared with a function that "
    "puts in the image, and the share of steps that rise of what its model was asked. " + MASKS,
    unless=ties,
)
def monotonicity(explanation: Explanation) -> Tensor:
    """Monotonicity that puts in the image."""

    def put_in(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        arr = arr.copy()
        np.put_along_axis(arr, indices, 1.0, axis=1)
        return arr

    model = _without(explanation, "black")
    one = _metric("Monotonicity", features_in_step=explanation.x.shape[3], perturb_func=put_in, perturb_baseline=0.0)
    _ask(one, explanation, model, softmax=True)
    said = torch.stack([_probabilities(logits, explanation) for logits in model.seen], 1)
    return (said.diff(dim=1) >= 0).double().mean(1)


def _monotonicity_correlation(explanation: Explanation, samples: int, groups: int = 32) -> Tensor:
    generators = explanation.generators("monotonicity-correlation")
    noise = [uniform_images(explanation.x, explanation.model.card, generators) for _ in range(samples)]
    model = Masked(explanation, lambda asked: noise[(asked - 1) % samples]).eval()
    step = explanation.saliency[0].numel() // groups
    one = _metric(
        "MonotonicityCorrelation", nr_samples=samples, features_in_step=step, abs=True, perturb_baseline=0.0
    )
    return _scores(_ask(one, explanation, model, softmax=True))


@quantus(
    "monotonicity-correlation",
    tolerance=1e-3,
    why="Quantus draws one number for all that it changes: compared with the noise of ours. Effects that are nearly "
    "equal may change places as outputs are rounded. " + MASKS,
    unless=ties,
)
def monotonicity_correlation(explanation: Explanation, *, samples: int = 2) -> Tensor:
    """MonotonicityCorrelation."""
    return _monotonicity_correlation(explanation, samples)


class _Sure(nn.Module):
    """A network so sure of one class that a float holds no other."""

    def __init__(self, inner: nn.Module, least: Tensor) -> None:
        super().__init__()
        self.inner, self.least = inner, least

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits - 1000 * F.one_hot(self.least, logits.shape[1])


def with_a_probability_of_zero(explanation: Explanation) -> Explanation:
    """The model gives the first image's target no probability."""
    network = _Sure(explanation.model.network, explanation.target[0])
    return replace(explanation, model=type(explanation.model)(network, explanation.model.card, 16).eval(), reader=None)


@quantus(
    "monotonicity-correlation",
    variant="a probability of 0",
    tolerance=None,
    why="Quantus divides by the square of the output, and puts the quotients of all images in the places of those that "
    "are not nearly 0. Ours does not divide, which changes no rank.",
    on=with_a_probability_of_zero,
)
def monotonicity_correlation_of_zero(explanation: Explanation, *, samples: int = 2) -> Tensor:
    """MonotonicityCorrelation where an output is 0."""
    return _monotonicity_correlation(explanation, samples)


@quantus("selectivity", tolerance=SINGLE, why=START + MASKS, unless=ties)
def selectivity(explanation: Explanation) -> Tensor:
    """Selectivity."""
    model = _without(explanation, "black")
    return _area(
        model, _ask(_metric("Selectivity", patch_size=8, perturb_baseline=0.0), explanation, model, softmax=True),
        explanation,
    )  # fmt: skip


def _region_perturbation(explanation: Explanation, patch: int) -> Tensor:
    """The mean of the falls, of which Quantus gives a list, with the untouched image's of 0."""
    one = _metric("RegionPerturbation", patch_size=patch, perturb_baseline=0.0)
    falls = np.asarray(_ask(one, explanation, _without(explanation, "zero"), softmax=True))
    return _scores(falls.sum(1) / (falls.shape[1] + 1))


@quantus("region-perturbation", tolerance=SINGLE, why=f"It gives a list of falls: compared with their mean. {MASKS}",
         unless=ties)  # fmt: skip
def region_perturbation(explanation: Explanation, *, patch: int = 8, fill: str = "zero") -> Tensor:
    """RegionPerturbation."""
    return _region_perturbation(explanation, patch)


@quantus(
    "region-perturbation",
    variant="the better way",
    tolerance=None,
    why="Quantus gives the falls of the output, which the right order makes greatest, and says that lower is better: "
    "compared with its negative, of which higher is better, as of ours.",
)
def region_perturbation_turned(explanation: Explanation, *, patch: int = 8, fill: str = "zero") -> Tensor:
    """RegionPerturbation by its `score_direction`."""
    lower = _library().RegionPerturbation.score_direction.value == "lower"
    return _region_perturbation(explanation, patch) * (-1 if lower else 1)


def _irof(one: Any, explanation: Explanation, segments: int, x: Tensor | None, model: nn.Module) -> np.ndarray:
    parts = iter(superpixels(explanation.x, explanation.model.card, segments).numpy())
    with patch.object(_library().helpers.utils, "get_superpixel_segments", lambda **_: next(parts)):
        return np.asarray(_ask(one, explanation, model, x, softmax=True))


@quantus(
    "irof",
    tolerance=SINGLE,
    why="Quantus leaves out the untouched image and does not divide by the number of segments: compared with both "
    f"mended, on the segments of ours, one image at a time. {MASKS}",
    unless=ties,
)
def irof(explanation: Explanation, *, segments: int = 30, fill: str = "zero") -> Tensor:
    """IROF."""
    found = []
    for i in range(len(explanation.ids)):
        alone = _only(explanation, i)
        model = _without(alone, fill)
        over = float(_irof(_metric("IROF", perturb_baseline=0.0), alone, segments, None, model)[0])
        said = [float(_probabilities(logits, alone)) for logits in model.seen]
        count, first = len(said) - 1, said[1] / said[0]
        found.append(1 - (count - over + first / 2 + 0.5) / count)  # area over 1..K -> share over 0..K
    return _scores(found)


@quantus(
    "irof",
    variant="as it is",
    tolerance=None,
    why="Quantus makes a mask of one channel and refuses it for images of three. With one channel it removes by the "
    "mean of all images of the batch, of what is left of them, and adds half a segment's area to images with fewer "
    "segments than another of the batch.",
)
def irof_as_it_is(explanation: Explanation, *, segments: int = 30) -> Tensor:
    """IROF of a batch."""
    return _scores(_irof(_metric("IROF"), explanation, segments, explanation.x, explanation.model))


def _only(explanation: Explanation, i: int) -> Explanation:
    """One image of an explanation."""
    here = slice(i, i + 1)
    names = ("x", "target", "label", "saliency", "rank", "mask")
    of_image = {name: getattr(explanation, name)[here] for name in names}
    return replace(explanation, **of_image, ids=explanation.ids[here], reader=None)


def _removed_counts(explanation: Explanation) -> list[int]:
    """How many positions ours removes for 10, 20, ..., 90 %."""
    return [k * explanation.saliency[0].numel() // 10 for k in range(1, 10)]


def as_predicted(explanation: Explanation) -> Explanation:
    """The targets are the classes that are predicted, without which their accuracy would say little."""
    return replace(explanation, target=explanation.model(explanation.x).argmax(1))


@quantus(
    "road",
    tolerance=1e-6,
    on=as_predicted,
    why="Quantus takes a map's values for each channel's, and fails where it has one: compared with its imputation of "
    "the positions behind those, with the noise of ours, one image at a time.",
    unless=ties,
)
def road(explanation: Explanation) -> Tensor:
    """ROAD."""
    channels, positions = explanation.x.shape[1], explanation.saliency[0].numel()
    shares = [100 * (channels * count + 0.5) / (channels * positions) for count in _removed_counts(explanation)]
    noise = [torch.randn(explanation.x.shape[1:], generator=g) for g in explanation.generators(IMPUTED)]
    deviation = torch.tensor(explanation.model.card.std)[:, None]
    found = []
    for i, drawn in enumerate(noise):
        alone, added = _only(explanation, i), (drawn.flatten(1) / deviation).numpy()

        def impute(arr: np.ndarray, indices: np.ndarray, added: np.ndarray = added, **_: Any) -> np.ndarray:
            where = np.unique(indices % positions)
            with patch.object(np.random, "randn", lambda *_: added[:, where]):
                imputed = _library().perturb_func.noisy_linear_imputation(arr, where, noise=0.01)
            return cast(np.ndarray, imputed)

        one = _metric("ROAD", percentages=shares, perturb_func=impute)
        maps = alone.saliency[:, None].expand_as(alone.x)
        found.append(np.mean([*_ask(one, alone, alone.model, alone.x, maps=maps).values()]))
    return _scores(found)


IMPUTED = "noise of imputed pixels"  # what ours draws it for


@quantus(
    "road",
    variant="as it is",
    tolerance=None,
    why="Quantus takes the numbers of a map's values for positions, although each channel has them again.",
)
def road_as_it_is(explanation: Explanation) -> Tensor:
    """ROAD of three channels with one map."""
    one = _metric("ROAD", percentages=[10 * k for k in range(1, 10)])
    return _scores([np.mean([*_ask(one, explanation, explanation.model, explanation.x).values()])])


def in_grey(explanation: Explanation) -> Explanation:
    """Images whose channels are the same, with the classes that are predicted."""
    grey = explanation.x.mean(1, keepdim=True).expand_as(explanation.x).contiguous()
    return as_predicted(replace(explanation, x=grey))


@quantus(
    "road",
    variant="batches",
    tolerance=None,
    on=in_grey,
    why="Quantus gives the mean of the images of the first batch, whatever comes after it: here the first image's.",
)
def road_of_the_first_batch(explanation: Explanation, *, noise: float = 0.0) -> Tensor:
    """ROAD with one image a batch."""
    one = _metric("ROAD", percentages=[10 * k for k in range(1, 10)], noise=0.0)

    class Grey(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = explanation.model(x.expand(-1, 3, -1, -1))
            return logits

    found = _ask(one, explanation, Grey().eval(), explanation.x[:, :1], batch_size=1)
    return _scores([np.mean([*found.values()])] * len(explanation.ids))


@quantus(
    "sufficiency",
    tolerance=None,
    why="Quantus' Sufficiency is another thing: the share of the images with nearly the same map that are of the same "
    "class. Ours is ERASER's: how far the output falls where the top positions alone are left.",
)
def sufficiency(explanation: Explanation) -> Tensor:
    """Sufficiency."""
    return _scores(_ask(_metric("Sufficiency", abs=True), explanation, explanation.model, explanation.x))


def _localised(name: str, explanation: Explanation, **parameters: Any) -> Tensor:
    mask = cast(Tensor, explanation.mask)[:, None].numpy()
    return _scores(_ask(_metric(name, **parameters), explanation, None, s_batch=mask))


@quantus("pointing-game", tolerance=0.0, unless=ties)
def pointing_game(explanation: Explanation) -> Tensor:
    """PointingGame."""
    return _localised("PointingGame", explanation)


@quantus(
    "pointing-game",
    variant="weighted",
    tolerance=None,
    why="Quantus puts a share in the place of a hit, which is a truth value, in an array of another shape.",
)
def pointing_game_weighted(explanation: Explanation) -> Tensor:
    """PointingGame(weighted=True)."""
    return _localised("PointingGame", explanation, weighted=True)


def without_evidence(explanation: Explanation) -> Explanation:
    """The first image's mask is empty."""
    mask = cast(Tensor, explanation.mask).clone()
    mask[0] = False
    return replace(explanation, mask=mask)


@quantus(
    "pointing-game",
    variant="an empty mask",
    tolerance=None,
    why="Quantus writes NaN into truth values, which makes a hit of an image without evidence; ours gives it no score.",
    on=without_evidence,
)
def pointing_game_of_nothing(explanation: Explanation) -> Tensor:
    """PointingGame of an empty mask."""
    return _localised("PointingGame", explanation)


@quantus("top-k", tolerance=SINGLE, unless=ties)
def top_k(explanation: Explanation, *, share: float = 0.02) -> Tensor:
    """TopKIntersection."""
    return _localised("TopKIntersection", explanation, k=round(share * explanation.saliency[0].numel()))


@quantus("relevance-mass", tolerance=SINGLE)
def relevance_mass(explanation: Explanation) -> Tensor:
    """RelevanceMassAccuracy(abs=True)."""
    return _localised("RelevanceMassAccuracy", explanation, abs=True)


@quantus(
    "relevance-mass",
    variant="signed",
    tolerance=None,
    why="By default Quantus divides sums of signed values, whose quotient is no share: it leaves 0..1.",
)
def relevance_mass_signed(explanation: Explanation) -> Tensor:
    """RelevanceMassAccuracy."""
    return _localised("RelevanceMassAccuracy", explanation)


@quantus("relevance-rank", tolerance=SINGLE, unless=ties)
def relevance_rank(explanation: Explanation) -> Tensor:
    """RelevanceRankAccuracy."""
    return _localised("RelevanceRankAccuracy", explanation)


@quantus("attribution-localisation", tolerance=SINGLE)
def attribution_localisation(explanation: Explanation, *, weighted: bool = False) -> Tensor:
    """AttributionLocalisation(positive_attributions=True)."""
    return _localised("AttributionLocalisation", explanation, positive_attributions=True)


@quantus(
    "attribution-localisation",
    variant="weighted",
    tolerance=None,
    why="Quantus multiplies by the evidence's share of the values of all images of the batch but the first two; the "
    "paper and ours divide by its share of the image.",
)
def attribution_localisation_weighted(explanation: Explanation) -> Tensor:
    """AttributionLocalisation(weighted=True)."""
    return _localised("AttributionLocalisation", explanation, positive_attributions=True, weighted=True)


@quantus("energy-inside", tolerance=SINGLE)
def energy_inside(explanation: Explanation) -> Tensor:
    """AttributionLocalisation(positive_attributions=True)."""
    return _localised("AttributionLocalisation", explanation, positive_attributions=True)


@quantus("roc-auc", tolerance=SINGLE)
def roc_auc(explanation: Explanation) -> Tensor:
    """AUC."""
    return _localised("AUC", explanation)


def _neighbours(explanation: Explanation, radius: float, samples: int) -> list[np.ndarray]:
    """The noise of ours, float32 [B,C·H·W] a sample."""
    generators = explanation.generators("neighbours")
    return [
        torch.stack([torch.empty(explanation.x.shape[1:]).uniform_(-radius, radius, generator=g) for g in generators])
        .flatten(1)
        .numpy()
        for _ in range(samples)
    ]


def _under_noise(
    name: str, explanation: Explanation, radius: float = 0.02, samples: int = 10, model: nn.Module | None = None,
    **parameters: Any,
) -> Tensor:  # fmt: skip
    """A metric that explains images again, under the noise of ours."""
    drawn = iter(_neighbours(explanation, radius, samples))
    one = _metric(name, nr_samples=samples, perturb_func=_library().perturb_func.batch_uniform_noise, **parameters)

    def explain(model: Any, inputs: Any, targets: np.ndarray, **_: Any) -> np.ndarray:
        maps = explanation.explain(torch.as_tensor(inputs).float(), torch.from_numpy(targets))
        return maps[:, None].double().numpy()

    with patch.object(np.random, "uniform", lambda low, high, size: next(drawn)):
        asked = explanation.model if model is None else model
        return _scores(_ask(one, explanation, asked, explanation.x, explain_func=explain))


NOISE = "Compared on the noise of ours."


@quantus("max-sensitivity", tolerance=SINGLE, why=NOISE)
def max_sensitivity(explanation: Explanation) -> Tensor:
    """MaxSensitivity."""
    return _under_noise("MaxSensitivity", explanation)


@quantus("average-sensitivity", tolerance=SINGLE, why=NOISE)
def average_sensitivity(explanation: Explanation) -> Tensor:
    """AvgSensitivity."""
    return _under_noise("AvgSensitivity", explanation)


@quantus("lipschitz", tolerance=SINGLE, why=NOISE)
def lipschitz(explanation: Explanation, *, scaled: bool = False) -> Tensor:
    """LocalLipschitzEstimate(normalise=False)."""
    return _under_noise("LocalLipschitzEstimate", explanation)


def beside_a_loud_one(explanation: Explanation) -> Explanation:
    """The first map is a thousand times as large, which by itself means nothing."""
    factors = torch.ones(len(explanation.ids), 1, 1)
    factors[0] = 1000
    return replace(explanation, saliency=explanation.saliency * factors)


@quantus(
    "lipschitz",
    variant="normalised",
    tolerance=None,
    why="By default Quantus divides maps by the greatest value of the whole batch, here that of another map which is a "
    "thousand times as large; so do most of its metrics. Ours divides each by its own norm.",
    on=beside_a_loud_one,
)
def lipschitz_normalised(explanation: Explanation) -> Tensor:
    """LocalLipschitzEstimate."""
    return _under_noise("LocalLipschitzEstimate", explanation, normalise=True)


NEAR_ZERO = 1e-30  # a share of the greatest below which there are no values but 0
ZEROS = (
    "Quantus divides by 0.000001 where {} is 0, ours by a share of the greatest value, and that decides the score: "
    "values of 0 cannot be compared."
)
STABILITY = (
    f"{NOISE} Quantus divides by each value as it is: compared with a floor of nearly 0 in ours. Over samples that "
    "all keep the class, since it gives NaN if one does not."
)


def _zeros(explanation: Explanation) -> str:
    return ZEROS.format("the map") if bool((explanation.saliency == 0).any()) else ""


def _zeros_in_layer(explanation: Explanation) -> str:
    layer = layer_activations(explanation.model, None, explanation.x)
    return _zeros(explanation) or (ZEROS.format("the layer") if bool((layer == 0).any()) else "")


@quantus("relative-input-stability", tolerance=1e-4, why=STABILITY, unless=_zeros)
def relative_input_stability(
    explanation: Explanation, *, floor: float = NEAR_ZERO, radius: float = 0.001
) -> Tensor:
    """RelativeInputStability."""
    return _under_noise("RelativeInputStability", explanation, radius)


@quantus(
    "relative-input-stability",
    variant="changed classes",
    tolerance=None,
    why="Quantus gives NaN once one of the samples changes the class, as most do with its default noise, which is "
    "uniform in 0.02..0.2, upwards alone; ours leaves out those samples, as the paper does.",
)
def relative_input_stability_of_changes(explanation: Explanation, *, radius: float = 1.0) -> Tensor:
    """RelativeInputStability under great noise."""
    return _under_noise("RelativeInputStability", explanation, radius)


@quantus("relative-output-stability", tolerance=1e-2, why=STABILITY + " Moves of rounded logits are small differences.",
         unless=_zeros)  # fmt: skip
def relative_output_stability(
    explanation: Explanation, *, floor: float = NEAR_ZERO, radius: float = 0.001
) -> Tensor:
    """RelativeOutputStability."""
    return _under_noise("RelativeOutputStability", explanation, radius)


@quantus("relative-representation-stability", tolerance=1e-3, why=STABILITY, unless=_zeros_in_layer)
def relative_representation_stability(
    explanation: Explanation, *, floor: float = NEAR_ZERO, radius: float = 0.001
) -> Tensor:
    """RelativeRepresentationStability of the layer that CAM methods look at."""
    network, layer = explanation.model.network, str(explanation.model.card.target_layer)
    while isinstance(network.get_submodule(layer), nn.Sequential):  # which Quantus leaves out; its end gives the same
        layer += f".{[name for name, _ in network.get_submodule(layer).named_children()][-1]}"
    return _under_noise(
        "RelativeRepresentationStability", explanation, radius, model=network, layer_names=[layer]
    )


@quantus(
    "continuity",
    tolerance=None,
    why="Quantus moves the image from one side out of sight to the other and compares each map with that of the image "
    "in its place, 1e-9 being its least move; ours compares those of successive moves, which are near each other.",
)
def continuity(explanation: Explanation, *, steps: int = 4, scaled: bool = False) -> Tensor:
    """Continuity(normalise=False, abs=False)."""

    def explain(model: Any, inputs: Any, targets: np.ndarray, **_: Any) -> np.ndarray:
        return explanation.explain(torch.as_tensor(inputs).float(), explanation.target)[:, None].double().numpy()

    one = _metric("Continuity", nr_steps=steps)
    return _scores(_ask(one, explanation, explanation.model, explanation.x, explain_func=explain))


@quantus("sparseness", tolerance=SINGLE, why="Quantus adds 1e-7 to each value: compared on maps a million times as "
         "large, whose Gini index is the same.")  # fmt: skip
def sparseness(explanation: Explanation) -> Tensor:
    """Sparseness."""
    return _scores(_ask(_metric("Sparseness", abs=True), explanation, None, maps=explanation.saliency[:, None] * 1e6))


@quantus("entropy", tolerance=SINGLE)
def entropy(explanation: Explanation) -> Tensor:
    """Complexity."""
    return _scores(_ask(_metric("Complexity", abs=True), explanation, None))


@quantus("effective-complexity", tolerance=SINGLE, why="Quantus counts values above an absolute threshold: compared on "
         "maps divided by their greatest magnitude, and as a share.")  # fmt: skip
def effective_complexity(explanation: Explanation, *, threshold: float = 0.01) -> Tensor:
    """EffectiveComplexity."""
    maps = explanation.saliency / explanation.saliency.abs().amax((1, 2), keepdim=True)
    one = _metric("EffectiveComplexity", eps=threshold, abs=True)
    count = _scores(_ask(one, explanation, None, maps=maps[:, None]))
    return count / maps[0].numel()


@quantus(
    "effective-complexity",
    variant="beside a loud map",
    tolerance=None,
    why="Quantus divides by the greatest value of the whole batch and compares with an absolute threshold: beside "
    "a map a thousand times as large nothing of the others is left.",
    on=beside_a_loud_one,
)
def effective_complexity_beside(explanation: Explanation, *, threshold: float = 0.01) -> Tensor:
    """EffectiveComplexity(normalise=True)."""
    one = _metric("EffectiveComplexity", eps=threshold, abs=True, normalise=True)
    return _scores(_ask(one, explanation, None)) / explanation.saliency[0].numel()


@quantus(
    "completeness",
    tolerance=None,
    why="Quantus asks whether two sums of rounded numbers are equal in all their digits, which an exact map's seldom "
    "are: 0 where it says yes and 1 where it says no. Ours says by how much they miss each other.",
)
def completeness_as_it_is(explanation: Explanation) -> Tensor:
    """Completeness."""
    one = _metric("Completeness", perturb_baseline=0.0)
    return 1 - _scores(_ask(one, explanation, _without(explanation, "zero")))


def twice(explanation: Explanation) -> Explanation:
    """Maps twice as large, with the same order."""
    return replace(explanation, saliency=2 * explanation.saliency)


@quantus(
    "completeness",
    variant="by how much",
    tolerance=SINGLE,
    why="Quantus asks for equality: compared with the sums that it compares, of maps twice as large, since what exact "
    f"ones miss is rounding. {MASKS}",
    on=twice,
)
def completeness(explanation: Explanation) -> Tensor:
    """What Completeness compares."""
    kept: list[np.ndarray] = []

    def keep(difference: np.ndarray) -> np.ndarray:
        kept.append(difference)
        return difference

    one = _metric("Completeness", perturb_baseline=0.0, output_func=keep)
    _ask(one, explanation, _without(explanation, "zero"))
    difference = _scores(kept[0])
    return (explanation.saliency.flatten(1).double().sum(1) - difference).abs() / difference.abs()


class _Divided(nn.Module):
    """A model whose outputs are divided by a number an image."""

    def __init__(self, inner: nn.Module, by: Tensor) -> None:
        super().__init__()
        self.inner, self.by = inner, by[:, None]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits / self.by


@quantus(
    "non-sensitivity",
    tolerance=SINGLE,
    why="Quantus asks for each value, against absolute thresholds: compared on masks of cells, with maps and outputs "
    "divided by the greatest of them.",
)
def non_sensitivity(explanation: Explanation, *, grid: int = 8) -> Tensor:
    """NonSensitivity."""
    count, places = grid * grid, cells(explanation, grid).flatten(1)
    magnitudes = explanation.saliency.abs().flatten(1)
    of_cells = magnitudes.new_zeros(len(places), count).scatter_reduce(1, places, magnitudes, "amax")
    maps = (of_cells / of_cells.amax(1, keepdim=True)).view(-1, 1, grid, grid)
    model = _without(explanation, "zero")
    with torch.no_grad():
        masks = 1 - torch.eye(count).view(1, count, 1, grid, grid).expand(len(places), -1, -1, -1, -1)
        said = model(masks.flatten(0, 1)).unflatten(0, (-1, count))
        target = explanation.target[:, None, None]
        before = model(torch.ones(len(places), 1, grid, grid)).gather(1, explanation.target[:, None])
        effects = said.gather(2, target.expand(-1, count, -1))[..., 0] - before
    one = _metric("NonSensitivity", eps=0.001, abs=True, perturb_baseline=0.0)
    divided = _Divided(model, effects.abs().amax(1)).eval()
    return _scores(_ask(one, explanation, divided, maps=maps)) / count


@quantus(
    "infidelity",
    tolerance=None,
    why="Quantus removes the squares of a grid one after the other and puts none back, weighs each by the pixel's "
    "change in every channel, and takes the mean over the grid; the authors, captum and ours remove random squares, "
    "each alone.",
)
def infidelity_as_it_is(explanation: Explanation, *, scaled: bool = False) -> Tensor:
    """Infidelity."""
    one = _metric("Infidelity", perturb_patch_sizes=[8], n_perturb_samples=1)
    return _scores(_ask(one, explanation, explanation.model, explanation.x))


@quantus(
    "infidelity",
    variant="squares that do not fit",
    tolerance=None,
    why="Quantus pads the image to whole squares, and removes by the numbers of the padded image's values from that "
    "which is not padded.",
)
def infidelity_of_squares_that_do_not_fit(explanation: Explanation, *, scaled: bool = False) -> Tensor:
    """Infidelity with squares of 5."""
    one = _metric("Infidelity", perturb_patch_sizes=[5], n_perturb_samples=1)
    return _scores(_ask(one, explanation, explanation.model, explanation.x))
