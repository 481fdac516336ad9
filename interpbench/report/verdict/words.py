"""Numbers and lists as people read them."""

from collections.abc import Sequence

MINUS = "−"


def number(value: float | None) -> str:
    """A score: three decimals, or as many significant digits where it is large.

    A dash if there is none.
    """
    if value is None or value != value:
        return "–"
    text = f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
    return text.replace("-", MINUS)


def percent(value: float | None) -> str:
    """A share as whole percent; a dash if there is none."""
    return (
        "–"
        if value is None or value != value
        else f"{value:.0%}".replace("-", MINUS).replace("%", "\u202f%")
    )


def count(amount: int, one: str, many: str = "") -> str:
    """An amount with its noun: `1 model`, `3 models`."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def listing(names: Sequence[str], limit: int = 6) -> str:
    """`a, b and c`; of more than `limit` names, the first ones and how many there are besides."""
    shown = (
        list(names)
        if len(names) <= limit
        else [*names[: limit - 1], f"{len(names) - limit + 1} more"]
    )
    return (
        shown[0]
        if len(shown) == 1
        else f"{', '.join(shown[:-1])} and {shown[-1]}"
        if shown
        else "none"
    )


def interval(low: float, high: float) -> str:
    """`[0.091, 0.138]`, or nothing where there is no interval."""
    return "" if low != low or high != high else f"[{number(low)}, {number(high)}]"
