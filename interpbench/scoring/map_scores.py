"""Scores of whatever maps of the same images, outside of a run: by the contract that runs keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.core.model_guard import Guard
from interpbench.core.types import Model
from interpbench.fast.scoring_copy import prepare
from interpbench.registry.plugin import Configured
from interpbench.scoring.curves import area
from interpbench.scoring.evaluate import EndPoints, Passes, evaluate, know_end_points
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.ranking import rank, tie_breakers
from interpbench.scoring.shared_results import SharedResults

PROVEN = 8  # images whose logits the scoring copy must give too


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images of one model, with what is known of them.

    Attributes:
        x: float32 [N,C,H,W], normalised.
        target, label: int64 [N], the logits that are explained, and those of the true classes.
        mask: bool [N,H,W], what is marked as the evidence.
        ids: chance is seeded by them.
    """

    x: Tensor
    target: Tensor
    label: Tensor
    mask: Tensor
    ids: tuple[str, ...]


class MapScorer:
    """Scores maps of one model's images; what no map decides is computed once for all of them.

    Attributes:
        failures: metric -> why it failed, and gave no score to any map.
    """

    def __init__(
        self, model: Model, images: LabelledImages, metrics: Mapping[str, Configured], seed: int
    ) -> None:
        """The model's scoring copy, and the ends of all paths.

        Parameters:
            model: in eval mode, on the images' device; is left as it is.
            images: what maps are of.
            metrics: label -> metric.
            seed: of all chance.
        """
        self.failures: dict[str, str] = {}
        self._model, self._images, self._seed = model, images, seed
        self._metrics = dict(metrics)
        guard, scorer = Guard(model), prepare(model, images.x[:PROVEN])
        self._passes = Passes(
            scorer,
            BatchSize(model.batch_size),
            EndPoints(),
            lambda: guard.watching(seed),
            shared=SharedResults(),
            reference=lambda: images.x,
        )
        for rows in self._batches():
            some = self._explanation(images.x[rows].abs().sum(1), rows)
            know_end_points(self._metrics, some, self._passes)

    def scores(self, maps: Tensor) -> dict[str, np.ndarray]:
        """metric -> its scores of the maps, float64 [N]; a metric that fails is left out.

        NaN for a map that is constant or not finite, which is no answer, and where a score means
        nothing.

        Parameters:
            maps: float32 [N,H,W].
        """
        finite = maps.isfinite().flatten(1).all(1)
        constant = maps.flatten(1).amax(1) == maps.flatten(1).amin(1)
        valid = finite & ~constant
        maps = maps.where(valid[:, None, None], 0)
        found: dict[str, list[np.ndarray]] = {}
        for rows in self._batches():
            scored = evaluate(self._metrics, self._explanation(maps[rows], rows), self._passes)
            self._leave_out(scored.failed)
            for label, values in scored.scored.items():
                of_images = area(values) if values.ndim == 2 else values.double()
                found.setdefault(label, []).append(of_images.cpu().numpy())
        kept = {label: np.concatenate(found[label]) for label in self._metrics if label in found}
        answers = valid.cpu().numpy()
        return {label: np.where(answers, values, np.nan) for label, values in kept.items()}

    def _leave_out(self, failed: Mapping[str, str]) -> None:
        """A metric that failed is not asked again."""
        self.failures |= failed
        for label in failed:
            del self._metrics[label]

    def _batches(self) -> Sequence[slice]:
        size = self._model.batch_size
        return [slice(first, first + size) for first in range(0, len(self._images.ids), size)]

    def _explanation(self, maps: Tensor, rows: slice) -> Explanation:
        images, ids = self._images, self._images.ids[rows]
        maps = maps.to(torch.float32)
        ties = tie_breakers(ids, maps[0].numel(), self._seed).to(maps.device)
        return Explanation(
            model=self._model,
            x=images.x[rows],
            target=images.target[rows],
            label=images.label[rows],
            mask=images.mask[rows],
            ids=ids,
            seed=self._seed,
            saliency=maps,
            rank=rank(maps, ties)[0],
        )
