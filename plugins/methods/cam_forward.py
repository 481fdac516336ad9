"""Class activation maps without gradients: the weights of a layer's channels A_k from forward passes, or from A alone.

They look inside the model, so they are no black-box methods.
"""

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor

from interpbench import (
    Model,
    blocks,
    layer_activations,
    logits_with_scaled_channels,
    method,
    target_outputs,
)


@method(
    "scorecam",
    coarse=True,
    reference="Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu, Score-CAM, CVPR workshops 2020",
)
@torch.inference_mode()
def scorecam(
    model: Model, x: Tensor, target: Tensor, *, layer: str | None = None, channels: PositiveInt | None = None
) -> Tensor:
    """ReLU of the channels, each weighted by the logit of the image masked with the channel: [B,C,H,W] -> [B,h,w].

    w = softmax over k of logit_target(x · M_k), where M_k is A_k enlarged to the image and stretched to 0..1. The
    baseline's logit, which the paper subtracts, cancels in the softmax. A constant channel masks all. The enlargement
    is bilinear with aligned corners, as in pytorch-grad-cam. Costs a forward pass for each channel.

    Parameters:
        layer: dotted name of the layer; none for the one that the model's card names.
        channels: only so many, those that vary most over the image; none for all.
    """
    maps, _ = _varied(layer_activations(model, layer, x), channels)
    scores = []
    for part in blocks(maps.shape[1], len(x), model.batch_size):
        masks = _stretched(F.interpolate(maps[:, part], size=x.shape[2:], mode="bilinear", align_corners=True))
        scores.append(target_outputs(model, x[:, None] * masks[:, :, None], target))
    weight = torch.cat(scores, 1).softmax(dim=1)
    return torch.einsum("bk,bkhw->bhw", weight, maps).relu()


def _varied(maps: Tensor, channels: int | None) -> tuple[Tensor, Tensor]:
    """Of each image's maps [B,K,h,w] the `channels` that vary most, [B,k,h,w], and their indices [B,k]."""
    indices = (
        maps.flatten(2).std(2, correction=0).topk(min(channels or maps.shape[1], maps.shape[1])).indices.sort(1).values
    )
    return maps.gather(1, indices[:, :, None, None].expand(-1, -1, *maps.shape[2:])), indices


def _stretched(maps: Tensor) -> Tensor:
    """Each map linearly to 0..1; a constant one to 0."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1)


@method(
    "ablationcam",
    coarse=True,
    reference="Desai, Ramaswamy, Ablation-CAM: Visual Explanations via Gradient-free Localization, WACV 2020",
)
@torch.inference_mode()
def ablationcam(
    model: Model, x: Tensor, target: Tensor, *, layer: str | None = None, channels: PositiveInt | None = None
) -> Tensor:
    """ReLU of the channels, each weighted by how far the logit falls without it: [B,C,H,W] -> [B,h,w].

    w_k = (y - y_k) / y, where y is the target's logit and y_k that with A_k set to 0. As the paper has it, so the map
    turns round where y is negative. pytorch-grad-cam sets a channel to a great negative number where a layer has
    negative outputs, the paper always to 0. Costs a forward pass for each channel, from the layer on.

    Parameters:
        layer: dotted name of the layer; none for the one that the model's card names.
        channels: only so many, those that vary most over the image; none for all.
    """
    maps = layer_activations(model, layer, x)
    total = maps.shape[1]
    maps, indices = _varied(maps, channels)
    whole = target_outputs(model, x[:, None], target)
    without = []
    for part in blocks(maps.shape[1], 1, model.batch_size):
        factors = 1 - F.one_hot(indices[:, part], total).to(x.dtype)
        logits = logits_with_scaled_channels(model, layer, x, factors)
        without.append(logits.gather(2, target[:, None, None].expand(-1, len(part), 1)).squeeze(2))
    weight = (whole - torch.cat(without, 1)) / whole
    return torch.einsum("bk,bkhw->bhw", weight, maps).relu()


@method("eigencam", coarse=True, class_agnostic=True, reference="Muhammad, Yeasin, Eigen-CAM, IJCNN 2020")
def eigencam(model: Model, x: Tensor, target: Tensor, *, layer: str | None = None, center: bool = False) -> Tensor:
    """The layer's maps projected on their first principal component, whatever the class: [B,C,H,W] -> [B,h,w].

    A v, where A is [positions, channels] and v its first right singular vector. Of the two signs of v the one whose map
    agrees with the channels' mean; negative values become 0. As in the paper A is not centred, so that maps behind a
    ReLU have no negative values at all; pytorch-grad-cam centres it, and leaves the sign to chance.

    Parameters:
        layer: dotted name of the layer; none for the one that the model's card names.
        center: whether each channel's mean is subtracted first.
    """
    maps = layer_activations(model, layer, x)
    matrix = maps.flatten(2).transpose(1, 2)
    matrix = matrix - matrix.mean(1, keepdim=True) if center else matrix
    first = torch.linalg.svd(matrix, full_matrices=False).Vh[:, 0]
    projection = torch.einsum("bpk,bk->bp", matrix, first)
    agreement = (projection * maps.flatten(2).mean(1)).sum(1, keepdim=True)
    return torch.where(agreement < 0, -projection, projection).relu().unflatten(1, maps.shape[2:])
