"""Many variants of each image, packed into full forward passes: what sampling and perturbing methods share."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor


def blocks(count: int, images: int, batch_size: int) -> Iterator[range]:
    """0..count-1 in parts, such that a part for each of the images fills a forward pass.

    Args:
        count: variants of each image.
        images: how many images there are.
        batch_size: images a forward pass, as `Model.batch_size`.
    """
    block = max(1, batch_size // images)
    for first in range(0, count, block):
        yield range(first, min(first + block, count))


def target_outputs(
    model: Callable[[Tensor], Tensor],
    variants: Tensor,
    target: Tensor,
    output: Literal["logit", "probability"] = "logit",
) -> Tensor:
    """What the model answers for each image's target, [B,S].

    Args:
        model: gives logits [N,classes] for [N,C,H,W].
        variants: float [B,S,C,H,W], S of each image.
        target: int64 [B].
        output: the logit, or the softmax probability.
    """
    logits = model(variants.flatten(0, 1))
    values = logits.softmax(dim=1) if output == "probability" else logits
    index = target[:, None, None].expand(-1, variants.shape[1], 1)
    return values.unflatten(0, variants.shape[:2]).gather(2, index).squeeze(2)


def target_gradients(model: Callable[[Tensor], Tensor], variants: Tensor, target: Tensor) -> Tensor:
    """d logit_target / d variant for each variant, [B,S,C,H,W], by one forward and one backward pass.

    Args:
        model: gives logits [N,classes] for [N,C,H,W].
        variants: float [B,S,C,H,W], S of each image; left as they are.
        target: int64 [B].
    """
    with torch.enable_grad():
        leaf = variants.detach().clone().requires_grad_()
        score = target_outputs(model, leaf, target).sum()
    (gradient,) = torch.autograd.grad(score, leaf)
    return gradient
