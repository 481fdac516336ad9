"""How a method fares on a model, over all the batches that it is asked for."""

import torch
from torch import Tensor

from interpbench.attribution.attribute import Attempt, Maps
from interpbench.core.batch_size import BatchSize
from interpbench.core.errors import InterpBenchError, said
from interpbench.registry.plugin import Configured, described


class Account:
    """What came of one method.

    Which maps are no answer stays on the device until somebody asks, so that nothing waits.

    Attributes:
        method: with its parameters.
        batch_size: images a forward pass; halved on out-of-memory.
        images: how many maps it gave.
        left_behind: what it left on the model, which was undone.
        error: why it broke down; it is then not asked again.
    """

    def __init__(self, method: Configured, batch_size: BatchSize) -> None:
        self.method = method
        self.batch_size = batch_size
        self.images = 0
        self.left_behind: dict[str, None] = {}
        self.error = ""
        self._constant: list[Tensor] = []
        self._nonfinite: list[Tensor] = []
        self._signed: list[Tensor] = []

    def note(self, attempt: Attempt) -> None:
        """Takes down what came of a batch."""
        self.left_behind |= dict.fromkeys(attempt.left_behind)
        if attempt.error is not None:
            self.fail(attempt.error)
        if attempt.maps is not None:
            self.note_maps(attempt.maps)

    def note_maps(self, maps: Maps) -> None:
        """Counts the maps of a batch."""
        self.images += len(maps.saliency)
        self._constant.append(maps.constant)
        self._nonfinite.append(maps.nonfinite)
        self._signed.append(maps.signed)

    def fail(self, error: BaseException) -> None:
        """It broke down, for this reason."""
        self.error = (
            said(error) if isinstance(error, InterpBenchError) else described(error, self.method)
        )

    @property
    def constant(self) -> int:
        """How many maps were constant, which is no answer."""
        return _count(self._constant)

    @property
    def nonfinite(self) -> int:
        """How many maps held NaN or infinite values."""
        return _count(self._nonfinite)

    @property
    def signed(self) -> int:
        """How many valid maps held a negative value."""
        return _count(self._signed)

    @property
    def flags(self) -> tuple[Tensor, Tensor]:
        """Which maps are constant, and which not finite, bool [images] on the CPU."""
        nothing = torch.zeros(0, dtype=torch.bool)
        constant, nonfinite = (
            torch.cat([nothing, *(flag.cpu() for flag in flags)])
            for flags in (self._constant, self._nonfinite)
        )
        return constant, nonfinite

    @property
    def valid(self) -> Tensor:
        """Which maps are answers, bool [images] on the CPU."""
        constant, nonfinite = self.flags
        return ~(constant | nonfinite)

    @property
    def failure(self) -> str:
        """What went wrong, or nothing."""
        if self.error or not self.nonfinite:
            return self.error
        return f"gave NaN or infinite maps for {self.nonfinite} of {self.images} images"


def _count(flags: list[Tensor]) -> int:
    return int(torch.cat(flags).sum()) if flags else 0
