"""A grid of image x method: each map over the image that it explains."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from interpbench.drawing.overlay import DIVERGING, SEQUENTIAL, Look, is_signed, outline
from interpbench.drawing.style import LINE, RIGHT, SMALL, WRONG, place_axes, place_picture
from interpbench.results.tables import Example

_CELL, _GAP, _LEFT, _FOOT = 1.25, 0.06, 1.4, 0.55  # inches


def map_grid(examples: Sequence[Example], title: str) -> Figure:
    """Images by rows, with their true and predicted class; methods by columns.

    Methods stand in the order of their labels. Each map is scaled for itself: 1st to 99th
    percentile, or, where it has both signs, symmetric about 0 up to the 99th percentile of its
    magnitude. The true evidence, where it is known, is outlined.
    """
    methods = sorted({name for example in examples for name in example.maps})
    heads = [_wrap(name) for name in methods]
    head = 0.1 + LINE * max([text.count("\n") + 1 for text in heads], default=1)
    width = max(_LEFT + (len(methods) + 1) * (_CELL + _GAP) + 0.1, 6.0)
    lines = textwrap.wrap(title, int(10 * width))
    above = 0.2 + 0.18 * len(lines) + head
    height = above + len(examples) * (_CELL + _GAP) + _FOOT
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.text(0.5, 1 - 0.1 / height, "\n".join(lines), ha="center", va="top", fontsize="large")
    for row, example in enumerate(examples):
        top = height - above - row * (_CELL + _GAP)
        cells = [
            place_picture(figure, _LEFT + column * (_CELL + _GAP), top, _CELL)
            for column in range(len(methods) + 1)
        ]
        _image(cells[0], example)
        for cell, method in zip(cells[1:], methods, strict=True):
            _overlay(cell, example, method)
        if row == 0:
            for cell, text in zip(cells, ["image", *heads], strict=True):
                cell.set_title(text, fontsize=SMALL, fontweight="normal", pad=3, linespacing=1.1)
    _footer(figure, examples)
    return figure


def _wrap(label: str) -> str:
    """The label on lines of at most 20 characters.

    It is broken after the name and between parameters if possible.
    """
    parts = re.split(r"(?<=[:,])", label)
    return "\n".join(line for part in parts for line in textwrap.wrap(part, 20))


def _image(cell: Axes, example: Example) -> None:
    cell.imshow(example.image, interpolation="nearest")
    outline(cell, example.mask)
    correct = example.true_class == example.predicted_class
    known = example.true_class != ""
    true = textwrap.wrap(f"true: {example.true_class or 'unknown'}", 18)
    mark = ("✓ " if correct else "✗ ") if known else ""
    predicted = textwrap.wrap(f"{mark}predicted: {example.predicted_class}", 18)
    middle = 0.5 + LINE / _CELL * (len(true) - len(predicted)) / 2
    place: dict[str, Any] = {
        "transform": cell.transAxes,
        "ha": "right",
        "fontsize": SMALL,
        "linespacing": 1.15,
    }
    cell.text(-0.06, middle + 0.02, "\n".join(true), va="bottom", **place)
    color, weight = (RIGHT, "normal") if correct or not known else (WRONG, "bold")
    cell.text(
        -0.06, middle - 0.02, "\n".join(predicted), va="top", color=color, weight=weight, **place
    )


def _overlay(cell: Axes, example: Example, method: str) -> None:
    values = example.maps.get(method)
    if values is None or not np.isfinite(values).all():
        cell.text(
            0.5,
            0.5,
            "no valid map",
            transform=cell.transAxes,
            ha="center",
            va="center",
            fontsize=SMALL,
        )
        return
    cell.imshow(
        Look().overlay(example.image, values, example.image.shape[1]), interpolation="nearest"
    )
    outline(cell, example.mask)


def _footer(figure: Figure, examples: Sequence[Example]) -> None:
    """A colour bar for each kind of map that occurs, and what the outline is."""
    kinds = {is_signed(values) for example in examples for values in example.maps.values()}
    left = _LEFT
    for signed, name, ticks in (
        (False, SEQUENTIAL, ["low", "high"]),
        (True, DIVERGING, ["−", "0", "+"]),
    ):
        if signed in kinds:
            bar = place_axes(figure, left, 0.3, 1.1, 0.09)
            mappable = ScalarMappable(cmap=name)
            figure.colorbar(
                mappable, cax=bar, orientation="horizontal", ticks=np.linspace(0, 1, len(ticks))
            )
            bar.set_xticklabels(ticks, fontsize=SMALL)
            left += 1.5
    note = "each map scaled for itself"
    if any(example.mask is not None for example in examples):
        note += "\noutline: true evidence"
    up = figure.get_size_inches()[1]
    figure.text(left / figure.get_size_inches()[0], 0.3 / up, note, va="center", fontsize=SMALL)
