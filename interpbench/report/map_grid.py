"""A grid of image x method: each map over the image that it explains."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from interpbench.drawing.fitted_text import Font
from interpbench.drawing.overlay import DIVERGING, SEQUENTIAL, Look, is_signed, outline
from interpbench.drawing.style import (
    LINE,
    RIGHT,
    SCREEN,
    SMALL,
    WRONG,
    Page,
    place_axes,
)
from interpbench.results.tables import Example

_GAP, _FOOT = 0.06, 0.55  # inches
_CELL, _LEFT, _WIDEST = 1.25, 1.4, 18.0  # on a screen
_SMALLEST, _LEFT_IN_A_PAPER = 0.55, 0.8
_HEAD_LINES = 4


@dataclass(frozen=True)
class _Layout:
    """Where pictures stand, in inches.

    Attributes:
        width: of the figure.
        left: of the first picture, the image; the classes stand there.
        cell: side of a picture.
        blocks: the methods beside each other, with the images before them; blocks stand below each
            other.
    """

    width: float
    left: float
    cell: float
    blocks: list[list[str]]

    @classmethod
    def of(cls, methods: list[str], page: Page) -> "_Layout":
        """On a screen as wide as methods need, up to _WIDEST; in a paper as its columns."""
        widest, left, cell = (
            (_WIDEST, _LEFT, _CELL)
            if page.width is None
            else (page.width, _LEFT_IN_A_PAPER, _SMALLEST)
        )
        fitting = int((widest - left) / (cell + _GAP)) - 1
        count = max(1, -(-len(methods) // fitting))
        size = -(-len(methods) // count)
        blocks = [methods[i * size : (i + 1) * size] for i in range(count)]
        if page.width is None:
            return cls(max(left + (size + 1) * (cell + _GAP) + 0.1, 6.0), left, cell, blocks)
        return cls(page.width, left, min(_CELL, (page.width - left) / (size + 1) - _GAP), blocks)

    def at(self, column: int) -> float:
        """Left of a column of pictures."""
        return self.left + column * (self.cell + _GAP)


@dataclass(frozen=True)
class _Block:
    """Methods beside each other.

    Attributes:
        heads: method -> what stands above its maps, on several lines.
        head: inches that the highest of them takes.
    """

    heads: dict[str, str]
    head: float

    @classmethod
    def of(cls, names: list[str], layout: _Layout, font: Font) -> "_Block":
        heads = {name: font.fold(name, layout.cell + _GAP / 2, _HEAD_LINES) for name in names}
        lines = max([text.count("\n") + 1 for text in heads.values()], default=1)
        return cls(heads, 0.15 + LINE * lines)


@dataclass(frozen=True)
class _Cell:
    """A square for a picture; all lie on one sheet, for axes of its own each would take long.

    Attributes:
        sheet: axes over the whole figure, in inches.
        left, top, side: of the square, in inches.
    """

    sheet: Axes
    left: float
    top: float
    side: float

    def draw(self, pixels: np.ndarray, mask: np.ndarray | None) -> None:
        """An image [H,W,3] as large as fits, in the middle, with its mask's outline."""
        height, width = pixels.shape[:2]
        across, up = self.side * np.array([width, height]) / max(width, height)
        left, top = self.left + (self.side - across) / 2, self.top - (self.side - up) / 2
        extent = (left, left + across, top - up, top)
        self.sheet.imshow(pixels, interpolation="nearest", extent=extent, aspect="auto")
        outline(self.sheet, mask, extent)
        settings = mpl.rcParams
        frame = {"edgecolor": settings["axes.edgecolor"], "linewidth": settings["axes.linewidth"]}
        self.sheet.add_patch(Rectangle((left, top - up), across, up, fill=False, **frame))

    def write(self, x: float, y: float, text: str, **look: Any) -> None:
        """A text at a place in shares of the square, from its lower left corner."""
        at = (self.left + x * self.side, self.top - (1 - y) * self.side)
        self.sheet.text(*at, text, **look)


def map_grid(examples: Sequence[Example], title: str, page: Page = SCREEN) -> Figure:
    """Images by rows, with their true and predicted class; methods by columns.

    Methods stand in the order of their labels, below each other where they are too many for the
    width. Each map is scaled for itself: 1st to 99th percentile, or, where it has both signs,
    symmetric about 0 up to the 99th percentile of its magnitude. The true evidence, where it is
    known, is outlined.
    """
    methods = sorted({name for example in examples for name in example.maps})
    layout = _Layout.of(methods, page)
    font = Font(SMALL if page.width is None else 6.5)
    lines = textwrap.wrap(title, int(10 * layout.width))
    above = 0.2 + 0.18 * len(lines)
    blocks = [_Block.of(names, layout, font) for names in layout.blocks]
    rows = len(examples) * (layout.cell + _GAP)
    height = above + sum(block.head + rows for block in blocks) + _FOOT
    figure = Figure(figsize=(layout.width, height))
    FigureCanvasAgg(figure)
    figure.text(0.5, 1 - 0.1 / height, "\n".join(lines), ha="center", va="top", fontsize="large")
    sheet = place_axes(figure, 0, 0, layout.width, height)
    sheet.set(xlim=(0, layout.width), ylim=(0, height), autoscale_on=False)
    sheet.set_axis_off()
    top = height - above
    for block in blocks:
        _draw(sheet, examples, block, layout, top - block.head, font)
        top -= block.head + rows
    _footer(figure, examples, layout.left if page.width is None else 0.15, font)
    return figure


def _draw(
    sheet: Axes,
    examples: Sequence[Example],
    block: _Block,
    layout: _Layout,
    top: float,
    font: Font,
) -> None:
    """The images with a block's maps, from `top` inches above the figure's bottom downwards."""
    for column, text in enumerate(["image", *block.heads.values()]):
        middle = layout.at(column) + layout.cell / 2
        sheet.text(
            middle, top + 0.04, text, fontsize=font.size, linespacing=1.1, ha="center", va="bottom"
        )
    for row, example in enumerate(examples):
        above = top - row * (layout.cell + _GAP)
        first, *others = (
            _Cell(sheet, layout.at(column), above, layout.cell)
            for column in range(len(block.heads) + 1)
        )
        _image(first, example, layout, font)
        for cell, method in zip(others, block.heads, strict=True):
            _overlay(cell, example, method, font)


def _image(cell: _Cell, example: Example, layout: _Layout, font: Font) -> None:
    cell.draw(example.image, example.mask)
    correct = example.true_class == example.predicted_class
    known = example.true_class != ""
    color, weight = (RIGHT, "normal") if correct or not known else (WRONG, "bold")
    mark = ("✓ " if correct else "✗ ") if known else ""
    room = layout.left - 0.1
    true = font.fold(f"true: {example.true_class or 'unknown'}", room)
    predicted = Font(font.size, weight).fold(f"{mark}predicted: {example.predicted_class}", room)
    middle = 0.5 + LINE / layout.cell / 2 * (true.count("\n") - predicted.count("\n"))
    place: dict[str, Any] = {"ha": "right", "fontsize": font.size, "linespacing": 1.15}
    cell.write(-0.06, middle + 0.02, true, va="bottom", **place)
    cell.write(-0.06, middle - 0.02, predicted, va="top", color=color, weight=weight, **place)


def _overlay(cell: _Cell, example: Example, method: str, font: Font) -> None:
    values = example.maps.get(method)
    if values is None or not np.isfinite(values).all():
        cell.write(0.5, 0.5, "no valid\nmap", ha="center", va="center", fontsize=font.size)
        return
    drawn = Look().overlay(example.image, values, example.image.shape[1])
    cell.draw(drawn, example.mask)


def _footer(figure: Figure, examples: Sequence[Example], left: float, font: Font) -> None:
    """A colour bar for each kind of map that occurs, and what the outline is."""
    kinds = {is_signed(values) for example in examples for values in example.maps.values()}
    for signed, name, ticks in (
        (False, SEQUENTIAL, ["low", "high"]),
        (True, DIVERGING, ["−", "0", "+"]),
    ):
        if signed in kinds:
            bar = place_axes(figure, left, 0.3, 0.55, 0.09)
            mappable = ScalarMappable(cmap=name)
            figure.colorbar(
                mappable, cax=bar, orientation="horizontal", ticks=np.linspace(0, 1, len(ticks))
            )
            bar.set_xticklabels(ticks, fontsize=font.size)
            left += 0.85
    note = "each map scaled for itself"
    if any(example.mask is not None for example in examples):
        note += "\noutline: true evidence"
    up = figure.get_size_inches()[1]
    figure.text(left / figure.get_size_inches()[0], 0.3 / up, note, va="center", fontsize=font.size)
