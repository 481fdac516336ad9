"""Many variants of each image, packed into full forward passes.

What sampling and perturbing methods share.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from interpbench.core.types import Model


def blocks(count: int, images: int, batch_size: int) -> Iterator[range]:
    """0..count-1 in parts, such that a part for each of the images fills a forward pass.

    Parameters:
        count: variants of each image.
        images: how many images there are.
        batch_size: images a forward pass, as `Model.batch_size`.

    Example:
        >>> list(interpbench.blocks(count=5, images=4, batch_size=8))
        [range(0, 2), range(2, 4), range(4, 5)]
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

    Parameters:
        model: gives logits [N,classes] for [N,C,H,W].
        variants: float [B,S,C,H,W], S of each image.
        target: int64 [B].
        output: the logit, or the probability: as a `Model` reads it, else the softmax.

    Example:
        >>> def model(x):  # the logits are the means of red, green and blue
        ...     return x.mean(dim=(2, 3))
        >>> image = torch.zeros(1, 3, 8, 8)
        >>> variants = torch.stack([image, image + 1, image + 2], dim=1)
        >>> interpbench.target_outputs(model, variants, target=torch.tensor([0]))
        tensor([[0., 1., 2.]])
    """
    logits = model(variants.flatten(0, 1))
    values = logits
    if output == "probability":
        values = model.probabilities(logits) if isinstance(model, Model) else logits.softmax(dim=1)
    index = target[:, None, None].expand(-1, variants.shape[1], 1)
    return values.unflatten(0, variants.shape[:2]).gather(2, index).squeeze(2)


def target_gradients(model: Callable[[Tensor], Tensor], variants: Tensor, target: Tensor) -> Tensor:
    """d logit_target / d variant for each variant, [B,S,C,H,W].

    By one forward and one backward pass of all variants.

    Parameters:
        model: gives logits [N,classes] for [N,C,H,W].
        variants: float [B,S,C,H,W], S of each image; left as they are.
        target: int64 [B].

    Example:
        >>> def model(x):  # the logits are the sums of the squares of red, green and blue
        ...     return x.square().sum(dim=(2, 3))
        >>> image = torch.ones(1, 3, 8, 8)
        >>> variants = torch.stack([image, 2 * image], dim=1)
        >>> gradients = interpbench.target_gradients(model, variants, target=torch.tensor([0]))
        >>> gradients.shape
        torch.Size([1, 2, 3, 8, 8])
        >>> gradients[0, :, :, 0, 0]  # of red, 2 times its value
        tensor([[2., 0., 0.],
                [4., 0., 0.]])
    """
    with torch.enable_grad():
        leaf = variants.detach().clone().requires_grad_()
        score = target_outputs(model, leaf, target).sum()
    (gradient,) = torch.autograd.grad(score, leaf)
    return gradient
