"""DeepLIFT: how far each value's difference to a reference moves the logit, layer by layer; and its mean, DeepSHAP.

Every activation f goes back by its multiplier (f(z) - f(z_r)) / (z - z_r) instead of its slope, however the network
spells it. captum's DeepLift is the reference, but for its modules alone, and not for max pooling, through which its
maps are not complete; here the rule is that of Lundberg and Lee's DeepExplainer, and they are.
"""

from collections.abc import Sequence

import torch
from pydantic import PositiveInt
from torch import Tensor

from interpbench import (
    ELEMENTWISE,
    MOVING,
    Baseline,
    MethodError,
    Model,
    Operation,
    baseline,
    blocks,
    method,
    run_with_rules,
    uniform_images,
    with_backward,
)

LINEAR = {"conv2d", "linear", "batch_norm", "add", "sub", "mean", "sum", "avg_pool2d", "adaptive_avg_pool2d"}
SMALL = 1e-10  # of differences, below which the slope stands for the multiplier: captum's


@method(
    "deeplift",
    reference="Shrikumar, Greenside, Kundaje, Learning Important Features Through Propagating Activation Differences, "
    "ICML 2017",
)
def deeplift(model: Model, x: Tensor, target: Tensor, *, reference: Baseline = "zero") -> Tensor:
    """(x - r) times the multipliers of the rescale rule, summed over the channels: [B,C,H,W] -> [B,H,W].

    Signed, and complete: the sum over the image is logit(x) - logit(r). Costs a forward and a backward pass of two
    images each.

    Parameters:
        reference: the image r.

    Raises:
        MethodError: for a network with operations that have no such rule, such as products of activations, softmax
            and layer norm.
    """
    return _contributions(model, x, baseline(reference, x, model.card), target).sum(dim=1)


@method("deepshap", reference="Lundberg, Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017")
def deepshap(
    model: Model, x: Tensor, target: Tensor, *, generators: Sequence[torch.Generator], samples: PositiveInt = 10
) -> Tensor:
    """The mean of DeepLIFT over random references, summed over the channels: [B,C,H,W] -> [B,H,W].

    The paper's references are training images, which a method does not see here: they are uniform noise, other for each
    image. Signed, and complete: the sum over the image is logit(x) less the references' mean logit.

    Parameters:
        samples: references for each image.

    Raises:
        MethodError: as DeepLIFT.
    """
    total = torch.zeros_like(x)
    for part in blocks(samples, 2 * len(x), model.batch_size):
        references = torch.stack([uniform_images(x, model.card, generators) for _ in part], 1)
        images = x[:, None].expand_as(references)
        found = _contributions(
            model, images.flatten(0, 1), references.flatten(0, 1), target.repeat_interleave(len(part))
        )
        total += found.unflatten(0, (len(x), len(part))).sum(1)
    return (total / samples).sum(dim=1)


def _contributions(model: Model, x: Tensor, reference: Tensor, target: Tensor) -> Tensor:
    """(x - reference) · multipliers, [N,C,H,W]. Images and references go through the model together."""
    parts = [slice(part.start, part.stop) for part in blocks(len(x), 2, model.batch_size)]
    return torch.cat([(x[p] - reference[p]) * _multipliers(model, x[p], reference[p], target[p]) for p in parts])


def _multipliers(model: Model, x: Tensor, reference: Tensor, target: Tensor) -> Tensor:
    both = torch.cat([x, reference]).detach().requires_grad_()
    rules = dict.fromkeys(ELEMENTWISE, _rescale) | {"max_pool2d": _max_pool, "mul": _product}
    logits = run_with_rules(model, both, rules, through=MOVING | LINEAR, method="DeepLIFT")
    (multipliers,) = torch.autograd.grad(logits[: len(x)].gather(1, target[:, None]).sum(), both)
    return multipliers[: len(x)]


def _rescale(operation: Operation) -> Tensor:
    """An activation, by its difference to the reference over its input's."""
    before = operation.arguments[0]
    change, after, slope = _differences(operation)
    ours, theirs = after.chunk(2)
    multiplier = torch.where(change.abs() < SMALL, slope, (ours - theirs) / change)
    return with_backward(after, [before], lambda g: [_only_images(g.chunk(2)[0] * multiplier)])


def _max_pool(operation: Operation) -> Tensor:
    """Max pooling: what the image adds goes to its own maximum, what the reference loses to the reference's."""
    before = operation.arguments[0]
    change, after, _ = _differences(operation)
    ours, theirs = after.chunk(2)
    higher = torch.maximum(ours, theirs)

    def back(g: Tensor) -> list[Tensor]:
        g = g.chunk(2)[0]
        inputs = before.detach().requires_grad_()
        with torch.enable_grad():
            outputs = operation(inputs)
        (moved,) = torch.autograd.grad(outputs, inputs, torch.cat([g * (higher - theirs), g * (ours - higher)]))
        contribution = sum(moved.chunk(2))
        return [_only_images(torch.where(change.abs() < SMALL, 0, contribution / change))]

    return with_backward(after, [before], back)


def _product(operation: Operation) -> Tensor:
    """A product with a constant is linear; there is no rule for one of two activations."""
    if sum(isinstance(a, Tensor) and a.requires_grad for a in operation.arguments) > 1:
        raise MethodError("DeepLIFT has no rule for products of activations, which this model has: choose another.")
    return operation(*operation.arguments)


def _differences(operation: Operation) -> tuple[Tensor, Tensor, Tensor]:
    """Difference of the inputs of image and reference [N,...], the outputs of both [2N,...], the images' slope."""
    before = operation.arguments[0].detach().requires_grad_()
    after = operation(before)
    (slope,) = torch.autograd.grad(after.sum(), before)
    ours, theirs = before.detach().chunk(2)
    return ours - theirs, after.detach(), slope.chunk(2)[0]


def _only_images(gradient: Tensor) -> Tensor:
    """A gradient of the images alone, with zeros for their references."""
    return torch.cat([gradient, torch.zeros_like(gradient)])
