"""Panels of explained images, and pages of a gallery. Needs no torch.

Every map lies over the grey image that it explains, and is scaled for itself as in the pictures of
a run. Images are drawn in their own pixels, maps smoothly.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from interpbench.drawing.fitted_text import Font
from interpbench.drawing.overlay import Look, enlarged, outline
from interpbench.drawing.style import LINE, RIGHT, SMALL, WRONG, place_axes, place_picture, style

DPI = 200
_MARGIN, _FOOT = 0.1, 0.5  # inches
_PANEL_CELL, _PANEL_GAP, _PANEL_COLUMNS = 1.3, 0.1, 5
_PAGE_CELL, _PAGE_GAP, _PAGE_NAME, _BETWEEN = 0.8, 0.05, 1.55, 0.12  # the last between methods
_BAR, _BAR_OF_TARGET = "#9db8cf", "#0173b2"
_FAINT = "0.4"
_PLAIN, _BOLD, _ID, _TITLE = Font(), Font(weight="bold"), Font(5.5), Font(10)

Map = np.ndarray | None  # float [H,W], or None where the method failed


@dataclass(frozen=True, eq=False)
class Panel:
    """An explained image.

    Attributes:
        name: of the image.
        image: uint8 [H,W,3].
        predictions: class and probability, the most probable first.
        target: the class that is explained.
        maps: method label -> its map.
    """

    name: str
    image: np.ndarray
    predictions: Sequence[tuple[str, float]]
    target: str
    maps: Mapping[str, Map]


@dataclass(frozen=True, eq=False)
class Row:
    """A sample of a gallery.

    Attributes:
        sample_id: of the sample.
        image: uint8 [H,W,3].
        mask: bool [H,W], the true evidence, or None.
        true, predicted: class and the probability that the model gives it.
        maps: method label -> its maps for the predicted and for the true class; the second is None,
            and not drawn, where they are the same class.
    """

    sample_id: str
    image: np.ndarray
    mask: np.ndarray | None
    true: tuple[str, float]
    predicted: tuple[str, float]
    maps: Mapping[str, tuple[Map, Map]]

    @property
    def correct(self) -> bool:
        """Whether the model is right."""
        return self.true[0] == self.predicted[0]


def draw_panel(panel: Panel, subtitle: str, looks: Sequence[Look], path: Path) -> None:
    """Writes a PNG: the image, its predictions, and each method's map, in rows of up to five.

    With several looks, which differ in their opacity, each method has a row of its own with its map
    in each of them.
    """
    with style():
        figure = _panel(panel, subtitle, looks)
        figure.savefig(path, dpi=DPI, metadata={"Software": None}, format="png")


def draw_page(
    rows: Sequence[Row], methods: Sequence[str], titles: tuple[str, str], look: Look, path: Path
) -> None:
    """Writes a PNG of a gallery: samples by rows, maps by columns.

    Each method has a map for the predicted and one for the true class.

    Parameters:
        rows: the samples.
        methods: labels of the methods to draw.
        titles: a heading, and a line below it.
        look: how maps are drawn.
        path: the file.
    """
    with style():
        figure = _page(rows, methods, titles, look)
        figure.savefig(path, dpi=DPI, metadata={"Software": None}, format="png")


def titled_figure(
    width: float, height: float, foot: float, titles: tuple[str, str]
) -> tuple[Figure, float]:
    """A figure for content of that size, with a heading and a line; the content's top.

    The content stands above a foot. All is in inches.
    """
    width = max(width, 4.5)
    lines = [_TITLE.fold(titles[0], width, 2), _PLAIN.fold(titles[1], width)]
    heights = [0.165 * (lines[0].count("\n") + 1), LINE * (lines[1].count("\n") + 1)]
    above = _MARGIN + sum(heights) + 0.14
    figure = Figure(figsize=(width + 2 * _MARGIN, above + height + foot))
    FigureCanvasAgg(figure)
    across, up = figure.get_size_inches()
    y = up - _MARGIN
    for text, size, color, used in zip(lines, (10, SMALL), ("black", _FAINT), heights, strict=True):
        figure.text(
            _MARGIN / across, y / up, text, va="top", fontsize=size, color=color, linespacing=1.15
        )
        y -= used + 0.04
    return figure, up - above


def _panel(panel: Panel, subtitle: str, looks: Sequence[Look]) -> Figure:
    cells = _cells(panel, looks)
    heads = [_PLAIN.fold(cell.head, _PANEL_CELL) for cell in cells]
    last = max(cell.row for cell in cells)
    columns = 1 + max(cell.column for cell in cells)
    step = _PANEL_CELL + _PANEL_GAP
    # Where each row of cells ends, below its heads.
    ends = list(
        itertools.accumulate(
            step + _head([text for cell, text in zip(cells, heads, strict=True) if cell.row == row])
            for row in range(last + 1)
        )
    )
    figure, top = titled_figure(
        columns * step - _PANEL_GAP, ends[-1], _FOOT, (panel.name, subtitle)
    )
    for place, text in zip(cells, heads, strict=True):
        line = top - ends[place.row] + step
        cell = place_picture(figure, _MARGIN + place.column * step, line, _PANEL_CELL)
        cell.set_title(text, fontsize=SMALL, fontweight="normal", pad=3, linespacing=1.1)
        place.draw(cell)
    _legend(figure, _MARGIN, list(panel.maps.values()), looks[0], "each map scaled for itself")
    return figure


@dataclass(frozen=True, eq=False)
class _Cell:
    """A picture of a panel, and where it stands."""

    row: int
    column: int
    head: str
    draw: Callable[[Axes], None]


def _cells(panel: Panel, looks: Sequence[Look]) -> list[_Cell]:
    drawn: list[tuple[str, Callable[[Axes], None]]] = [
        ("image", lambda cell: _picture(cell, panel.image, panel.image / 255)),
        ("predictions", lambda cell: _predictions(cell, panel)),
    ]
    for label, values in panel.maps.items():
        for look in looks:
            head = label if len(looks) == 1 else f"{label}, alpha\N{NO-BREAK SPACE}{look.alpha:g}"
            drawn.append((head, partial(_map, image=panel.image, values=values, look=look)))
    if len(looks) == 1:
        columns = -(-len(drawn) // -(-len(drawn) // _PANEL_COLUMNS))
        places = [divmod(i, columns) for i in range(len(drawn))]
    else:  # a row a method, beside the image and its predictions
        places = [
            (0, 0),
            (0, 1),
            *((i, 2 + j) for i in range(len(panel.maps)) for j in range(len(looks))),
        ]
    return [_Cell(*place, *what) for place, what in zip(places, drawn, strict=True)]


def _head(texts: Sequence[str]) -> float:
    """Inches that folded texts take above their cells."""
    return 0.05 + LINE * (1 + max(text.count("\n") for text in texts))


def _page(
    rows: Sequence[Row], methods: Sequence[str], titles: tuple[str, str], look: Look
) -> Figure:
    pairs = any(not row.correct for row in rows)
    step = _PAGE_CELL + _PAGE_GAP
    span = 2 * step - _PAGE_GAP if pairs else _PAGE_CELL  # of a method
    captions = [_caption(row) for row in rows]
    names = 0.15 + max(font.width(line) for caption in captions for line, font, _ in caption)
    heads = [_PLAIN.fold(label, span) for label in methods]
    subhead = 1.1 * LINE if pairs else 0
    head = _head(heads) + subhead
    lefts = [_MARGIN + names + step + _BETWEEN + i * (span + _BETWEEN) for i in range(len(methods))]
    figure, top = titled_figure(lefts[-1] + span - _MARGIN, head + len(rows) * step, _FOOT, titles)
    across, up = figure.get_size_inches()
    for left, text in zip(lefts, heads, strict=True):
        place = ((left + span / 2) / across, (top - head + 0.04 + subhead) / up)
        figure.text(*place, text, ha="center", va="bottom", fontsize=SMALL)
    for i, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        line = top - head - i * step
        cell = place_picture(figure, _MARGIN + names, line, _PAGE_CELL)
        _picture(cell, row.image, row.image / 255)
        outline(cell, row.mask)
        _write_caption(cell, caption)
        for left, method in zip(lefts, methods, strict=True):
            cells = [
                place_picture(figure, left + k * step, line, _PAGE_CELL)
                for k in range(2 if pairs else 1)
            ]
            _row_maps(cells, row, method, look, headed=i == 0)
    drawn = [values for row in rows for method in methods for values in row.maps[method]]
    evidence = "\noutline: true evidence" if any(row.mask is not None for row in rows) else ""
    _legend(figure, _MARGIN, drawn, look, f"each map scaled for itself{evidence}")
    return figure


def _row_maps(cells: Sequence[Axes], row: Row, method: str, look: Look, headed: bool) -> None:
    """A method's map for the predicted class, and beside it that for the true class."""
    for cell, values, text in zip(cells, row.maps[method], ("predicted", "true"), strict=False):
        if headed and len(cells) == 2:
            cell.set_title(text, fontsize=SMALL, fontweight="normal", color=_FAINT, pad=2)
        if text == "true" and row.correct:
            cell.set_axis_off()
            _note(cell, "the same")
        else:
            _map(cell, row.image, values, look, row.mask)


def _caption(row: Row) -> list[tuple[str, Font, str]]:
    """Lines of text, each with its font and colour.

    The true and the predicted class, the probabilities, the sample's id.
    """

    def named(
        what: str, name: str, probability: float, font: Font, color: str
    ) -> list[tuple[str, Font, str]]:
        chance = f"({percent(probability)})"
        name = f"{font.shorten(name, _PAGE_NAME - font.width(f' {chance}'))} {chance}"
        lines = [f"{what} {name}"] if font.width(f"{what} {name}") <= _PAGE_NAME else [what, name]
        return [(line, font, color) for line in lines]

    if row.correct:
        lines = named("✓", *row.true, _PLAIN, RIGHT)
    else:
        lines = named("true:", *row.true, _PLAIN, "0.15") + named(
            "✗ predicted:", *row.predicted, _BOLD, WRONG
        )
    return [*lines, (_ID.shorten(row.sample_id, _PAGE_NAME, "end"), _ID, _FAINT)]


def _write_caption(cell: Axes, lines: Sequence[tuple[str, Font, str]]) -> None:
    """Left of a cell, in the middle of its height."""
    for i, (line, font, color) in enumerate(lines):
        y = 0.5 + ((len(lines) - 1) / 2 - i) * LINE / _PAGE_CELL
        look: dict[str, Any] = {"fontsize": font.size, "weight": font.weight, "color": color}
        cell.text(-0.07, y, line, transform=cell.transAxes, ha="right", va="center", **look)


def _picture(cell: Axes, image: np.ndarray, colours: np.ndarray) -> None:
    """Draws `colours` in the coordinates of the pixels of `image`."""
    height, width = image.shape[:2]
    factor = max(1, math.ceil(_pixels(cell) / colours.shape[1]))
    cell.imshow(
        enlarged(colours, factor),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="antialiased",
    )


def _map(
    cell: Axes, image: np.ndarray, values: Map, look: Look, mask: np.ndarray | None = None
) -> None:
    if values is None:
        _note(cell, "failed")
    elif not np.isfinite(values).all():
        _note(cell, "NaN or infinite")
    elif values.min() == values.max():
        _note(cell, "constant map")
    else:
        _picture(cell, image, look.overlay(image, values, _pixels(cell)))
        outline(cell, mask)


def _note(cell: Axes, text: str) -> None:
    cell.text(
        0.5,
        0.5,
        text,
        transform=cell.transAxes,
        ha="center",
        va="center",
        fontsize=SMALL,
        color=_FAINT,
        style="italic",
    )


def _pixels(cell: Axes) -> int:
    """How many pixels wide a cell will be in the file."""
    figure = cell.get_figure(root=True)
    assert figure is not None
    return math.ceil(cell.get_position().width * figure.get_figwidth() * DPI)


def _predictions(cell: Axes, panel: Panel) -> None:
    """A bar for each class, below its name; that of the target stands out."""
    cell.set_axis_off()
    cell.set(xlim=(0, 1), ylim=(len(panel.predictions), 0))
    for i, (name, probability) in enumerate(panel.predictions):
        is_target = name == panel.target
        font = _BOLD if is_target else _PLAIN
        look: dict[str, Any] = {"fontsize": font.size, "weight": font.weight}
        cell.text(0, i + 0.5, font.shorten(name, _PANEL_CELL), va="bottom", **look)
        cell.barh(i + 0.72, 0.7, height=0.26, left=0, color="0.93", linewidth=0)
        cell.barh(
            i + 0.72,
            0.7 * probability,
            height=0.26,
            left=0,
            color=_BAR_OF_TARGET if is_target else _BAR,
            linewidth=0,
        )
        cell.text(1, i + 0.72, percent(probability), va="center", ha="right", **look)


def percent(probability: float) -> str:
    """A probability for people: `93%`, and nothing that looks certain or impossible but is not."""
    if 0 < probability < 0.01:
        return "<1%"
    if 0.99 < probability < 1:
        return ">99%"
    return f"{probability:.0%}"


def _legend(figure: Figure, left: float, maps: Sequence[Map], look: Look, note: str) -> None:
    """At the foot: a colour bar for each kind of map that occurs, and a note."""
    kinds = {
        look.diverges(values) for values in maps if values is not None and np.isfinite(values).all()
    }
    width = 1.1
    for diverging in sorted(kinds):
        ticks = ["−", "0", "+"] if diverging else ["low", "high"]
        bar = place_axes(figure, left + 0.1, 0.3, width, 0.08)
        mappable = ScalarMappable(cmap=look.colours(diverging))
        figure.colorbar(
            mappable, cax=bar, orientation="horizontal", ticks=np.linspace(0, 1, len(ticks))
        )
        bar.set_xticklabels(ticks, fontsize=SMALL)
        bar.tick_params(length=2, pad=2)
        left += width + 0.4
    across, up = figure.get_size_inches()
    figure.text(left / across, 0.3 / up, note, va="center", fontsize=SMALL)
