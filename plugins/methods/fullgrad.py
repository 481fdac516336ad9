"""Full-gradient representation: the gradients of the image and of every bias, which together are the logit."""

import torch
import torch.nn.functional as F
from torch import Tensor

from interpbench import (
    ELEMENTWISE,
    MOVING,
    Model,
    Operation,
    batch_norm_as_affine,
    method,
    run_with_rules,
)

LINEAR = ("conv2d", "linear")
THROUGH_ORIGIN = frozenset({"relu", "leaky_relu"})  # piecewise linear, without a bias of their own
THROUGH = MOVING | THROUGH_ORIGIN | {"add", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean", "sum"}


@method("full-gradient", reference="Srinivas, Fleuret, Full-Gradient Representation, NeurIPS 2019")
def full_gradient(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The image's gradient times the image, plus each layer's gradient times its bias: [B,C,H,W] -> [B,H,W].

    S = psi(x · g_x) + sum over layers of psi(b · g_b), summed over the channels; psi takes the absolute value,
    stretches each image's to 0..1 and enlarges it to the image (bilinearly with aligned corners, as the authors' code
    does, which also leaves out layers without maps). Batch norms count as biases, and so does what a saturating
    activation adds to its slope, so that before psi all terms sum to the logit. Costs one forward and
    one backward pass.

    Raises:
        MethodError: for a network with other operations, such as products of activations or layer norm.
    """
    image, layers = _terms(model, x, target)
    saliency = _stretched(image)
    for term in layers:
        if term.ndim == 4:
            small = _stretched(term)[:, None]
            saliency += F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=True)[:, 0]
    return saliency


def _terms(model: Model, x: Tensor, target: Tensor) -> tuple[Tensor, list[Tensor]]:
    """x · g_x, and b · g_b for each bias, of the layer's output's shape; all together sum to the logits."""
    biases: list[tuple[Tensor, Tensor]] = []  # a layer's output and its bias

    def note(output: Tensor, bias: Tensor | None) -> Tensor:
        if bias is not None:
            biases.append((output, bias.detach()))
        return output

    def linear(operation: Operation) -> Tensor:
        output = operation(*operation.arguments)
        bias = operation.arguments[2] if len(operation.arguments) > 2 else None
        return note(output, None if bias is None else _along_channels(bias, output, operation.name == "linear"))

    def norm(operation: Operation) -> Tensor:
        output = operation(*operation.arguments)
        return note(output, _along_channels(batch_norm_as_affine(operation)[1], output))

    def saturating(operation: Operation) -> Tensor:
        before = operation.arguments[0].detach().requires_grad_()
        after = operation(before)
        (slope,) = torch.autograd.grad(after.sum(), before)
        return note(operation(*operation.arguments), after - slope * before)

    rules = dict.fromkeys(LINEAR, linear) | {"batch_norm": norm}
    rules |= dict.fromkeys(ELEMENTWISE - THROUGH_ORIGIN, saturating)
    leaf = x.detach().clone().requires_grad_()
    logits = run_with_rules(model, leaf, rules, through=THROUGH, method="The full gradient")
    score = logits.gather(1, target[:, None]).sum()
    gradients = torch.autograd.grad(score, [leaf, *(output for output, _ in biases)])
    return leaf.detach() * gradients[0], [b * g for (_, b), g in zip(biases, gradients[1:], strict=True)]


def _along_channels(bias: Tensor, output: Tensor, last: bool = False) -> Tensor:
    """A bias [C] as it is added to the output, whose channels are its second dimension or its last."""
    return bias if last else bias.view(-1, *[1] * (output.ndim - 2))


def _stretched(term: Tensor) -> Tensor:
    """|term| [B,C,h,w] of each image stretched to 0..1, summed over the channels: [B,h,w]."""
    size = term.abs()
    low, high = size.amin((1, 2, 3), keepdim=True), size.amax((1, 2, 3), keepdim=True)
    return ((size - low) / (high - low).where(high > low, 1)).sum(1)
