"""What the model says as the window moves: maps and a strip on paper, and a film."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from interpbench.drawing.fitted_text import Font
from interpbench.drawing.overlay import enlarged
from interpbench.drawing.style import LINE, SMALL, WRONG, place_axes, place_picture, style
from interpbench.studies.occlusion.sweep import Sweep
from interpbench.studies.pictures.panels import DPI, percent, titled_figure

COLOURS = "viridis"  # of probabilities
LEAST = 0.05  # that the colours span, so that what hardly changes looks like it
CLASSES = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494")
FRAMES = 8  # of the strip
_CELL, _GAP, _FRAME, _FRAME_GAP, _MARGIN = 1.75, 0.75, 0.72, 0.06, 0.1  # inches
_OPACITY = 0.75  # of a map over the grey image
_FONT = Font()
_FILM = 224  # pixels that each of the film's two pictures has, at least
_LINE, _EDGE, _LETTERS = 22, 8, 14  # pixels of a line of text, of margins, of letters
_TIME, _FIRST = 120, 1500  # milliseconds of a frame, and of the first


def draw_strip(found: Sweep, names: Sequence[str], titles: tuple[str, str], path: Path) -> None:
    """Writes a PNG: the image, two maps of the window's places, and a strip of one row of them.

    The maps have the probability of the class that is watched, and the most probable class, as
    figure 7 of Zeiler and Fergus. The strip is the row where the probability falls lowest.

    Parameters:
        found: what the model says.
        names: of its logits.
        titles: a heading, and a line below it.
        path: the file.
    """
    with style():
        figure = _strip(found, names, titles)
        figure.savefig(path, dpi=DPI, metadata={"Software": None}, format="png")


def _strip(found: Sweep, names: Sequence[str], titles: tuple[str, str]) -> Figure:
    columns = _columns(found)
    width = max(3 * (_CELL + _GAP) + 0.6, len(columns) * (_FRAME + _FRAME_GAP))
    others = any(found.predicted[found.lowest[0], c] != found.target[0] for c in columns)
    head, caption = 2.2 * LINE, (2 if others else 1) * LINE + 0.06
    figure, top = titled_figure(width, head + _CELL + 3 * LINE + _FRAME + caption, 0.05, titles)
    watched = names[found.target[0]]
    row = top - head
    cells = [place_picture(figure, _MARGIN + i * (_CELL + _GAP), row, _CELL) for i in range(3)]
    heads = ("image", f"probability of {watched}, window there", "most probable class")
    for cell, text in zip(cells, heads, strict=True):
        folded = _FONT.fold(text, _CELL + 0.3, 2)
        cell.set_title(folded, fontsize=SMALL, fontweight="normal", pad=3, linespacing=1.1)
    cells[0].imshow(found.picture)
    _probabilities(figure, cells[1], found)
    _classes(cells[2], found, names)
    row -= _CELL + 2.6 * LINE
    across, up = figure.get_size_inches()
    text = f"the window on its way through the row where {watched} falls lowest"
    place = _MARGIN / across, (row + 0.05) / up
    figure.text(*place, _FONT.shorten(text, width), fontsize=SMALL, va="bottom")
    for i, column in enumerate(columns):
        cell = place_picture(figure, _MARGIN + i * (_FRAME + _FRAME_GAP), row, _FRAME)
        _frame(cell, found, names, column)
    return figure


def _columns(found: Sweep) -> list[int]:
    """Places of the row with the lowest probability: all, or some at equal distances with it."""
    count, lowest = found.probability.shape[1], found.lowest[1]
    if count <= FRAMES:
        return list(range(count))
    even = np.linspace(0, count - 1, FRAMES).round().astype(int)
    even[np.abs(even - lowest).argmin()] = lowest
    return even.tolist()


def _frame(cell: Axes, found: Sweep, names: Sequence[str], column: int) -> None:
    """The image with the window at a place, and what the model says of it."""
    row = found.lowest[0]
    cell.imshow(found.covered(row, column))
    predicted = int(found.predicted[row, column])
    lines = [(percent(found.probability[row, column]), "black")]
    if predicted != found.target[0]:
        lines.append((_FONT.shorten(names[predicted], _FRAME), WRONG))
    for i, (text, color) in enumerate(lines):
        y = -0.05 - i * LINE / _FRAME
        cell.text(
            0.5, y, text, transform=cell.transAxes, ha="center", va="top", color=color,
            fontsize=SMALL,
        )  # fmt: skip


def _probabilities(figure: Figure, cell: Axes, found: Sweep) -> None:
    norm = _norm(found)
    _cells(cell, found, mpl.colormaps[COLOURS](norm(found.probability))[..., :3])
    x0, y0, width, height = cell.get_position().bounds
    bar = place_axes(figure, 0, 0, 1, 1)
    bar.set_position((x0 + width * 1.03, y0, width * 0.05, height))
    figure.colorbar(ScalarMappable(norm, COLOURS), cax=bar)
    bar.axhline(found.target[1], color="black", linewidth=1.2)  # without the window
    bar.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    bar.tick_params(labelsize=SMALL, length=2, pad=2)


def _norm(found: Sweep) -> Normalize:
    """From the lowest to the highest probability, or over `LEAST` where these are close."""
    values = [*found.probability.ravel().tolist(), found.target[1]]
    low, high = min(values), max(values)
    more = max(0.0, LEAST - (high - low)) / 2
    return Normalize(max(0.0, low - more), min(1.0, high + more))


def _classes(cell: Axes, found: Sweep, names: Sequence[str]) -> None:
    """Each place in the colour of its class; the most frequent are named."""
    counts = Counter(found.predicted.ravel().tolist())
    order = sorted(counts, key=lambda logit: (-counts[logit], logit))
    room = len(CLASSES) - 1
    shade = {logit: CLASSES[min(i, room)] for i, logit in enumerate(order)}
    colours = np.array(
        [[mpl.colors.to_rgb(shade[logit]) for logit in row] for row in found.predicted.tolist()]
    )
    _cells(cell, found, colours)
    labels = [(names[logit], shade[logit]) for logit in order[:room]]
    if len(order) > room:
        labels.append((f"{len(order) - room} more", CLASSES[room]))
    for i, (text, color) in enumerate(labels):
        y = 1 - (i + 0.5) * 1.25 * LINE / _CELL
        shown = _FONT.shorten(text, _GAP + 0.45)
        look: dict[str, Any] = {"transform": cell.transAxes, "fontsize": SMALL, "va": "center"}
        cell.text(1.04, y, "■", color=color, **look)
        cell.text(1.13, y, shown, **look)


def _cells(cell: Axes, found: Sweep, colours: np.ndarray) -> None:
    """A colour [rows,columns,3] for each place, over the grey image, around the window's middle."""
    grey = found.picture @ np.array([0.299, 0.587, 0.114]) / 255
    height, width = grey.shape
    half, step = found.window.side / 2, found.window.stride / 2
    cell.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
    cell.imshow(
        colours,
        extent=(
            found.lefts[0] + half - step,
            found.lefts[-1] + half + step,
            found.tops[-1] + half + step,
            found.tops[0] + half - step,
        ),
        alpha=_OPACITY,
        interpolation="nearest",
    )
    cell.set(xlim=(0, width), ylim=(height, 0))


def write_film(found: Sweep, names: Sequence[str], path: Path) -> None:
    """Writes a GIF that never ends: the window moves, and the map of probabilities fills.

    Below stand the probability of the class that is watched, and the most probable class.
    """
    frames = list(_film(found, names))
    palette = frames[-1].quantize(256, dither=Image.Dither.NONE)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    drawn[0].save(
        path,
        format="gif",
        save_all=True,
        append_images=drawn[1:],
        duration=[_FIRST] + [_TIME] * (len(drawn) - 1),
        loop=0,
        optimize=False,
    )


def _film(found: Sweep, names: Sequence[str]) -> Iterator[Image.Image]:
    height, width = found.picture.shape[:2]
    factor = max(1, -(-_FILM // width))
    across, up = factor * width, factor * height
    font = ImageFont.truetype(findfont("DejaVu Sans"), _LETTERS)
    probability = mpl.colormaps[COLOURS](_norm(found)(found.probability))[..., :3]
    colours = np.round(255 * probability).astype(np.uint8)
    filled = np.full_like(colours, 235)
    size = 2 * across + 3 * _EDGE, up + 2 * _EDGE + 2 * _LINE

    def frame(picture: np.ndarray, lines: Sequence[str]) -> Image.Image:
        page = Image.new("RGB", size, "white")
        page.paste(Image.fromarray(enlarged(picture, factor)), (_EDGE, _EDGE))
        places = Image.fromarray(filled).resize((across, up), Image.Resampling.NEAREST)
        page.paste(places, (2 * _EDGE + across, _EDGE))
        draw = ImageDraw.Draw(page)
        for i, line in enumerate(lines):
            text = _shortened(line, font, size[0] - 2 * _EDGE)
            draw.text((_EDGE, up + 1.5 * _EDGE + i * _LINE), text, "black", font)
        return page

    logit, whole = found.target
    yield frame(found.picture, (f"{names[logit]}: {percent(whole)}", "the whole image"))
    for row, column in np.ndindex(found.probability.shape):
        filled[row, column] = colours[row, column]
        best = int(found.predicted[row, column])
        said = f"{names[logit]}: {percent(float(found.probability[row, column]))}"
        sure = float(found.predicted_probability[row, column])
        most = f"most probable: {names[best]} ({percent(sure)})"
        yield frame(found.covered(row, column), (said, most))


def _shortened(text: str, font: ImageFont.FreeTypeFont, pixels: int) -> str:
    """The text, cut with an ellipsis if it would be wider than so many pixels."""
    if font.getlength(text) <= pixels:
        return text
    cuts = (f"{text[:length]}…" for length in range(len(text) - 1, -1, -1))
    return next(cut for cut in cuts if not cut[:-1] or font.getlength(cut) <= pixels)
