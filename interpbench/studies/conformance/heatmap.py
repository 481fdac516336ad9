"""The deviations as a picture: what is compared by libraries and cases."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from interpbench.drawing.fitted_text import Font
from interpbench.drawing.style import DPI, SMALL, WRONG, place_axes, style
from interpbench.studies.conformance.comparing import DIFFERS, NOT_COMPARABLE, OK, labelled

TOLERANCE = "tolerance"
LEAST, GREATEST = -17, 0  # powers of ten; below is no difference at all
ROW, COLUMN = 0.21, 0.36  # inches of a cell
HEAD, RIGHT, GAP = 0.85, 1.0, 0.2  # inches around the cells, and beyond the names
SLANT = 60  # degrees
HINTED = 1.06  # how much wider small letters are drawn than they are, at most
WIDTH = 6.2  # inches that the heading takes
COLOURS = "mako_r"
SCALES = {"method": "its greatest value", "metric": "what scores can be, or its greatest"}


def draw_heatmap(deviations: pd.DataFrame, path: Path) -> None:
    """Writes a PNG: a row a subject, a column a library's case, the deviation as colour.

    The colours' scale is logarithmic. The last column of each library is the tolerance. Cells
    beyond it have a frame; what cannot be compared is hatched.

    Parameters:
        deviations: of `compare`, one row or more.
        path: the file.
    """
    with style():
        figure = _figure(labelled(deviations), SCALES[deviations.columns[0]])
        figure.savefig(path, dpi=DPI, metadata={"Software": None}, format="png")


def _figure(deviations: pd.DataFrame, scale_of: str) -> Figure:
    subjects = sorted(deviations["subject"].unique())
    cases = list(deviations["case"].unique())
    columns = [
        (lib, c) for lib in sorted(deviations["library"].unique()) for c in [*cases, TOLERANCE]
    ]
    values, texts = _cells(deviations, subjects, columns)
    across, up = COLUMN * len(columns), ROW * len(subjects)
    left = GAP + HINTED * max(Font(SMALL + 0.5).width(subject) for subject in subjects)
    foot = GAP + math.sin(math.radians(SLANT)) * max(
        Font(SMALL).width(name) for name in [*cases, TOLERANCE]
    )
    width, height = max(left + across + RIGHT, WIDTH), HEAD + up + foot
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    panel = place_axes(figure, left, foot, across, up)
    scale = min(max(up, 1.0), 2.5)
    bar = place_axes(figure, left + across + GAP, foot + up - scale, 0.12, scale)
    sns.heatmap(
        values, ax=panel, cbar_ax=bar, cmap=COLOURS, vmin=LEAST, vmax=GREATEST, annot=texts, fmt="",
        annot_kws={"fontsize": SMALL - 1.5}, linewidths=0.5, linecolor="white",
    )  # fmt: skip
    _name(panel, bar, columns, subjects)
    _mark(panel, deviations, subjects, columns)
    figure.text(0.1 / width, 1 - 0.12 / height, _title(deviations, scale_of), va="top")
    return figure


def _title(deviations: pd.DataFrame, scale_of: str) -> str:
    counts = deviations["status"].value_counts()
    counted = ", ".join(
        f"{counts.get(status, 0)} {status}" for status in (OK, DIFFERS, NOT_COMPARABLE)
    )
    return (
        f"Greatest difference to the reference, as a share of {scale_of}, in powers of ten\n"
        f"{counted}; = is no difference at all, hatched: not comparable"
    )


def _cells(
    deviations: pd.DataFrame, subjects: list[str], columns: list[tuple[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Powers of ten, NaN where there is nothing, and what is written into each cell."""
    index = pd.MultiIndex.from_tuples(columns)
    compared = deviations.assign(
        deviation=deviations["deviation"].where(deviations["status"] != NOT_COMPARABLE)
    )
    shown = compared.pivot_table(
        index="subject", columns=["library", "case"], values="deviation", dropna=False
    )
    tolerances = deviations.pivot_table(index="subject", columns="library", values="tolerance")
    for library in tolerances:
        shown[library, TOLERANCE] = tolerances[library]
    shown = shown.reindex(index=subjects, columns=index).astype(float)
    powers = np.log10(shown.clip(lower=10.0**LEAST))
    return powers, powers.map(_power)


def _power(power: float) -> str:
    if np.isnan(power):
        return ""
    return "=" if power <= LEAST else "∞" if np.isinf(power) else f"{math.floor(power)}"


def _name(panel: Axes, bar: Axes, columns: list[tuple[str, str]], subjects: list[str]) -> None:
    labels = [case for _, case in columns]
    panel.set_xticks(
        np.arange(len(columns)) + 0.5, labels, rotation=SLANT, ha="right", fontsize=SMALL
    )
    for tick in panel.get_xticklabels():
        tick.set(
            rotation_mode="anchor", style="italic" if tick.get_text() == TOLERANCE else "normal"
        )
    panel.set_yticks(np.arange(len(subjects)) + 0.5, subjects, fontsize=SMALL + 0.5, rotation=0)
    panel.set(xlabel="", ylabel="")
    panel.tick_params(length=0)
    panel.grid(visible=False)
    libraries = [library for library, _ in columns]
    for library in dict.fromkeys(libraries):
        first, count = libraries.index(library), libraries.count(library)
        panel.text(
            first + count / 2,
            -0.25,
            library,
            ha="center",
            va="bottom",
            fontweight="bold",
            fontsize=SMALL + 1,
        )
        panel.axvline(first, color="0.3", linewidth=1)
    powers = [LEAST, *range(-15, 1, 3 if len(subjects) > 5 else 5)]
    bar.set_yticks(
        powers, ["none", *(f"1e{power}" if power else "1" for power in powers[1:])], fontsize=SMALL
    )


def _mark(
    panel: Axes, deviations: pd.DataFrame, subjects: list[str], columns: list[tuple[str, str]]
) -> None:
    """Frames around the tolerances and what is beyond them.

    Hatching where nothing is compared.
    """
    for row in deviations.itertuples():
        across, down = columns.index((row.library, row.case)), subjects.index(row.subject)
        if row.status == NOT_COMPARABLE:
            panel.add_patch(
                Rectangle(
                    (across, down), 1, 1, facecolor="0.93", edgecolor="0.7", hatch="////", lw=0
                )
            )
        elif row.status == DIFFERS:
            panel.add_patch(
                Rectangle((across, down), 1, 1, fill=False, edgecolor=WRONG, lw=2, zorder=3)
            )
        if row.tolerance == row.tolerance:
            place = columns.index((row.library, TOLERANCE)), down
            panel.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="0.15", lw=0.8, zorder=2))
