"""Watches one forward pass: which layers are called and by whom, what is called as a function.

Hooks on every module of the process and a mode that sees every torch function find what no look at
the modules shows: functional activations, layers that are called twice, layers that are not
registered, and where gradients end.
"""

import inspect
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from interpbench.core.activations import ACTIVATION_MODULES, ACTIVATIONS, is_in_place

HAVE_MODES = (_DropoutNd, _NormBase)  # layers that do something else in train mode

CHANCE = re.compile(
    r"\w*dropout\w*|rand\w*|normal_?|bernoulli_?|uniform_|exponential_|multinomial|gumbel\w*|rrelu"
    r"|poisson"
)
# Functions without a slope.
FLAT = frozenset(
    {
        "argmax", "argmin", "argsort", "bucketize", "ceil", "floor", "heaviside", "round", "sign",
        "trunc",
    }
)  # fmt: skip
# With the separator at the end, since torchvision lies beside it.
TORCH = str(Path(torch.__file__).parent / "_").removesuffix("_")


@dataclass(frozen=True)
class LayerCall:
    """A layer was called.

    Attributes:
        name: its dotted name, empty for the network itself; None if it is not registered.
        caller: the layer in whose forward it was called; None if that is not registered, or for the
            network itself.
        activation: whether it is one.
        rectifier: whether it is a ReLU, or one that ends at a greatest value as ReLU6 does.
        in_place: whether it is set to overwrite its input.
        training: whether it does something else in train mode, and was in it.
        shape: of the tensor that it returned, or None if it returned something else.
        place: its name, or what is known of where an unregistered layer is kept.
    """

    name: str | None
    caller: str | None
    activation: bool
    rectifier: bool
    in_place: bool
    training: bool
    shape: tuple[int, ...] | None
    place: str


@dataclass(frozen=True)
class FunctionCall:
    """A function that matters here was called.

    Attributes:
        name: such as `relu_`.
        caller: the layer in whose forward it stands; None if that is not registered.
        line: `file.py:12`.
        activation: whether it is one, outside of the module that stands for it.
        rectifier: whether that is a ReLU or a ReLU6.
        in_place: whether it overwrites its input.
        chance: whether it draws random numbers.
        cuts: whether a gradient ends here: an input has one, the output has none, or it is zero.
    """

    name: str
    caller: str | None
    line: str
    activation: bool
    rectifier: bool
    in_place: bool
    chance: bool
    cuts: bool

    @property
    def place(self) -> str:
        """`layer1.0 (file.py:12)`."""
        return f"{self.caller or 'model'} ({self.line})"


@dataclass(frozen=True)
class Observation:
    """One forward pass.

    Attributes:
        output: what the network returned.
        calls: of layers, in the order in which they ended.
        functions: those that are activations, draw random numbers, or end a gradient.
        overwritten: whether the watched layer's output was written to after it was returned.
    """

    output: Any
    calls: tuple[LayerCall, ...]
    functions: tuple[FunctionCall, ...]
    overwritten: bool

    def activations(self) -> list[LayerCall | FunctionCall]:
        """The calls of activations, modules first."""
        calls: list[LayerCall | FunctionCall] = [*self.calls, *self.functions]
        return [call for call in calls if call.activation]

    def reused(self) -> dict[str, str | None]:
        """Activations that are called several times: name -> the layer whose forward does it.

        None where no single forward does: the layer around the activation is itself called several
        times, or several layers call it.
        """
        calls = Counter(call.name for call in self.calls)
        pairs = Counter((call.name, call.caller) for call in self.calls if call.activation)
        callers: dict[str, str | None] = {}
        for (name, caller), times in pairs.items():
            if name is not None and calls[name] > 1:
                callers.setdefault(name, None)
                if caller is not None and times > calls[caller]:
                    callers[name] = caller
        return callers


def observe(network: nn.Module, x: Tensor, layer: nn.Module | None = None) -> Observation:
    """Calls the network once and notes what happens; raises what the network raises.

    Parameters:
        network: left as it is.
        x: [B,C,H,W]; with a gradient, if its end is to be found.
        layer: whose output is watched for being overwritten.
    """
    recorder = _Recorder(network, layer)
    handles = [
        nn.modules.module.register_module_forward_pre_hook(recorder.enter),
        nn.modules.module.register_module_forward_hook(recorder.leave, always_call=True),
    ]
    try:
        with _Functions(recorder):
            output = network(x)
    finally:
        for handle in handles:
            handle.remove()
    overwritten = any(tensor._version != version for tensor, version in recorder.kept)
    return Observation(
        output, tuple(recorder.calls), tuple(dict.fromkeys(recorder.functions)), overwritten
    )


class _Recorder:
    """Keeps the stack of layers that are at work, and notes what they do."""

    def __init__(self, network: nn.Module, layer: nn.Module | None) -> None:
        self.calls: list[LayerCall] = []
        self.functions: list[FunctionCall] = []
        self.kept: list[tuple[Tensor, int]] = []
        self._network = network
        self._layer = layer
        self._names = {id(module): name for name, module in network.named_modules()}
        self._stack: list[nn.Module] = []

    def enter(self, module: nn.Module, arguments: Any) -> None:
        self._stack.append(module)

    def leave(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self._stack.pop()
        name = self._names.get(id(module))
        caller = self._names.get(id(self._stack[-1])) if self._stack else None
        shape = tuple(output.shape) if isinstance(output, Tensor) else None
        place = name if name is not None else _place(self._network, module)
        is_relu6 = isinstance(module, nn.Hardtanh) and module.min_val == 0
        self.calls.append(
            LayerCall(
                name,
                caller,
                activation=isinstance(module, ACTIVATION_MODULES),
                rectifier=isinstance(module, nn.ReLU) or is_relu6,
                in_place=getattr(module, "inplace", False) is True,
                training=module.training and isinstance(module, HAVE_MODES),
                shape=shape,
                place=place,
            )
        )
        if module is self._layer and isinstance(output, Tensor) and not output.is_inference():
            self.kept.append((output, output._version))

    def function(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        name = _name(func)
        inside = bool(self._stack) and isinstance(self._stack[-1], ACTIVATION_MODULES)
        activation = name.rstrip("_") in ACTIVATIONS and not inside
        chance = CHANCE.fullmatch(name) is not None and kwargs.get("training", True)
        cuts = not chance and _cuts(name, args, output)
        if activation or chance or cuts:
            caller = self._names.get(id(self._stack[-1])) if self._stack else None
            in_place = activation and is_in_place(name, args, kwargs)
            rectifier = activation and _rectifies(name.rstrip("_"), args, kwargs)
            self.functions.append(
                FunctionCall(name, caller, _line(), activation, rectifier, in_place, chance, cuts)
            )


class _Functions(TorchFunctionMode):
    """Sees every torch function, method and property of a tensor that Python code calls."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        self._recorder.function(func, args, kwargs, output)
        return output


def _name(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", "")
    return getattr(getattr(func, "__self__", None), "__name__", "") if name == "__get__" else name


def _rectifies(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an activation function is a ReLU, or one that ends at a greatest value."""
    least = kwargs.get("min_val", args[1] if len(args) > 1 else -1)
    return name in ("relu", "relu6") or (name == "hardtanh" and least == 0)


def _cuts(name: str, args: tuple[Any, ...], output: Any) -> bool:
    """Whether an input carries a gradient and the output does not, or only zero."""
    if not isinstance(output, Tensor):
        return False
    lost = name in FLAT or (output.is_floating_point() and not output.requires_grad)
    return lost and any(
        isinstance(tensor, Tensor) and tensor.requires_grad for tensor in _flat(args)
    )


def _flat(args: Any) -> Iterator[Any]:
    for argument in args:
        if isinstance(argument, tuple | list):
            yield from _flat(argument)
        else:
            yield argument


def _line() -> str:
    """`file.py:12` of the innermost code that is neither torch's nor this file's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((TORCH, __file__)):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _place(network: nn.Module, module: nn.Module) -> str:
    """Where a layer that is not registered is kept, such as `blocks[1]`; or else its class."""
    for name, owner in network.named_modules():
        for attribute, value in vars(owner).items():
            path = _path(value, module) if not attribute.startswith("_") else None
            if path is not None:
                return f"{name}.{attribute}{path}".removeprefix(".")
    return type(module).__name__


def _path(value: Any, module: nn.Module, depth: int = 3) -> str | None:
    """How a layer is reached from a value: by lists, dictionaries, what a function closes over."""
    if value is module:
        return ""
    if depth == 0:
        return None
    items: dict[Any, Any] = {}
    if isinstance(value, list | tuple):
        items = {f"[{index}]": item for index, item in enumerate(value)}
    elif isinstance(value, dict):
        items = {f"[{key!r}]": item for key, item in value.items()}
    elif inspect.isfunction(value):
        closed_over = inspect.getclosurevars(value).nonlocals
        items = {f"({name})": item for name, item in closed_over.items()}
    paths = (
        f"{step}{path}"
        for step, item in items.items()
        if (path := _path(item, module, depth - 1)) is not None
    )
    return next(paths, None)
