"""Means with intervals: a lane for each method, of scores and of shares of the achievable."""

from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from interpbench.drawing.method_colours import MARKERS
from interpbench.report.scene import Scene, rows_of

_FAINT: dict[str, Any] = {
    "ha": "right",
    "va": "center",
    "fontsize": "x-small",
    "alpha": 0.7,
    "style": "italic",
}
_MARGIN = 0.06  # of the axis of shares, at both ends


@dataclass(frozen=True)
class _Lanes:
    """A metric's panel, and the rows that are drawn in it.

    Attributes:
        panel: where.
        rows: with a column `lane`, from 0 at the top. Methods stand from best to worst by their
            mean over models, and the models of a method below each other around its lane.
        colours: model -> its colour.
        limits: of the axis; None for as long as it takes.
    """

    panel: Axes
    rows: pd.DataFrame
    colours: dict[str, Any]
    limits: tuple[float, float] | None

    @property
    def are_beyond(self) -> pd.Series:
        """Which of the rows lie outside the axis."""
        low, high = self.limits or (-np.inf, np.inf)
        return (self.rows["mean"] < low) | (self.rows["mean"] > high)


def scores_plot(scene: Scene, dataset: str) -> Figure | None:
    """A panel for each metric: the mean of each method and model with its interval.

    None if nothing is scored.
    """
    if scene.ranked(dataset=dataset).empty:
        return None
    figure, lanes_of = _intervals(scene, dataset, rows_of(scene.board, dataset=dataset))
    for metric, lanes in lanes_of.items():
        lanes.panel.set(title=scene.heading(metric), xlabel=scene.tables.metrics[metric].unit)
    scene.suptitle(figure, f"{dataset}: mean and 95 % interval over images")
    return figure


def shares_plot(scene: Scene, dataset: str) -> Figure | None:
    """As the scores, between the floor at 0 and the ceiling at 1.

    More is better, whatever the metric. The axis is as long as the methods need; a control that
    lies beyond is an arrow at its end, with its share. None if no share is known.
    """
    board = rows_of(scene.board, dataset=dataset)
    measured = board.groupby("metric")["share"].transform(lambda share: share.notna().any())
    if not measured.any():
        return None
    board = board[measured].drop(columns=["mean", "low", "high"]).assign(better="higher")
    board = board.rename(columns={"share": "mean", "share_low": "low", "share_high": "high"})
    figure, lanes_of = _intervals(scene, dataset, board, fit=True)
    for metric, lanes in lanes_of.items():
        lanes.panel.set(title=metric, xlabel="0 %: best control\n100 %: greedy search")
        lanes.panel.xaxis.set_major_formatter(PercentFormatter(1))
        for end in (0, 1):
            lanes.panel.axvline(
                end, color=mpl.rcParams["text.color"], linewidth=1, linestyle="--", zorder=1
            )
    scene.suptitle(figure, f"{dataset}: share of the achievable and 95 % interval over images")
    return figure


def _intervals(
    scene: Scene, dataset: str, board: pd.DataFrame, *, fit: bool = False
) -> tuple[Figure, dict[str, _Lanes]]:
    """A panel for each metric of `board`: means with intervals, a lane for each method.

    With `fit`, its axis is as long as methods need.
    """
    metrics, models = scene.metrics(board), sorted(board["model"].unique())
    # Of its ends the one is left out that does not stand out from the ground: yellow, or violet.
    palette = sns.color_palette("viridis", len(models) + 1)
    palette = palette[::-1] if scene.page.dark else palette
    colours = dict(zip(models, palette, strict=False))
    methods = board["method"].unique()
    width = 3.4 + scene.page.character * max(map(len, methods))
    height = 0.9 + len(methods) * (0.16 + 0.1 * len(models))
    figure, panels = scene.panels(len(metrics), min(2, len(metrics)), width, height)
    lanes_of = {}
    for metric, panel in zip(metrics, panels, strict=True):
        rows = _in_lanes(rows_of(board, metric=metric), models)
        lanes = _Lanes(panel, rows, colours, _span(rows) if fit else None)
        lanes_of[metric] = lanes
        _draw(lanes)
        lanes.panel.xaxis.set_major_locator(MaxNLocator(6 if scene.page.columns is None else 3))
    handles, _ = panels[0].get_legend_handles_labels()
    names = [scene.model_label(dataset, model) for model in models]
    across = min(scene.page.columns or 4, len(models))
    figure.legend(handles, names, loc="outside lower center", ncols=across, frameon=False)
    return figure, lanes_of


def _in_lanes(rows: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    cost = rows["mean"].where(rows["better"] == "lower", -rows["mean"])
    means = cost.groupby(rows["method"]).mean().sort_values(kind="stable", na_position="last")
    down = 0.7 * ((rows["model"].map(models.index) + 0.5) / len(models) - 0.5)
    return rows.assign(lane=rows["method"].map(list(means.index).index) + down)


def _draw(lanes: _Lanes) -> None:
    """A model is a colour, a marker and a place in the lanes of methods."""
    panel, rows = lanes.panel, lanes.rows[~lanes.are_beyond]
    at = lanes.rows.groupby("method")["lane"].mean().round().sort_values()
    for lane in range(0, len(at), 2):
        ground = mpl.rcParams["grid.color"]
        panel.axhspan(lane - 0.5, lane + 0.5, color=ground, alpha=0.4, linewidth=0, zorder=0)
    for (model, colour), marker in zip(lanes.colours.items(), cycle(MARKERS), strict=False):
        of_model = rows_of(rows, model=model)
        spread = [
            (of_model["mean"] - of_model["low"]).fillna(0),
            (of_model["high"] - of_model["mean"]).fillna(0),
        ]
        panel.errorbar(
            of_model["mean"], of_model["lane"], xerr=spread, label=model, color=colour,
            marker=marker, linestyle="", markersize=4.5, elinewidth=1.3,
        )  # fmt: skip
        for lane in of_model.loc[of_model["n"] == 0, "lane"]:
            panel.text(
                0.99, lane, f"{model}: no score", transform=panel.get_yaxis_transform(), **_FAINT
            )
    panel.set_yticks(range(len(at)), at.index)
    panel.set_ylim(len(at) - 0.5, -0.5)
    panel.grid(visible=False, axis="y")
    panel.set_xlim(lanes.limits)
    _point_beyond(lanes)


def _span(rows: pd.DataFrame) -> tuple[float, float]:
    """From 0 to 1, to the ends of methods' intervals, and a little more."""
    methods = rows[(rows["role"] == "method") & rows["mean"].notna()]
    ends = [0, 1, *methods[["mean", "low", "high"]].to_numpy().ravel()]
    low, high = np.nanmin(ends), np.nanmax(ends)
    margin = _MARGIN * (high - low)
    return low - margin, high + margin


def _point_beyond(lanes: _Lanes) -> None:
    """An arrow for each row outside the axis, at the end where it is, with its mean."""
    for row in lanes.rows[lanes.are_beyond].itertuples():
        left, colour = row.mean < 0, lanes.colours[row.model]
        lanes.panel.annotate(
            f"{row.mean:.0%}".replace("-", "−"),
            (0 if left else 1, row.lane),
            xycoords=lanes.panel.get_yaxis_transform(),
            xytext=(14 if left else -14, 0),
            textcoords="offset points",
            ha="left" if left else "right",
            va="center",
            fontsize="x-small",
            color=colour,
            arrowprops={"arrowstyle": "->", "color": colour, "shrinkA": 2, "shrinkB": 0},
        )
