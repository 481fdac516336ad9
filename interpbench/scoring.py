"""One metric on one batch of explanations: a score an image, as rows for the tables."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from interpbench.cells import CURVE_COLUMNS, SCORE_COLUMNS
from interpbench.contracts import Explanation, Perturbation
from interpbench.perturb import BatchSize, area, curve, thresholds
from interpbench.plugin import Configured


@dataclass(frozen=True, eq=False)
class Scores:
    """One metric's scores of a batch.

    Attributes:
        per_image: float64 [B].
        outputs: float32 [B,S+1], the curve that a score is the area of, or None.
        fraction: float64 [S+1], the share of positions changed after each step, or None.
    """

    per_image: np.ndarray
    outputs: np.ndarray | None = None
    fraction: np.ndarray | None = None


def evaluate(metric: Configured, explanation: Explanation, batch_size: BatchSize, precision: str) -> Scores:
    """Calls a metric; if it describes a perturbation, the engine makes the curve.

    Raises:
        TypeError: if the metric returns something else than it promises.
    """
    with torch.no_grad():
        answer = metric(explanation)
    if metric.plugin.curve:
        if not isinstance(answer, Perturbation):
            raise TypeError(f"returned {type(answer).__name__}; a curve metric returns a Perturbation")
        ranks, target = explanation.rank, explanation.target
        outputs = curve(explanation.model, answer, ranks, target, batch_size, precision).cpu()
        changed = np.array(thresholds((ranks.shape[1], ranks.shape[2]), answer.steps), dtype=np.float64)
        return Scores(area(outputs).numpy(), outputs.numpy(), changed / changed[-1])
    count = len(explanation.ids)
    if not isinstance(answer, Tensor) or answer.shape != (count,):
        shape = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise TypeError(f"returned {shape}; expected a tensor [{count}]")
    return Scores(answer.detach().cpu().double().numpy())


def score_rows(names: Mapping[str, str], explanation: Explanation, tied: Tensor, scores: Scores) -> pd.DataFrame:
    """A row an image, with SCORE_COLUMNS; `names` are the columns that are the same for all."""
    columns = {
        **names,
        "sample_id": explanation.ids,
        "label": explanation.label.cpu().numpy(),
        "target": explanation.target.cpu().numpy(),
        "tied": tied.cpu().double().numpy(),
        "value": scores.per_image,
    }
    return pd.DataFrame(columns)[SCORE_COLUMNS]


def curve_rows(names: Mapping[str, str], explanation: Explanation, scores: Scores) -> pd.DataFrame:
    """A row an image and step, with CURVE_COLUMNS; none if the metric has no curve."""
    if scores.outputs is None or scores.fraction is None:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    images, points = scores.outputs.shape
    columns = {
        **names,
        "sample_id": np.repeat(np.array(explanation.ids, dtype=object), points),
        "step": np.tile(np.arange(points), images),
        "fraction": np.tile(scores.fraction, images),
        "value": scores.outputs.flatten(),
    }
    return pd.DataFrame(columns)[CURVE_COLUMNS]
