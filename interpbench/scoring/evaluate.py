"""All metrics on one batch of explanations."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.core.errors import said
from interpbench.fast.scoring_copy import Scorer
from interpbench.registry.plugin import Configured
from interpbench.scoring.curves import curves, outputs, points_of
from interpbench.scoring.explanation import Explanation, Reader
from interpbench.scoring.perturbation import Perturbation
from interpbench.scoring.shared_results import SharedResults

Watching = Callable[[], AbstractContextManager[object]]


@dataclass
class EndPoints:
    """What a model answers at the ends of paths, which are the same for every method.

    Attributes:
        outputs: (which end, output, ids of the images) -> [B]. The end is `image`, or a metric and
            which of its ends.
        of_images: metric -> whether its path depends on the images alone, and not on the maps.
    """

    outputs: dict[tuple[str, str, tuple[str, ...]], Tensor] = field(default_factory=dict)
    of_images: dict[str, bool] = field(default_factory=dict)

    def known(
        self,
        scorer: Scorer,
        paths: Mapping[str, Perturbation],
        explanation: Explanation,
        batch_size: BatchSize,
    ) -> list[tuple[Tensor, Tensor] | None]:
        """The outputs at the ends of each path.

        Those not met before are computed, all in the same passes.
        """
        shared = {label: path for label, path in paths.items() if self.of_images[label]}
        keys = {label: self._keys(label, path, explanation) for label, path in shared.items()}
        missing = {
            key: Perturbation(image, image, output=path.output)
            for label, path in shared.items()
            for key, image in zip(keys[label], (path.start, path.end), strict=True)
            if key not in self.outputs
        }
        if missing:
            nothing = [[0]] * len(missing)  # no position changed
            ranks, target = explanation.rank, explanation.target
            end_outputs = outputs(
                scorer, list(missing.values()), nothing, ranks, target, batch_size
            )
            self.outputs.update(
                {
                    key: values[:, 0].clone()
                    for key, values in zip(missing, end_outputs, strict=True)
                }
            )
        return [
            (self.outputs[keys[label][0]], self.outputs[keys[label][1]]) if label in keys else None
            for label in paths
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
        scored: metric -> float [B], or [B,S+1] of a metric with a curve.
        in_float32: metric -> the curves of some of the images in float32, where the precision is
            lower.
        changed: metric -> how many positions have changed at each point of its curve.
        failed: metric -> the reason; the others' scores stay.
    """

    scored: dict[str, Tensor] = field(default_factory=dict)
    in_float32: dict[str, Tensor] = field(default_factory=dict)
    changed: dict[str, list[int]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Passes:
    """How scores are read off a model.

    Attributes:
        scorer: the copy that scores are read off.
        exact: one in float32, where the scorer's precision is lower.
        batch_size: images a forward pass.
        end_points: what is known of the model already.
        watching: a context for each call of a metric, which undoes what it leaves behind.
        shared: what metrics computed of the images or of the model alone.
        reference: gives the images that stand for the data, see `Inputs.reference`.
        in_domain: the network that metrics may ask instead, see `Inputs.asking`; None if there is
            none.
    """

    scorer: Scorer
    batch_size: BatchSize
    end_points: EndPoints
    watching: Watching
    exact: Scorer | None = None
    shared: SharedResults = field(default_factory=SharedResults)
    reference: Callable[[], Tensor] | None = None
    in_domain: Scorer | None = None

    @property
    def reader(self) -> Reader:
        """What metrics ask themselves.

        In float32 always, since differences between outputs drown in the rounding of a lower
        precision.
        """
        scorer = self.exact or self.scorer
        return Reader(scorer, self.batch_size, self.shared, self.reference, self.in_domain)


def know_end_points(
    metrics: Mapping[str, Configured], explanation: Explanation, passes: Passes
) -> None:
    """Computes what every method's paths begin and end with, of all metrics in the same passes.

    So it does not depend on who asks first. A metric that fails here is left out, and fails again
    where it is to score.

    Parameters:
        metrics: label -> metric.
        explanation: the images, with maps that are not all alike.
        passes: how scores are read off the model.
    """
    scores, paths = BatchScores(), dict[str, Perturbation]()
    explanation = replace(explanation, reader=passes.reader)
    for label, metric in metrics.items():
        if metric.plugin.curve:
            _ask(label, metric, explanation, passes, scores, paths)
    try:
        passes.end_points.known(passes.scorer, paths, explanation, passes.batch_size)
    except KeyboardInterrupt:
        raise
    except BaseException:  # shows again, with its reason, when a map is scored
        return


def evaluate(
    metrics: Mapping[str, Configured],
    explanation: Explanation,
    passes: Passes,
    compared: slice = slice(None),
    exact: Explanation | None = None,
) -> BatchScores:
    """Scores a batch by each metric; curves of all metrics share their forward passes.

    Parameters:
        metrics: label -> metric.
        explanation: the images and their maps.
        passes: how scores are read off the model.
        compared: which images are scored in float32 too, where the precision is lower.
        exact: these with maps that were made in float32, where those of `explanation` were not.
    """
    scores, paths = BatchScores(), dict[str, Perturbation]()
    explanation = replace(explanation, reader=passes.reader)
    for label, metric in metrics.items():
        _ask(label, metric, explanation, passes, scores, paths)
    if paths:
        try:
            _add_curves(scores, paths, explanation, passes)
            ranks, target = explanation.rank[compared], explanation.target[compared]
            if exact is not None:
                of_curves = {label: metrics[label] for label in paths}
                in_float32 = _paths(of_curves, replace(exact, reader=passes.reader), passes)
                _add_exact_curves(scores, in_float32, exact.rank, target, passes)
            elif passes.exact is not None:
                some = {label: _some(path, compared) for label, path in paths.items()}
                _add_exact_curves(scores, some, ranks, target, passes)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            scores.failed |= dict.fromkeys(paths, _reason(error))
    return scores


def _ask(
    label: str,
    metric: Configured,
    explanation: Explanation,
    passes: Passes,
    scores: BatchScores,
    paths: dict[str, Perturbation],
) -> None:
    """Puts a metric's answer among the scores, or its path among the paths, or why it failed."""
    of_images = passes.end_points.of_images
    try:
        answer = _call(metric, explanation, passes.watching)
        if isinstance(answer, Tensor):
            scores.scored[label] = answer
            return
        scores.changed[label] = points_of(answer)
        if label not in of_images:
            of_images[label] = _is_of_images(metric, answer, explanation, passes.watching)
        if not answer.by_saliency:
            answer = replace(answer, rank=explanation.order(answer))
        paths[label] = answer
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of any kind: a metric fails alone
        scores.failed[label] = _reason(error)


def _add_curves(
    scores: BatchScores,
    paths: Mapping[str, Perturbation],
    explanation: Explanation,
    passes: Passes,
) -> None:
    scorer, batch_size = passes.scorer, passes.batch_size
    ranks, target = explanation.rank, explanation.target
    end_outputs = passes.end_points.known(scorer, paths, explanation, batch_size)
    values = curves(scorer, list(paths.values()), ranks, target, batch_size, end_outputs)
    scores.scored |= dict(zip(paths, values, strict=True))


def _add_exact_curves(
    scores: BatchScores,
    paths: Mapping[str, Perturbation],
    ranks: Tensor,
    target: Tensor,
    passes: Passes,
) -> None:
    """Curves of some images in float32."""
    if paths and len(target):
        scorer = passes.exact or passes.scorer
        found = curves(scorer, list(paths.values()), ranks, target, passes.batch_size)
        scores.in_float32 = dict(zip(paths, found, strict=True))


def _paths(
    metrics: Mapping[str, Configured], explanation: Explanation, passes: Passes
) -> dict[str, Perturbation]:
    """The paths of metrics that have curves."""
    paths: dict[str, Perturbation] = {}
    for label, metric in metrics.items():
        _ask(label, metric, explanation, passes, BatchScores(), paths)
    return paths


def _some(path: Perturbation, rows: slice) -> Perturbation:
    """A path of some of its images."""
    return replace(
        path,
        start=path.start[rows],
        end=path.end[rows],
        rank=None if path.rank is None else path.rank[rows],
    )


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {said(error)}"


def _call(
    metric: Configured, explanation: Explanation, watching: Watching
) -> Tensor | Perturbation:
    """What a metric answers.

    Raises:
        TypeError: if that is something else than it promises.
    """
    with watching(), torch.no_grad():
        answer = metric(explanation)
    if metric.plugin.curve:
        if not isinstance(answer, Perturbation):
            raise TypeError(
                f"returned {type(answer).__name__}; a curve metric returns a Perturbation"
            )
        for name, end in (("start", answer.start), ("end", answer.end)):
            if end.shape != explanation.x.shape:
                raise TypeError(
                    f"returned a {name} {list(end.shape)}; expected {list(explanation.x.shape)}"
                )
        return answer
    count = len(explanation.ids)
    if not isinstance(answer, Tensor) or answer.shape != (count,):
        shape = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise TypeError(f"returned {shape}; expected a tensor [{count}]")
    return answer.detach()


def _is_of_images(
    metric: Configured, path: Perturbation, explanation: Explanation, watching: Watching
) -> bool:
    """Whether a metric's path stays the same with other maps."""
    reversed_ranks = explanation.rank.shape[1] * explanation.rank.shape[2] - 1 - explanation.rank
    negated = replace(explanation, saliency=-explanation.saliency, rank=reversed_ranks)
    answer = _call(metric, negated, watching)
    assert isinstance(answer, Perturbation)  # as before
    return torch.equal(answer.start, path.start) and torch.equal(answer.end, path.end)
