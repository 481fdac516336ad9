"""Class activation maps: weighted sums of a layer's channels."""

from typing import Any

import torch
from torch import Tensor, nn

from interpbench import Model, as_maps, method


@method(
    "gradcam",
    coarse=True,
    reference="Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, Grad-CAM, ICCV 2017",
)
def gradcam(model: Model, x: Tensor, target: Tensor, *, layer: str | None = None) -> Tensor:
    """ReLU of the layer's channels, each weighted by the mean of d logit_target / d channel: [B,C,H,W] -> [B,h,w].

    The map has the layer's size; a transformer's tokens are put back into their grid, without the class token. Costs
    one forward pass and a backward pass to the layer only.

    Parameters:
        layer: dotted name of the layer; none for the one that the model's card names.
    """
    module = model.target_layer if layer is None else model.layer(layer)
    activation, gradient = (as_maps(t) for t in _activation_and_gradient(model, module, x, target))
    weight = gradient.mean((2, 3), keepdim=True)
    return (weight * activation).sum(1).relu()


def _activation_and_gradient(model: Model, module: nn.Module, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's output and the gradient of the targets' logits with respect to it."""
    outputs: list[Tensor] = []

    def cut(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        as_maps(output)  # refuses what is no map before anything is computed from it
        outputs.append(output.detach().requires_grad_())
        return outputs[-1].clone()  # what follows may work in place

    handle = module.register_forward_hook(cut)
    try:
        score = model(x).gather(1, target[:, None]).sum()
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(score, outputs[-1])
    return outputs[-1].detach(), gradient
