"""How many images pass through models, forwards and backwards, counted for whoever asks.

Outside of `counting` it costs nothing to speak of.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor


@dataclass
class PassCount:
    """Images that have passed.

    Attributes:
        forwards: through a whole model.
        backwards: for which a gradient has come to a model's logits, and went on from there.
        windows: of which only what a covered window changes was computed.
    """

    forwards: int = 0
    backwards: int = 0
    windows: int = 0


_counted: ContextVar[PassCount | None] = ContextVar("counted passes", default=None)


@contextmanager
def counting() -> Iterator[PassCount]:
    """Counts what passes models inside of the context; whoever counts outside counts it too."""
    count, outside = PassCount(), _counted.get()
    token = _counted.set(count)
    try:
        yield count
    finally:
        _counted.reset(token)
        if outside is not None:
            outside.forwards += count.forwards
            outside.backwards += count.backwards
            outside.windows += count.windows


@contextmanager
def uncounted() -> Iterator[None]:
    """Nobody counts what passes models inside of the context, as what proves a shorter way."""
    token = _counted.set(None)
    try:
        yield
    finally:
        _counted.reset(token)


def count_pass(logits: Tensor) -> None:
    """Images have passed a model, if anyone counts; and will pass it back if a gradient comes.

    Parameters:
        logits: [B,classes] as the model gives them; what stands for them while it is traced does
            not count.
    """
    count = _counted.get()
    if count is None or not isinstance(logits, Tensor):
        return
    images = len(logits)
    count.forwards += images

    def note(gradient: Tensor) -> None:
        count.backwards += images

    if logits.requires_grad:
        logits.register_hook(note)


def count_windows(images: int) -> None:
    """So many images are computed in part, if anyone counts."""
    count = _counted.get()
    if count is not None:
        count.windows += images
