"""The table as a picture: metrics by what was asked of them, right in blue, wrong in red."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interpbench.drawing.fitted_text import Font
from interpbench.drawing.style import SCREEN, SMALL, Page, place_axes, save, style
from interpbench.studies.judging.degradations import DEGRADATIONS
from interpbench.studies.judging.table import ASKED

ROW, COLUMN, GAP = 0.19, 0.42, 0.16  # inches of a cell, and between groups
HEAD, MARGIN = 0.95, 0.15  # inches above the cells, and around all
SLANT = 50  # degrees
COLOURS = "vlag_r"  # blue for right, red for wrong
PREFERS, AGREES = "prefers ", "agreement "


def draw(table: pd.DataFrame, path: Path, page: Page = SCREEN) -> None:
    """Writes a PNG or SVG, by the file's name: a row a metric that was asked.

    Groups of columns: Kendall's tau of each degradation, the share of images whose right map scores
    better than each wrong one, the correlation with localisation, and meta-consistency. The colour
    is red for the worst and blue for the best value that there can be.

    Parameters:
        table: of `judged_table`.
        path: the file.
        page: where the picture is to stand.
    """
    with style(page):
        save(_figure(table[table["status"] == ASKED]), path)


def _groups(table: pd.DataFrame) -> dict[str, tuple[list[str], float]]:
    """Title -> the columns that there are, and the least value that they can have."""
    groups = {
        "puts degradations in order": ([*DEGRADATIONS], -1.0),
        "prefers the truth to": ([name for name in table if name.startswith(PREFERS)], 0.0),
        "ranks as": ([name for name in table if name.startswith(AGREES)], -1.0),
        "consistent": (["mc"], 0.0),
    }
    there = {
        title: ([name for name in names if name in table], least)
        for title, (names, least) in groups.items()
    }
    return {title: group for title, group in there.items() if group[0]}


def _figure(table: pd.DataFrame) -> Figure:
    groups = _groups(table)
    up = ROW * max(1, len(table))
    names = [_name(column) for columns, _ in groups.values() for column in columns]
    left = 2 * MARGIN + max([Font(SMALL + 0.5).width(metric) for metric in table["metric"]] or [0])
    foot = MARGIN + np.sin(np.radians(SLANT)) * max([Font(SMALL).width(name) for name in names])
    across = sum(COLUMN * len(columns) + GAP for columns, _ in groups.values())
    width, height = left + across + MARGIN, HEAD + up + foot
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    x = left
    for number, (title, (columns, least)) in enumerate(groups.items()):
        panel = place_axes(figure, x, foot, COLUMN * len(columns), up)
        _draw_group(panel, table, columns, least)
        panel.set_yticks([])
        if not number:
            middles = np.arange(len(table)) + 0.5
            panel.set_yticks(middles, table["metric"], fontsize=SMALL + 0.5, rotation=0)
        wrapped = "\n".join(title.split(" ")) if len(columns) < 2 else title
        panel.set_title(wrapped, fontsize=SMALL, fontweight="bold")
        x += COLUMN * len(columns) + GAP
    figure.text(
        MARGIN / width,
        1 - MARGIN / height,
        "Which metric can be believed, where the truth is known?\n"
        "Blue: right, red: wrong; pale: no better than chance; blank: no score.",
        va="top",
        fontsize=SMALL + 1,
    )
    return figure


def _draw_group(panel: Axes, table: pd.DataFrame, columns: list[str], least: float) -> None:
    values = table[columns].astype(float).to_numpy()
    texts = np.where(np.isnan(values), "–", np.char.mod("%.2f", values))
    texts = np.char.replace(np.char.replace(texts, "0.", "."), "-", "−")
    sns.heatmap(
        values, ax=panel, cbar=False, cmap=COLOURS, vmin=least, vmax=1, annot=texts, fmt="",
        annot_kws={"fontsize": SMALL - 1}, linewidths=0.5,
        linecolor=mpl.rcParams["figure.facecolor"],
    )  # fmt: skip
    names = [_name(column) for column in columns]
    panel.set_xticks(np.arange(len(columns)) + 0.5, names, rotation=SLANT, ha="right")
    for tick in panel.get_xticklabels():
        tick.set(rotation_mode="anchor", fontsize=SMALL)
    panel.set(xlabel="", ylabel="")
    panel.tick_params(length=0)
    panel.grid(visible=False)


def _name(column: str) -> str:
    return column.removeprefix(PREFERS).removeprefix(AGREES).replace("mc", "MC")
