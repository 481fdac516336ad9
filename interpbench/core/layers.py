"""A network's layers: found by name, found by what they do, and their outputs read as maps."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from interpbench.core.errors import MethodError
from interpbench.core.text import whole_number

EXTRA_TOKENS = 5  # at most so many stand before the image's: a class token and four registers


def acts_otherwise(module: nn.Module) -> bool:
    """Whether a module may do what its class does not say, or what differs from pass to pass.

    A hook, a forward patched onto the instance, or train mode.
    """
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return module.training or any(hooks) or "forward" in vars(module)


def is_scripted(module: nn.Module) -> bool:
    """Whether it is TorchScript or holds some: layers that take no hooks, operations unseen."""
    return any(isinstance(inner, torch.jit.ScriptModule) for inner in module.modules())


def hookable(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of a network that take hooks, by their dotted names; itself is `""`."""
    return [
        (name, module)
        for name, module in network.named_modules()
        if not isinstance(module, torch.jit.ScriptModule)
    ]


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """The submodule with a dotted name.

    A negative number in it counts from the last child: `encoder.layers.-1`.

    Raises:
        AttributeError: if there is none.
    """
    module = network
    for part in name.split("."):
        children = list(module.children())
        from_last = whole_number(part.removeprefix("-")) if part.startswith("-") else None
        if from_last is not None and 0 < from_last <= len(children):
            module = children[-from_last]
        else:
            module = module.get_submodule(part)
    return module


def as_maps(output: object, image: Sequence[int] = (1, 1)) -> Tensor:
    """A layer's output as maps [B,C,h,w], a view of it.

    Maps stay as they are, or get their channels to the front from [B,h,w,C]. Tokens [B,k+h·w,C] of
    a grid of the image's shape lose the k that stand before it (a class token, registers; up to 5)
    and take their places, as `reshape_transform` of pytorch-grad-cam does it.

    Parameters:
        output: of a layer.
        image: height and width of the model's input, whose shape tells a grid; a square by default.

    Raises:
        MethodError: for any other output.

    Example:
        >>> interpbench.as_maps(torch.zeros(2, 7, 7, 64)).shape  # channels last
        torch.Size([2, 64, 7, 7])
        >>> tokens = torch.zeros(2, 1 + 14 * 14, 192)  # a class token and a grid of 14x14
        >>> interpbench.as_maps(tokens).shape
        torch.Size([2, 192, 14, 14])
        >>> interpbench.as_maps(torch.zeros(2, 1 + 8 * 12, 192), (64, 96)).shape
        torch.Size([2, 192, 8, 12])
    """
    if isinstance(output, Tensor) and output.ndim == 4:
        _, first, second, third = output.shape
        channels_last = _is_grid(first, second, image) and not _is_grid(second, third, image)
        return output.permute(0, 3, 1, 2) if channels_last else output
    if isinstance(output, Tensor) and output.ndim == 3:
        for extra in range(EXTRA_TOKENS + 1):
            grid = _token_grid(output.shape[1] - extra, image)
            if grid is not None:
                return output[:, extra:].unflatten(1, grid).permute(0, 3, 1, 2)
    given = (
        f"a tensor {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    )
    raise MethodError(
        f"the layer gives {given}; expected maps [B,C,h,w] or [B,h,w,C], or tokens [B,N,C] of a "
        f"{'square ' if image[0] == image[1] else ''}grid of the image's shape with up to "
        f"{EXTRA_TOKENS} before it. Name another layer, layer=..."
    )


def _is_grid(height: int, width: int, image: Sequence[int]) -> bool:
    """Whether so many positions can lie over an image, up to what strides and borders cut off."""
    if image[0] == image[1]:
        return height == width
    stretch = abs(height * image[1] - width * image[0])
    return stretch < max(*image, height * image[1] // 4)


def _token_grid(tokens: int, image: Sequence[int]) -> tuple[int, int] | None:
    """Height and width of a grid of square patches over an image; None if they make none."""
    height = math.isqrt(max(0, tokens) * image[0] // image[1])
    width = tokens // max(1, height)
    fits = height * width == tokens > 1 and height * image[1] == width * image[0]
    return (height, width) if fits else None


def last_spatial_layer(network: nn.Module, x: Tensor) -> str | None:
    """The name of the layer that CAM methods look at, found by trying.

    It is the last at which more than one position still matters to the logits, and, of maps,
    through which all that the logits depend on runs: never one branch of a concatenation, but the
    module that holds the concatenation, or the last layer before it. A layer that is called several
    times comes last, as its name does not say which call. In a convolutional network it
    gives the last maps before they are pooled to one position; in a transformer it is the layer
    norm before the last attention, behind which only the class token matters. None if there is no
    such layer, or no gradient to tell.

    Parameters:
        network: gives logits [B,classes]; in eval mode, and left as it was.
        x: float32 [B,C,H,W], images of any kind. Costs a forward and a backward pass.
    """
    seen: dict[str, _Seen] = {}  # in the order in which the layers finish

    def watch(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if _gives_maps(module, output, x.shape[2:]):
            again = seen.pop(name, None) is not None
            seen[name] = _Seen(output.grad_fn, is_tokens=output.ndim == 3, again=again)
            output.register_hook(partial(seen[name].note, x.shape[2:]))

    layers = [(name, module) for name, module in hookable(network) if name]
    handles = [module.register_forward_hook(partial(watch, name)) for name, module in layers]
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            x = x.detach().clone().requires_grad_()
            logits = network(x)
            if logits.requires_grad:
                warnings.simplefilter("ignore")  # of operations that have no gradient
                torch.autograd.grad(logits.amax(1).sum(), x, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    found = [
        (name, layer)
        for name, layer in reversed(seen.items())
        if layer.matters and (layer.is_tokens or _all_runs_through(layer.made_by, logits, x))
    ]
    once = [name for name, layer in found if not layer.again]
    return next(iter(once or [name for name, _ in found]), None)


@dataclass
class _Seen:
    """What a layer gave.

    Attributes:
        made_by: the node of the graph of gradients that made it.
        is_tokens: whether it is tokens, of which the class token passes by the layer norms.
        matters: whether more than one of its positions matters to the logits.
        again: whether the layer was called before, so that its name does not say which call.
    """

    made_by: Node | None
    is_tokens: bool
    matters: bool = False
    again: bool = False

    def note(self, image: Sequence[int], gradient: Tensor) -> None:
        self.matters = int(as_maps(gradient, image).ne(0).any(1).any(0).sum()) > 1


def _all_runs_through(layer: Node | None, logits: Tensor, x: Tensor) -> bool:
    """Whether no path of the graph of gradients leads from the logits to x past a layer."""
    waiting, passed = [logits.grad_fn], {layer}
    while waiting:
        node = waiting.pop()
        if node is None or node in passed:
            continue
        if getattr(node, "variable", None) is x:
            return False
        passed.add(node)
        waiting += [before for before, _ in node.next_functions]
    return True


def _gives_maps(module: nn.Module, output: Any, image: Sequence[int]) -> bool:
    """Whether a layer's output is a grid of more than one position.

    Tokens count behind a layer norm alone.
    """
    if (
        isinstance(module, nn.Dropout | nn.Identity)
        or not isinstance(output, Tensor)
        or not output.requires_grad
    ):
        return False
    if output.ndim == 3 and not isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return False
    try:
        height, width = as_maps(output, image).shape[2:]
    except MethodError:
        return False
    inside = height <= image[0] and width <= image[1]
    return height * width > 1 and inside and _is_grid(height, width, image)
