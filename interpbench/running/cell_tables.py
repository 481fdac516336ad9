"""What came of a cell as rows for the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from interpbench.results.run_info import PrecisionEffect
from interpbench.scoring.curves import area
from interpbench.suite.cells import CURVE_COLUMNS, SCORE_COLUMNS

ROUNDING = 1e-4  # share of a metric's range by which a score may leave it


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
    def of(cls, values: np.ndarray, kept: np.ndarray) -> "Scored":
        """From what `evaluate` gave.

        Parameters:
            values: float [N] or [N,S+1].
            kept: bool [N], the images that count.
        """
        values = values[kept]
        if values.ndim == 1:
            return cls(values.astype(np.float64))
        return cls(area(torch.from_numpy(values)).numpy(), values)

    def outside(self, limits: tuple[float, float]) -> str:
        """What says that a score is not within a metric's range; empty where all are, or NaN."""
        least, greatest = limits
        slack = ROUNDING * (greatest - least) if np.isfinite(greatest - least) else 0.0
        values = self.per_image
        wrong = (values < least - slack) | (values > greatest + slack) | np.isinf(values)
        if not wrong.any():
            return ""
        value = values[wrong][0]
        if np.isinf(value) and value in limits:
            return f"returned {value:g}, and no score is infinite"
        return (
            f"returned {value:.6g}, and its range is {least:g} to {greatest:g}: "
            "mend the metric, or its range"
        )


def precision_effect(low: np.ndarray, exact: np.ndarray) -> PrecisionEffect:
    """What a lower precision changes in areas: the mean and greatest difference, and both means.

    Parameters:
        low, exact: curves float32 [n,S+1] of the same images.
    """
    lowered, in_float32 = (area(torch.from_numpy(side)) for side in (low, exact))
    difference = (lowered - in_float32).abs()
    return PrecisionEffect(
        images=len(lowered),
        mean_difference=float(difference.mean()),
        greatest_difference=float(difference.max()),
        mean=float(lowered.mean()),
        mean_fp32=float(in_float32.mean()),
    )


def score_rows(
    names: Mapping[str, str], images: Mapping[str, Sequence[object] | np.ndarray], scored: Scored
) -> pd.DataFrame:
    """A row an image, with SCORE_COLUMNS.

    Parameters:
        names: the columns that are the same for all.
        images: the columns sample_id, label, target and tied.
        scored: of these images.
    """
    return pd.DataFrame({**names, **images, "value": scored.per_image})[SCORE_COLUMNS]


def curve_rows(
    names: Mapping[str, str], sample_ids: Sequence[str], changed: Sequence[int], outputs: np.ndarray
) -> pd.DataFrame:
    """A row an image, with CURVE_COLUMNS.

    Parameters:
        names: the columns that are the same for all.
        sample_ids: of the images.
        changed: how many positions have changed at each point.
        outputs: float32 [N,S+1], at these.
    """
    fraction = np.array(changed, dtype=np.float64) / changed[-1]
    columns = {
        **names,
        "sample_id": sample_ids,
        "fraction": [fraction] * len(outputs),
        "value": list(outputs),
    }
    return pd.DataFrame(columns)[CURVE_COLUMNS]
