"""How windows were computed, and why, noted for whoever listens."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import repeat


@dataclass(frozen=True)
class Choice:
    """How the windows of some images were computed.

    Attributes:
        plain: why whole images went through the model; empty where boxes did.
        cut: the last map of which boxes were computed.
        gain: how many times as long plain passes take, by the model of costs.
        difference: of a few windows' outputs to the plain model's, of the greatest logit.
    """

    plain: str = ""
    cut: str | None = None
    gain: float | None = None
    difference: float | None = None


_noted: ContextVar[list[Choice] | None] = ContextVar("noted choices", default=None)


@contextmanager
def listening() -> Iterator[list[Choice]]:
    """Collects what each call of `occluded_outputs` chooses inside of the context."""
    choices: list[Choice] = []
    token = _noted.set(choices)
    try:
        yield choices
    finally:
        _noted.reset(token)


def counted(
    choices: Iterable[Choice], calls: Iterable[int] = repeat(1)
) -> list[tuple[Choice, int]]:
    """The different choices in the order of their first call, and how often each was made.

    Each with the greatest difference of those that are alike.

    Parameters:
        choices: what was chosen.
        calls: how often each was made.
    """
    groups: dict[tuple[str, str | None, float | None], list[tuple[Choice, int]]] = {}
    for choice, times in zip(choices, calls, strict=False):
        reason = re.sub(r"\d[\d.e+-]*", "#", choice.plain)  # with another number, the same reason
        groups.setdefault((reason, choice.cut, choice.gain), []).append((choice, times))
    return [
        (_with_greatest_difference([choice for choice, _ in alike]), sum(n for _, n in alike))
        for alike in groups.values()
    ]


def _with_greatest_difference(choices: Sequence[Choice]) -> Choice:
    differences = [choice.difference for choice in choices if choice.difference is not None]
    return replace(choices[0], difference=max(differences, default=None))


def tell(choice: Choice) -> None:
    """Notes a choice, if anyone listens."""
    choices = _noted.get()
    if choices is not None:
        choices.append(choice)
