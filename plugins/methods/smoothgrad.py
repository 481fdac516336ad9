"""Gradients of noisy copies of the image, and their mean, mean square and variance.

Gaussian noise is drawn from one seeded generator an image; its standard deviation is a share of the difference
between the image's greatest and least value. captum's NoiseTunnel is the reference, with a deviation of its own choice.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from interpbench import Model, blocks, method, target_gradients

Noise = Annotated[float, Field(ge=0)]
Generators = Sequence[torch.Generator]


@method("smoothgrad", reference="Smilkov, Thorat, Kim, Viégas, Wattenberg, SmoothGrad, ICML workshop 2017")
def smoothgrad(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: PositiveInt = 25, noise: Noise = 0.15
) -> Tensor:
    """|mean of d logit_target / d (x + noise)|, the greatest over the channels: [B,C,H,W] -> [B,H,W].

    Parameters:
        samples: noisy copies of each image.
        noise: standard deviation as a share of the image's range of values.
    """
    mean, _ = _moments(model, x, target, generators, samples, noise)
    return mean.abs().amax(dim=1)


@method(
    "smoothgrad-squared", reference="Hooker, Erhan, Kindermans, Kim, A Benchmark for Interpretability, NeurIPS 2019"
)
def smoothgrad_squared(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: PositiveInt = 25, noise: Noise = 0.15
) -> Tensor:
    """Mean of (d logit_target / d (x + noise))², the greatest over the channels: [B,C,H,W] -> [B,H,W].

    Parameters:
        samples: noisy copies of each image.
        noise: standard deviation as a share of the image's range of values.
    """
    _, square = _moments(model, x, target, generators, samples, noise)
    return square.amax(dim=1)


@method("vargrad", reference="Adebayo, Gilmer, Goodfellow, Kim, Local Explanation Methods, ICLR workshop 2018")
def vargrad(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: PositiveInt = 25, noise: Noise = 0.15
) -> Tensor:
    """Variance of d logit_target / d (x + noise), the greatest over the channels: [B,C,H,W] -> [B,H,W].

    The mean square less the squared mean, without a correction for few samples.

    Parameters:
        samples: noisy copies of each image, two or more.
        noise: standard deviation as a share of the image's range of values.
    """
    if samples < 2:
        raise ValueError("samples=1 has no variance: give two or more")
    mean, square = _moments(model, x, target, generators, samples, noise)
    return (square - mean**2).clamp(min=0).amax(dim=1)


def _moments(
    model: Model, x: Tensor, target: Tensor, generators: Generators, samples: int, noise: float
) -> tuple[Tensor, Tensor]:
    """Mean and mean square of the noisy gradients, each [B,C,H,W]."""
    total, squares = (torch.zeros_like(x, dtype=torch.float64) for _ in range(2))
    for gradients in _noisy_gradients(model, x, target, generators, samples, noise):
        total += gradients.sum(1)
        squares += gradients.square().sum(1)
    return total / samples, squares / samples


def _noisy_gradients(
    model: Model, x: Tensor, target: Tensor, generators: Generators, samples: int, noise: float
) -> Iterator[Tensor]:
    """Gradients at noisy copies, [B,P,C,H,W] in full batches."""
    deviation = noise * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))[:, None, None, None, None]
    for part in blocks(samples, len(x), model.batch_size):
        # One sample at a time, so that what is drawn does not depend on how many fill a batch.
        drawn = [torch.stack([torch.randn(x.shape[1:], generator=g) for _ in part]) for g in generators]
        yield target_gradients(
            model, x[:, None] + deviation * torch.stack(drawn).to(x.device, non_blocking=True), target
        )
