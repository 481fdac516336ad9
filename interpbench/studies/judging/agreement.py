"""Does a metric rank methods as localisation does, where the evidence is known?

The rank correlation, over methods, of a metric's mean score with that of a metric of localisation,
both turned so that higher is better. Its interval is over images, by the percentiles of resamples.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from interpbench.core.seeding import derive
from interpbench.studies.judging.subject import Subject, better_first
from interpbench.toolbox.correlation import spearman

RESAMPLES = 1000
FEWEST = 3  # methods that can be ranked otherwise than by chance
COLUMNS = ["metric", "localisation", "correlation", "low", "high", "methods", "images"]


def conclude_agreement(
    subject: Subject, scores: pd.DataFrame, localisation: Sequence[str]
) -> pd.DataFrame:
    """A row a metric and metric of localisation, with COLUMNS.

    Of the images that all methods have both scores of; NaN for fewer than three methods.

    Parameters:
        subject: whose metrics.
        scores: columns metric, method, sample_id, score.
        localisation: labels of metrics.
    """
    goodness = {}
    for label, group in scores.groupby("metric", sort=False):
        table = group.pivot_table(
            index="sample_id", columns="method", values="score", dropna=False, sort=False
        )
        goodness[str(label)] = better_first(subject.metrics, str(label), table.to_numpy())
    rows = []
    for label, of_metric in goodness.items():
        for truth in localisation:
            if truth in goodness:
                seed = derive(subject.seed, "agreement", label, truth)
                rows.append((label, truth, *_correlation(of_metric, goodness[truth], seed)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _correlation(
    first: np.ndarray, second: np.ndarray, seed: int
) -> tuple[float, float, float, int, int]:
    """Of the mean scores of methods [images,methods]: with its interval, methods and images."""
    whole = ~(np.isnan(first) | np.isnan(second)).any(axis=1)
    first, second = first[whole], second[whole]
    images, methods = first.shape
    if methods < FEWEST or not images:
        return np.nan, np.nan, np.nan, methods, images
    drawn = np.random.default_rng(seed).integers(0, images, (RESAMPLES, images))
    found = _of_means(first[drawn].mean(axis=1), second[drawn].mean(axis=1))
    low, high = np.nanquantile(found, (0.025, 0.975)) if np.isfinite(found).any() else (np.nan,) * 2
    [correlation] = _of_means(first.mean(axis=0)[None], second.mean(axis=0)[None])
    return float(correlation), float(low), float(high), methods, images


def _of_means(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each pair of rows [R,methods]; NaN where one is constant."""
    return spearman(torch.from_numpy(first), torch.from_numpy(second)).numpy()
