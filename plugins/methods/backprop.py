"""Methods that change how gradients flow back through ReLUs."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interpbench import Model, method


@method(
    "guided-backprop",
    reference="Springenberg, Dosovitskiy, Brox, Riedmiller, Striving for Simplicity, ICLR workshop 2015",
)
def guided_backprop(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The gradient where each ReLU lets only positive gradients back; absolute, greatest over the channels.

    [B,C,H,W] -> [B,H,W]. ReLUs called as functions (`F.relu`, `torch.relu`, `Tensor.relu_`) count as well as
    `nn.ReLU` modules; captum alone sees only the modules, and would return the plain gradient for the others.

    Raises:
        ValueError: if the model has no ReLU: guided backprop is not defined there.
    """
    network = _WithModuleReLU(model)
    with warnings.catch_warnings():  # captum warns that it sets hooks, and that it removes them
        warnings.simplefilter("ignore")
        attribution = GuidedBackprop(network).attribute(x.requires_grad_(), target=target)
    if not (network.functional_calls or any(isinstance(m, nn.ReLU) for m in model.modules())):
        raise ValueError("guided backprop is defined for ReLU networks, and this model calls no ReLU")
    return attribution.abs().amax(dim=1)


class _WithModuleReLU(nn.Module):
    """A model whose functional ReLUs go through one ReLU module, where captum's hooks find them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.relu = nn.ReLU()
        self.functional_calls = 0

    def forward(self, x: Tensor) -> Tensor:
        with _RedirectReLU(self):
            logits: Tensor = self.model(x)
        return logits


class _RedirectReLU(TorchFunctionMode):
    """Sends calls of functional ReLUs to a module.

    `nn.ReLU.forward` calls `F.relu` too: such a call is guided twice, which changes nothing, since clamping negative
    gradients is idempotent.
    """

    FUNCTIONS = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)

    def __init__(self, owner: _WithModuleReLU) -> None:
        super().__init__()
        self.owner = owner

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func not in self.FUNCTIONS:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        in_place = func in (F.relu_, torch.relu_, Tensor.relu_) or kwargs.get("inplace", args[1:] == (True,))
        self.owner.functional_calls += 1
        out = self.owner.relu(x)
        return x.copy_(out) if in_place else out
