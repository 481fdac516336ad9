"""The layers of which a part can be computed.

What each reads for a position of its output, and how it makes that position.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from interpbench.core.activations import ACTIVATIONS, is_in_place
from interpbench.fast.occlusion.intervals import ITSELF, Reach
from interpbench.fast.tiled_convolutions import Convolution

# Addition -> whether it overwrites its first input.
ADDITIONS = {
    operator.add: False,
    operator.iadd: True,
    torch.add: False,
    "add": False,
    "add_": True,
}
PRODUCTS = {
    operator.mul: False,
    operator.imul: True,
    torch.mul: False,
    torch.multiply: False,
    "mul": False,
    "mul_": True,
}
CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)
AVERAGE_POOLING = (
    "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override",
)  # fmt: skip
FUNCTIONS = ACTIVATIONS | {"avg_pool2d": (nn.AvgPool2d, AVERAGE_POOLING)}


@dataclass(frozen=True)
class Layer:
    """How a layer makes a position of its output.

    Attributes:
        call: gives the output for inputs that hold the padding already.
        reach: what it reads along rows and columns.
        fill: the value of the padding.
        weights: how many numbers it holds; a position of its output takes as many multiply-adds,
            unless
        tiles: says what its parts take.
        in_place: whether it overwrites its input.
        fresh: whether it gives a new tensor, unless it works in place.
    """

    call: Callable[..., Tensor]
    reach: tuple[Reach, Reach] = (ITSELF, ITSELF)
    fill: float = 0.0
    weights: int = 0
    tiles: Convolution | None = None
    in_place: bool = False
    fresh: bool = True

    @property
    def pointwise(self) -> bool:
        """Whether it is a function of each position of its inputs, and no convolution."""
        return self.reach == (ITSELF, ITSELF) and not self.weights

    def work(self, height: int, width: int) -> float:
        """The multiply-adds of an output of this size."""
        return self.tiles.work(height, width) if self.tiles else self.weights * height * width


def layer(graph: fx.GraphModule, node: fx.Node) -> Layer | None:
    """What a node does; None if it is of no kind that stands here.

    Dropout and batch norm are taken to be in eval mode.
    """
    if node.op == "call_module":
        plain = len(node.args) == 1 and not node.kwargs
        return _of_module(graph.get_submodule(str(node.target))) if plain else None
    if node.op not in ("call_function", "call_method"):
        return None
    if node.target in ADDITIONS and len(node.all_input_nodes) == 2 and not parameters(node):
        return _addition(node)
    if node.target in ADDITIONS | PRODUCTS:
        return _with_constant(graph, node)
    if parameters(node):
        return None
    if node.target in CONCATENATIONS:
        return _concatenation(node)
    return _of_function(node)


def parameters(node: fx.Node) -> list[fx.Node]:
    """The bare parameters and buffers among what a node reads."""
    return [source for source in node.all_input_nodes if source.op == "get_attr"]


def _addition(node: fx.Node) -> Layer | None:
    """Of two maps of one shape."""
    maps = node.all_input_nodes
    if node.kwargs or node.args != tuple(maps):
        return None
    if maps[0].meta["shape"] != maps[1].meta["shape"]:
        return None
    return Layer(torch.add, in_place=ADDITIONS[node.target])


def _with_constant(graph: fx.GraphModule, node: fx.Node) -> Layer | None:
    """A map plus or times a number, or a bare parameter that is the same at each position."""
    maps = [source for source in node.all_input_nodes if source.op != "get_attr"]
    constants = [argument for argument in node.args if argument not in maps]
    if node.kwargs or len(node.args) != 2 or len(maps) != 1 or len(constants) != 1:
        return None
    constant: Any = constants[0]
    if isinstance(constant, fx.Node):
        constant = operator.attrgetter(str(constant.target))(graph)
    number = isinstance(constant, int | float)
    everywhere = number or (isinstance(constant, Tensor) and set(constant.shape[-2:]) <= {1})
    in_place = (ADDITIONS | PRODUCTS)[node.target]
    overwrites_it = in_place and node.args[0] is not maps[0]
    if not everywhere or overwrites_it or maps[0].meta.get("shape") != node.meta["shape"]:
        return None
    function = torch.add if node.target in ADDITIONS else torch.mul
    return Layer(partial(function, other=constant), in_place=in_place)


def _concatenation(node: fx.Node) -> Layer | None:
    """Of channels."""
    maps, axis = node.args[0], node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    if axis not in (1, -3) or not isinstance(maps, list | tuple):
        return None
    if list(maps) != node.all_input_nodes:
        return None
    return Layer(lambda *maps: torch.cat(maps, dim=1))


def _of_function(node: fx.Node) -> Layer | None:
    """A function that a module stands for."""
    if isinstance(node.target, str):  # a method of a tensor
        name, home = node.target, "torch"
    else:
        name = getattr(node.target, "__name__", "")
        home = getattr(node.target, "__module__", None) or "torch"
    if not home.startswith("torch") or name.rstrip("_") not in FUNCTIONS:
        return None
    kind, arguments = FUNCTIONS[name.rstrip("_")]
    values = dict(zip(arguments, node.args[1:], strict=False))
    values |= {key: value for key, value in node.kwargs.items() if key in arguments}
    if len(node.all_input_nodes) != 1 or node.kwargs.get("return_indices"):
        return None
    in_place = name in ACTIVATIONS and is_in_place(name, node.args, node.kwargs)
    of_module = _of_module(kind(**values))
    return of_module and replace(of_module, in_place=in_place)


def _of_module(module: nn.Module) -> Layer | None:
    """A layer that is exactly of a known class: what inherits from one may do anything."""
    kind = type(module)
    if kind in BUILDERS:
        return BUILDERS[kind](module)
    if kind in POINTWISE:
        return Layer(module, in_place=getattr(module, "inplace", False))
    return Layer(_unchanged, fresh=False) if kind in UNCHANGED else None


def _convolution(module: nn.Conv2d) -> Layer | None:
    if module.padding_mode != "zeros":
        return None
    sides = zip(module.kernel_size, module.dilation, strict=True)
    half = tuple((kernel - 1) * dilation // 2 for kernel, dilation in sides)
    named = {"valid": (0, 0), "same": half}
    padding = named[module.padding] if isinstance(module.padding, str) else module.padding
    tiles = Convolution.of(module)
    call = tiles or partial(
        F.conv2d,
        weight=module.weight,
        bias=module.bias,
        stride=module.stride,
        dilation=module.dilation,
        groups=module.groups,
    )
    reach = _reaches(module.kernel_size, module.stride, padding, module.dilation)
    return Layer(call, reach, weights=module.weight.numel(), tiles=tiles)


def _max_pool(module: nn.MaxPool2d) -> Layer | None:
    if module.return_indices:
        return None
    call = partial(
        F.max_pool2d, kernel_size=module.kernel_size, stride=module.stride, dilation=module.dilation
    )
    reach = _reaches(module.kernel_size, module.stride, module.padding, module.dilation)
    return Layer(call, reach, fill=-math.inf)


def _average_pool(module: nn.AvgPool2d) -> Layer | None:
    counts_padding = module.count_include_pad or module.padding in (0, (0, 0))
    one_divisor = counts_padding and not module.ceil_mode
    if module.divisor_override is None and not one_divisor:
        return None  # at the borders it divides by other numbers
    call = partial(
        F.avg_pool2d,
        kernel_size=module.kernel_size,
        stride=module.stride,
        divisor_override=module.divisor_override,
    )
    return Layer(call, _reaches(module.kernel_size, module.stride, module.padding, 1))


def _batch_norm(module: nn.BatchNorm2d) -> Layer | None:
    return Layer(module) if module.running_mean is not None else None


def _unchanged(x: Tensor) -> Tensor:
    return x


def _reaches(kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Reach, Reach]:
    rows, columns = zip(_pair(kernel), _pair(stride), _pair(padding), _pair(dilation), strict=True)
    return Reach(*rows), Reach(*columns)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


BUILDERS: dict[type[nn.Module], Callable[[Any], Layer | None]] = {
    nn.Conv2d: _convolution,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.BatchNorm2d: _batch_norm,
}
POINTWISE = {nn.LocalResponseNorm, *(kind for kind, _ in ACTIVATIONS.values())} - {nn.MaxPool2d}
UNCHANGED = {nn.Identity, nn.Dropout, nn.Dropout2d}  # in eval mode
