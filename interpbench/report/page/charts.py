"""The page's drawings as numbers: where each line, band, dot and label of an SVG goes.

Nothing here is markup: the template writes it, and escapes every name.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.words import number
from interpbench.results.comparison import judges_text
from interpbench.results.leaderboard import rank_texts
from interpbench.results.mean_curve import MeanCurve, MeanCurves

WIDTH, HEIGHT = 460, 280  # of a chart, in units of its SVG
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 36  # around its panel
_POINTS = 65  # of a curve at most
_LABEL = 44  # characters of a name in a diagram of ranks
_CHARACTER = 8.4  # units that a character takes there at most, on average
_AXIS = 460.0  # units from the best rank to the worst


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """A common scale of a metric: shares 0..100 of the way from `low` to `high`."""

    low: float
    high: float

    def at(self, value: float) -> float | None:
        """Where a value lies, or None if there is no value."""
        if value != value:
            return None
        return round(100 * (value - self.low) / ((self.high - self.low) or 1.0), 2)


def scales(board: pd.DataFrame) -> dict[str, Scale]:
    """For each metric the scale that holds all of its means, intervals, floors and ceilings."""
    scale_of = {}
    for metric, rows in board.groupby("metric", sort=False):
        values = rows[["mean", "low", "high", "floor", "ceiling"]].to_numpy(dtype=float)
        if np.isfinite(values).any():
            margin = 0.03 * (np.nanmax(values) - np.nanmin(values))
            scale_of[str(metric)] = Scale(
                float(np.nanmin(values) - margin), float(np.nanmax(values) + margin)
            )
    return scale_of


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, some `about` of them."""
    span = (high - low) or 1.0
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Curve:
    """A method's mean curve.

    `line` and `band` are SVG paths, `means` the values at the chart's fractions.
    """

    method: str
    line: str
    band: str
    means: tuple[float, ...]
    label: str


@dataclass(frozen=True)
class Chart:
    """The mean curves of a data set, model and metric, the best last, so that it is drawn on top.

    Attributes:
        low, high: values at the panel's bottom and top.
    """

    dataset: str
    model: str
    metric: str
    unit: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    low: float
    high: float
    fractions: tuple[float, ...]
    curves: tuple[Curve, ...]

    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM


def charts(evidence: Evidence) -> list[Chart]:
    """A chart for each data set, model and metric that has curves."""
    if evidence.tables is None:
        return []
    order = {metric: i for i, metric in enumerate(evidence.metrics)}
    keys = sorted({key[:3] for key in evidence.tables.curves})
    all_charts = [_chart(evidence, key, evidence.tables.curves) for key in keys]
    shown = [chart for chart in all_charts if chart.curves]
    return sorted(shown, key=lambda chart: (chart.dataset, chart.model, order[chart.metric]))


def _chart(evidence: Evidence, key: tuple[str, str, str], curves: MeanCurves) -> Chart:
    dataset, model, metric = key
    board = evidence.scored
    rows = board[
        (board["dataset"] == dataset) & (board["model"] == model) & (board["metric"] == metric)
    ]
    rows = rows.sort_values("mean", ascending=(rows["better"] != "lower").all(), kind="stable")
    means = {method: curves[*key, method] for method in rows["method"] if (*key, method) in curves}
    low, high = _range(list(means.values()))
    rows = rows.assign(rank_text=rank_texts(rows))
    drawn = [
        _curve(row, means[row.method], low, high)
        for row in rows.itertuples()
        if row.method in means
    ]
    fractions = next(iter(means.values())).fraction if means else np.zeros(0)
    return Chart(
        dataset,
        model,
        metric,
        evidence.metrics[metric].unit,
        tuple(Tick(_svg_x(value), f"{value:.0%}") for value in (0, 0.25, 0.5, 0.75, 1)),
        tuple(Tick(_svg_y(value, low, high), f"{value:g}") for value in ticks(low, high)),
        round(low, 6),
        round(high, 6),
        tuple(round(float(value), 4) for value in fractions[_chosen(len(fractions))]),
        tuple(drawn),
    )


def _range(curves: Sequence[MeanCurve]) -> tuple[float, float]:
    """The values that a panel shows: those of all bands, and 0 if it is not far below them."""
    low = min((float(curve.low.min()) for curve in curves), default=0.0)
    high = max((float(curve.high.max()) for curve in curves), default=1.0)
    return (0.0, max(high, 1e-9)) if 0 <= low < 0.5 * high else (low, high)


def _curve(row: Any, curve: MeanCurve, low: float, high: float) -> Curve:
    """The curve of a row of the leaderboard."""
    chosen = _chosen(len(curve.fraction))

    def points(values: np.ndarray) -> list[str]:
        pairs = zip(curve.fraction[chosen], values[chosen], strict=True)
        return [
            f"{_svg_x(float(fraction)):.1f},{_svg_y(float(value), low, high):.1f}"
            for fraction, value in pairs
        ]

    outline = [*points(curve.high), *reversed(points(curve.low))]
    score = (
        f"mean {number(row.mean)}, 95 % [{number(row.low)}, {number(row.high)}], rank "
        f"{row.rank_text}"
    )
    return Curve(
        method=row.method,
        line=f"M{' '.join(points(curve.mean))}",
        band=f"M{' '.join(outline)}Z",
        means=tuple(round(float(value), 4) for value in curve.mean[chosen]),
        label=f"{row.method}: {score}",
    )


def _chosen(points: int) -> np.ndarray:
    """Which of a curve's points are drawn: evenly spread, both ends among them."""
    return np.unique(np.linspace(0, points - 1, min(points, _POINTS)).round().astype(int))


def _svg_x(fraction: float) -> float:
    return round(_LEFT + fraction * (WIDTH - _LEFT - _RIGHT), 2)


def _svg_y(value: float, low: float, high: float) -> float:
    return round(_TOP + (high - value) / ((high - low) or 1.0) * (HEIGHT - _TOP - _BOTTOM), 2)


@dataclass(frozen=True)
class Mark:
    """A method in a diagram of ranks.

    Its dot is at (x, axis); an elbow leads down to its label at y on one side.
    """

    method: str
    text: str
    rank: float
    x: float
    y: float
    left: bool


@dataclass(frozen=True)
class Bar:
    """A bar from x0 to x1 at height y."""

    x0: float
    x1: float
    y: float


@dataclass(frozen=True)
class RankDiagram:
    """The mean ranks of a metric's methods across models (Demšar, JMLR 2006).

    Methods that cannot be told apart are joined.

    Attributes:
        bars: one for each group of methods that Nemenyi's test does not tell apart; none where
            nothing was tested.
        critical: the critical difference, drawn above the axis, or None.
        verdict: how many models, how far they agree, and the test's p or why there was none.
    """

    metric: str
    width: float
    height: float
    axis: float
    left: float
    right: float
    ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    bars: tuple[Bar, ...]
    critical: Bar | None
    critical_text: str
    verdict: str


def rank_diagrams(evidence: Evidence) -> list[RankDiagram]:
    """A diagram for each metric that has two models or more."""
    tests = evidence.agreement[evidence.agreement["across"] == "models"].set_index("metric")
    return [
        _ranks(metric, evidence.ranks[evidence.ranks["metric"] == metric], tests.loc[metric])
        for metric in evidence.metrics
        if metric in set(evidence.ranks["metric"])
    ]


def _ranks(metric: str, ranks: pd.DataFrame, test: pd.Series) -> RankDiagram:
    count, row = len(ranks), 24.0
    texts = [name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…" for name in ranks["method"]]
    left = 60 + _CHARACTER * max(map(len, texts))
    right = left + _AXIS

    def at(rank: float) -> float:
        return round(left + (rank - 1) / max(count - 1, 1) * (right - left), 2)

    axis = 62.0 if pd.notna(test["critical_difference"]) else 34.0
    groups = list(_groups(ranks))
    bars = tuple(
        Bar(at(low) - 3, at(high) + 3, axis + 13 + 8 * i) for i, (low, high) in enumerate(groups)
    )
    start = axis + 30 + 8 * len(bars)
    half = -(-count // 2)
    marks = []
    for i, (method, rank) in enumerate(zip(ranks["method"], ranks["mean_rank"], strict=True)):
        line = i if i < half else count - 1 - i
        marks.append(Mark(method, texts[i], float(rank), at(rank), start + row * line, i < half))
    critical = test["critical_difference"]
    return RankDiagram(
        metric, left + right, start + row * (half - 1) + 16, axis, left, right,
        tuple(Tick(at(rank), str(rank)) for rank in range(1, count + 1, -(-count // 15))),
        tuple(marks), bars,
        Bar(at(1), at(1 + critical), 16) if pd.notna(critical) else None,
        f"critical difference {critical:.2f}" if pd.notna(critical) else "",
        f"{judges_text(test)}.",
    )  # fmt: skip


def _groups(ranks: pd.DataFrame) -> Iterator[tuple[float, float]]:
    """Least and greatest mean rank of each group of several methods that share a letter."""
    for letter in sorted(set("".join(ranks["letters"]))):
        mean_ranks = ranks.loc[ranks["letters"].str.contains(letter, regex=False), "mean_rank"]
        if len(mean_ranks) > 1:
            yield float(mean_ranks.min()), float(mean_ranks.max())
