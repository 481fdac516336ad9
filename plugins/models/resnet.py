"""ResNets (He, Zhang, Ren, Sun, CVPR 2016): torchvision's, narrower ones, and variants for small images."""

import math
from functools import partial
from typing import Literal

from pydantic import PositiveInt
from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from interpbench import model

REFERENCE = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016"
BLOCKS = {18: (BasicBlock, [2, 2, 2, 2]), 34: (BasicBlock, [3, 4, 6, 3]), 50: (Bottleneck, [3, 4, 6, 3])}
DOC = """ResNet-{depth}: torchvision's own above 64 pixels, otherwise a small-image variant with a 3x3 stem.

Args:
    width: channels of the first stage; the others have 2, 4 and 8 times as many{expansion}.
    stem: torchvision: a 7x7 convolution and a pooling, for a last map of a 32nd of the image's side; small: one 3x3
        convolution, for an eighth; auto: torchvision above 64 pixels at the width of 64, otherwise small.
    norm: what normalises: batch; group (Wu and He, ECCV 2018), as many of 32 groups as divide the channels; or layer
        (Ba, Kiros, Hinton 2016), all channels and positions of an image together. ImageNet weights are for batch.
"""


def group_norm(channels: int) -> nn.GroupNorm:
    """The greatest number of groups that divides both 32, the paper's default, and the channels."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


NORMS = {"batch": nn.BatchNorm2d, "group": group_norm, "layer": partial(nn.GroupNorm, 1)}


def _register(depth: int) -> None:
    """Registers the ResNet of that depth under torchvision's name."""
    name = f"resnet{depth}"
    block, blocks = BLOCKS[depth]

    def resnet(
        classes: int,
        size: int,
        *,
        width: PositiveInt = 64,
        norm: Literal["batch", "group", "layer"] = "batch",
        stem: Literal["auto", "small", "torchvision"] = "auto",
    ) -> nn.Module:
        network = ResNet(block, blocks, num_classes=classes, norm_layer=NORMS[norm])
        if stem == "small" or (stem == "auto" and (size <= 64 or width != 64)):
            _make_small(network, size, width)
        elif width != 64:
            _make_narrow(network, width)
        return network

    resnet.__doc__ = DOC.format(depth=depth, expansion=", each block's end 4 times that" if depth >= 50 else "")
    model(
        name,
        reference=REFERENCE,
        licence="BSD-3-Clause",
        target_layer="layer4",
        pretrained=models.get_model_weights(name).IMAGENET1K_V1,
    )(resnet)


def _make_small(network: ResNet, size: int, width: int) -> None:
    """Ends in a map of an eighth of the image's side, so that CAM methods can still localise.

    Up to 32 pixels the stages alone reduce, which keeps detail. Above, the stem reduces instead of the last stage, the
    widest one: a quarter of the work for the same map. There is no pooling after the stem.
    """
    strides = (1, 1, 2, 2, 2) if size <= 32 else (2, 1, 2, 2, 1)
    network.maxpool = nn.Identity()
    _rebuild(network, nn.Conv2d(3, width, 3, strides[0], padding=1, bias=False), strides[1:])


def _make_narrow(network: ResNet, width: int) -> None:
    """torchvision's network, its strides, pooling and first weights, of another width."""
    _rebuild(network, nn.Conv2d(3, width, 7, 2, padding=3, bias=False), (1, 2, 2, 2))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def _rebuild(network: ResNet, stem: nn.Conv2d, strides: tuple[int, ...]) -> None:
    """Gives a network another first convolution, and stages that go with it, each with its stride."""
    width, block = stem.out_channels, type(network.layer1[0])
    network.inplanes = width
    network.conv1 = stem
    network.bn1 = network._norm_layer(width)
    for stage, stride in enumerate(strides):
        name = f"layer{stage + 1}"
        blocks = len(getattr(network, name))
        setattr(network, name, network._make_layer(block, width * 2**stage, blocks, stride=stride))
    network.fc = nn.Linear(8 * width * block.expansion, network.fc.out_features)


for _depth in BLOCKS:
    _register(_depth)
