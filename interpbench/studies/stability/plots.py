"""The pictures: how far settings agree, and which method beats which under how many of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from interpbench.drawing.fitted_text import HEADING, Font
from interpbench.drawing.style import DPI, SMALL, place_axes, style
from interpbench.studies.stability.survey import ALL, DEPENDS, Survey

CELL = 0.3  # inches
HEAD, BAR, GAP = 0.75, 0.9, 0.2  # inches above, to the right, around
WIDEST = 6.0  # inches that the heading takes at least
COLOURS = "vlag_r"


def draw_taus(found: Survey, title: str, path: Path) -> None:
    """Writes a PNG: Kendall's tau of every two settings.

    Grey where its interval reaches 0: they may have nothing in common.
    """
    names = found.settings["setting"].tolist()
    table = pd.DataFrame(np.eye(len(names)), names, names)
    doubtful = pd.DataFrame(False, names, names)
    for row in found.taus.itertuples():
        table.loc[row.setting, row.other] = table.loc[row.other, row.setting] = row.tau
        doubt = row.low <= 0
        doubtful.loc[row.setting, row.other] = doubtful.loc[row.other, row.setting] = doubt
    heading = (
        f"{title}\nKendall's tau of the methods' order under every two settings; "
        "grey: the interval reaches 0"
    )
    texts = table.map(lambda tau: f"{tau:.1f}".replace("-0.0", "0.0"))
    _heat_map(table, texts, heading, path, faint=doubtful)


def draw_conclusions(found: Survey, title: str, path: Path) -> None:
    """Writes a PNG: in how many settings the row's method was shown to be better than the column's.

    The methods stand by their mean place. Grey: some settings show the opposite.
    """
    order = found.means.groupby("method")["place"].mean().sort_values(kind="stable").index
    count = len(found.settings)
    table = pd.DataFrame(np.nan, order, order)
    texts = pd.DataFrame("", order, order)
    depends = pd.DataFrame(False, order, order)
    for row in found.survival[found.survival["scope"] == ALL].itertuples():
        balance = (row.better - row.worse) / count
        table.loc[row.method, row.other], table.loc[row.other, row.method] = balance, -balance
        texts.loc[row.method, row.other] = str(row.better)
        texts.loc[row.other, row.method] = str(row.worse)
        turned = row.verdict == DEPENDS
        depends.loc[row.method, row.other] = depends.loc[row.other, row.method] = turned
    heading = (
        f"{title}\nBy how many of {count} settings the row was shown to be better than the column;"
        "\ngrey: some settings show one way, some the other"
    )
    _heat_map(table, texts, heading, path, faint=depends)


def _heat_map(
    table: pd.DataFrame, texts: pd.DataFrame, heading: str, path: Path, *, faint: pd.DataFrame
) -> None:
    """A square table of -1..1 as colours, with its numbers; `faint` cells are grey."""
    side = CELL * len(table)
    names = GAP + max(Font(SMALL).width(str(name)) for name in table.index)
    width, height = max(names + side + BAR, WIDEST), HEAD + side + names
    with style():
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        panel = place_axes(figure, names, names, side, side)
        bar = place_axes(figure, names + side + GAP, names + side / 2, 0.12, side / 2)
        sns.heatmap(
            table.astype(float), ax=panel, cbar_ax=bar, cmap=COLOURS, vmin=-1, vmax=1, center=0,
            annot=texts, fmt="", annot_kws={"fontsize": SMALL - 1.5}, linewidths=0.5,
            linecolor="white",
        )  # fmt: skip
        ticks = np.arange(len(table)) + 0.5
        panel.set_xticks(ticks, table.columns, rotation=90, fontsize=SMALL)
        panel.set_yticks(ticks, table.index, rotation=0, fontsize=SMALL)
        panel.set(xlabel="", ylabel="")
        panel.tick_params(length=0)
        panel.grid(visible=False)
        bar.tick_params(labelsize=SMALL)
        for down, across in np.argwhere(faint.to_numpy()):
            panel.add_patch(
                Rectangle((across, down), 1, 1, facecolor="0.85", alpha=0.75, linewidth=0)
            )
        first, *rest = heading.split("\n")  # the first names the data, by a path perhaps
        lines = "\n".join([HEADING.shorten(first, width - GAP), *rest])
        figure.text(0.1 / width, 1 - 0.12 / height, lines, va="top", fontsize=HEADING.size)
        figure.savefig(path, dpi=DPI, metadata={"Software": None}, format="png")
