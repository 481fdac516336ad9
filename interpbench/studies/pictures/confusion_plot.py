"""The confusion matrix, as a picture and as a table."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from interpbench.drawing.fitted_text import Font
from interpbench.drawing.style import SMALL, place_axes, style
from interpbench.studies.pictures.panels import DPI, titled_figure

ANNOTATED = 20  # classes; above, the cells are too small for numbers
OTHER = "another class"
_COLOURS = "Blues"
_NORM = PowerNorm(0.5, 0, 100)  # so that rare mistakes can be seen beside the many that are right
_NAME = 1.35  # inches that a class name may take
_TICKS = 40  # names along a side, at most


def row_percentages(counts: np.ndarray) -> np.ndarray:
    """Each row of counts [K,L] as percentages of its sum; NaN for a class without images."""
    sums = counts.sum(axis=1, keepdims=True).astype(float)
    return 100 * counts / np.where(sums == 0, np.nan, sums)


def confusion_table(counts: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """A row a true class: its images, how many are predicted as each class, percentages.

    Parameters:
        counts: int [K,K], or [K,K+1] where the last column holds predictions that are none of the
            classes.
        classes: K names.
    """
    names = [*classes, OTHER][: counts.shape[1]]
    columns = [
        "true",
        "images",
        *(f"predicted: {n}" for n in names),
        *(f"percent: {n}" for n in names),
    ]
    percentages = row_percentages(counts)
    rows = [
        [name, int(line.sum()), *line.tolist(), *shares.tolist()]
        for name, line, shares in zip(classes, counts, percentages, strict=True)
    ]
    return pd.DataFrame(rows, columns=columns)


def draw_confusion(counts: np.ndarray, classes: Sequence[str], title: str, path: Path) -> None:
    """Writes a PNG: rows the true class, columns the predicted one.

    The colour is the percentage of the row. Up to 20 classes each cell says its count and
    percentage; above, it has its colour only.

    Parameters:
        counts: as for `confusion_table`.
        classes: K names.
        title: the heading.
        path: the file.
    """
    with style():
        figure = _confusion(counts, [*classes, OTHER][: counts.shape[1]], title)
        figure.savefig(path, dpi=DPI, metadata={"Software": None}, format="png")


def _confusion(counts: np.ndarray, names: Sequence[str], title: str) -> Figure:
    rows, columns = counts.shape
    annotated = rows <= ANNOTATED
    cell = 0.46 if rows <= 12 else 0.36 if annotated else 5.2 / rows
    font = Font(SMALL)
    labels = [font.shorten(name, _NAME) for name in names]
    name = max(map(font.width, labels))
    angle = 60 if annotated else 90  # of the names below
    left, foot, head = name + 0.45, name * math.sin(math.radians(angle)) + 0.45, 0.12
    across, up = columns * cell, rows * cell
    note = (
        "colour: share of the row, by its square root"
        if not annotated
        else "number of images, and share of the row; colour by its square root"
    )
    figure, top = titled_figure(left + across + 0.75, up + head, foot, (title, note))
    top -= head
    panel = place_axes(figure, left, top - up, across, up)
    percentages = row_percentages(counts)
    panel.imshow(percentages, cmap=_COLOURS, norm=_NORM, interpolation="nearest", aspect="auto")
    _name_axes(panel, labels, rows, angle)
    if annotated:
        _annotate(panel, counts, percentages, 6.5 if rows <= 12 else 5.5)
    bar = place_axes(figure, left + across + 0.15, top - up, 0.1, min(up, 2.5))
    ticks = [0, 1, 5, 10, 25, 50, 100] if up > 2 else [0, 10, 100]
    figure.colorbar(ScalarMappable(_NORM, _COLOURS), cax=bar, ticks=ticks)
    bar.set_yticklabels([f"{tick}%" for tick in ticks], fontsize=SMALL)
    bar.set_title("of row", fontsize=SMALL, fontweight="normal", pad=4, loc="left")
    return figure


def _name_axes(panel: Axes, labels: Sequence[str], rows: int, angle: float) -> None:
    spacing = -(-len(labels) // _TICKS)
    panel.set_xticks(
        range(0, len(labels), spacing),
        labels[::spacing],
        fontsize=SMALL,
        rotation=angle,
        ha="right",
    )
    for tick in panel.get_xticklabels():
        tick.set(rotation_mode="anchor", va="center" if angle == 90 else "baseline")
    panel.set_yticks(range(0, rows, spacing), labels[:rows:spacing], fontsize=SMALL)
    panel.tick_params(length=0, pad=3)
    panel.grid(visible=False)
    panel.set_xlabel("predicted class", fontsize=SMALL + 1)
    panel.set_ylabel("true class", fontsize=SMALL + 1)


def _annotate(panel: Axes, counts: np.ndarray, percentages: np.ndarray, size: float) -> None:
    """Count and percentage in each cell that is not empty, dark on light and light on dark."""
    for (row, column), count in np.ndenumerate(counts):
        if count:
            share = percentages[row, column]
            color = "white" if np.mean(colormaps[_COLOURS](_NORM(share))[:3]) < 0.55 else "0.15"
            panel.text(
                column, row - 0.02, f"{count}", ha="center", va="bottom", fontsize=size, color=color
            )
            text = "<1%" if share < 0.5 else f"{share:.0f}%"
            panel.text(
                column, row + 0.04, text, ha="center", va="top", fontsize=size - 1.5, color=color
            )
