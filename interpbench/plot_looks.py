"""What every picture of a run agrees on, as PNG or on the page: a method's colour and dashes, and its mean curve."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from interpbench.statistics import bootstrap_band

# Seaborn's "colorblind", with pink and yellow, faint on white, last.
PALETTE = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494", "#56b4e9", "#fbafe4", "#ece133",
)  # fmt: skip
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.5), (1.5, 1), (6, 1.5, 1.5, 1.5))  # in widths of the line
MARKERS = "osD^vP*X<>hp"


@dataclass(frozen=True)
class MethodLook:
    """How a method is drawn in every picture."""

    color: Any
    marker: str
    dashes: Any


def method_looks(methods: Sequence[str]) -> dict[str, MethodLook]:
    """A look for each of the methods, for matplotlib."""
    dashes = [(0, lengths) if lengths else "-" for lengths in DASHES]
    return {
        name: MethodLook(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], dashes[i % len(dashes)])
        for i, name in enumerate(methods)
    }


@dataclass(frozen=True, eq=False)
class MeanCurve:
    """A method's mean perturbation curve over images, with a pointwise 95 % band; all of them float [points]."""

    fraction: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_curve(curves: pd.DataFrame, seed: int) -> MeanCurve:
    """The mean of one method's `curves` (columns sample_id, fraction, value) over the images that have all points."""
    wide = curves.pivot_table(index="sample_id", columns="fraction", values="value").dropna()
    values = wide.to_numpy()
    low, high = bootstrap_band(values, seed=seed)
    return MeanCurve(wide.columns.to_numpy(dtype=float), values.mean(axis=0), low, high)
