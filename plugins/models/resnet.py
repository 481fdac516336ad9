"""ResNet-18 (He, Zhang, Ren, Sun, CVPR 2016): torchvision's, and a variant of it for images of up to 64 pixels."""

from pydantic import PositiveInt
from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

from interpbench import model


@model(
    "resnet18",
    reference="He et al., Deep Residual Learning for Image Recognition, CVPR 2016",
    licence="BSD-3-Clause",
    target_layer="layer4",
    pretrained=models.ResNet18_Weights.IMAGENET1K_V1,
)
def resnet18(classes: int, size: int, *, width: PositiveInt = 64) -> nn.Module:
    """ResNet-18: torchvision's own above 64 pixels, otherwise a small-image variant with a 3x3 stem.

    Args:
        width: channels of the first stage; the others have 2, 4 and 8 times as many.
    """
    if size > 64 and width == 64:
        return models.resnet18(num_classes=classes)
    return _small(classes, size, width)


def _small(classes: int, size: int, width: int) -> nn.Module:
    """Ends in a map of an eighth of the image's side, so that CAM methods can still localise.

    Up to 32 pixels the stages alone reduce, which keeps detail. Above, the stem reduces instead of the last stage, the
    widest one: a quarter of the work for the same map. There is no pooling after the stem.
    """
    strides = (1, 1, 2, 2, 2) if size <= 32 else (2, 1, 2, 2, 1)
    network = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=classes)
    network.inplanes = width
    network.conv1 = nn.Conv2d(3, width, 3, strides[0], padding=1, bias=False)
    network.bn1 = nn.BatchNorm2d(width)
    network.maxpool = nn.Identity()
    for stage in range(4):
        layer = network._make_layer(BasicBlock, width * 2**stage, blocks=2, stride=strides[stage + 1])
        setattr(network, f"layer{stage + 1}", layer)
    network.fc = nn.Linear(8 * width, classes)
    return network
