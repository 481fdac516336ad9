"""What CAM methods look at: a layer's maps, their gradients, and the logits when its channels are changed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from interpbench.core.layers import as_maps
from interpbench.core.types import Model


def activations_and_gradients(model: Model, layer: str | None, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's maps [B,K,h,w] and d logit_target / d maps; one forward pass, one backward pass to the layer only.

    Tokens come as maps, see `as_maps`. Methods that ask for the same layer and images share the passes.

    Args:
        model: is left as it was.
        layer: dotted name; None for the one that the model's card names.
        x: float32 [B,C,H,W], normalised.
        target: int64 [B].

    Raises:
        MethodError: if there is no such layer, or it gives no maps.
    """
    module = _module(model, layer)

    def make() -> tuple[Tensor, Tensor]:
        outputs: list[Tensor] = []

        def cut(output: Tensor) -> Tensor:
            outputs.append(output.detach().requires_grad_())
            return outputs[-1].clone()  # what follows may work in place

        with torch.enable_grad(), changed(module, cut):
            score = model(x).gather(1, target[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, outputs[-1])
        return as_maps(outputs[-1].detach()), as_maps(gradient)

    activations, gradients = model.shared.once(("activations and gradients", module), model, x, target, make)
    return activations, gradients


def layer_activations(model: Model, layer: str | None, x: Tensor) -> Tensor:
    """A layer's maps [B,K,h,w], without gradients; arguments and errors as of `activations_and_gradients`."""
    module = _module(model, layer)

    def make() -> tuple[Tensor]:
        outputs: list[Tensor] = []

        def keep(output: Tensor) -> Tensor:
            outputs.append(output.detach().clone())
            return output

        with torch.no_grad(), changed(module, keep):
            model(x)
        return (as_maps(outputs[-1]),)

    # A pass that went on to the gradients has found them too.
    known = model.shared.known(("activations and gradients", module), model, x)
    return known[0] if known else model.shared.once(("activations", module), model, x, None, make)[0]


def logits_with_scaled_channels(model: Model, layer: str | None, x: Tensor, factors: Tensor) -> Tensor:
    """The logits [B,classes] when each channel k of the layer's maps is multiplied by factors[:, k], of [B,K]."""

    def scale(output: Tensor) -> Tensor:
        output = output.clone()
        as_maps(output).mul_(factors[:, :, None, None])  # a view
        return output

    with torch.no_grad(), changed(_module(model, layer), scale):
        logits: Tensor = model(x)
    return logits


@contextmanager
def changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within this context the layer's output is `change(output)`.

    Raises:
        MethodError: if the output is no maps, before `change` sees it.
    """

    def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        as_maps(output)
        return change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _module(model: Model, layer: str | None) -> nn.Module:
    return model.target_layer if layer is None else model.layer(layer)
