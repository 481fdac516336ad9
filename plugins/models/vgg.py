"""VGG-11 to VGG-19 (Simonyan, Zisserman, ICLR 2015): torchvision's, and variants for images of up to 64 pixels."""

from collections import OrderedDict

from pydantic import PositiveInt
from torch import nn
from torchvision import models
from torchvision.models.vgg import cfgs, make_layers

from interpbench import model

REFERENCE = "Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015"
CONFIGURATIONS = {11: "A", 13: "B", 16: "D", 19: "E"}  # depth -> torchvision's letter for it, which is the paper's
DOC = """VGG-{depth} {norm} batch norm: torchvision's own above 64 pixels, otherwise a small-image variant.

Args:
    width: channels of the first layer; the last have 8 times as many.
"""


def _register(depth: int, batch_norm: bool) -> None:
    """Registers the VGG of that depth under torchvision's name."""
    name = f"vgg{depth}_bn" if batch_norm else f"vgg{depth}"
    layers = cfgs[CONFIGURATIONS[depth]]

    def vgg(classes: int, size: int, *, width: PositiveInt = 64) -> nn.Module:
        if size > 64 and width == 64:
            return models.get_model(name, num_classes=classes)
        return _small([v if v == "M" else v * width // 64 for v in layers], batch_norm, classes)

    vgg.__doc__ = DOC.format(depth=depth, norm="with" if batch_norm else "without")
    last_relu = sum(1 if v == "M" else 2 + batch_norm for v in layers) - 2  # a pooling comes after it
    model(
        name,
        reference=REFERENCE,
        licence="BSD-3-Clause",
        target_layer=f"features.{last_relu}",
        pretrained=models.get_model_weights(name).IMAGENET1K_V1,
    )(vgg)


def _small(configuration: list[int | str], batch_norm: bool, classes: int) -> nn.Module:
    """torchvision's feature layers with the last two poolings left out, and one linear classifier.

    The last map is then an eighth of the image's side, so that CAM methods can still localise.
    """
    features = make_layers(configuration, batch_norm)
    poolings = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    for i in poolings[3:]:
        features[i] = nn.Identity()
    for layer in features:
        if isinstance(layer, nn.Conv2d):  # as torchvision does, without which the deep ones would not train
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(
        OrderedDict(
            features=features,
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(int(configuration[-2]), classes),
        )
    )


for _depth in CONFIGURATIONS:
    for _batch_norm in (False, True):
        _register(_depth, _batch_norm)
