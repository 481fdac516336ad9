"""Methods and metrics as pytorch-grad-cam (`pip install grad-cam`) computes them: its maps at the layer's size, before
it stretches each to 0..1."""

import contextlib
import io
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from interpbench import (
    Explanation,
    MethodError,
    Model,
    as_maps,
    layer_activations,
    metric_reference,
    reference,
)

EXACT = 1e-9
CHANNELS = 512  # of a layer, for each of which some methods need a forward pass
SINGLE = 2e-6  # it works in single precision
UNSTRETCHED = "pytorch-grad-cam stretches each map to 0..1: compared before that."
CONSTANT = (
    "pytorch-grad-cam adds {} to denominators, which changes maps whose gradients are small; ours is the paper's. "
    "Compared on logits 1000 times as large, beside which it is small. "
) + UNSTRETCHED


def with_large_logits(model: Model) -> Model:
    """The model with logits 1000 times as large."""
    layer = None if model.card.target_layer is None else f"inner.{model.card.target_layer}"
    return Model(_Scaled(model.network), replace(model.card, target_layer=layer), model.batch_size).eval()


class _Scaled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = 1000 * self.inner(x)
        return logits


def _raw(name: str, model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The sum over the channels before the ReLU, [B,h,w]."""
    import pytorch_grad_cam

    with getattr(pytorch_grad_cam, name)(model, [model.target_layer], reshape_transform=as_maps) as cam:
        return _kept(cam, "get_cam_image", x, target)


def _kept(cam: Any, name: str, x: Tensor, target: Tensor) -> Tensor:
    """What the method called `name` of a CAM object returns while it is called."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    found: list[np.ndarray] = []
    original = getattr(cam, name)

    def keep(*arguments: Any) -> np.ndarray:
        found.append(original(*arguments))
        return found[-1]

    setattr(cam, name, keep)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        cam(x.requires_grad_(), [ClassifierOutputTarget(int(t)) for t in target])
    return torch.from_numpy(found[0])


def _has_negative_outputs(model: Model, x: Tensor) -> bool:
    return float(layer_activations(model, None, x).min()) < 0


def _refuse_many_channels(model: Model, x: Tensor) -> None:
    channels = layer_activations(model, None, x[:1]).shape[1]
    if channels > CHANNELS:
        raise MethodError(f"a forward pass for each of {channels} channels and images takes minutes")


@reference("gradcam", library="grad-cam", tolerance=EXACT, why=UNSTRETCHED)
def gradcam(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """GradCAM."""
    return _raw("GradCAM", model, x, target).relu()


@reference("gradcam-plus-plus", library="grad-cam", tolerance=2e-4, why=CONSTANT.format("1e-6"), on=with_large_logits)
def gradcam_plus_plus(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """GradCAMPlusPlus."""
    if _has_negative_outputs(model, x):
        raise MethodError(
            "where a layer has negative outputs the denominators pass through zero, and there the 1e-6 that "
            "pytorch-grad-cam adds decides"
        )
    return _raw("GradCAMPlusPlus", model, x, target).relu()


@reference("xgradcam", library="grad-cam", tolerance=1e-5, why=CONSTANT.format("1e-7"), on=with_large_logits)
def xgradcam(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """XGradCAM."""
    return _raw("XGradCAM", model, x, target).relu()


@reference("layercam", library="grad-cam", tolerance=EXACT, why=UNSTRETCHED)
def layercam(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """LayerCAM."""
    return _raw("LayerCAM", model, x, target).relu()


@reference("hirescam", library="grad-cam", tolerance=EXACT, why=UNSTRETCHED)
def hirescam(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """HiResCAM."""
    return _raw("HiResCAM", model, x, target).relu()


@reference("scorecam", library="grad-cam", tolerance=1e-5, why=UNSTRETCHED)
def scorecam(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """ScoreCAM."""
    _refuse_many_channels(model, x)
    return _raw("ScoreCAM", model, x, target).relu()


@reference(
    "ablationcam",
    library="grad-cam",
    tolerance=1e-4,
    why="pytorch-grad-cam rounds the logits, whose differences count, to single precision. " + UNSTRETCHED,
)
def ablationcam(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """AblationCAM."""
    _refuse_many_channels(model, x)
    if _has_negative_outputs(model, x):
        raise MethodError(
            "pytorch-grad-cam sets a channel to a great negative number where a layer has negative outputs, the paper "
            "and ours always to 0"
        )
    return _raw("AblationCAM", model, x, target).relu()


@reference(
    "eigencam",
    library="grad-cam",
    tolerance=SINGLE,
    why="pytorch-grad-cam centres the maps, where the paper and ours do not, and leaves the sign to chance: compared "
    "with center=True and the sign by the rule of ours.",
)
def eigencam(model: Model, x: Tensor, target: Tensor, *, center: bool = True) -> Tensor:
    """EigenCAM."""
    projection = _raw("EigenCAM", model, x, target).double()
    agreement = (projection * layer_activations(model, None, x).mean(dim=1)).sum((1, 2), keepdim=True)
    return torch.where(agreement < 0, -projection, projection).relu()


@reference(
    "guided-backprop",
    library="grad-cam",
    tolerance=EXACT,
    relu_alone=True,
)
def guided_backprop(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """GuidedBackpropReLUModel, the greatest absolute value of the channels."""
    from pytorch_grad_cam import GuidedBackpropReLUModel

    guided = GuidedBackpropReLUModel(model)
    found = [guided(image[None], int(t)) for image, t in zip(x, target, strict=True)]
    return torch.from_numpy(np.stack(found)).abs().amax(dim=3)


@reference(
    "full-gradient",
    library="grad-cam",
    tolerance=None,
    why="pytorch-grad-cam stretches each channel of a layer to 0..1 by itself, and enlarges without aligned corners; "
    "ours stretches a layer's channels together and aligns corners, as the authors' code does.",
)
def full_gradient(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """FullGrad, before it stretches the sum."""
    from pytorch_grad_cam import FullGrad

    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6):
            module.inplace = False
    with FullGrad(model, []) as cam:
        return _kept(cam, "compute_cam_per_layer", x, target)[:, 0]


UNDIVIDED = "It reads logits by default: compared with its ClassifierOutputSoftmaxTarget, on maps stretched to 0..1. "


def _targets(explanation: Explanation) -> list[Any]:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    return [ClassifierOutputSoftmaxTarget(int(t)) for t in explanation.target]


def _stretched(explanation: Explanation) -> np.ndarray:
    """Maps in 0..1, float32 [B,H,W]."""
    maps = explanation.saliency
    least, greatest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return ((maps - least) / (greatest - least)).numpy()


@metric_reference(
    "average-drop",
    library="grad-cam",
    tolerance=1e-5,
    why=UNDIVIDED + "It does not divide the drop by the probability: compared divided, as the paper has it.",
)
def average_drop(explanation: Explanation) -> Tensor:
    """DropInConfidence."""
    from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence

    drops = DropInConfidence()(explanation.x, _stretched(explanation), _targets(explanation), explanation.model)
    before = explanation.model(explanation.x).softmax(1).gather(1, explanation.target[:, None])[:, 0]
    return torch.from_numpy(drops) / before


@metric_reference(
    "average-drop",
    variant="as it is",
    library="grad-cam",
    tolerance=None,
    why="pytorch-grad-cam gives the difference of logits, undivided, which is no share.",
)
def average_drop_as_it_is(explanation: Explanation) -> Tensor:
    """DropInConfidence of logits."""
    from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(int(t)) for t in explanation.target]
    return torch.from_numpy(DropInConfidence()(explanation.x, _stretched(explanation), targets, explanation.model))


@metric_reference("average-increase", library="grad-cam", tolerance=0.0, why=UNDIVIDED.strip())
def average_increase(explanation: Explanation) -> Tensor:
    """IncreaseInConfidence."""
    from pytorch_grad_cam.metrics.cam_mult_image import IncreaseInConfidence

    return torch.from_numpy(
        IncreaseInConfidence()(explanation.x, _stretched(explanation), _targets(explanation), explanation.model)
    )


THRESHOLDS = (
    "pytorch-grad-cam removes all positions from a percentile of the values on: of equal values none or all, so that a "
    "map which is mostly 0 loses everything. Ours removes as many as it says, equal values in a seeded random order."
)


def _ties(explanation: Explanation) -> str:
    ordered = explanation.saliency.flatten(1).sort(1).values
    return THRESHOLDS if bool((ordered.diff(dim=1) == 0).any()) else ""


@metric_reference(
    "road",
    library="grad-cam",
    tolerance=1e-3,
    why="Its percentiles are of kept positions, its noise is in the units of the input: compared at percentiles "
    "between which the numbers of ours lie, with the noise of ours. Ours solves for imputed values to a grey level.",
    unless=_ties,
)
def road(explanation: Explanation, *, first: str = "both", output: str = "probability") -> Tensor:
    """ROADCombined."""
    positions = explanation.saliency[0].numel()
    percentiles = [100 * (positions - k * positions // 10 - 0.5) / (positions - 1) for k in range(1, 10)]
    deviation = torch.tensor(explanation.model.card.std)[:, None]
    return _road(explanation, percentiles, _targets(explanation), 1 / deviation)


NOTHING_LEFT = (
    "pytorch-grad-cam removes all positions of a map whose least value is its 10th percentile, and solves a system "
    "without a solution; ours gives no score."
)


def _nothing_left(explanation: Explanation) -> str:
    flat = explanation.saliency.flatten(1)
    signed = torch.cat([flat, -flat])
    return NOTHING_LEFT if bool((signed.quantile(0.1, dim=1) == signed.amin(1)).any()) else ""


@metric_reference(
    "road-by-percentiles",
    library="grad-cam",
    tolerance=1e-5,
    why="Compared with the noise of ours.",
    unless=_nothing_left,
)
def road_by_percentiles(explanation: Explanation) -> Tensor:
    """ROADCombined of logits."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(int(t)) for t in explanation.target]
    return _road(explanation, [10 * k for k in range(1, 10)], targets, torch.ones(1, 1))


def _road(explanation: Explanation, percentiles: list[Any], targets: list[Any], scale: Tensor) -> Tensor:
    """ROADCombined, with the noise of ours times a factor of each channel."""
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined

    noise = [
        torch.randn(explanation.x.shape[1:], generator=g).flatten(1) * scale
        for g in explanation.generators("noise of imputed pixels")
    ]
    found, impute = [], NoisyLinearImputer.__call__
    for i, drawn in enumerate(noise):

        def with_noise(self: Any, image: Tensor, mask: Tensor, drawn: Tensor = drawn) -> Tensor:
            with patch.object(torch, "randn_like", lambda _: drawn[:, mask.flatten() == 0]):
                imputed: Tensor = impute(self, image, mask)
            return imputed

        with patch.object(NoisyLinearImputer, "__call__", with_noise):
            here = slice(i, i + 1)
            maps = _stretched(explanation)[here]
            found += list(ROADCombined(percentiles)(explanation.x[here], maps, targets[here], explanation.model))
    return torch.tensor(found)
