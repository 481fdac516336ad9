"""A grid of image x method: each map over the image that it explains."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from interpbench.tables import Example

_CELL, _GAP, _LEFT, _FOOT = 1.25, 0.06, 1.4, 0.55  # inches
_LINE = 0.125  # inches a line of small text
_SMALL = 7.5
SEQUENTIAL, DIVERGING = "inferno", "RdBu_r"
_RIGHT, _WRONG = "#00694e", "#b34700"


def map_grid(examples: Sequence[Example], title: str) -> Figure:
    """Images by rows, with their true and predicted class; methods by columns, in the order of their labels.

    Each map is scaled for itself: 1st to 99th percentile, or, where it has both signs, symmetric about 0 up to the 99th
    percentile of its magnitude. The true evidence, where it is known, is outlined.
    """
    methods = sorted({name for example in examples for name in example.maps})
    heads = [_wrap(name) for name in methods]
    head = 0.1 + _LINE * max([text.count("\n") + 1 for text in heads], default=1)
    width = max(_LEFT + (len(methods) + 1) * (_CELL + _GAP) + 0.1, 6.0)
    lines = textwrap.wrap(title, int(10 * width))
    above = 0.2 + 0.18 * len(lines) + head
    height = above + len(examples) * (_CELL + _GAP) + _FOOT
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.text(0.5, 1 - 0.1 / height, "\n".join(lines), ha="center", va="top", fontsize="large")
    for row, example in enumerate(examples):
        top = height - above - row * (_CELL + _GAP)
        cells = [_cell(figure, _LEFT + column * (_CELL + _GAP), top) for column in range(len(methods) + 1)]
        _image(cells[0], example)
        for cell, method in zip(cells[1:], methods, strict=True):
            _overlay(cell, example, method)
        if row == 0:
            for cell, text in zip(cells, ["image", *heads], strict=True):
                cell.set_title(text, fontsize=_SMALL, fontweight="normal", pad=3, linespacing=1.1)
    _footer(figure, examples)
    return figure


def _wrap(label: str) -> str:
    """The label on lines of at most 20 characters, broken after the name and between parameters if possible."""
    parts = re.split(r"(?<=[:,])", label)
    return "\n".join(line for part in parts for line in textwrap.wrap(part, 20))


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _cell(figure: Figure, left: float, top: float) -> Axes:
    cell = _axes(figure, left, top - _CELL, _CELL, _CELL)
    cell.set(xticks=[], yticks=[])
    cell.grid(visible=False)
    return cell


def _image(cell: Axes, example: Example) -> None:
    cell.imshow(example.image, interpolation="nearest")
    _outline(cell, example.mask)
    correct = example.true_class == example.predicted_class
    true = textwrap.wrap(f"true: {example.true_class}", 18)
    predicted = textwrap.wrap(f"{'✓' if correct else '✗'} predicted: {example.predicted_class}", 18)
    middle = 0.5 + _LINE / _CELL * (len(true) - len(predicted)) / 2
    place: dict[str, Any] = {"transform": cell.transAxes, "ha": "right", "fontsize": _SMALL, "linespacing": 1.15}
    cell.text(-0.06, middle + 0.02, "\n".join(true), va="bottom", **place)
    color, weight = (_RIGHT, "normal") if correct else (_WRONG, "bold")
    cell.text(-0.06, middle - 0.02, "\n".join(predicted), va="top", color=color, weight=weight, **place)


def _overlay(cell: Axes, example: Example, method: str) -> None:
    values = example.maps.get(method)
    if values is None or not np.isfinite(values).all():
        cell.text(0.5, 0.5, "no valid map", transform=cell.transAxes, ha="center", va="center", fontsize=_SMALL)
        return
    grey = example.image @ np.array([0.299, 0.587, 0.114]) / 255
    cell.imshow(_blend(grey, values), interpolation="nearest")
    _outline(cell, example.mask)


def levels(values: np.ndarray) -> np.ndarray:
    """A map as it is drawn: in 0..1 from its 1st to its 99th percentile, or, where it has both signs, in -1..1.

    It is then symmetric about 0, up to the 99th percentile of its magnitude.
    """
    if _is_signed(values):
        scale = np.percentile(np.abs(values), 99) or 1.0
        return np.clip(values / scale, -1, 1)
    low, high = np.percentile(values, [1, 99])
    return np.clip((values - low) / ((high - low) or 1.0), 0, 1)


def _is_signed(values: np.ndarray) -> bool:
    return bool(values.min() < 0 < values.max())


def _blend(grey: np.ndarray, values: np.ndarray) -> np.ndarray:
    """RGB [H,W,3] in 0..1: `values` in colours over the image `grey`, the stronger the more opaque."""
    level = levels(values)
    colors = mpl.colormaps[DIVERGING]((level + 1) / 2) if _is_signed(values) else mpl.colormaps[SEQUENTIAL](level)
    alpha = (0.2 + 0.6 * np.abs(level))[..., None]
    return (1 - alpha) * grey[..., None] + alpha * colors[..., :3]


def _outline(cell: Axes, mask: np.ndarray | None) -> None:
    """The mask's border, white on black so that it shows on any ground."""
    if mask is None:
        return
    padded = np.pad(mask, 1).astype(float)  # so that a mask at the image's edge is closed
    rows, columns = (np.arange(size) - 1 for size in padded.shape)
    for color, width in (("black", 1.7), ("white", 0.8)):
        cell.contour(columns, rows, padded, levels=[0.5], colors=color, linewidths=width)
    cell.set(xlim=(-0.5, mask.shape[1] - 0.5), ylim=(mask.shape[0] - 0.5, -0.5))


def _footer(figure: Figure, examples: Sequence[Example]) -> None:
    """A colour bar for each kind of map that occurs, and what the outline is."""
    kinds = {_is_signed(values) for example in examples for values in example.maps.values()}
    left = _LEFT
    for signed, name, ticks in ((False, SEQUENTIAL, ["low", "high"]), (True, DIVERGING, ["−", "0", "+"])):
        if signed in kinds:
            bar = _axes(figure, left, 0.3, 1.1, 0.09)
            mappable = ScalarMappable(cmap=name)
            figure.colorbar(mappable, cax=bar, orientation="horizontal", ticks=np.linspace(0, 1, len(ticks)))
            bar.set_xticklabels(ticks, fontsize=_SMALL)
            left += 1.5
    note = "each map scaled for itself"
    if any(example.mask is not None for example in examples):
        note += "\noutline: true evidence"
    up = figure.get_size_inches()[1]
    figure.text(left / figure.get_size_inches()[0], 0.3 / up, note, va="center", fontsize=_SMALL)
