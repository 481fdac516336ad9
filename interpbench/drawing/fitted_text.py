"""Text that fits into its place: names from files, data sets and plugins may be of any length."""

import re
from bisect import bisect
from dataclasses import dataclass
from functools import cache
from typing import Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from interpbench.drawing.style import SMALL

_DPI = 200  # at which letters are measured
_PIECE = re.compile(r"\s|[^\s:,-]*(?:[:-]|,(?!\d))|[^\s:,-]+|,")  # of a text that may be broken


@dataclass(frozen=True)
class Font:
    """Points and weight of a text."""

    size: float = SMALL
    weight: str = "normal"

    def width(self, text: str) -> float:
        """Inches that a line of text takes."""
        font = FontProperties(family=["DejaVu Sans"], size=self.size, weight=self.weight)
        return _renderer().get_text_width_height_descent(text, font, False)[0] / _DPI

    def shorten(self, text: str, inches: float, keep: Literal["start", "end"] = "start") -> str:
        """The text on one line, cut with an ellipsis if it would be wider than so many inches."""
        text = " ".join(text.split())
        if self.width(text) <= inches:
            return text

        def cut(length: int) -> str:
            return f"{text[:length]}…" if keep == "start" else f"…{text[len(text) - length :]}"

        too_long = bisect(range(len(text)), inches, key=lambda length: self.width(cut(length)))
        return cut(max(0, too_long - 1))

    def fold(self, text: str, inches: float, lines: int = 3) -> str:
        """The text on up to so many lines of so many inches.

        Broken at spaces and after colons, commas and dashes.
        """
        folded = [""]
        for piece in _PIECE.findall(" ".join(text.split())):
            if folded[-1] and self.width(folded[-1] + piece.rstrip()) > inches:
                folded.append("")
            folded[-1] = (folded[-1] + piece).lstrip()
        if len(folded) > lines:
            folded = [*folded[: lines - 1], "".join(folded[lines - 1 :])]
        return "\n".join(self.shorten(line, inches) for line in folded)


HEADING = Font(9.6)  # above a picture


@cache
def _renderer() -> RendererAgg:
    return FigureCanvasAgg(Figure(figsize=(1, 1), dpi=_DPI)).get_renderer()
