"""What a model is at a moment, down to its hooks: whether it still is that, and how to get it back.

Taken once and compared often, before and after each call of a method and at each pass of the model
in between, so that comparing has to be quick: it goes by identity, over flat lists.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Contents = list[tuple[dict[Any, Any], dict[Any, Any]]]  # containers, and what each of them held


class Snapshot:
    """A model's modules with all their attributes and hooks, their classes, and its tensors."""

    def __init__(
        self, modules: Sequence[tuple[str, nn.Module]], tensors: Sequence[tuple[str, Tensor]]
    ) -> None:
        """As they are now, with the hooks that torch calls for every module.

        Parameters:
            modules, tensors: all of the model, by their dotted names.
        """
        self._modules = [_ModuleState(name, module) for name, module in modules]
        self._classes = _ClassState({type(module) for _, module in modules})
        self._hooks = _GlobalHooks()
        self._tensors = [_TensorState(name, tensor) for name, tensor in tensors]
        contents = [
            *self._hooks.contents,
            *(it for state in self._modules for it in state.contents),
        ]
        self._empty = [container for container, held in contents if not held]
        self._full = [
            (container, list(held), list(held.values())) for container, held in contents if held
        ]
        self._probed = _probed(self._tensors)
        self._values = [float(values[0]) for values in self._probed]

    def stands(self) -> bool:
        """Whether everything is the very same as then, as far as torch keeps a trace."""
        try:
            return (
                not any(self._empty)
                and all(
                    len(container) == len(held)
                    and list(container) == keys
                    and all(map(is_, container.values(), held))
                    for container, keys, held in self._full
                )
                and self._classes.stands()
                and all(tensor.stands() for tensor in self._tensors)
            )
        except Exception:  # what cannot be compared is another thing than before
            return False

    def is_untouched(self) -> bool:
        """Whether it stands, and one value of each weight on the CPU is what it was.

        What is written by way of `.data` leaves no trace otherwise.
        """
        return self.stands() and [float(values[0]) for values in self._probed] == self._values

    def undo(self, weights: Mapping[str, Tensor]) -> list[str]:
        """Makes everything what it was, and says what was not.

        Parameters:
            weights: copies of the tensors, by name.
        """
        left = [*self._classes.undo(), *self._hooks.undo()]
        for module in self._modules:
            left += module.undo()
        for tensor in self._tensors:
            left += tensor.undo(weights[tensor.name])
        return left


class _ModuleState:
    """One module's attributes: hooks, submodules, parameters, mode, and what is patched onto it."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self._name = name or "model"
        self._module = module
        self._attributes = dict(vars(module))
        # Containers are restored in place, since handles of hooks refer to the container itself.
        self._contents = {
            key: dict(value) for key, value in self._attributes.items() if isinstance(value, dict)
        }

    def undo(self) -> list[str]:
        attributes, before = vars(self._module), self._attributes
        if self._is_untouched(attributes):
            return []
        changed = [
            key
            for key in sorted(attributes.keys() | before.keys())
            if attributes.get(key, _ABSENT) is not before.get(key, _ABSENT)
        ]
        left = [
            "train/eval mode changed" if key == "training" else f"attribute {key!r} changed"
            for key in changed
        ]
        for key, content in self._contents.items():
            if _restore(before[key], content):
                left.append("hook left behind" if "hook" in key else f"{key.strip('_')} changed")
        if left:
            attributes.clear()
            attributes.update(before)
        # torch notes for good which kind of backward hook a module once had: a trace, not a fault.
        return [f"{self._name}: {what}" for what in left if "_is_full_backward_hook" not in what]

    @property
    def contents(self) -> Contents:
        """Its dictionaries, and what they held."""
        containers = [(self._attributes[key], held) for key, held in self._contents.items()]
        return [(vars(self._module), self._attributes), *containers]

    def _is_untouched(self, attributes: dict[str, Any]) -> bool:
        same = len(attributes) == len(self._attributes) and all(
            attributes.get(key, _ABSENT) is value for key, value in self._attributes.items()
        )
        return same and all(
            _is_same(self._attributes[key], content) for key, content in self._contents.items()
        )


class _ClassState:
    """The forward methods of the modules' classes: patched there, they change in every instance."""

    def __init__(self, classes: set[type[nn.Module]]) -> None:
        self._forward = {
            cls: vars(cls).get("forward", _ABSENT) for cls in classes | {nn.Module, nn.ReLU}
        }

    def stands(self) -> bool:
        return all(
            vars(cls).get("forward", _ABSENT) is forward for cls, forward in self._forward.items()
        )

    def undo(self) -> list[str]:
        left = []
        for cls, forward in self._forward.items():
            if vars(cls).get("forward", _ABSENT) is not forward:
                if forward is _ABSENT:
                    del cls.forward
                else:
                    cls.forward = forward
                left.append(f"class {cls.__name__}: forward patched")
        return left


class _GlobalHooks:
    """The hooks that torch calls for every module of the process."""

    def __init__(self) -> None:
        self.contents: Contents = [
            (value, dict(value))
            for name, value in vars(torch.nn.modules.module).items()
            if name.startswith("_global") and isinstance(value, dict)
        ]

    def undo(self) -> list[str]:
        left = [_restore(hooks, content) for hooks, content in self.contents]
        return ["global hook left behind"] if any(left) else []


class _TensorState:
    """One parameter or buffer: gradient, hooks, requires_grad, and whether it was written to."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        self.name = name
        self._tensor = tensor
        self._requires_grad = tensor.requires_grad
        self._grad = tensor.grad
        self._hooks = dict(tensor._backward_hooks or {})
        self._version = tensor._version
        self._data = tensor.data
        self._address = tensor.data_ptr()

    def values(self) -> np.ndarray:
        """Its values where they lie, [N]."""
        return self._tensor.detach().view(-1).numpy()

    def stands(self) -> bool:
        tensor = self._tensor
        return (
            tensor._version == self._version
            and tensor.data_ptr() == self._address
            and tensor.requires_grad == self._requires_grad
            and tensor.grad is self._grad
            and not tensor._backward_hooks
        )

    def undo(self, weights: Tensor) -> list[str]:
        left = []
        tensor = self._tensor
        if tensor._version != self._version or tensor.data_ptr() != self._address:
            tensor.data = self._data
            with torch.no_grad():
                tensor.copy_(weights)
            left.append("value changed")
        if tensor._backward_hooks is not None and _restore(tensor._backward_hooks, self._hooks):
            left.append("hook left behind")
        if tensor.grad is not self._grad:
            tensor.grad = self._grad
            left.append("gradient left behind")
        if tensor.requires_grad != self._requires_grad:
            tensor.requires_grad_(self._requires_grad)
            left.append("requires_grad changed")
        return [f"{self.name}: {what}" for what in left]


def _probed(tensors: list[_TensorState]) -> list[np.ndarray]:
    """The values of each tensor that numpy can see; those that are NaN are never as they were."""
    seen = []
    for tensor in tensors:
        with suppress(Exception):  # of another device, layout or type
            values = tensor.values()
            if values.size:
                seen.append(values)
    return seen


_ABSENT = object()


def _restore(container: dict[Any, Any], content: dict[Any, Any]) -> bool:
    """Gives a container its former content back; whether it held anything else."""
    if _is_same(container, content):
        return False
    container.clear()
    container.update(content)
    return True


def _is_same(container: dict[Any, Any], content: dict[Any, Any]) -> bool:
    """Whether a container holds the very same things, in the same order."""
    if not container and not content:
        return True
    return list(container) == list(content) and all(
        container[key] is content[key] for key in content
    )
