"""Methods that change how gradients flow back through ReLUs."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interpbench import MethodError, Model, method

# The rectifiers, and what their arguments are called.
ARGUMENTS: dict[Callable[..., Any], tuple[str, ...]] = {
    **dict.fromkeys((F.relu, F.relu6), ("input", "inplace")),
    **dict.fromkeys((F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), ("input",)),
    **dict.fromkeys((F.hardtanh, F.hardtanh_), ("input", "min_val", "max_val", "inplace")),
}
IN_PLACE = (F.relu_, torch.relu_, Tensor.relu_, F.hardtanh_)


@method(
    "guided-backprop",
    reference="Springenberg, Dosovitskiy, Brox, Riedmiller, Striving for Simplicity, ICLR workshop 2015",
    rectifiers=True,
)
def guided_backprop(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The gradient where each ReLU lets only positive gradients back; absolute, greatest over the channels.

    [B,C,H,W] -> [B,H,W]. ReLUs called as functions (`F.relu`, `torch.relu`, `Tensor.relu_`) count as well as
    `nn.ReLU` modules; captum alone sees only the modules, and would return the plain gradient for the others. ReLU6 is
    a ReLU with an end: it lets positive gradients back where the unit is active, 0 < x < 6. Other activations (GELU,
    hard-swish) keep their gradient.

    Raises:
        MethodError: if the model calls no ReLU: guided backprop is not defined there.
    """
    network = _WithModuleReLU(model)
    with warnings.catch_warnings():  # captum warns that it sets hooks, and that it removes them
        warnings.simplefilter("ignore")
        attribution = GuidedBackprop(network).attribute(x.requires_grad_(), target=target)
    if not network.calls:
        raise MethodError("is defined for ReLU networks, and this model calls no ReLU. Choose another method.")
    return attribution.abs().amax(dim=1)


class _WithModuleReLU(nn.Module):
    """A model whose rectifiers all go through one ReLU module, where captum's hooks find them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.relu = nn.ReLU()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        with _RedirectReLU(self):
            logits: Tensor = self.model(x)
        return logits


class _RedirectReLU(TorchFunctionMode):
    """Sends calls of rectifiers to a module: min(relu(x), 6) is ReLU6, and so is its gradient.

    `nn.ReLU.forward` calls `F.relu` too: such a call is guided twice, which changes nothing, since clamping negative
    gradients is idempotent. `nn.ReLU6.forward` calls `F.hardtanh`.
    """

    def __init__(self, owner: _WithModuleReLU) -> None:
        super().__init__()
        self.owner = owner

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        named = dict(zip(ARGUMENTS.get(func, ()), args, strict=False)) | kwargs
        greatest = _greatest(func, named)
        if greatest is None:
            return func(*args, **kwargs)
        self.owner.calls += 1
        x = named["input"]
        out = self.owner.relu(x)
        if greatest < math.inf:
            out = out.clamp(max=greatest)
        return x.copy_(out) if func in IN_PLACE or named.get("inplace", False) else out


def _greatest(func: Callable[..., Any], arguments: dict[str, Any]) -> float | None:
    """The value at which a rectifier ends; None if the function is no rectifier."""
    if func is F.relu6:
        return 6.0
    if func in (F.hardtanh, F.hardtanh_):
        return float(arguments.get("max_val", 1.0)) if arguments.get("min_val", -1.0) == 0 else None
    return math.inf if func in ARGUMENTS else None
