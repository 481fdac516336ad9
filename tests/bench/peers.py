"""What others do, with their structure and at their best: RISE's scores, Quantus, pytorch-grad-cam and captum."""

import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import numpy as np
import pytorch_grad_cam
import torch
from captum.attr import (
    GuidedBackprop,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    Occlusion,
    Saliency,
)
from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined
from pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
)
from torch import Tensor, nn

from interpbench.core.errors import MethodError
from interpbench.core.types import Model
from interpbench.diagnosis.examination import examine
from interpbench.diagnosis.repair import repair
from interpbench.registry.plugin import MethodReference
from tests.bench.timing import seconds

HAS_QUANTUS = find_spec("quantus") is not None
CAMS = {
    "gradcam": pytorch_grad_cam.GradCAM,
    "gradcam-plus-plus": pytorch_grad_cam.GradCAMPlusPlus,
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "layercam": pytorch_grad_cam.LayerCAM,
    "hirescam": pytorch_grad_cam.HiResCAM,
}
AT_ONCE = (
    1,
    8,
    32,
    128,
)  # windows a pass, and images of a path: among these is the best for captum


@torch.no_grad()
def rise_evaluate(
    model: nn.Module,
    x: Tensor,
    blurred: Tensor,
    saliency: Tensor,
    target: Tensor,
    stride: int,
    batch: int,
) -> Tensor:
    """RISE's CausalMetric.evaluate, deletion then insertion, on the device: all images one step, then the next.

    Batches hold images, not steps. The order is sorted on the host; areas are left to the reader: curves [2,B,S+1].
    """
    count, channels, height, width = x.shape
    order = np.flip(np.argsort(saliency.cpu().numpy().reshape(count, -1), axis=1), axis=1)
    order = torch.from_numpy(order.copy()).to(x.device)
    both = []
    for start, finish in ((x.clone(), torch.zeros_like(x)), (blurred.clone(), x)):
        current, end = start.view(count, channels, -1), finish.view(count, channels, -1)
        values = []
        for first in range(0, height * width + stride, stride):
            probabilities = torch.cat([model(part).softmax(1) for part in start.split(batch)])
            values.append(probabilities.gather(1, target[:, None])[:, 0].cpu())
            coordinates = order[:, None, first : first + stride].expand(-1, channels, -1)
            current.scatter_(2, coordinates, end.gather(2, coordinates))
        both.append(torch.stack(values, 1))
    return torch.stack(both)


def rise_single_runs(
    model: nn.Module, x: Tensor, blurred: Tensor, saliency: Tensor, target: Tensor, stride: int
) -> Tensor:
    """RISE's CausalMetric.single_run: image by image, a step a pass: curves [2,B,S+1]."""
    one = [slice(i, i + 1) for i in range(len(x))]
    found = [rise_evaluate(model, x[i], blurred[i], saliency[i], target[i], stride, 1) for i in one]
    return torch.cat(found, dim=1)


def quantus_pixel_flipping(
    model: nn.Module,
    x: Tensor,
    saliency: Tensor,
    target: Tensor,
    features: int,
    batch: int,
    *,
    patched: bool,
) -> Tensor:
    """Deletion to 0 by Quantus, so many channel elements a step: curves [B,S], without the untouched image.

    As shipped, a step must divide the positions, so three channels of a position fall into different steps, and the
    area under the curve fails, as numpy has no `trapz` any more. Patched, a step is as large as one likes, `trapz` is
    there, and no step is compared with the one before, to warn if nothing changed.
    """
    from quantus.metrics.faithfulness import pixel_flipping

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = pixel_flipping.PixelFlipping(
            features_in_step=features, perturb_baseline=0.0, normalise=False, disable_warnings=True
        )
        arguments: dict[str, Any] = {
            "model": model,
            "x_batch": x.cpu().numpy(),
            "y_batch": target.cpu().numpy(),
            "a_batch": saliency[:, None].cpu().numpy(),
            "device": str(x.device),
            "batch_size": batch,
        }
        if not patched:
            return torch.tensor(metric(**arguments))
        with (
            patch.object(metric, "custom_preprocess", lambda **arguments: None),
            patch.object(
                pixel_flipping.warn, "warn_perturbation_caused_no_change", lambda **arguments: None
            ),
            patch.object(np, "trapz", np.trapezoid, create=True),
        ):
            curves = metric(**arguments)
            assert np.isfinite(metric.get_auc_score)
        return torch.tensor(curves)


def road_combined(model: nn.Module, x: Tensor, saliency: Tensor, target: Tensor) -> np.ndarray:
    """pytorch-grad-cam's ROADCombined at its nine percentiles, most and least relevant first: 36 passes an image."""
    targets = [ClassifierOutputSoftmaxTarget(k) for k in target.tolist()]
    scores: np.ndarray = ROADCombined()(x, saliency.cpu().numpy(), targets, model)
    return scores


def road_imputation(x: Tensor, removed: Tensor) -> Tensor:
    """pytorch-grad-cam's imputer (and the authors'), without noise: an image and a set of removed positions at a time.

    Of removed positions bool [K,B,1,H,W]: [K,B,C,H,W].
    """
    imputer = NoisyLinearImputer(noise=0)
    found = [
        imputer(image.cpu(), (~hole[0]).float().cpu())
        for holes in removed
        for image, hole in zip(x, holes, strict=True)
    ]
    return torch.stack(found).unflatten(0, removed.shape[:2]).to(x.device)


def captum_saliency(model: Model, x: Tensor, target: Tensor) -> Tensor:
    return Saliency(model).attribute(x.clone(), target=target).amax(1)


def captum_guided_backprop(model: Model, x: Tensor, target: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GuidedBackprop(model).attribute(x.clone(), target=target).abs().amax(1)


def captum_gradcam(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Enlarged to the image, [B,H,W]."""
    coarse = LayerGradCam(model, model.target_layer).attribute(
        x, target=target, relu_attributions=True
    )
    enlarged: Tensor = LayerAttribution.interpolate(coarse.detach(), x.shape[2:], "bilinear")
    return enlarged[:, 0]


def captum_integrated_gradients(
    model: Model, x: Tensor, target: Tensor, at_once: int | None = None
) -> Tensor:
    """`at_once` images of the path a pass; none for all together, captum's default."""
    batch = None if at_once is None else max(at_once, len(x))
    return (
        IntegratedGradients(model)
        .attribute(x, target=target, n_steps=50, internal_batch_size=batch)
        .sum(1)
    )


@torch.no_grad()
def captum_occlusion(
    model: Model,
    x: Tensor,
    target: Tensor,
    at_once: int = 1,
    window: int | None = None,
    stride: int | None = None,
) -> Tensor:
    """`at_once` windows a pass, 1 by captum's default; window and stride are our defaults unless given."""
    channels, window = x.shape[1], window or x.shape[3] // 8
    stride = stride or window // 2
    found: Tensor = Occlusion(model).attribute(
        x,
        sliding_window_shapes=(channels, window, window),
        strides=(channels, stride, stride),
        target=target,
        perturbations_per_eval=at_once,
    )
    return found[:, 0]


def grad_cam(name: str, model: Model, x: Tensor, target: Tensor) -> np.ndarray:
    """pytorch-grad-cam's method of that name: its maps, each scaled to 0..1 and enlarged."""
    with CAMS[name](model=model, target_layers=[model.target_layer]) as method:
        maps: np.ndarray = method(
            input_tensor=x.clone().requires_grad_(),
            targets=[ClassifierOutputTarget(k) for k in target.tolist()],
        )
    return maps


def by_reference(
    reference: MethodReference, model: Model, x: Tensor
) -> Callable[[Model, Tensor, Tensor], Tensor]:
    """A library's method as its reference calls it, on the model as the library needs it."""
    if reference.own_activations:
        model = repair(model, examine(model, x[:2]), x[:2])[0]
    choice = reference.configure()

    def work(_: Model, x: Tensor, target: Tensor) -> Tensor:
        generators = [torch.Generator().manual_seed(i) for i in range(len(x))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            maps: Tensor = choice(model, x.clone(), target.clone(), generators=generators)
        return maps.detach()

    return work


def is_possible(
    work: Callable[[Model, Tensor, Tensor], Tensor], model: Model, x: Tensor, target: Tensor
) -> bool:
    """Whether a library has its method for the model."""
    try:
        work(model, x, target)
    except MethodError:
        return False
    return True


def best_at_once(work: Callable[[int], object], among: Sequence[int] = AT_ONCE) -> int:
    """How many at once are quickest; `work` takes that number and should be a small share of a turn."""
    return min(among, key=lambda count: min(seconds(lambda: work(count)) for _ in range(2)))
