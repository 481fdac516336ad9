"""Methods as pytorch-grad-cam (`pip install grad-cam`) computes them: its maps at the layer's size, before it stretches
each to 0..1."""

import contextlib
import io
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpbench import MethodError, Model, as_maps, layer_activations, reference

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
    tolerance=0.0,
    comparable=False,
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
