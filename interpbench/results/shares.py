"""Where a score lies between floor and ceiling: the share of what can be achieved.

A raw area says little: 0.12 may be excellent for one model and poor for another. The floor is the
best control of the same run, data set, model and metric: of the maps that know nothing of the
model, the one with the best mean over the images. It is one honest competitor; the best control of
each image would be an oracle that no method has to beat. The ceiling is about the best that any
order of the image can reach, found by a search (`scoring.ceiling`). So 0 is what one gets
without looking at the model, and 1 what looking at the metric itself gets. A method that a control
beats has a negative share, and one that beats the search, which is coarse, a share above 1; neither
is cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from interpbench.core.seeding import derive
from interpbench.results.score_blocks import GROUP, ScoreBlock, alike, score_blocks
from interpbench.results.score_labels import joined
from interpbench.results.statistics import bootstrap_ratio_intervals
from interpbench.results.tables import RunTables

SHARE_COLUMNS = [*GROUP, "method", "sample_id", "value", "floor", "ceiling", "share"]
BOARD_COLUMNS = ["control", "floor", "ceiling", "share", "share_low", "share_high"]


@dataclass(frozen=True, eq=False)
class Group:
    """The scores of a data set, model and metric on the images that have a floor and a ceiling.

    Attributes:
        key: data set, model and metric.
        control: the best one.
        methods, sample_ids, scores: see `ScoreBlock`.
        floor, ceiling: float64 [N], of the images.
        lower: whether lower scores are better.
    """

    key: tuple[str, str, str]
    control: str
    methods: tuple[str, ...]
    sample_ids: pd.Index
    scores: np.ndarray
    floor: np.ndarray
    ceiling: np.ndarray
    lower: bool

    def table(self) -> pd.DataFrame:
        """A row a score, with SHARE_COLUMNS."""
        method, image = np.nonzero(~np.isnan(self.scores))
        value, floor = self.scores[method, image], self.floor[image]
        way = self.ceiling[image] - floor
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (value - floor) / np.where((-way if self.lower else way) > 0, way, np.nan)
        labels = {
            name: pd.Categorical([label]) for name, label in zip(GROUP, self.key, strict=True)
        }
        return pd.DataFrame(
            {
                **{name: label.take(np.zeros(len(value), int)) for name, label in labels.items()},
                "method": pd.Categorical.from_codes(method, list(self.methods)),
                "sample_id": pd.Categorical.from_codes(image, self.sample_ids),
                "value": value,
                "floor": floor,
                "ceiling": self.ceiling[image],
                "share": share + 0.0,  # not -0
            }
        )


def shares(groups: Sequence[Group]) -> pd.DataFrame:
    """For each score, where it lies between floor and ceiling on its own image.

    Of each metric that has both. Columns: dataset, model, metric, method, sample_id, value, floor
    (the best control's score of this image), ceiling, and share: (value - floor) / (ceiling -
    floor), NaN where the ceiling is no better than the floor. An image that the control or the
    search could not score is left out.
    """
    tables = [table for group in groups if len(table := group.table())]
    return joined(tables) if tables else pd.DataFrame(columns=SHARE_COLUMNS)


@dataclass(frozen=True)
class Achieved:
    """A method's share over images.

    The share of the mean way from floor to ceiling, which the images where they are far apart
    decide most. The mean of the images' shares would be decided by those whose floor and ceiling
    are next to each other.
    """

    control: str
    floor: float
    ceiling: float
    share: float
    share_low: float
    share_high: float


def achieved(
    tables: RunTables, groups: Sequence[Group]
) -> dict[tuple[str, str, str, str], Achieved]:
    """(dataset, model, metric, method) -> its share, with a 95 % interval over images."""
    shares = {}
    for group in groups:
        seed = derive(tables.seed, *group.key)
        for rows, images in alike(group.scores):
            if images.any():
                found = _achieved(group, group.scores[np.ix_(rows, images)], images, seed)
                for row, share in zip(rows, found, strict=True):
                    shares[*group.key, group.methods[row]] = share
    return shares


def _achieved(group: Group, values: np.ndarray, images: np.ndarray, seed: int) -> list[Achieved]:
    """Of each row of `values` [M,n], scores of the same `images`."""
    floor, ceiling = group.floor[images], group.ceiling[images]
    room = (floor - ceiling if group.lower else ceiling - floor).mean()
    share = np.full(len(values), np.nan)
    bounds = np.full((len(values), 2), np.nan)
    if room > 0:
        gain, way = values - floor, ceiling - floor
        share = gain.mean(axis=1) / way.mean() + 0.0  # not -0
        if len(floor) > 1:
            bounds = bootstrap_ratio_intervals(gain, way, seed=seed) + 0.0
    means = (group.control, float(floor.mean()), float(ceiling.mean()))
    return [
        Achieved(*means, float(of_row), float(low), float(high))
        for of_row, (low, high) in zip(share, bounds, strict=True)
    ]


def by_group(tables: RunTables) -> list[Group]:
    """Those of a run."""
    controls = set(tables.cells.loc[tables.cells["role"] == "control", "method"])
    ceilings = {block.key: block for block in score_blocks(tables.ceilings)}
    groups = []
    for block in tables.blocks:
        means = {
            method: row[~np.isnan(row)].mean()
            for method, row in zip(block.methods, block.scores, strict=True)
            if method in controls
        }
        if block.key not in ceilings or not means:
            continue
        lower = tables.metrics[block.key[2]].lower_is_better
        control = min(means, key=means.__getitem__) if lower else max(means, key=means.__getitem__)
        groups.append(_group(block, control, ceilings[block.key], lower))
    return groups


def _group(block: ScoreBlock, control: str, search: ScoreBlock, lower: bool) -> Group:
    floor = block.scores[block.methods.index(control)]
    place = search.sample_ids.get_indexer(block.sample_ids)  # -1 where there is none
    ceiling = np.where(place >= 0, search.scores[0].take(place), np.nan)
    there = ~np.isnan(floor) & ~np.isnan(ceiling)
    return Group(
        block.key,
        control,
        block.methods,
        block.sample_ids[there],
        block.scores[:, there],
        floor[there],
        ceiling[there],
        lower,
    )
