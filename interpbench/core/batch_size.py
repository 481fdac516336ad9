"""How many images a forward pass holds; halves when memory runs out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from interpbench.core.errors import said

Result = TypeVar("Result")


@dataclass
class BatchSize:
    """How many images a forward pass holds; halves, for good, whenever memory runs out."""

    images: int
    halved: int = 0

    def attempt(self, work: Callable[[int], Result]) -> Result:
        """`work(images)`, again with half as many images for as long as it runs out of memory.

        Raises:
            torch.OutOfMemoryError: if one image alone does not fit.
        """
        while True:
            try:
                return work(self.images)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.images == 1:
                    raise
            self.images //= 2
            self.halved += 1
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device's (or the host's) memory is full."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in said(error)
