"""The pictures of a training, and of the search for a learning rate.

A training's are loss, accuracy and learning rate by epoch.
"""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from interpbench.drawing.style import DPI, logarithmic

# The training loss is that of augmented images with smoothed labels; the validation loss is plain.
_PARTS = {"": ("training, augmented", "-"), "validation_": ("validation", "--")}


def draw_training(table: pd.DataFrame, title: str, path: Path) -> None:
    """Writes a PNG with losses, accuracies and the learning rate.

    Parameters:
        table: one row an epoch: epoch, lr, loss, accuracy and, where images are held out,
            validation_loss and validation_accuracy.
        title: of the figure.
        path: where to.
    """
    with mpl.rc_context(sns.axes_style("whitegrid")):
        figure = Figure(figsize=(10, 3.2), layout="constrained", dpi=DPI)
        panels = figure.subplots(1, 3)
        _lines(panels[0], table, "loss")
        _lines(panels[1], table, "accuracy")
        panels[1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panels[2].plot(
            table["epoch"],
            table["lr"],
            color=sns.color_palette("colorblind")[2],
            marker="o",
            markersize=3,
        )
        panels[2].set_ylabel("learning rate at the epoch's end")
        for panel in panels:
            panel.set_xlabel("epoch")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.suptitle(title)
        _save(figure, path)


def draw_lr_search(table: pd.DataFrame, suggestion: float, title: str, path: Path) -> None:
    """Writes a PNG with the smoothed loss over the learning rate, and the rate that is suggested.

    Parameters:
        table: one row a step: lr, loss, smoothed.
        suggestion: the learning rate that is marked.
        title: of the figure.
        path: where to.
    """
    with mpl.rc_context(sns.axes_style("whitegrid")):
        figure = Figure(figsize=(6, 3.6), layout="constrained", dpi=DPI)
        panel = figure.subplots()
        color, mark = sns.color_palette("colorblind")[0], sns.color_palette("colorblind")[1]
        panel.plot(table["lr"], table["loss"], color=color, alpha=0.25, label="of each batch")
        panel.plot(table["lr"], table["smoothed"], color=color, label="smoothed")
        panel.axvline(suggestion, color=mark, linestyle="--", label=f"suggested: {suggestion:.2g}")
        logarithmic(panel, "x")
        # What diverges would hide everything else.
        panel.set_ylim(0, 1.3 * float(table["smoothed"].iloc[0]))
        panel.set_xlabel("learning rate")
        panel.set_ylabel("training loss")
        panel.set_title(title)
        panel.legend()
        _save(figure, path)


def _lines(panel: Axes, table: pd.DataFrame, what: str) -> None:
    """Training and validation in one panel; a lone epoch is a point."""
    for i, (prefix, (label, dashes)) in enumerate(_PARTS.items()):
        if prefix + what in table:
            color = sns.color_palette("colorblind")[i]
            panel.plot(
                table["epoch"],
                table[prefix + what],
                dashes,
                color=color,
                label=label,
                marker="o",
                markersize=3,
            )
    panel.set_ylabel(what)
    panel.legend()


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})
