"""What every PNG looks like: fonts, grids, the colours of right and wrong, places in inches."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DPI = 150  # of the pictures of a run
SMALL = 7.5  # points of small text
LINE = 0.125  # inches that a line of it takes
RIGHT, WRONG = "#00694e", "#b34700"  # predictions


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for our pictures; those of the caller are back afterwards."""
    settings = {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("paper"),
        "grid.color": "0.88",
        "text.parse_math": False,  # a label may hold dollar signs
        "font.family": ["DejaVu Sans"],
        "axes.titleweight": "bold",
        "figure.dpi": DPI,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def place_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def place_picture(figure: Figure, left: float, top: float, side: float) -> Axes:
    """Square axes without ticks, for a picture, below and right of a place given in inches."""
    cell = place_axes(figure, left, top - side, side, side)
    cell.set(xticks=[], yticks=[])
    cell.grid(visible=False)
    return cell
