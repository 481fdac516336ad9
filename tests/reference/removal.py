"""The best order in which to remove patches, found by looking at every set of them; and by looking at every order."""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import chain, combinations, permutations

Subset = frozenset[int]


def subsets(patches: int) -> list[Subset]:
    """All 2^P of them, the small ones first."""
    sizes = range(patches + 1)
    return [
        frozenset(c)
        for c in chain.from_iterable(combinations(range(patches), size) for size in sizes)
    ]


def area(values: Mapping[Subset, float], order: tuple[int, ...]) -> float:
    """The area under the curve along an order, by the trapezoid rule; `values` is the output for each set removed."""
    curve = [values[frozenset(order[:k])] for k in range(len(order) + 1)]
    return (sum(curve) - curve[0] / 2 - curve[-1] / 2) / len(order)


def best_area(values: Mapping[Subset, float], better: Callable[..., float]) -> float:
    """The best area of any order, by dynamic programming over the subsets: `better` is min or max.

    The best way to have removed a set ends with one of its patches; before it the rest was removed in the best way.
    """
    everything = max(values, key=len)

    @cache
    def summed(removed: Subset) -> float:
        if not removed:
            return values[removed] / 2
        own = values[removed] / (2 if removed == everything else 1)
        return own + better(summed(removed - {last}) for last in removed)

    return summed(everything) / len(everything)


def best_area_of_all_orders(values: Mapping[Subset, float], better: Callable[..., float]) -> float:
    """The same by brute force."""
    return better(area(values, order) for order in permutations(max(values, key=len)))
