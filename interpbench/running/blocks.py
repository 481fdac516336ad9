"""A plan's images cut into blocks: the unit of work, of resume and of loss.

A block is a fixed run of the plan's images, a whole number of batches of them. So the batches are
the same wherever a block is computed, and with them the last bits of all numbers. An image that
cannot be read leaves its block shorter and moves nothing in the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interpbench.core.errors import ParameterError
from interpbench.core.text import shown, whole_number


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


@dataclass(frozen=True)
class Shard:
    """One of several parts of a run's blocks, which take turns.

    Attributes:
        number: which, from 1.
        count: how many there are.
    """

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> "Shard":
        """`2/8`, the second of eight.

        Raises:
            ParameterError: if it is not like that.
        """
        number, count = (whole_number(part) for part in (f"{text}/".split("/", 2)[:2]))
        if not number or not count or number > count or text.count("/") != 1:
            raise ParameterError(
                f"shard {shown(text)}: expected which of how many, such as 2/8 for the second of "
                "eight."
            )
        return cls(number, count)

    def has(self, block: Block) -> bool:
        """Whether a block is one of its."""
        return block.number % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number} of {self.count}"


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
