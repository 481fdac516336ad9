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
from interpbench.results.comparison import GROUP
from interpbench.results.statistics import bootstrap_ratio_interval
from interpbench.results.tables import RunTables

SHARE_COLUMNS = [*GROUP, "method", "sample_id", "value", "floor", "ceiling", "share"]
BOARD_COLUMNS = ["control", "floor", "ceiling", "share", "share_low", "share_high"]


@dataclass(frozen=True, eq=False)
class Group:
    """The shares of a data set, model and metric that have a floor and a ceiling.

    Attributes:
        control: the best one.
        shares: a row a score, with SHARE_COLUMNS.
    """

    control: str
    shares: pd.DataFrame


def shares(groups: Sequence[Group]) -> pd.DataFrame:
    """For each score, where it lies between floor and ceiling on its own image.

    Of each metric that has both. Columns: dataset, model, metric, method, sample_id, value, floor
    (the best control's score of this image), ceiling, and share: (value - floor) / (ceiling -
    floor), NaN where the ceiling is no better than the floor. An image that the control or the
    search could not score is left out.
    """
    frames = [group.shares for group in groups]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=SHARE_COLUMNS)


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
        for key, rows in group.shares.groupby([*GROUP, "method"]):
            shares[key] = _achieved(tables, group.control, rows)
    return shares


def _achieved(tables: RunTables, control: str, rows: pd.DataFrame) -> Achieved:
    floor, ceiling = rows["floor"].to_numpy(), rows["ceiling"].to_numpy()
    first = rows.iloc[0]
    lower = tables.metrics[first["metric"]].lower_is_better
    room = (floor - ceiling if lower else ceiling - floor).mean()
    share = low = high = np.nan
    if room > 0:
        gain, way = rows["value"].to_numpy() - floor, ceiling - floor
        share = gain.mean() / way.mean() + 0.0  # not -0
        if len(rows) > 1:
            seed = derive(tables.seed, *first[GROUP])
            low, high = (bound + 0.0 for bound in bootstrap_ratio_interval(gain, way, seed=seed))
    return Achieved(control, floor.mean(), ceiling.mean(), share, low, high)


def by_group(tables: RunTables) -> list[Group]:
    """Those of a run."""
    groups = []
    controls = set(tables.cells.loc[tables.cells["role"] == "control", "method"])
    scores = tables.scores.dropna(subset=["value"]).astype({"value": float})
    ceilings = tables.ceilings.dropna(subset=["value"]).astype({"value": float})
    tops = {key: rows.set_index("sample_id")["value"] for key, rows in ceilings.groupby(GROUP)}
    for key, rows in scores.groupby(GROUP):
        means = rows[rows["method"].isin(controls)].groupby("method")["value"].mean()
        if key not in tops or means.empty:
            continue
        lower = tables.metrics[key[2]].lower_is_better
        control = str(means.idxmin() if lower else means.idxmax())
        floor = rows[rows["method"] == control].set_index("sample_id")["value"]
        groups.append(Group(control, _shares_of_images(rows, floor, tops[key], lower)))
    return groups


def _shares_of_images(
    rows: pd.DataFrame, floor: pd.Series, ceiling: pd.Series, lower: bool
) -> pd.DataFrame:
    rows = rows.assign(floor=rows["sample_id"].map(floor), ceiling=rows["sample_id"].map(ceiling))
    rows = rows.dropna(subset=["floor", "ceiling"])
    way = rows["ceiling"] - rows["floor"]
    room = -way if lower else way
    share = (rows["value"] - rows["floor"]) / way.where(room > 0) + 0.0  # not -0
    return rows.assign(share=share)[SHARE_COLUMNS].sort_values(["method", "sample_id"])
