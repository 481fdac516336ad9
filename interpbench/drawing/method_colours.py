"""What every picture of a run agrees on, as PNG or on the page: a method's colour and dashes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Seaborn's "colorblind", with pink and yellow, faint on white, last.
PALETTE = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc",
    "#ca9161", "#949494", "#56b4e9", "#fbafe4", "#ece133",
)  # fmt: skip
# In widths of the line.
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.5), (1.5, 1), (6, 1.5, 1.5, 1.5))
MARKERS = "osD^vP*X<>hp"


@dataclass(frozen=True)
class MethodLook:
    """How a method is drawn in every picture."""

    color: Any
    marker: str
    dashes: Any


def method_looks(methods: Sequence[str]) -> dict[str, MethodLook]:
    """A look for each of the methods, for matplotlib."""
    dashes = [(0, lengths) if lengths else "-" for lengths in DASHES]
    return {
        name: MethodLook(
            PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], dashes[i % len(dashes)]
        )
        for i, name in enumerate(methods)
    }
