"""Images of units side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from interpbench.drawing.fitted_text import Font
from interpbench.drawing.style import LINE, SMALL, place_picture, style
from interpbench.studies.pictures.panels import DPI, titled_figure
from interpbench.studies.visualisation.ascent import Climbed

COLUMNS = 5
_CELL, _GAP, _FOOT = 1.6, 0.12, 0.1  # inches
_FONT = Font()


def draw_grid(found: Sequence[Climbed], titles: tuple[str, str], path: Path) -> None:
    """Writes a PNG: each unit's image, its name, and what it says of it.

    Parameters:
        found: of one size.
        titles: a heading, and a line below it.
        path: the file.
    """
    with style():
        figure = _grid(found, titles)
        figure.savefig(path, dpi=DPI, metadata={"Software": None}, format="png")


def write_image(image: np.ndarray, path: Path) -> None:
    """Writes a PNG of an image [H,W,C] in 0..1, of 1 or 3 channels."""
    pixels = np.round(255 * image).astype(np.uint8)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path, format="png")


def _grid(found: Sequence[Climbed], titles: tuple[str, str]) -> Figure:
    columns = min(COLUMNS, len(found))
    heads = [
        "\n".join((_FONT.fold(each.unit.name, _CELL, 2), f"{each.reached:.4g}")) for each in found
    ]
    rows = [heads[i : i + columns] for i in range(0, len(heads), columns)]
    above = [0.05 + LINE * (1 + max(text.count("\n") for text in row)) for row in rows]
    step = _CELL + _GAP
    figure, top = titled_figure(columns * step - _GAP, sum(above) + len(rows) * step, _FOOT, titles)
    for i, (each, head) in enumerate(zip(found, heads, strict=True)):
        row, column = divmod(i, columns)
        line = top - sum(above[: row + 1]) - row * step
        cell = place_picture(figure, 0.1 + column * step, line, _CELL)
        cell.set_title(head, fontsize=SMALL, fontweight="normal", pad=3, linespacing=1.1)
        shown = each.image.repeat(3, axis=2) if each.image.shape[2] == 1 else each.image
        cell.imshow(shown, interpolation="antialiased")
        for side in cell.spines.values():
            side.set_visible(False)
    return figure
