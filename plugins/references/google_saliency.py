"""Methods as Google's saliency (`pip install saliency`) computes them: one image [H,W,C] at a time, in numpy."""

from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from interpbench import MethodError, Model, activations_and_gradients, reference

Generators = Sequence[torch.Generator]
EXACT = 1e-9
SINGLE = 2e-6  # it sums in single precision
Answers = Callable[..., dict[str, np.ndarray]]


def _answers(model: Model, dtype: torch.dtype) -> Answers:
    """The model, of a dtype, as the library calls it: images [N,H,W,C] and a class; asked for what it needs."""

    def call(values: np.ndarray, target: int, expected_keys: Sequence[str]) -> dict[str, np.ndarray]:
        x = torch.from_numpy(np.asarray(values)).permute(0, 3, 1, 2).to(dtype)
        classes = torch.full((len(x),), target)
        if expected_keys == ["INPUT_OUTPUT_GRADIENTS"]:
            leaf = x.requires_grad_()
            (gradient,) = torch.autograd.grad(model(leaf)[:, target].sum(), leaf)
            return {"INPUT_OUTPUT_GRADIENTS": gradient.permute(0, 2, 3, 1).numpy()}
        if expected_keys == ["OUTPUT_LAYER_VALUES"]:
            with torch.no_grad():
                return {"OUTPUT_LAYER_VALUES": model(x)[:, target].numpy()}
        maps, slopes = (t.permute(0, 2, 3, 1).numpy() for t in activations_and_gradients(model, None, x, classes))
        return {"CONVOLUTION_LAYER_VALUES": maps, "CONVOLUTION_OUTPUT_GRADIENTS": slopes}

    return lambda values, call_model_args, expected_keys: call(values, call_model_args, list(expected_keys))


def _masks(name: str, model: Model, x: Tensor, target: Tensor, **options: Any) -> Tensor:
    """The mask of each image, [B,H,W,C] or [B,h,w]."""
    from saliency import core

    method = getattr(core, name)()
    images = x.permute(0, 2, 3, 1).numpy()
    found = [
        method.GetMask(image, _answers(model, x.dtype), t, **options)
        for image, t in zip(images, target.tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack(found))


@reference("saliency", library="saliency", tolerance=EXACT)
def saliency(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """GradientSaliency, the greatest absolute value of the channels."""
    return _masks("GradientSaliency", model, x, target).abs().amax(dim=3)


def _smoothed(
    model: Model,
    x: Tensor,
    target: Tensor,
    generators: Generators,
    samples: int,
    noise: float,
    magnitude: bool,
) -> Tensor:
    """GradientSaliency's smoothed mask of each image with the noise that these generators give, [B,H,W,C]."""
    from saliency import core

    found = []
    for image, t, generator in zip(x.permute(0, 2, 3, 1).numpy(), target.tolist(), generators, strict=True):
        drawn = iter([torch.randn(x.shape[1:], generator=generator).permute(1, 2, 0).numpy() for _ in range(samples)])
        with patch.object(np.random, "normal", lambda mean, deviation, shape, drawn=drawn: deviation * next(drawn)):
            found.append(
                core.GradientSaliency().GetSmoothedMask(
                    image, _answers(model, x.dtype), t, stdev_spread=noise, nsamples=samples, magnitude=magnitude
                )
            )
    return torch.from_numpy(np.stack(found))


NOISE = "Google's saliency draws noise of its own: compared with that of ours."


@reference("smoothgrad", library="saliency", tolerance=SINGLE, why=NOISE)
def smoothgrad(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: int = 5, noise: float = 0.1
) -> Tensor:
    """GetSmoothedMask without `magnitude`, the greatest absolute value of the channels."""
    return _smoothed(model, x, target, generators, samples, noise, magnitude=False).abs().amax(dim=3)


@reference("smoothgrad-squared", library="saliency", tolerance=SINGLE, why=NOISE)
def smoothgrad_squared(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: int = 5, noise: float = 0.1
) -> Tensor:
    """GetSmoothedMask with `magnitude`, the greatest of the channels."""
    return _smoothed(model, x, target, generators, samples, noise, magnitude=True).amax(dim=3)


@reference(
    "integrated-gradients",
    library="saliency",
    tolerance=None,
    why="Google's saliency takes the mean at equal steps with both ends, ours like captum Gauss-Legendre's points: "
    "both tend to the same integral, and differ with few steps.",
)
def integrated_gradients(model: Model, x: Tensor, target: Tensor, *, steps: int = 16) -> Tensor:
    """IntegratedGradients from zeros, summed over the channels."""
    return _masks("IntegratedGradients", model, x, target, x_steps=steps, batch_size=16).sum(dim=3)


@reference(
    "blur-integrated-gradients",
    library="saliency",
    tolerance=1e-4,
    why="Google's saliency takes a difference for the path's slope, which ours has exactly.",
)
def blur_integrated_gradients(model: Model, x: Tensor, target: Tensor, *, steps: int = 8, sigma: float = 6.0) -> Tensor:
    """BlurIG, summed over the channels."""
    return _masks("BlurIG", model, x, target, max_sigma=sigma, steps=steps, grad_step=1e-5).sum(dim=3)


@reference(
    "guided-integrated-gradients",
    library="saliency",
    tolerance=EXACT,
    why="Google's saliency calls numpy's quantile as it was before numpy 2.4: given that.",
)
def guided_integrated_gradients(
    model: Model, x: Tensor, target: Tensor, *, steps: int = 6, fraction: float = 0.3, distance: float = 0.1
) -> Tensor:
    """GuidedIG from zeros, summed over the channels."""

    def quantile(values: np.ndarray, q: float, interpolation: str) -> Any:
        return np.percentile(values, 100 * q, method=interpolation)  # type: ignore[call-overload]

    with patch.object(np, "quantile", quantile):
        masks = _masks("GuidedIG", model, x, target, x_steps=steps, fraction=fraction, max_dist=distance)
    return masks.sum(dim=3)


@reference(
    "gradcam",
    library="saliency",
    tolerance=SINGLE,
    why="Google's saliency asks the user for the layer's maps and gradients: it is given those of ours, so only what "
    "is made of them is compared.",
)
def gradcam(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """GradCam at the layer's size."""
    return _masks("GradCam", model, x, target, should_resize=False, three_dims=False)


@reference(
    "occlusion",
    library="saliency",
    tolerance=1e-5,
    why="Google's saliency adds up the windows over a position, ours takes their mean, as captum does: compared after "
    "dividing by their number.",
)
def occlusion(model: Model, x: Tensor, target: Tensor, *, window: int = 28, stride: int = 1) -> Tensor:
    """Occlusion."""
    if min(x.shape[2:]) < window:
        raise MethodError(f"the images are smaller than the window of {window} pixels")
    total = _masks("Occlusion", model, x, target, size=window)[..., 0]
    windows = torch.ones(1, 1, *(side - window + 1 for side in x.shape[2:]), dtype=x.dtype)
    number = torch.nn.functional.conv_transpose2d(windows, torch.ones(1, 1, window, window, dtype=x.dtype))[0]
    return total / number
