"""How windows were computed, and why: told to whoever listens."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """How the windows of some images were computed.

    Attributes:
        plain: why whole images went through the model; empty where boxes did.
        cut: the last map of which boxes were computed.
        gain: how many times as long plain passes take, by the model of costs.
        difference: of some windows' outputs to the plain model's, of the greatest logit.
    """

    plain: str = ""
    cut: str | None = None
    gain: float | None = None
    difference: float | None = None


_heard: ContextVar[list[Choice] | None] = ContextVar("heard", default=None)


@contextmanager
def listening() -> Iterator[list[Choice]]:
    """Collects what each call of `occluded_outputs` chooses inside of the context."""
    heard: list[Choice] = []
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


def summarised(choices: Iterable[Choice]) -> list[dict[str, Any]]:
    """The different choices, in the order of their first call: how many calls each, and the greatest difference."""
    found: dict[tuple[str, str | None, float | None], list[Choice]] = {}
    for choice in choices:
        reason = re.sub(r"\d[\d.e+-]*", "#", choice.plain)  # a reason that holds a number is the same reason
        found.setdefault((reason, choice.cut, choice.gain), []).append(choice)
    return [
        {
            **asdict(same[0]),
            "difference": max((choice.difference for choice in same if choice.difference is not None), default=None),
            "calls": len(same),
        }
        for same in found.values()
    ]


def tell(choice: Choice) -> None:
    """Notes a choice, if anyone listens."""
    heard = _heard.get()
    if heard is not None:
        heard.append(choice)
