"""What one data set, model and metric say: who leads there, and whom the data leave beside it."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.words import listing


@dataclass(frozen=True)
class Finding:
    """Who leads by a metric on a model, and how sure that is.

    Attributes:
        leader: the method of the first place and the best mean; "" where only controls were scored.
        mean, low, high: its mean and 95 % interval, NaN for a single image.
        share, share_low, share_high: of the achievable; NaN where it was not measured.
        images: that it was scored on.
        others: how many others were scored, controls too.
        tested: whether there are ranks, of several, on more than one image.
        pairs: how many comparisons of two that makes.
        told_apart: in how many of them one was shown to be better; None where it is not known.
        alone: whether the leader was shown to be better than all others.
        beside: methods that the leader was not told apart from, best first.
        ahead: all methods that none was shown to be better than, best first; none where a control
            is among them.
        controls: controls that no method was shown to be better than, best first.
        open: each method that leads with each control that it was not told apart from, though
            another was shown to be better than the control.
        lost: whether these controls were shown to be better than every method.
        judges: whether a method can be the best by the metric, see `MetricInfo.judges`.
    """

    dataset: str
    model: str
    metric: str
    leader: str
    mean: float
    low: float
    high: float
    share: float
    share_low: float
    share_high: float
    images: int
    others: int
    tested: bool
    pairs: int
    told_apart: int | None
    alone: bool
    beside: tuple[str, ...]
    ahead: tuple[str, ...]
    controls: tuple[str, ...]
    open: tuple[tuple[str, str], ...]
    lost: bool
    judges: bool

    @property
    def standing(self) -> str:
        """How sure it is that the leader leads, in a few words; "" where nothing was tested."""
        if self.lost:
            return f"shown to be worse than {listing(self.controls)}"
        if self.controls:
            return f"not shown to be better than {listing(self.controls)}"
        if self.alone:
            return f"shown to be better than all {self.others} others"
        level = [*self.beside, *(control for name, control in self.open if name == self.leader)]
        return f"not told apart from {listing(level)}" if level else ""


def findings(evidence: Evidence) -> list[Finding]:
    """What each metric says on each model, in the order of the metrics and then of the names."""
    return [
        _finding(block, evidence.controls, judges=metric in evidence.judging)
        for metric, rows in evidence.by_metric()
        for _, block in rows.groupby(["dataset", "model"])
    ]


def leading(board: pd.DataFrame, controls: Collection[str]) -> pd.Series:
    """Whether each row leads: the data leave it the first place, and leave it to no control.

    These, and no others, stand in bold wherever a leaderboard is shown. None leads where nothing
    else was scored, or no more than one image.

    Parameters:
        board: see `leaderboard.leaderboard`; a part of one, from which controls may be missing, has
            a column `leads` of what was so in the whole.
        controls: the methods that know nothing of the model, see `evidence.controls_of`.
    """
    if "leads" in board:
        return board["leads"].astype(bool)
    scored = board["n"] > 1
    first = scored & (board["rank"] == 1).fillna(False).astype(bool)
    control = first & board["method"].isin(controls)
    keys = [board[column] for column in ("dataset", "model", "metric")]
    compared = scored.groupby(keys).transform("sum") > 1
    return first & compared & ~control.groupby(keys).transform("any")


def _finding(block: pd.DataFrame, ignorant: Collection[str], *, judges: bool) -> Finding:
    lower = (block["better"] == "lower").all()
    block = block.fillna({"rank_to": len(block)}).sort_values(
        "mean", ascending=lower, kind="stable"
    )
    block = block.sort_values("rank", kind="stable")  # by first place, then by mean
    control = block["method"].isin(ignorant)
    methods, controls = block[~control], block[control]
    tested = len(block) > 1 and bool(block["rank"].notna().all()) and block["n"].max() > 1
    first = methods.iloc[0] if len(methods) else block.iloc[0]
    unbeaten = controls[controls["rank"] == 1] if tested else controls.iloc[:0]
    ahead = methods[leading(block, ignorant).loc[methods.index] & tested]
    return Finding(
        dataset=str(first["dataset"]),
        model=str(first["model"]),
        metric=str(first["metric"]),
        leader=str(first["method"]) if len(methods) else "",
        **{name: float(first[name]) for name in _NUMBERS},
        images=int(first["n"]),
        others=len(block) - 1,
        tested=tested,
        pairs=len(block) * (len(block) - 1) // 2,
        told_apart=_told_apart(block),
        alone=tested and first["rank"] == 1 and first["rank_to"] == 1 and len(methods) > 0,
        beside=tuple(methods.loc[_level(first, methods) & tested, "method"]),
        ahead=tuple(ahead["method"]),
        controls=tuple(unbeaten["method"]),
        open=tuple(
            (str(row["method"]), str(control))
            for _, row in ahead.iterrows()
            for control in controls.loc[_level(row, controls), "method"]
        ),
        lost=len(methods) > 0
        and len(unbeaten) > 0
        and all(_worse(control, methods).all() for _, control in unbeaten.iterrows()),
        judges=judges,
    )


_NUMBERS = ("mean", "low", "high", "share", "share_low", "share_high")


def _level(row: pd.Series, others: pd.DataFrame) -> pd.Series:
    """Which of the others, but for itself, were not told apart from `row`: they share a letter.

    Where the alphabet did not suffice for letters, those that share the first place with it.
    """
    level = (others["rank"] == 1) & (row["rank"] == 1)
    if row["letters"] and _lettered(others):
        level = others["letters"].map(lambda letters: not set(letters).isdisjoint(row["letters"]))
    return level.fillna(False).astype(bool) & (others["method"] != row["method"])


def _worse(row: pd.Series, others: pd.DataFrame) -> pd.Series:
    """Which of the others were shown to be worse than `row`, than which none was to be better."""
    if row["letters"] and _lettered(others):
        return others["letters"].map(lambda letters: set(letters).isdisjoint(row["letters"]))
    return others["rank"] > row["rank_to"]


def _told_apart(block: pd.DataFrame) -> int | None:
    """How many pairs of a block share no letter; None without letters."""
    if not _lettered(block):
        return None
    return sum(set(a).isdisjoint(b) for a, b in combinations(block["letters"], 2))


def _lettered(rows: pd.DataFrame) -> bool:
    return bool((rows["letters"] != "").all())
