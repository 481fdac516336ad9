"""The mean curves of methods over images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from interpbench.core.seeding import derive
from interpbench.results.curves import table_of, values_of
from interpbench.results.statistics import bootstrap_band

KEY = ["dataset", "model", "metric", "method"]

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
    return mean_curves_of(table_of(curves), seed)


def mean_curves_of(curves: pa.Table, seed: int) -> dict[CurveKey, MeanCurve]:
    """As `mean_curves`, of a table as `curves.read_table` gives it."""
    return dict(_mean_curves(curves, seed))


def _mean_curves(curves: pa.Table, seed: int) -> Iterator[tuple[CurveKey, MeanCurve]]:
    keys = curves.select(KEY).to_pandas()
    for key, rows in sorted(keys.groupby(KEY, observed=True).indices.items()):
        dataset, model, metric, method = map(str, key)
        of_key = curves.take(rows)
        values = values_of(of_key["value"]).astype(np.float64)
        whole = ~np.isnan(values).any(axis=1)
        values = values if whole.all() else values[whole]
        if len(values):
            low, high = bootstrap_band(values, seed=derive(seed, dataset, model, metric, method))
            fraction = np.array(of_key["fraction"][0].as_py(), dtype=np.float64)
            yield (
                (dataset, model, metric, method),
                MeanCurve(fraction, values.mean(axis=0), low, high),
            )


class LazyCurves(Mapping[CurveKey, MeanCurve]):
    """Mean curves that are computed when one is first asked for.

    Parameters:
        compute: all of them.
    """

    def __init__(self, compute: Callable[[], dict[CurveKey, MeanCurve]]) -> None:
        self._compute = compute

    @cached_property
    def _curves(self) -> dict[CurveKey, MeanCurve]:
        return self._compute()

    def __getitem__(self, key: CurveKey) -> MeanCurve:
        return self._curves[key]

    def __iter__(self) -> Iterator[CurveKey]:
        return iter(self._curves)

    def __len__(self) -> int:
        return len(self._curves)
