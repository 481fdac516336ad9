"""The race: who goes on to the next round, with how many images. Numbers in, decisions out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import pandas as pd

FAILED: Final = "failed"
DEAR: Final = "too slow"
WORSE: Final = "worse"
TIME: Final = "not followed up"
Why = Literal["failed", "too slow", "worse", "not followed up"]


@dataclass(frozen=True)
class Dropped:
    """A method that does not go on.

    Attributes:
        method: its label.
        why: it failed; is too slow; was shown to be worse than the leader; or was among the worse
            half when the time did not suffice for all, which shows nothing.
        reason: in words, without a number.
    """

    method: str
    why: Why
    reason: str


@dataclass(frozen=True)
class Next:
    """The next round, if there is one.

    Attributes:
        images: new ones; 0 ends the race.
        dropped: who does not take part in it.
        reason: why the race ends, or fewer images are taken; "" else.
    """

    images: int
    dropped: tuple[Dropped, ...] = ()
    reason: str = ""


def shown_worse(pairs: pd.DataFrame, standing: Sequence[str]) -> list[Dropped]:
    """Those of the methods, best first, that are shown to be worse than the first of them.

    Parameters:
        pairs: of `wins.compared`, controls among them.
    """
    leader = standing[0]
    lost = set(pairs.loc[pairs["better"] == leader, "other"])
    return [
        Dropped(method, WORSE, f"shown to be worse than {leader}")
        for method in standing[1:]
        if method in lost
    ]


def too_dear(seconds: Mapping[str, float], images: int, most: float) -> list[Dropped]:
    """The methods that take longer than `most` seconds for so many images.

    Parameters:
        seconds: method -> of an image, maps and scores.
        images: as many as could tell a method apart at all.
        most: that one method may take.
    """
    return [
        Dropped(method, DEAR, "would take too much of the budget")
        for method, each in seconds.items()
        if each * images > most
    ]


@dataclass(frozen=True)
class Means:
    """What there is for the next round.

    Attributes:
        seconds: until the race must have ended.
        once: that a round takes whatever it has.
        controls: all together, an image.
        each: method -> seconds an image.
    """

    seconds: float
    once: float
    controls: float
    each: Mapping[str, float] = field(default_factory=dict)

    def needed(self, methods: Sequence[str], images: int) -> float:
        """Seconds for a round of methods, with the controls."""
        return self.once + images * (self.controls + sum(self.each[name] for name in methods))


def next_round(
    standing: Sequence[str], images: int, means: Means, finalists: int, least: int
) -> Next:
    """Who goes on, and with how many new images, so that it ends in time.

    While it does not, the slowest of the worse half is left behind, down to `finalists`: what is
    cheap is followed up for longer. Then images are fewer, down to `least`; then the race is over.

    Parameters:
        standing: those that are still in it, best first.
        images: that there should be, and that there are.
        means: the time that is left, and what a round takes.
    """
    if not images:
        return Next(0, reason="all images were used")
    going, behind = list(standing), dict[str, Dropped]()
    while len(going) > finalists and means.needed(going, images) > means.seconds:
        half = going[max(finalists, (len(going) + 1) // 2) :]
        slowest = max(reversed(half), key=lambda name: means.each[name])
        behind[slowest] = Dropped(slowest, TIME, "among the worse half when time ran short")
        going.remove(slowest)
    each = means.needed(going, 1) - means.once
    affordable = images if not each else min(images, int((means.seconds - means.once) / each))
    if affordable < min(images, least):
        return Next(0, reason="its share of the budget was spent")
    fewer = "as many images as there was time for" if affordable < images else ""
    return Next(affordable, tuple(behind.values()), fewer)
