"""One number an image and method for all metrics: the share of its rivals that a map beats.

Metrics have units of their own, so that their scores cannot be averaged; who beats whom on an
image can. It is the mean rank, counted from the other end and as a share: of k rivals, rank r has
(k + 1 - r) / k wins. Other than a rank it stays comparable where rivals have not scored every
image.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from interpbench.results.comparison import comparisons
from interpbench.results.run_info import MetricInfo
from interpbench.results.tables import RunTables

METRIC = "win rate"  # what wins are called in the tables of comparisons
INFO = MetricInfo(better="higher", range=(0.0, 1.0), aspect="faithfulness")


def wins(
    scores: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    families: Mapping[str, Sequence[str]],
    rivals: Collection[str],
) -> pd.DataFrame:
    """The share of the rivals that each method beats: float [images,methods], 0..1.

    A tie is half a win. It is the mean over the families of the mean over a family's metrics;
    NaN where a method has no score of the image by any metric, or nobody to compare it with.

    Parameters:
        scores: columns method, metric, sample_id and value.
        metrics: label -> what it is; which direction is better.
        families: name -> metrics; those without scores are passed over.
        rivals: whom each method is compared with, itself left out.
    """
    methods = sorted(scores["method"].unique())
    images = sorted(scores["sample_id"].unique())
    wide = {
        metric: rows.pivot_table(index="sample_id", columns="method", values="value").reindex(
            index=images, columns=methods
        )
        for metric, rows in scores.groupby("metric")
    }
    at = [methods.index(rival) for rival in sorted(rivals) if rival in methods]
    of_families = [
        [_wins(wide[name].to_numpy(), metrics[name].lower_is_better, at) for name in family]
        for family in ([name for name in of if name in wide] for of in families.values())
        if family
    ]
    if not of_families:
        return pd.DataFrame(np.nan, images, methods)
    mean = _mean([_mean(family) for family in of_families])
    return pd.DataFrame(mean, pd.Index(images, name="sample_id"), methods)


def _wins(values: np.ndarray, lower: bool, rivals: Sequence[int]) -> np.ndarray:
    """The wins by one metric, [images,methods]: of its scores, NaN where there is none."""
    merit = -values if lower else values
    won, met = np.zeros(values.shape), np.zeros(values.shape)
    for rival in rivals:
        other = merit[:, [rival]]
        both = ~np.isnan(merit) & ~np.isnan(other)
        both[:, rival] = False
        won += np.where(both, (merit > other) + 0.5 * (merit == other), 0)
        met += both
    return np.divide(won, met, out=np.full(values.shape, np.nan), where=met > 0)


def _mean(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of those that are there; NaN where none is."""
    stacked = np.stack(parts)
    there = ~np.isnan(stacked)
    total, count = np.where(there, stacked, 0).sum(axis=0), there.sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def compared(won: pd.DataFrame, seed: int, level: float) -> pd.DataFrame:
    """Every two methods by their wins on the images that both have: the project's paired test.

    Columns as of `results.comparison.comparisons`, but for those of the group.

    Parameters:
        won: of `wins`.
        seed: of the run.
        level: of significance after Holm's correction, 0..1.
    """
    long = won.rename_axis("sample_id").reset_index().melt("sample_id", var_name="method")
    scores = long.assign(dataset="", model="", metric=METRIC)
    pairs = comparisons(RunTables.of_scores(scores, {METRIC: INFO}, seed, level))
    return pairs.drop(columns=["dataset", "model", "metric"])


def rival_row(pairs: pd.DataFrame, method: str, other: str) -> pd.Series | None:
    """The row of a pair, whoever of the two has the better mean; None if they were not compared."""
    of_two = pairs[
        ((pairs["method"] == method) & (pairs["other"] == other))
        | ((pairs["method"] == other) & (pairs["other"] == method))
    ]
    return None if of_two.empty else of_two.iloc[0]
