"""What several methods need of a model for the same images, computed once.

Such as a layer's maps and their gradients.

The runner hands out images under a name; as long as a method passes on these very tensors,
unchanged, and the model stands as it was given to it, what was computed for another method is given
again. What is kept is bounded by a budget, so that memory does not grow with the images.
"""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor, nn

from interpbench.core.layers import acts_otherwise

BUDGET = 256 * 2**20  # bytes that are kept of a model


class Shared:
    """Results for the images that were handed out, by their name and by what they are."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._kept: dict[tuple[Hashable, Hashable], tuple[Tensor, ...]] = {}
        self._new: dict[tuple[Hashable, Hashable], tuple[Tensor, ...]] = {}
        self._handed: tuple[Tensor, int, Tensor, int, Hashable] | None = None

    def hand_out(self, x: Tensor, target: Tensor, name: Hashable) -> None:
        """From here on these tensors stand for the images and targets of that name."""
        self._handed = (x, x._version, target, target._version, name)

    def take_back(self, *, sound: bool) -> None:
        """From here on no tensor stands for images.

        What was computed since `hand_out` is kept if the model was sound.
        """
        self._handed = None
        if sound:
            self._kept |= self._new
        self._new = {}

    def forget(self) -> None:
        """Nothing that was computed counts any more."""
        self._kept = {}

    def once(
        self,
        what: Hashable,
        model: nn.Module,
        x: Tensor,
        target: Tensor | None,
        make: Callable[[], tuple[Tensor, ...]],
    ) -> tuple[Tensor, ...]:
        """`make()`, or what it gave before for the same images.

        Always tensors that the caller may change.

        Parameters:
            what: names the result among those of the same images.
            model: is asked whether it stands as it is.
            x, target: what the result is for; None where it depends on no target.
            make: computes it.
        """
        name = self._name(model, x, target)
        earlier = self._found(name, what)
        if earlier is not None:
            return earlier
        result = make()
        held = sum(map(self._size, [*self._kept.values(), *self._new.values()]))
        if name is None or held + self._size(result) > self._budget:
            return result
        self._new[name, what] = result
        return tuple(tensor.clone() for tensor in result)

    def computed(
        self, what: Hashable, model: nn.Module, x: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, ...] | None:
        """What was computed before, or None."""
        return self._found(self._name(model, x, target), what)

    def _found(self, name: Hashable, what: Hashable) -> tuple[Tensor, ...] | None:
        result = self._kept.get((name, what)) or self._new.get((name, what))
        return None if result is None else tuple(tensor.clone() for tensor in result)

    @staticmethod
    def _size(tensors: tuple[Tensor, ...]) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def _name(self, model: nn.Module, x: Tensor, target: Tensor | None) -> Hashable:
        """The name that the tensors were handed out under, if they are still those; else None."""
        if self._handed is None or not _stands_as_given(model):
            return None
        images, version, targets, target_version, name = self._handed
        if x is not images or x._version != version:
            return None
        if target is not None and (target is not targets or target._version != target_version):
            return None
        return name


def _stands_as_given(model: nn.Module) -> bool:
    """Whether passes do what the model's classes say: no torch mode, no module acts otherwise."""
    if torch._C._len_torch_function_stack():
        return False
    return not any(map(acts_otherwise, model.modules()))
