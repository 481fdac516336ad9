"""All metrics on one batch of explanations, and what came of a cell as rows for the tables."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.core.types import Explanation, Perturbation
from interpbench.fast.scoring_copy import Scorer
from interpbench.registry.plugin import Configured
from interpbench.scoring.curves import area, curves, outputs, thresholds
from interpbench.suite.cells import CURVE_COLUMNS, SCORE_COLUMNS

Watching = Callable[[], AbstractContextManager[object]]


@dataclass
class Ends:
    """What a model answers at the ends of paths, which are the same for every method.

    Attributes:
        outputs: (which end, output, ids of the images) -> [B]. The end is `image`, or a metric and which of its ends.
        of_images: metric -> whether its path depends on the images alone, and not on the maps.
    """

    outputs: dict[tuple[str, str, tuple[str, ...]], Tensor] = field(default_factory=dict)
    of_images: dict[str, bool] = field(default_factory=dict)

    def known(
        self, scorer: Scorer, paths: Mapping[str, Perturbation], explanation: Explanation, batch_size: BatchSize
    ) -> list[tuple[Tensor, Tensor] | None]:
        """The outputs at the ends of each path; those not met before are computed, all in the same passes."""
        shared = {label: path for label, path in paths.items() if self.of_images[label]}
        keys = {label: self._keys(label, path, explanation) for label, path in shared.items()}
        wanted = {
            key: Perturbation(image, image, output=path.output)
            for label, path in shared.items()
            for key, image in zip(keys[label], (path.start, path.end), strict=True)
            if key not in self.outputs
        }
        if wanted:
            nothing = [[0]] * len(wanted)  # no position changed
            ranks, target = explanation.rank, explanation.target
            found = outputs(scorer, list(wanted.values()), nothing, ranks, target, batch_size)
            self.outputs.update({key: values[:, 0].clone() for key, values in zip(wanted, found, strict=True)})
        return [
            (self.outputs[keys[label][0]], self.outputs[keys[label][1]]) if label in keys else None for label in paths
        ]

    def _keys(
        self, label: str, path: Perturbation, explanation: Explanation
    ) -> tuple[tuple[str, str, tuple[str, ...]], tuple[str, str, tuple[str, ...]]]:
        names = [
            "image" if image is explanation.x else f"{label} {which}"
            for which, image in (("start", path.start), ("end", path.end))
        ]
        return (names[0], path.output, explanation.ids), (names[1], path.output, explanation.ids)


@dataclass
class BatchScores:
    """What the metrics say of a batch, on the device.

    Attributes:
        found: metric -> float [B], or [B,S+1] of a metric with a curve.
        in_float32: metric -> the curves of some of the images in float32, where the precision is lower.
        changed: metric -> how many positions have changed at each point of its curve.
        failed: metric -> the reason; the others' scores stay.
    """

    found: dict[str, Tensor] = field(default_factory=dict)
    in_float32: dict[str, Tensor] = field(default_factory=dict)
    changed: dict[str, list[int]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def evaluate(
    metrics: Mapping[str, Configured],
    explanation: Explanation,
    scorer: Scorer,
    batch_size: BatchSize,
    ends: Ends,
    watching: Watching,
    exact: Scorer | None = None,
    compared: slice = slice(None),
) -> BatchScores:
    """Scores a batch by each metric; curves of all metrics share their forward passes.

    Args:
        metrics: label -> metric.
        explanation: the images and their maps.
        scorer, batch_size: of the forward passes.
        ends: what is known of the model already.
        watching: a context for each call of a metric, which undoes what it leaves behind.
        exact: scores some images in float32 too, where the scorer's precision is lower.
        compared: which images these are.
    """
    scores = BatchScores()
    paths: dict[str, Perturbation] = {}
    shape = (explanation.rank.shape[1], explanation.rank.shape[2])
    for label, metric in metrics.items():
        try:
            answer = _call(metric, explanation, watching)
            if isinstance(answer, Tensor):
                scores.found[label] = answer
                continue
            scores.changed[label] = thresholds(shape, answer.steps)
            if label not in ends.of_images:
                ends.of_images[label] = _is_of_images(metric, answer, explanation, watching)
            paths[label] = answer
        except Exception as error:
            scores.failed[label] = _reason(error)
    if paths:
        try:
            known = ends.known(scorer, paths, explanation, batch_size)
            found = curves(scorer, list(paths.values()), explanation.rank, explanation.target, batch_size, known)
            scores.found |= dict(zip(paths, found, strict=True))
            if exact is not None and len(explanation.rank[compared]):
                scores.in_float32 = _in_float32(exact, paths, explanation, batch_size, compared)
        except Exception as error:
            scores.failed |= dict.fromkeys(paths, _reason(error))
    return scores


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _call(metric: Configured, explanation: Explanation, watching: Watching) -> Tensor | Perturbation:
    """What a metric answers.

    Raises:
        TypeError: if that is something else than it promises.
    """
    with watching(), torch.no_grad():
        answer = metric(explanation)
    if metric.plugin.curve:
        if not isinstance(answer, Perturbation):
            raise TypeError(f"returned {type(answer).__name__}; a curve metric returns a Perturbation")
        for name, end in (("start", answer.start), ("end", answer.end)):
            if end.shape != explanation.x.shape:
                raise TypeError(f"returned a {name} {list(end.shape)}; expected {list(explanation.x.shape)}")
        return answer
    count = len(explanation.ids)
    if not isinstance(answer, Tensor) or answer.shape != (count,):
        shape = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise TypeError(f"returned {shape}; expected a tensor [{count}]")
    return answer.detach()


def _is_of_images(metric: Configured, path: Perturbation, explanation: Explanation, watching: Watching) -> bool:
    """Whether a metric's path stays the same with other maps."""
    reversed_ranks = explanation.rank.shape[1] * explanation.rank.shape[2] - 1 - explanation.rank
    other = replace(explanation, saliency=-explanation.saliency, rank=reversed_ranks)
    answer = _call(metric, other, watching)
    assert isinstance(answer, Perturbation)  # as before
    return torch.equal(answer.start, path.start) and torch.equal(answer.end, path.end)


def _in_float32(
    exact: Scorer,
    paths: Mapping[str, Perturbation],
    explanation: Explanation,
    batch_size: BatchSize,
    compared: slice,
) -> dict[str, Tensor]:
    """The curves of some of the batch's images."""
    some = [replace(path, start=path.start[compared], end=path.end[compared]) for path in paths.values()]
    scored = curves(exact, some, explanation.rank[compared], explanation.target[compared], batch_size)
    return dict(zip(paths, scored, strict=True))


@dataclass(frozen=True, eq=False)
class Scored:
    """One metric's scores of a cell, on the CPU.

    Attributes:
        per_image: float64 [N].
        outputs: float32 [N,S+1], the curve that a score is the area of, or None.
    """

    per_image: np.ndarray
    outputs: np.ndarray | None = None

    @classmethod
    def of(cls, batches: Sequence[Tensor], kept: Tensor) -> "Scored":
        """From what `evaluate` gave for each batch.

        Args:
            batches: float [B] or [B,S+1] each.
            kept: bool [N], on the CPU, of the images that count.
        """
        values = torch.cat(list(batches)).cpu()[kept]
        if values.ndim == 1:
            return cls(values.double().numpy())
        return cls(area(values).numpy(), values.numpy())


def precision_effect(low: Sequence[Tensor], exact: Sequence[Tensor]) -> dict[str, float]:
    """What a lower precision changes: of the areas, the mean and greatest absolute difference, and both means.

    Args:
        low, exact: curves [B,S+1] of the same images, in parts.
    """
    found, expected = (area(torch.cat(list(side)).cpu()) for side in (low, exact))
    difference = (found - expected).abs()
    return {
        "images": len(found),
        "mean_difference": float(difference.mean()),
        "greatest_difference": float(difference.max()),
        "mean": float(found.mean()),
        "mean_fp32": float(expected.mean()),
    }


def score_rows(names: Mapping[str, str], images: Mapping[str, Sequence[object]], scored: Scored) -> pd.DataFrame:
    """A row an image, with SCORE_COLUMNS.

    Args:
        names: the columns that are the same for all.
        images: the columns sample_id, label, target and tied.
        scored: of these images.
    """
    return pd.DataFrame({**names, **images, "value": scored.per_image})[SCORE_COLUMNS]


def curve_rows(
    names: Mapping[str, str], sample_ids: Sequence[str], changed: Sequence[int], outputs: np.ndarray
) -> pd.DataFrame:
    """A row an image and step, with CURVE_COLUMNS.

    Args:
        names: the columns that are the same for all.
        sample_ids: of the images.
        changed: how many positions have changed at each point.
        outputs: float32 [N,S+1], at these.
    """
    images, points = outputs.shape
    columns = {
        **names,
        "sample_id": np.repeat(np.array(sample_ids, dtype=object), points),
        "step": np.tile(np.arange(points), images),
        "fraction": np.tile(np.array(changed, dtype=np.float64) / changed[-1], images),
        "value": outputs.flatten(),
    }
    return pd.DataFrame(columns)[CURVE_COLUMNS]
