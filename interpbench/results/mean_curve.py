"""A method's mean curve over images."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from interpbench.results.statistics import bootstrap_band


@dataclass(frozen=True, eq=False)
class MeanCurve:
    """A method's mean perturbation curve with a pointwise 95 % band; float [points]."""

    fraction: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_curve(curves: pd.DataFrame, seed: int) -> MeanCurve:
    """The mean of one method's `curves` over the images that have all points.

    Their columns are sample_id, fraction and value.
    """
    wide = curves.pivot_table(index="sample_id", columns="fraction", values="value").dropna()
    values = wide.to_numpy()
    low, high = bootstrap_band(values, seed=seed)
    return MeanCurve(wide.columns.to_numpy(dtype=float), values.mean(axis=0), low, high)
