"""A plugin leaves the model as it found it.

Each call of a method runs between two snapshots: a hook, a gradient, a flag, a train/eval mode, a
patched module or a changed weight that it leaves behind is undone and reported. Global switches of
torch are put back too, and every call starts from a seeded random state, so that chance depends
neither on what ran before nor on the order of methods.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpbench.core.loaded_modules import LoadedModules
from interpbench.core.switches import SWITCHES


class Guard:
    """Watches over one model. Holds a copy of its weights, to prove and restore them."""

    def __init__(self, model: nn.Module) -> None:
        # Listed once, since walking through a large model takes longer than looking after it.
        self._modules = list(model.named_modules())
        self._tensors = list(_tensors(model))
        self._weights = {name: tensor.detach().clone() for name, tensor in self._tensors}
        self._untouched: Callable[[], bool] = lambda: False

    @contextmanager
    def watching(self, seed: int) -> Iterator[list[str]]:
        """Runs the body with a seeded random state.

        Afterwards the list names what the body left behind, which is undone by then.
        """
        left: list[str] = []
        modules = [_ModuleState(name, module) for name, module in self._modules]
        classes = _ClassState({type(m.module) for m in modules})
        global_hooks = _GlobalHooks()
        tensors = [_TensorState(name, tensor) for name, tensor in self._tensors]
        switches = {name: read() for name, (read, _) in SWITCHES.items()}
        random_state = _random_state()
        loaded = LoadedModules()
        _seed_all(seed)
        outer = self._untouched
        contents = [module.contents for module in modules]
        self._untouched = _Untouched(contents, classes.forward, global_hooks.hooks, tensors)
        try:
            yield left
        finally:
            self._untouched = outer
            left += loaded.undo()
            _set_random_state(random_state)
            for name, (read, write) in SWITCHES.items():
                if read() != switches[name]:
                    write(switches[name])
                    left.append(f"global {name} changed")
            left += classes.undo()
            left += global_hooks.undo()
            for module in modules:
                left += module.undo()
            for tensor in tensors:
                left += tensor.undo(self._weights[tensor.name])
            if left:  # batch norm, for one, writes its statistics without a trace
                left += [f"{name}: value changed" for name in self.changed_weights()]

    def untouched(self) -> bool:
        """Whether, within `watching`, nobody has laid hands on the model so far."""
        return self._untouched()

    def changed_weights(self) -> list[str]:
        """The names of parameters and buffers whose values have changed; they are restored."""
        changed = []
        with torch.no_grad():
            for name, tensor in self._tensors:
                if not torch.allclose(tensor, self._weights[name], rtol=0, atol=0, equal_nan=True):
                    tensor.copy_(self._weights[name])
                    changed.append(name)
        return changed


class _ModuleState:
    """One module's attributes: hooks, submodules, parameters, mode, and what is patched onto it."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name or "model"
        self.module = module
        self._attributes = dict(vars(module))
        # Containers are restored in place, since handles of hooks refer to the container itself.
        self._contents = {
            key: dict(value) for key, value in self._attributes.items() if isinstance(value, dict)
        }

    def undo(self) -> list[str]:
        attributes, before = vars(self.module), self._attributes
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
        return [f"{self.name}: {what}" for what in left if "_is_full_backward_hook" not in what]

    @property
    def contents(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Its dictionaries, and what they held."""
        containers = [(self._attributes[key], held) for key, held in self._contents.items()]
        return [(vars(self.module), self._attributes), *containers]

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
        self.forward = {
            cls: vars(cls).get("forward", _ABSENT) for cls in classes | {nn.Module, nn.ReLU}
        }

    def undo(self) -> list[str]:
        left = []
        for cls, forward in self.forward.items():
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
        self.hooks = [
            (value, dict(value))
            for name, value in vars(torch.nn.modules.module).items()
            if name.startswith("_global") and isinstance(value, dict)
        ]

    def undo(self) -> list[str]:
        left = [_restore(hooks, content) for hooks, content in self.hooks]
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

    def values(self) -> np.ndarray:
        """Its values where they lie, [N]."""
        return self._tensor.detach().view(-1).numpy()

    def is_untouched(self) -> bool:
        tensor = self._tensor
        return (
            tensor._version == self._version
            and tensor.data_ptr() == self._data.data_ptr()
            and tensor.requires_grad == self._requires_grad
            and not tensor._backward_hooks
        )

    def undo(self, weights: Tensor) -> list[str]:
        left = []
        tensor = self._tensor
        if tensor._version != self._version or tensor.data_ptr() != self._data.data_ptr():
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


class _Untouched:
    """Whether a model is as it was. Asked at each of its calls, so that it must be quick.

    Of each weight on the CPU one value is looked at, since what is written by way of `.data` leaves
    no trace otherwise.
    """

    def __init__(
        self,
        modules: list[list[tuple[dict[str, Any], dict[str, Any]]]],
        forward: dict[type[nn.Module], Any],
        global_hooks: list[tuple[dict[Any, Any], dict[Any, Any]]],
        tensors: list[_TensorState],
    ) -> None:
        contents = [*global_hooks, *(pair for pairs in modules for pair in pairs)]
        self._empty = [container for container, held in contents if not held]
        self._full = [(container, held) for container, held in contents if held]
        self._forward = forward
        self._tensors = tensors
        self._probed = _probed(tensors)
        self._values = [float(values[0]) for values in self._probed]

    def __call__(self) -> bool:
        try:
            return (
                not any(self._empty)
                and all(container == held for container, held in self._full)
                and all(
                    vars(cls).get("forward", _ABSENT) is forward
                    for cls, forward in self._forward.items()
                )
                and all(tensor.is_untouched() for tensor in self._tensors)
                and [float(values[0]) for values in self._probed] == self._values
            )
        except Exception:  # what cannot be compared is another thing than before
            return False


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


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _seed_all(seed: int) -> None:
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # where `torch.manual_seed` writes down the whole stack each time, for a GPU to come
        torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  plugins may use the global generator
    random.seed(seed)


def _random_state() -> tuple[Any, ...]:
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), on_gpus, np.random.get_state(), random.getstate()  # noqa: NPY002


def _set_random_state(state: tuple[Any, ...]) -> None:
    on_cpu, on_gpus, of_numpy, of_python = state
    torch.set_rng_state(on_cpu)
    if on_gpus:
        torch.cuda.set_rng_state_all(on_gpus)
    np.random.set_state(of_numpy)  # noqa: NPY002
    random.setstate(of_python)
