"""Maps of two models, or of two classes, compared image by image.

And what becomes a row of the table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from interpbench.core.seeding import derive
from interpbench.results.statistics import bootstrap_interval
from interpbench.studies.sanity.similarity import spearman
from interpbench.toolbox.similarity import histogram_entropy, ssim

COLUMNS = [
    "dataset",
    "model",
    "method",
    "test",
    "layer",
    "layer_index",
    "map",
    "measure",
    "images",
    "left_out",
    "mean",
    "sd",
    "low",
    "high",
    "status",
    "reason",
    "logits",
]
ABSOLUTE, SIGNED = "absolute", "signed"
SPEARMAN, SSIM, RISE = "spearman", "ssim", "entropy-rise"
# (kind of map, measure) -> float64 [N], NaN where there is none.
Measured = Mapping[tuple[str, str], np.ndarray]
Compare = Callable[[np.ndarray, np.ndarray], Measured]
TableRow = dict[str, Any]  # with COLUMNS


@dataclass(frozen=True)
class Comparison:
    """What a row is about: a method, a test, and the layers of the copy that it was asked of.

    Attributes:
        method: its label.
        test: its name.
        layer: the lowest layer with new weights, or which layers these are.
        index: that layer's place from the top; 0 where no weights are new.
        logits: what is wrong with the copy's logits.
    """

    method: str
    test: str
    layer: str = ""
    index: int = 0
    logits: str = ""


def comparable(maps: np.ndarray) -> np.ndarray:
    """Which of the maps [N,H,W] are finite and not constant, bool [N]."""
    flat = maps.reshape(len(maps), -1)
    return np.asarray(np.isfinite(flat).all(axis=1) & (flat.min(axis=1) < flat.max(axis=1)))


def similarities(first: np.ndarray, second: np.ndarray) -> Measured:
    """Rank correlation and SSIM of maps float32 [N,H,W].

    Of magnitudes, and as they are if the first are signed.
    """
    comparable_images = comparable(first) & comparable(second)
    kinds = {ABSOLUTE: (np.abs(first[comparable_images]), np.abs(second[comparable_images]))}
    if (first < 0).any():
        kinds[SIGNED] = (first[comparable_images], second[comparable_images])
    return {
        (kind, name): _spread_out(measure(*pair), comparable_images)
        for kind, pair in kinds.items()
        for name, measure in ((SPEARMAN, spearman), (SSIM, _ssim))
    }


def complexities(first: np.ndarray, second: np.ndarray) -> Measured:
    """Entropies of the maps float32 [N,H,W], and how much they rise.

    The maps are taken as they are; the rise is a share of the first entropy.
    """
    comparable_images = comparable(first) & comparable(second)
    before, after = (
        histogram_entropy(torch.from_numpy(maps[comparable_images])).numpy()
        for maps in (first, second)
    )
    entropies = {
        "entropy-trained": before,
        "entropy-randomised": after,
        RISE: (after - before) / before,
    }
    return {
        ("as given", name): _spread_out(values, comparable_images)
        for name, values in entropies.items()
    }


def _ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return ssim(torch.from_numpy(first), torch.from_numpy(second)).numpy()


def _spread_out(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    spread = np.full(len(where), np.nan)
    spread[where] = values
    return spread


def rows(
    place: Comparison, measured: Measured, names: Mapping[str, str], seed: int
) -> Iterator[TableRow]:
    """A row for each kind of map and measure, with COLUMNS.

    Parameters:
        place: what they are about.
        measured: the numbers.
        names: `dataset` and `model`.
        seed: of the run; that of each interval comes from it.
    """
    for (kind, measure), values in measured.items():
        comparable_values = values[np.isfinite(values)]
        labels = {**names, **_columns(place), "map": kind, "measure": measure}
        low, high = _interval(
            comparable_values, derive(seed, *labels.values()), bounded=measure in (SPEARMAN, SSIM)
        )
        yield {
            **labels,
            "images": comparable_values.size,
            "left_out": values.size - comparable_values.size,
            "mean": comparable_values.mean() if comparable_values.size else np.nan,
            "sd": comparable_values.std(ddof=1) if comparable_values.size > 1 else np.nan,
            "low": low,
            "high": high,
            "status": "ok" if comparable_values.size else "undefined",
            "reason": ""
            if comparable_values.size
            else "no image has a map of both that is finite and not constant",
        }


def failed_row(place: Comparison, reason: str, names: Mapping[str, str]) -> TableRow:
    """The row of a method that broke down."""
    nothing = dict.fromkeys(("mean", "sd", "low", "high"), np.nan)
    labels = {**names, **_columns(place), "map": "", "measure": ""}
    return {**labels, "images": 0, "left_out": 0, **nothing, "status": "failed", "reason": reason}


def _columns(place: Comparison) -> dict[str, Any]:
    return {
        "method": place.method,
        "test": place.test,
        "layer": place.layer,
        "layer_index": place.index,
        "logits": place.logits,
    }


def _interval(values: np.ndarray, seed: int, bounded: bool) -> tuple[float, float]:
    """The 95 % interval of the mean.

    Of what lies in -1..1, such as similarities, its ends do too.
    """
    low, high = bootstrap_interval(values, seed=seed, hits=False)  # ones are similarities here
    return (max(low, -1.0), min(high, 1.0)) if bounded else (low, high)
