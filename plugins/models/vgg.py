"""VGG-11 and VGG-16 (Simonyan, Zisserman, ICLR 2015): torchvision's, and variants for images of up to 64 pixels."""

from collections import OrderedDict

from pydantic import PositiveInt
from torch import nn
from torchvision import models
from torchvision.models.vgg import cfgs, make_layers

from interpbench import model

REFERENCE = "Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015"


@model(
    "vgg11",
    reference=REFERENCE,
    licence="BSD-3-Clause",
    target_layer="features.19",
    pretrained=models.VGG11_Weights.IMAGENET1K_V1,
)
def vgg11(classes: int, size: int, *, width: PositiveInt = 64) -> nn.Module:
    """VGG-11: torchvision's own (without batch norm) above 64 pixels, otherwise a small-image variant with it.

    Args:
        width: channels of the first layer; the last have 8 times as many.
    """
    if size > 64 and width == 64:
        return models.vgg11(num_classes=classes)
    return _small("A", classes, width)


@model(
    "vgg16",
    reference=REFERENCE,
    licence="BSD-3-Clause",
    target_layer="features.29",
    pretrained=models.VGG16_Weights.IMAGENET1K_V1,
)
def vgg16(classes: int, size: int, *, width: PositiveInt = 64) -> nn.Module:
    """VGG-16: torchvision's own (without batch norm) above 64 pixels, otherwise a small-image variant with it.

    Args:
        width: channels of the first layer; the last have 8 times as many.
    """
    if size > 64 and width == 64:
        return models.vgg16(num_classes=classes)
    return _small("D", classes, width)


def _small(configuration: str, classes: int, width: int) -> nn.Module:
    """torchvision's feature layers, `width` wide, with the last two poolings left out and one linear classifier.

    The last map is then an eighth of the image's side, so that CAM methods can still localise. Each convolution is
    followed by batch norm, without which so narrow a network hardly trains; the two share the convolution's index, so
    that every layer keeps the name that it has at torchvision.
    """
    features = make_layers([v if v == "M" else v * width // 64 for v in cfgs[configuration]])
    poolings = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    for i, layer in enumerate(features):
        if i in poolings[3:]:
            features[i] = nn.Identity()
        elif isinstance(layer, nn.Conv2d):
            features[i] = nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels))
    return nn.Sequential(
        OrderedDict(
            features=features,
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(8 * width, classes),
        )
    )
