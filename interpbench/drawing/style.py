"""What every picture looks like: fonts, grids, the colours of right and wrong, places in inches.

For a screen, or for a paper: as wide as its columns, with its letters.
"""

import math
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from interpbench.core.errors import ParameterError

DPI = 150  # of the pictures of a run
SMALL = 7.5  # points of small text
LINE = 0.125  # inches that a line of it takes
_FEW_DECADES = 30  # times the least that the greatest value of an axis is
RIGHT, WRONG = "#00694e", "#b34700"  # predictions


FORMATS = ("png", "pdf", "svg")

_WIDTHS = {1: 3.25, 2: 6.75}  # inches of one column, and of two with the gap between
_TEXT, _HEADING = 7, 8  # points of letters in a paper
_IN_A_PAPER = {
    **dict.fromkeys(("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"), _TEXT),
    **dict.fromkeys(("legend.fontsize", "legend.title_fontsize"), _TEXT),
    **dict.fromkeys(("axes.titlesize", "figure.titlesize"), _HEADING),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    "grid.linewidth": 0.5,
}
# The ground and letters of GitHub's dark pages.
_DARK = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "#0d1117"),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), "#e6edf3"),
    **dict.fromkeys(("xtick.color", "ytick.color", "legend.labelcolor"), "#e6edf3"),
    "axes.edgecolor": "#3d444d",
    "grid.color": "#262c36",
}
# What would be another each time: when a file was made, and by which version of what.
_UNDATED: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}


@dataclass(frozen=True)
class Page:
    """Where pictures are to stand.

    Attributes:
        columns: of a paper, 1 or 2, that a picture is as wide as; None for a screen, where a
            picture is as wide as what is in it.
        dark: light letters and lines on a dark ground.
        outlined: letters of an SVG as outlines, which look the same where a font is missing.

    Raises:
        ParameterError: for another number of columns.
    """

    columns: int | None = None
    dark: bool = False
    outlined: bool = False

    def __post_init__(self) -> None:
        if self.columns not in (None, *_WIDTHS):
            raise ParameterError(f"columns={self.columns}: expected 1 or 2, or none for a screen.")

    @property
    def width(self) -> float | None:
        """Inches that a picture is wide; None for as many as it takes."""
        return None if self.columns is None else _WIDTHS[self.columns]

    @property
    def character(self) -> float:
        """Inches that a character of a label takes."""
        return 0.068 if self.columns is None else 0.054

    @property
    def line(self) -> float:
        """Inches that a line of a legend takes."""
        return 0.18 if self.columns is None else 0.14

    def wrap(self, text: str, inches: float) -> str:
        """A title on as many lines of so many inches as it takes."""
        return textwrap.fill(text, max(10, int(inches / self.character / 1.4)))


SCREEN = Page()


@contextmanager
def style(page: Page = SCREEN) -> Iterator[None]:
    """Matplotlib's settings for our pictures; those of the caller are back afterwards.

    PDFs hold their fonts, as journals want them, and SVGs text as text, unless the page wants
    outlines.
    """
    settings = {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("paper"),
        "grid.color": "0.88",
        "text.parse_math": False,  # a label may hold dollar signs
        "font.family": ["DejaVu Sans"],
        "axes.titleweight": "bold",
        "figure.dpi": DPI,
        "pdf.fonttype": 42,
        "svg.fonttype": "path" if page.outlined else "none",
        "svg.hashsalt": "interpbench",  # else its ids are others each time
        **({} if page.columns is None else _IN_A_PAPER),
        **(_DARK if page.dark else {}),
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save(figure: Figure, path: Path) -> None:
    """The figure as PNG, PDF or SVG, by the file's name; the same bytes each time."""
    figure.savefig(path, dpi=DPI, metadata=_UNDATED[path.suffix])


def logarithmic(panel: Axes, which: Literal["x", "y"]) -> None:
    """Makes an axis logarithmic, with plain numbers: dollar signs are text in our pictures.

    Where it spans less than a decade and a half, 2 and 5 have numbers too.
    """
    (panel.set_xscale if which == "x" else panel.set_yscale)("log")
    axis = panel.xaxis if which == "x" else panel.yaxis

    def between(value: float, _: int) -> str:
        low, high = sorted(axis.get_view_interval())
        first = round(value / 10 ** math.floor(math.log10(value)))
        return f"{value:g}" if high < _FEW_DECADES * low and first in (2, 5) else ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(between))


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
