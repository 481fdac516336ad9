"""Methods and metrics as captum computes them."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from captum import attr, metrics
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr._utils.lrp_rules import EpsilonRule
from skimage.segmentation import slic
from torch import Tensor, nn

from interpbench import (
    Explanation,
    MethodError,
    Model,
    baseline,
    metric_reference,
    reference,
    uniform_images,
)

Generators = Sequence[torch.Generator]
EXACT = 1e-9
SINGLE = 2e-6  # where one of the two works in single precision
WRAPPED = "Ours calls captum."
MODULES = (
    "captum finds activations that are modules, called once and not in place, and no others: it is given a copy of the "
    "model in which all are."
)


@reference("saliency", library="captum", tolerance=EXACT, why=WRAPPED)
def saliency(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Saliency, the greatest over the channels."""
    return attr.Saliency(model).attribute(x.requires_grad_(), target=target).amax(dim=1)


@reference("gradient-x-input", library="captum", tolerance=EXACT, why=WRAPPED)
def gradient_x_input(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """InputXGradient, summed over the channels."""
    return attr.InputXGradient(model).attribute(x.requires_grad_(), target=target).sum(dim=1)


@reference(
    "integrated-gradients",
    library="captum",
    tolerance=EXACT,
    why="Ours calls captum, and so has its default integral, Gauss-Legendre's.",
)
def integrated_gradients(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, steps: int = 10, reference: str = "uniform"
) -> Tensor:
    """IntegratedGradients from noise, summed over the channels."""
    start = uniform_images(x, model.card, generators).to(x)
    return attr.IntegratedGradients(model).attribute(x, baselines=start, target=target, n_steps=steps).sum(dim=1)


def _tunnel(
    kind: str, model: Model, x: Tensor, target: Tensor, generators: Generators, samples: int, noise: float
) -> Tensor:
    """NoiseTunnel on Saliency, [B,C,H,W], with the noise that these generators give."""
    found = []
    for i, generator in enumerate(generators):
        drawn = torch.stack([torch.randn(x.shape[1:], generator=generator) for _ in range(samples)])
        added = noise * (x[i].max() - x[i].min()) * drawn.to(x)
        with patch.object(torch, "normal", lambda mean, std, added=added, **_: added):
            found += attr.NoiseTunnel(attr.Saliency(model)).attribute(
                x[i : i + 1], nt_type=kind, nt_samples=samples, target=target[i : i + 1], abs=False
            )
    return torch.stack(found)


NOISE = (
    "captum draws noise of its own, of a deviation that the user gives: compared with the noise and deviation of ours."
)


@reference("smoothgrad", library="captum", tolerance=EXACT, why=NOISE)
def smoothgrad(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: int = 5, noise: float = 0.1
) -> Tensor:
    """NoiseTunnel of type smoothgrad."""
    return _tunnel("smoothgrad", model, x, target, generators, samples, noise).abs().amax(dim=1)


@reference("smoothgrad-squared", library="captum", tolerance=EXACT, why=NOISE)
def smoothgrad_squared(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: int = 5, noise: float = 0.1
) -> Tensor:
    """NoiseTunnel of type smoothgrad_sq."""
    return _tunnel("smoothgrad_sq", model, x, target, generators, samples, noise).amax(dim=1)


@reference("vargrad", library="captum", tolerance=EXACT, why=NOISE)
def vargrad(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: int = 5, noise: float = 0.1
) -> Tensor:
    """NoiseTunnel of type vargrad."""
    return _tunnel("vargrad", model, x, target, generators, samples, noise).amax(dim=1)


@reference(
    "expected-gradients",
    library="captum",
    tolerance=EXACT,
    why="captum's GradientShap draws references and shares by numpy's global state: compared with those of ours.",
)
def expected_gradients(model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: int = 5) -> Tensor:
    """GradientShap without its noise, summed over the channels."""
    found = []
    for i, generator in enumerate(generators):
        references, shares = [], []
        for _ in range(samples):
            references.append(uniform_images(x[i : i + 1], model.card, [generator]).to(x))
            shares.append(float(torch.rand(1, generator=generator)))
        with (
            patch.object(np.random, "choice", lambda count, size: np.arange(size)),
            patch.object(np.random, "uniform", lambda low, high, size, shares=shares: np.array(shares)),
        ):
            found += attr.GradientShap(model).attribute(
                x[i : i + 1], torch.cat(references), n_samples=samples, stdevs=0.0, target=target[i : i + 1]
            )
    return torch.stack(found).sum(dim=1)


@reference(
    "guided-backprop",
    library="captum",
    tolerance=EXACT,
    why=f"Ours calls captum. {MODULES}",
    own_activations=True,
    relu_alone=True,
)
def guided_backprop(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """GuidedBackprop, the greatest absolute value of the channels."""
    return attr.GuidedBackprop(model).attribute(x.requires_grad_(), target=target).abs().amax(dim=1)


@reference("deconvnet", library="captum", tolerance=EXACT, why=MODULES, own_activations=True, relu_alone=True)
def deconvnet(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Deconvolution, the greatest absolute value of the channels."""
    return attr.Deconvolution(model).attribute(x.requires_grad_(), target=target).abs().amax(dim=1)


@reference("guided-gradcam", library="captum", tolerance=EXACT, why=MODULES, own_activations=True, relu_alone=True)
def guided_gradcam(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """GuidedGradCam, the greatest absolute value of the channels."""
    _refuse_tokens(model)
    guided = attr.GuidedGradCam(model, model.target_layer)
    return guided.attribute(x.requires_grad_(), target=target, interpolate_mode="bilinear").abs().amax(dim=1)


@reference("gradcam", library="captum", tolerance=EXACT)
def gradcam(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """LayerGradCam with its ReLU."""
    _refuse_tokens(model)
    cam = attr.LayerGradCam(model, model.target_layer)
    return cam.attribute(x, target=target, relu_attributions=True)[:, 0]


def _refuse_tokens(model: Model) -> None:
    if isinstance(model.target_layer, nn.LayerNorm):
        raise MethodError("captum takes the tokens of a transformer for channels")


@reference(
    "occlusion",
    library="captum",
    tolerance=1e-5,
    why="Ours equals captum's, but computes differences of logits that are rounded to single precision.",
)
def occlusion(model: Model, x: Tensor, target: Tensor, *, window: int = 8, stride: int = 4) -> Tensor:
    """Occlusion of all channels together."""
    return attr.Occlusion(model).attribute(
        x, sliding_window_shapes=(x.shape[1], window, window), strides=(x.shape[1], stride, stride), target=target,
        perturbations_per_eval=8,
    )[:, 0]  # fmt: skip


def with_average_pooling(model: Model) -> Model:
    """The model with average pooling in the place of max pooling."""
    for owner in list(model.modules()):
        for name, module in list(owner.named_children()):
            if isinstance(module, nn.MaxPool2d):
                setattr(owner, name, nn.AvgPool2d(2))
    return model


POOLING = (
    "Through max pooling captum's maps do not sum to the difference of the logits, as the paper demands; there ours "
    "has the rule of Lundberg and Lee's DeepExplainer, with which they do. Compared with average pooling in its place. "
) + MODULES
_pooling = partial(
    reference,
    library="captum",
    tolerance=EXACT,
    why=POOLING,
    on=with_average_pooling,
    own_activations=True,
    relu_alone=True,
)


@_pooling("deeplift")
def deeplift(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """DeepLift from zeros, summed over the channels."""
    return attr.DeepLift(model).attribute(x, baselines=torch.zeros_like(x), target=target).sum(dim=1)


@_pooling("deepshap")
def deepshap(model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: int = 3) -> Tensor:
    """DeepLiftShap with the references of ours, summed over the channels."""
    references = torch.stack([uniform_images(x, model.card, generators) for _ in range(samples)], dim=1).to(x)
    found = [
        attr.DeepLiftShap(model).attribute(x[i : i + 1], baselines=references[i], target=target[i : i + 1])
        for i in range(len(x))
    ]
    return torch.cat(found).sum(dim=1)


@reference(
    "lrp-epsilon",
    library="captum",
    tolerance=1e-5,
    why="captum has no rule for nn.Flatten and none for sums: compared on chains of layers, whose batch norms are "
    "folded as ours folds them. Ours is zennit's, whose pooling has a rule of its own.",
)
def lrp_epsilon(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """LRP with the epsilon rule in every layer, summed over the channels."""
    chain = _Chain(model.network)
    for module in chain.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.AdaptiveAvgPool2d):
            module.rule = EpsilonRule(epsilon=1e-6)
    return attr.LRP(chain).attribute(x.requires_grad_(), target=target).sum(dim=1)


class _Chain(nn.Module):
    """A chain of layers as captum's LRP can follow it: batch norms folded, flattened by a function."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not isinstance(network, nn.Sequential):
            raise MethodError("captum's LRP follows chains of layers alone, without sums or attention")
        self.before, self.after = nn.Sequential(), nn.Sequential()
        chain = self.before
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                chain[-1] = nn.utils.fuse_conv_bn_eval(cast(nn.Conv2d, chain[-1]), layer)
            elif isinstance(layer, nn.Flatten):
                chain = self.after
            elif not list(layer.children()) and not isinstance(layer, nn.Identity):
                chain.append(nn.ReLU() if isinstance(layer, nn.ReLU) else layer)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.after(torch.flatten(self.before(x), 1))
        return logits


def _superpixels(model: Model, x: Tensor, count: int) -> list[Tensor]:
    """scikit-image's superpixels of each image, [H,W] in 0..K-1."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.card.mean, model.card.std))
    pixels = (x * std + mean).clamp(0, 1).permute(0, 2, 3, 1).double().numpy()
    found = [slic(image, n_segments=count, compactness=10, sigma=1, start_label=0) for image in pixels]
    return [torch.from_numpy(np.ascontiguousarray(labels)) for labels in found]


@reference(
    "lime",
    library="captum",
    tolerance=1e-5,
    why="captum leaves kernel, penalty and what is drawn to the user: compared with those of ours, which are the "
    "authors'. It fits in single precision.",
)
def lime(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: int = 40, segments: int = 12
) -> Tensor:
    """LimeBase with scikit-learn's ridge regression, on the probability."""
    return torch.stack([
        _lime(model, image, int(t), parts, generator, samples)
        for image, t, parts, generator in zip(x, target, _superpixels(model, x, segments), generators, strict=True)
    ])  # fmt: skip


def _lime(model: Model, image: Tensor, target: int, parts: Tensor, generator: torch.Generator, samples: int) -> Tensor:
    z = (torch.rand(samples, int(parts.max()) + 1, generator=generator) < 0.5).float()
    z[0] = 1
    rows: Iterator[Tensor] = iter(z)

    def importance(original: Tensor, perturbed: Tensor, z: Tensor, **_: Any) -> float:
        distance = 1 - float(F.cosine_similarity(z, torch.ones_like(z)))
        return math.sqrt(math.exp(-(distance**2) / 0.25**2))

    probability: Callable[[Tensor], Tensor] = lambda images: model(images).softmax(dim=1)  # noqa: E731
    lime = attr.LimeBase(
        probability,
        SkLearnRidge(alpha=1.0),
        similarity_func=importance,
        perturb_func=lambda image, **_: next(rows)[None],
        perturb_interpretable_space=True,
        from_interp_rep_transform=lambda z, image, **_: image * z[0][parts],
        to_interp_rep_transform=None,
    )
    weights = lime.attribute(image[None], target=target, n_samples=samples)[0].detach()
    return weights[parts]


@reference(
    "kernel-shap",
    library="captum",
    tolerance=SINGLE,
    why="captum's KernelShap draws coalitions of its own: compared with its exact Shapley values, on so few "
    "superpixels that ours uses all coalitions.",
)
def kernel_shap(model: Model, x: Tensor, target: Tensor, *, samples: int = 200, segments: int = 4) -> Tensor:
    """ShapleyValues of the superpixels, from zeros."""
    found = [
        attr.ShapleyValues(model).attribute(
            x[i : i + 1], feature_mask=parts[None, None], target=target[i : i + 1], perturbations_per_eval=8
        )
        for i, parts in enumerate(_superpixels(model, x, segments))
    ]
    return torch.cat(found)[:, 0]


SQUARES = "captum leaves perturbations to the user: compared on those of ours, squares of masks of positions."
ROUNDED = 1e-4  # differences of logits, which ours rounds to single precision


@metric_reference(
    "infidelity", library="captum", tolerance=ROUNDED, why=f"Compared with normalize=True. {SQUARES}"
)
def infidelity(explanation: Explanation) -> Tensor:
    """infidelity(normalize=True)."""
    return _of_squares(explanation, scaled=True)


@metric_reference("infidelity", variant="as it is", library="captum", tolerance=ROUNDED, why=SQUARES)
def infidelity_unscaled(explanation: Explanation, *, scaled: bool = False) -> Tensor:
    """infidelity."""
    return _of_squares(explanation, scaled=scaled)


def _of_squares(explanation: Explanation, samples: int = 50, *, scaled: bool) -> Tensor:
    """infidelity of masks [B,1,H,W] from which squares are taken."""
    side = explanation.x.shape[2]
    empty = baseline("black", explanation.x, explanation.model.card)
    removed = torch.zeros(len(explanation.x), samples, 1, side, side)
    for squares, generator in zip(removed, explanation.generators("squares"), strict=True):
        for square, (size, top, left) in zip(squares, torch.rand(3, samples, generator=generator).T, strict=True):
            length = int(size * round(0.36 * side)) + 1
            first, second = (int(place * (side + 1 - length)) for place in (top, left))
            square[0, first : first + length, second : second + length] = 1

    def forward(masks: Tensor) -> Tensor:
        copies = len(masks) // len(explanation.x)
        x, fill = (images.repeat_interleave(copies, 0) for images in (explanation.x, empty))
        return explanation.model(torch.where(masks > 0.5, x, fill))

    def perturb(masks: Tensor) -> tuple[Tensor, Tensor]:
        return removed.flatten(0, 1).double(), masks - removed.flatten(0, 1)

    return metrics.infidelity(
        forward, perturb, torch.ones_like(explanation.saliency)[:, None], explanation.saliency[:, None],
        target=explanation.target, n_perturb_samples=samples, normalize=scaled,
    ).double()  # fmt: skip


@metric_reference(
    "infidelity",
    variant="gaussian",
    library="captum",
    tolerance=ROUNDED,
    why="captum leaves perturbations to the user: compared on the noise of ours, one value for all channels.",
)
def infidelity_of_noise(
    explanation: Explanation, *, perturbation: str = "gaussian", scaled: bool = False
) -> Tensor:
    """infidelity under noise."""
    x, saliency, samples = explanation.x, explanation.saliency, 50
    generators = explanation.generators("gaussian noise")
    drawn = [torch.stack([torch.randn(x.shape[2:], generator=g) for g in generators]) for _ in range(samples)]
    noise = 0.2 * torch.stack(drawn, 1).flatten(0, 1)[:, None]

    def perturb(images: Tensor) -> tuple[Tensor, Tensor]:
        return noise.expand_as(images).double(), images - noise

    of_channels = (saliency / x.shape[1])[:, None].double().expand_as(x)
    return metrics.infidelity(
        explanation.model, perturb, x, of_channels, target=explanation.target, n_perturb_samples=samples,
        normalize=scaled,
    ).double()  # fmt: skip


@metric_reference(
    "max-sensitivity", library="captum", tolerance=1e-5, why="Compared on the noise of ours, one sample at a time."
)
def max_sensitivity(explanation: Explanation) -> Tensor:
    """sensitivity_max."""
    generators = explanation.generators("neighbours")

    def perturb(images: Tensor) -> Tensor:
        noise = [torch.empty(images.shape[1:]).uniform_(-0.02, 0.02, generator=g) for g in generators]
        return images + torch.stack(noise)

    def explain(images: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        return (explanation.explain(images[0] if isinstance(images, tuple) else images),)

    return metrics.sensitivity_max(
        explain, explanation.x, perturb, n_perturb_samples=10, max_examples_per_batch=len(explanation.x)
    ).double()
