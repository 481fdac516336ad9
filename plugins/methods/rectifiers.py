"""Methods with a rule of their own for how a gradient g goes back through a ReLU.

The rule finds every ReLU, module or function. A ReLU6 counts as one too: it is open between 0 and 6.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Tensor

from interpbench import (
    MethodError,
    Model,
    Operation,
    activations_and_gradients,
    method,
    run_with_rules,
    with_backward,
)

Rule = Callable[[Tensor, Tensor], Tensor]  # a ReLU's output and input -> the output, whose g goes back by the rule


@method(
    "guided-backprop",
    rectifiers=True,
    reference="Springenberg, Dosovitskiy, Brox, Riedmiller, Striving for Simplicity, ICLR workshop 2015",
)
def guided_backprop(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The gradient where an open ReLU lets only positive g back; greatest |.| of the channels: [B,C,H,W] -> [B,H,W].

    Captum sees only ReLUs that are modules, and returns the plain gradient for others. Other activations (GELU,
    hard-swish) keep their gradient.

    Raises:
        MethodError: if the model has no ReLU.
    """
    return _input_gradient(model, x, target, "Guided backprop", _guided).abs().amax(dim=1)


@method(
    "deconvnet",
    rectifiers=True,
    reference="Zeiler, Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014",
)
def deconvnet(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The gradient where a ReLU lets positive g back, be it open or not; greatest |.| of the channels: -> [B,H,W].

    Max pooling sends back to where the maximum was, as the paper's switches do.

    Raises:
        MethodError: if the model has no ReLU.
    """

    def rule(out: Tensor, before: Tensor) -> Tensor:
        return with_backward(out, [before], lambda g: [g.relu()])

    return _input_gradient(model, x, target, "The deconvnet", rule).abs().amax(dim=1)


@method(
    "guided-gradcam",
    rectifiers=True,
    reference="Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, Grad-CAM, ICCV 2017, section 3.2",
)
def guided_gradcam(model: Model, x: Tensor, target: Tensor, *, layer: str | None = None) -> Tensor:
    """Guided backprop times Grad-CAM enlarged bilinearly, the greatest |.| of the channels: [B,C,H,W] -> [B,H,W].

    Parameters:
        layer: dotted name of Grad-CAM's layer; none for the one that the model's card names.

    Raises:
        MethodError: if the model has no ReLU.
    """
    activation, gradient = activations_and_gradients(model, layer, x, target)
    cam = (gradient.mean((2, 3), keepdim=True) * activation).sum(1, keepdim=True).relu()
    large = F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)
    guided = _input_gradient(model, x, target, "Guided Grad-CAM", _guided)
    return (guided * large).abs().amax(dim=1)


@method(
    "rectgrad",
    rectifiers=True,
    reference="Kim, Seo, Jeon, Koo, Choe, Jeon, Why are Saliency Maps Noisy?, ICCV workshops 2019",
)
def rectgrad(model: Model, x: Tensor, target: Tensor, *, percentile: PositiveFloat = 98.0) -> Tensor:
    """The gradient where a ReLU lets only what matters most back, summed over the channels: [B,C,H,W] -> [B,H,W].

    g passes where a · g > tau, with a the ReLU's output and tau the percentile of a · g over the layer, for each image.
    Signed: what lowers the logit ranks last.

    Parameters:
        percentile: in 0..100; the paper's default is 98.

    Raises:
        MethodError: if the model has no ReLU.
    """
    if percentile >= 100:
        raise ValueError(f"percentile={percentile} lets nothing through: give less than 100")

    def strongest(out: Tensor, g: Tensor) -> Tensor:
        product = (out * g).flatten(1)
        place = 1 + int(percentile / 100 * (product.shape[1] - 1))
        threshold = product.kthvalue(place, dim=1, keepdim=True).values
        return g * (product > threshold).view_as(g)

    def rule(out: Tensor, before: Tensor) -> Tensor:
        values = out.detach()
        return with_backward(out, [before], lambda g: [strongest(values, g)])

    return _input_gradient(model, x, target, "RectGrad", rule).sum(dim=1)


def _guided(out: Tensor, before: Tensor) -> Tensor:
    """Only positive g reaches the ReLU, which itself stops it where it is closed."""
    out.register_hook(torch.relu)
    return out


def _input_gradient(model: Model, x: Tensor, target: Tensor, name: str, rule: Rule) -> Tensor:
    """The gradient of the targets' logits with respect to x, by the rule."""
    found = []

    def rectify(operation: Operation) -> Tensor:
        before = operation.arguments[0]
        out = operation(before)
        if float(operation(torch.tensor([-1.0]))) != 0:  # hardtanh from -1 to 1; on the CPU, so that no GPU is asked
            return out
        found.append(operation.name)
        return rule(out, before)

    leaf = x.detach().clone().requires_grad_()
    logits = run_with_rules(model, leaf, dict.fromkeys(("relu", "relu6", "hardtanh"), rectify))
    if not found:
        raise MethodError(f"{name} is defined for ReLU networks, and this model calls no ReLU: choose another method.")
    (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), leaf)
    return gradient
