"""A plan's images cut into blocks: the unit of work, of resume and of loss.

A block is a fixed run of the plan's images, a whole number of batches of them. So the batches are
the same wherever a block is computed, and with them the last bits of all numbers. An image that
cannot be read leaves its block shorter and moves nothing in the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Block:
    """Some of a plan's images, by their places in it.

    Attributes:
        number: among the blocks of its plan and model, from 0.
        count: how many there are.
        first, last: places in the plan, `last` not among them.
    """

    number: int
    count: int
    first: int
    last: int

    def of(self, indices: list[int]) -> list[int]:
        """Which of the data set's samples these are.

        Parameters:
            indices: the plan's.
        """
        return indices[self.first : self.last]

    def has_look(self, looks: Sequence[int]) -> bool:
        """Whether one of some numbers of images, counted from the plan's first, ends within it."""
        return any(self.first < look <= self.last for look in looks)


def block_size(batch_size: int, about: int) -> int:
    """Images a block: as many batches as come nearest to so many images, one at least."""
    return batch_size * max(1, round(about / batch_size))


def blocks(images: int, size: int) -> list[Block]:
    """All the blocks of a plan.

    Parameters:
        images: of the plan.
        size: images a block; the last has what is left.
    """
    firsts = range(0, images, size)
    return [
        Block(number, len(firsts), first, min(first + size, images))
        for number, first in enumerate(firsts)
    ]
