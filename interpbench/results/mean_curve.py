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
    """The mean of one method's curves over the images that have no gap.

    Parameters:
        curves: a row a curve, with the columns fraction and value, as `RunTables.curves` has them.
        seed: of the band.
    """
    values = np.stack(curves["value"].tolist()).astype(float)
    values = values[~np.isnan(values).any(axis=1)]
    low, high = bootstrap_band(values, seed=seed)
    return MeanCurve(curves["fraction"].iloc[0], values.mean(axis=0), low, high)
