"""The mean curves of methods over images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from interpbench.core.seeding import derive
from interpbench.results.statistics import bootstrap_band

# Data set, model, metric and method.
CurveKey = tuple[str, str, str, str]


@dataclass(frozen=True, eq=False)
class MeanCurve:
    """A method's mean perturbation curve with a pointwise 95 % band; float64 [S+1].

    Attributes:
        fraction: shares of positions changed, 0..1.
        mean, low, high: the mean over images at these, and its band.
    """

    fraction: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


MeanCurves = Mapping[CurveKey, MeanCurve]


def mean_curves(curves: pd.DataFrame, seed: int) -> dict[CurveKey, MeanCurve]:
    """The mean of each method's curves over the images that have no gap, where there are some.

    Parameters:
        curves: a row a curve, with CURVE_COLUMNS.
        seed: of the run; each band derives its own from it and its labels.
    """
    return dict(_mean_curves(curves, seed))


def _mean_curves(curves: pd.DataFrame, seed: int) -> Iterator[tuple[CurveKey, MeanCurve]]:
    for key, rows in curves.groupby(["dataset", "model", "metric", "method"]):
        dataset, model, metric, method = map(str, key)
        values = np.stack(rows["value"].tolist(), dtype=float)
        whole = ~np.isnan(values).any(axis=1)
        values = values if whole.all() else values[whole]
        if len(values):
            low, high = bootstrap_band(values, seed=derive(seed, dataset, model, metric, method))
            mean = values.mean(axis=0)
            yield (
                (dataset, model, metric, method),
                MeanCurve(rows["fraction"].iloc[0], mean, low, high),
            )
