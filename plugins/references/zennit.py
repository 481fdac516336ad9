"""Methods as zennit computes them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from interpbench import MethodError, Model, reference

Generators = Sequence[torch.Generator]
EXACT = 1e-9


def _gradient(model: Model, x: Tensor, target: Tensor, composite: Any = None) -> Tensor:
    """zennit's gradient of the target's logit by the composite, [B,C,H,W]."""
    from zennit.attribution import Gradient

    with Gradient(_out_of_place(model.network), composite) as attributor:
        _, found = attributor(x, _picked(model, x, target))
    return found


def _picked(model: Model, x: Tensor, target: Tensor) -> Tensor:
    return torch.eye(model.card.classes, dtype=x.dtype)[target]


def _out_of_place(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6):
            module.inplace = False
    return network


@reference("saliency", library="zennit", tolerance=EXACT)
def saliency(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Gradient, the greatest absolute value of the channels."""
    return _gradient(model, x, target).abs().amax(dim=1)


@reference("guided-backprop", library="zennit", tolerance=EXACT, relu_alone=True)
def guided_backprop(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The composite GuidedBackprop, the greatest absolute value of the channels."""
    from zennit.composites import GuidedBackprop

    return _gradient(model, x, target, GuidedBackprop()).abs().amax(dim=1)


@reference("deconvnet", library="zennit", tolerance=EXACT, relu_alone=True)
def deconvnet(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The composite DeconvNet, the greatest absolute value of the channels."""
    from zennit.composites import DeconvNet

    return _gradient(model, x, target, DeconvNet()).abs().amax(dim=1)


@reference(
    "smoothgrad",
    library="zennit",
    tolerance=EXACT,
    why="zennit draws noise of its own and counts the image itself as a sample: compared with the noise of ours, and "
    "without that sample.",
)
def smoothgrad(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, samples: int = 5, noise: float = 0.1
) -> Tensor:
    """SmoothGrad, the greatest absolute value of the channels."""
    from zennit.attribution import SmoothGrad

    drawn = iter([torch.stack([torch.randn(x.shape[1:], generator=g) for g in generators]) for _ in range(samples)])
    attributor = SmoothGrad(model.network, noise_level=noise, n_iter=samples + 1)
    with patch.object(torch, "randn_like", lambda image: next(drawn).to(image)):
        _, mean = attributor(x, _picked(model, x, target))
    total = (samples + 1) * mean - _gradient(model, x, target)
    return (total / samples).abs().amax(dim=1)


@reference(
    "integrated-gradients",
    library="zennit",
    tolerance=None,
    why="zennit sums at the right ends of equal steps, ours like captum at Gauss-Legendre's points: both tend to the "
    "same integral, and differ with few steps.",
)
def integrated_gradients(model: Model, x: Tensor, target: Tensor, *, steps: int = 16) -> Tensor:
    """IntegratedGradients from zeros, summed over the channels."""
    from zennit.attribution import IntegratedGradients

    _, found = IntegratedGradients(model.network, n_iter=steps)(x, _picked(model, x, target))
    return found.sum(dim=1)


@reference(
    "occlusion",
    library="zennit",
    tolerance=1e-5,
    why="zennit adds up outputs under windows that go round the border, ours averages how far the logit falls under "
    "windows that the border cuts off, as captum does: compared by the fall, with windows side by side.",
)
def occlusion(model: Model, x: Tensor, target: Tensor, *, window: int = 8, stride: int = 8) -> Tensor:
    """Occlusion of all channels together."""
    from zennit.attribution import Occlusion, occlude_independent

    whole, picked = model(x), _picked(model, x, target)
    cover = partial(occlude_independent, invert=True)
    side = (x.shape[1], window, window)
    step = (x.shape[1], stride, stride)
    attributor = Occlusion(model.network, occlusion_fn=cover, window=side, stride=step)
    _, found = attributor(x, lambda logits: picked * (whole - logits))
    return found[:, 0]


FACTOR = (
    "zennit leaves a factor of 1 / sqrt(1 + epsilon) of each batch norm that it folds: taken out. It has no canonizer "
    "for MobileNet's sums."
)


@reference("lrp-epsilon", library="zennit", tolerance=EXACT, why=FACTOR)
def lrp_epsilon(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Epsilon in every layer, Norm for pooling and sums."""
    from zennit import rules

    return _relevance(model, x, target, partial(_layers, weighted=rules.Epsilon()))


@reference("lrp-z-plus", library="zennit", tolerance=EXACT, why=FACTOR)
def lrp_z_plus(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """ZPlus in every layer, Norm for pooling and sums."""
    from zennit import rules

    return _relevance(model, x, target, partial(_layers, weighted=rules.ZPlus()))


@reference("lrp-epsilon-plus-flat", library="zennit", tolerance=EXACT, why=FACTOR)
def lrp_epsilon_plus_flat(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The composite EpsilonPlusFlat."""
    from zennit.composites import EpsilonPlusFlat

    return _relevance(model, x, target, EpsilonPlusFlat)


def _layers(*, weighted: Any, canonizers: list[Any]) -> Any:
    """A composite with one rule for all layers that have weights."""
    from zennit import composites, rules, types
    from zennit.layer import Sum

    passing = [(types.Activation, rules.Pass()), (types.AvgPool, rules.Norm()), (Sum, rules.Norm())]
    return composites.LayerMapComposite([*passing, (types.Linear, weighted)], canonizers=canonizers)


def _relevance(model: Model, x: Tensor, target: Tensor, composite: Callable[..., Any]) -> Tensor:
    """The relevance of the target's logit, summed over the channels: [B,H,W]."""
    from zennit.attribution import Gradient

    picked = _picked(model, x, target)
    network = _out_of_place(model.network)
    with Gradient(network, composite(canonizers=[_canonizer(network)])) as attributor:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # what is left of one that is folded
                module.eps = 0.0
        _, found = attributor(x, lambda logits: picked * logits.detach())
    return found.sum(dim=1)


def _canonizer(network: nn.Module) -> Any:
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.torchvision import ResNetCanonizer

    if isinstance(network, ResNet):
        return ResNetCanonizer()
    if isinstance(network, nn.Sequential):
        return SequentialMergeBatchNorm()
    raise MethodError("zennit has no canonizer for the sums of this network")
