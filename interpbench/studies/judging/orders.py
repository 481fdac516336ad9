"""Does a metric put the exact mask of the evidence, and what it becomes by degrees, in order?

For each image and degradation the score should get worse from step to step. How far it does is
Kendall's rank correlation of step and score, turned so that 1 is right, whichever scores are
better: the share of pairs of steps in the right order less that of pairs in the wrong one. Equal
scores (up to rounding) are neither, so that a metric that cannot tell steps apart has 0.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from interpbench.core.progress import SILENT, Progress
from interpbench.core.seeding import derive
from interpbench.results.statistics import bootstrap_interval
from interpbench.scoring.map_scores import MapScorer
from interpbench.studies.judging.degradations import DEGRADATIONS, degraded
from interpbench.studies.judging.subject import Subject, better_first, how_compared, tidy

THRESHOLD = 0.5  # of Kendall's tau: three of four pairs of steps in the right order
COLUMNS = ["metric", "degradation", "tau", "low", "high", "ordered", "images", "orders"]
RULE = (
    "A metric orders a degradation if the 95 % interval (over images) of the mean Kendall's tau of "
    f"step and score lies above {THRESHOLD}: more than three of four pairs of steps fall right."
)


def score_degraded(
    subject: Subject,
    scorer: MapScorer,
    exact: Mapping[str, np.ndarray],
    steps: int,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """The scores of the exact mask and of each degradation of it.

    Parameters:
        subject: whose masks.
        scorer: of maps of its images.
        exact: metric -> scores of the masks as they are.
        steps: of each degradation.
        progress: told which degradation is on.

    Returns:
        columns metric, degradation, step, sample_id, score; step 0 is the exact mask.
    """
    records = []
    seeds = [derive(subject.seed, "degradation", name) for name in subject.ids]
    for how in DEGRADATIONS:
        records += tidy(subject.ids, exact, degradation=how, step=0)
        for step in range(1, steps + 1):
            progress.advance(how)
            maps = [
                degraded(mask, how, step, steps, seed)
                for mask, seed in zip(subject.masks.numpy(), seeds, strict=True)
            ]
            scores = scorer.scores(torch.from_numpy(np.stack(maps)).to(subject.explainer.device))
            records += tidy(subject.ids, scores, degradation=how, step=step)
            progress.advance(how, len(subject.ids))
    return pd.DataFrame(records, columns=["metric", "degradation", "step", "sample_id", "score"])


def conclude_orders(subject: Subject, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a metric and degradation, with COLUMNS.

    Of the images that have a score at each step: the mean tau, its interval, the share of images
    whose steps are all in order, how many images, and whether the metric orders the degradation.

    Parameters:
        subject: whose metrics.
        scores: of `score_degraded`.
    """
    rows = []
    for (label, how), group in scores.groupby(["metric", "degradation"], sort=False):
        by_image = group.pivot_table(
            index="sample_id", columns="step", values="score", dropna=False, sort=False
        )
        taus = kendall(better_first(subject.metrics, str(label), by_image.to_numpy()))
        taus = taus[~np.isnan(taus)]
        seed = derive(subject.seed, "orders", label, how)
        low, high = bootstrap_interval(taus, seed=seed, hits=False)
        mean = float(taus.mean()) if taus.size else np.nan
        ordered = float((taus == 1).mean()) if taus.size else np.nan
        rows.append((label, how, mean, low, high, ordered, taus.size, bool(low > THRESHOLD)))
    return pd.DataFrame(rows, columns=COLUMNS)


def kendall(goodness: np.ndarray) -> np.ndarray:
    """Kendall's tau of step and goodness of each row [N,steps], 1 where it falls at each: [N].

    NaN where a score is missing.
    """
    pairs = combinations(range(goodness.shape[1]), 2)
    signs = [how_compared(goodness[:, first], goodness[:, second]) for first, second in pairs]
    return np.asarray(np.mean(signs, axis=0))
