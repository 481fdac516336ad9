"""VGG-11 to VGG-19 (Simonyan, Zisserman, ICLR 2015): torchvision's, narrower ones, and variants for small images."""

from collections import OrderedDict
from typing import Literal

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
    stem: torchvision: with five poolings, for a last map of a 16th of the image's side; small: with three of them, for
        an eighth; auto: torchvision above 64 pixels at the width of 64, otherwise small. All but torchvision's own, of
        the width of 64, have one linear classifier of the last map's mean.
"""


def _register(depth: int, batch_norm: bool) -> None:
    """Registers the VGG of that depth under torchvision's name."""
    name = f"vgg{depth}_bn" if batch_norm else f"vgg{depth}"
    layers = cfgs[CONFIGURATIONS[depth]]

    def vgg(
        classes: int,
        size: int,
        *,
        width: PositiveInt = 64,
        stem: Literal["auto", "small", "torchvision"] = "auto",
    ) -> nn.Module:
        small = stem == "small" or (stem == "auto" and (size <= 64 or width != 64))
        if not small and width == 64:
            return models.get_model(name, num_classes=classes)
        configuration = [v if v == "M" else v * width // 64 for v in layers]
        return _variant(configuration, batch_norm, classes, poolings=3 if small else 5)

    vgg.__doc__ = DOC.format(depth=depth, norm="with" if batch_norm else "without")
    last_relu = sum(1 if v == "M" else 2 + batch_norm for v in layers) - 2  # a pooling comes after it
    model(
        name,
        reference=REFERENCE,
        licence="BSD-3-Clause",
        target_layer=f"features.{last_relu}",
        pretrained=models.get_model_weights(name).IMAGENET1K_V1,
    )(vgg)


def _variant(configuration: list[int | str], batch_norm: bool, classes: int, poolings: int) -> nn.Module:
    """torchvision's feature layers with the first poolings alone, and one linear classifier.

    With three of the five the last map is an eighth of the image's side, so that CAM methods can localise on small
    images, too.
    """
    features = make_layers(configuration, batch_norm)
    all_poolings = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    for i in all_poolings[poolings:]:
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
