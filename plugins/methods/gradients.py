"""Methods that read the gradient of the target's logit with respect to the image."""

from collections.abc import Sequence
from typing import Literal

import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from pydantic import PositiveInt
from torch import Tensor

from interpbench import Baseline, Model, baseline, method, uniform_images


@method("saliency", reference="Simonyan, Vedaldi, Zisserman, Deep Inside Convolutional Networks, ICLR workshop 2014")
def saliency(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """|d logit_target / d x|, the greatest over the channels: [B,C,H,W] -> [B,H,W]."""
    return Saliency(model).attribute(x.requires_grad_(), target=target, abs=True).amax(dim=1)


@method("gradient-x-input", reference="Shrikumar, Greenside, Shcherbina, Kundaje, Not Just a Black Box, arXiv 2016")
def gradient_x_input(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """x · d logit_target / d x, summed over the channels: [B,C,H,W] -> [B,H,W].

    Signed: what lowers the logit ranks last. The input is the normalised image, so a pixel of the colour that it is
    normalised by counts nothing.
    """
    return InputXGradient(model).attribute(x.requires_grad_(), target=target).sum(dim=1)


@method("integrated-gradients", reference="Sundararajan, Taly, Yan, Axiomatic Attribution for Deep Networks, ICML 2017")
def integrated_gradients(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    generators: Sequence[torch.Generator],
    steps: PositiveInt = 50,
    reference: Baseline | Literal["uniform"] = "zero",
) -> Tensor:
    """(x - b) times the mean gradient along the line from b to x, summed over the channels: [B,C,H,W] -> [B,H,W].

    Signed: what lowers the logit ranks last. The integral is Gauss-Legendre's with `steps` points.

    Parameters:
        steps: points of the integral.
        reference: the image b that the path starts from; `uniform` is noise, other noise for each image.
    """
    start = uniform_images(x, model.card, generators) if reference == "uniform" else baseline(reference, x, model.card)
    attribution = IntegratedGradients(model).attribute(
        x, baselines=start, target=target, n_steps=steps, internal_batch_size=max(model.batch_size, len(x))
    )
    return attribution.sum(dim=1)
