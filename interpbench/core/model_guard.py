"""A plugin leaves the model as it found it.

Each call of a method runs between two snapshots: a hook, a gradient, a flag, a train/eval mode, a
patched module or a changed weight that it leaves behind is undone and reported. Global switches of
torch are put back too, and every call starts from a seeded random state, so that chance depends
neither on what ran before nor on the order of methods.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpbench.core.loaded_modules import LoadedModules
from interpbench.core.model_snapshot import Snapshot
from interpbench.core.switches import SWITCHES


class Guard:
    """Watches over one model. Holds a copy of its weights, to prove and restore them."""

    def __init__(self, model: nn.Module) -> None:
        # Listed once, since walking through a large model takes longer than looking after it.
        self._modules = list(model.named_modules())
        self._tensors = list(_tensors(model))
        self._weights = {name: tensor.detach().clone() for name, tensor in self._tensors}
        self._loaded = LoadedModules()
        self._snapshot: Snapshot | None = None
        self._untouched: Callable[[], bool] = lambda: False

    @contextmanager
    def watching(self, seed: int) -> Iterator[list[str]]:
        """Runs the body with a seeded random state.

        Afterwards the list names what the body left behind, which is undone by then.
        """
        left: list[str] = []
        switches = {name: read() for name, (read, _) in SWITCHES.items()}
        random_state = _random_state()
        self._loaded.look()
        snapshot = self._snapshot_of_now()
        outer = self._untouched
        self._untouched = snapshot.is_untouched
        _seed_all(seed)
        try:
            yield left
        finally:
            self._untouched = outer
            left += self._loaded.undo()
            _set_random_state(random_state)
            for name, (read, write) in SWITCHES.items():
                if read() != switches[name]:
                    write(switches[name])
                    left.append(f"global {name} changed")
            if not snapshot.stands():
                left += snapshot.undo(self._weights)
            if left:  # batch norm, for one, writes its statistics without a trace
                left += [f"{name}: value changed" for name in self.changed_weights()]

    def _snapshot_of_now(self) -> Snapshot:
        """The one of the call before, where it still holds: taking one takes ten times as long."""
        if self._snapshot is None or not self._snapshot.stands():
            self._snapshot = Snapshot(self._modules, self._tensors)
        return self._snapshot

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
