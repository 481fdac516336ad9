"""What metrics compute of images or of a model alone, once for all methods.

Random subsets, the outputs with one cell removed, a baseline, a changed copy of the model: none of
it depends on a map, so that it is computed for the first method that is scored and given again for
every other.
"""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpbench.core.errors import ParameterError

BUDGET = 512 * 2**20  # bytes that are kept of a model; what is beyond is computed again
# The eight bits of each byte, bool [256,8].
_OF_BYTE = torch.from_numpy(np.unpackbits(np.arange(256, dtype=np.uint8)).view(bool)).view(256, 8)


class SharedResults:
    """Results by the function that gave them, its parameters and the images' ids.

    Attributes:
        computed: how often a function was called.
        given: how often a result was given again.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._size = 0
        self._kept: dict[Hashable, Any] = {}
        self.computed = 0
        self.given = 0

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """`make()`, or what it gave before under this key."""
        if key in self._kept:
            self.given += 1
            return _restored(self._kept[key])
        result = make()
        self.computed += 1
        kept = _kept(result)
        size = _size(kept)
        if self._size + size <= self._budget:
            self._size += size
            self._kept[key] = kept
            return _restored(kept)
        return result


def named(function: Callable[..., Any]) -> str:
    """The name that a function's results are kept under.

    Raises:
        ParameterError: if it is no function of a module, whose results depend on its arguments
            alone: a lambda or an inner function may have seen a map.
    """
    name = getattr(function, "__qualname__", "")
    if not name or "<" in name or getattr(function, "__closure__", None):
        raise ParameterError(
            f"shared() takes a function that stands in a module, and {name or function!r} is none: "
            "an inner function can see the map, and its result would be given to other methods. "
            "Move it out, and give it what it needs as parameters."
        )
    return f"{function.__module__}.{name}"


class _Bits:
    """A tensor of truths, an eighth as large, on the device where it was."""

    def __init__(self, truths: Tensor) -> None:
        self._shape = truths.shape
        packed = np.packbits(truths.cpu().numpy().reshape(-1))
        self.bits = torch.from_numpy(packed).to(truths.device)

    def tensor(self) -> Tensor:
        truths = _OF_BYTE.to(self.bits.device).index_select(0, self.bits.int())
        return truths.view(-1)[: self._shape.numel()].view(self._shape)


def _kept(result: Any) -> Any:
    """A result as it is kept: tensors of truths as bits."""
    if isinstance(result, tuple):
        parts = [_kept(part) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    if isinstance(result, Tensor):
        return _Bits(result) if result.dtype == torch.bool else result.detach().clone()
    return result


def _restored(kept: Any) -> Any:
    """A result as it was, of which the caller may change all."""
    if isinstance(kept, tuple):
        parts = [_restored(part) for part in kept]
        return type(kept)(*parts) if hasattr(kept, "_fields") else tuple(parts)
    if isinstance(kept, _Bits):
        return kept.tensor()
    return kept.clone() if isinstance(kept, Tensor) else kept


def _size(kept: Any) -> int:
    if isinstance(kept, tuple):
        return sum(map(_size, kept))
    if isinstance(kept, _Bits):
        return int(kept.bits.nbytes)
    if isinstance(kept, nn.Module):
        return sum(tensor.nbytes for tensor in (*kept.parameters(), *kept.buffers()))
    return kept.numel() * kept.element_size() if isinstance(kept, Tensor) else 0
