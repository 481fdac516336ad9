"""AlexNet (Krizhevsky, arXiv 1404.5997, 2014): torchvision's, narrower ones, and a variant for small images."""

from collections import OrderedDict
from typing import Literal

from pydantic import PositiveInt
from torch import nn
from torchvision import models

from interpbench import model


@model(
    "alexnet",
    reference="Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv 1404.5997, 2014",
    licence="BSD-3-Clause",
    target_layer="features.11",
    pretrained=models.AlexNet_Weights.IMAGENET1K_V1,
)
def alexnet(
    classes: int,
    size: int,
    *,
    width: PositiveInt = 64,
    lrn: bool = False,
    stem: Literal["auto", "small", "torchvision"] = "auto",
) -> nn.Module:
    """AlexNet: torchvision's own above 64 pixels, otherwise a small-image variant with a 3x3 stem.

    Args:
        width: channels of the first layer; the others have 3, 6, 4 and 4 times as many.
        lrn: whether the first two layers have the local response normalisation of the first AlexNet (Krizhevsky,
            Sutskever, Hinton, NeurIPS 2012); where there are batch norms, instead of them. Not with ImageNet weights.
        stem: torchvision: an 11x11 convolution with a stride of 4, and three poolings; small: a 3x3 convolution with a
            stride of 2, or 1 up to 32 pixels, and two; auto: torchvision above 64 pixels at the width of 64, otherwise
            small. All but torchvision's own, of the width of 64, have batch norms, and one linear classifier of the
            last map's mean.
    """
    small = stem == "small" or (stem == "auto" and (size <= 64 or width != 64))
    if not small and width == 64:
        network = models.alexnet(num_classes=classes)
        if lrn:
            _add_local_response_norm(network.features)
        return network
    features = _small(size, width) if small else _narrow(width)
    add_norm = _add_local_response_norm if lrn else _add_batch_norm
    add_norm(features)
    return nn.Sequential(
        OrderedDict(
            features=features,
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(4 * width, classes),
        )
    )


def _add_batch_norm(features: nn.Sequential) -> None:
    """After each convolution, without which so narrow a network hardly trains.

    The two share the convolution's index, so that every layer keeps the name that it has at torchvision.
    """
    for i, layer in enumerate(features):
        if isinstance(layer, nn.Conv2d):
            features[i] = nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels))


def _add_local_response_norm(features: nn.Sequential) -> None:
    """After the ReLUs of the first two convolutions, with whose index it goes.

    a / (2 + 1e-4 · sum of a² over 5 channels)^0.75; torch divides its alpha by the number of channels, the paper not.
    """
    for i in (1, 4):
        features[i] = nn.Sequential(features[i], nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2))


def _small(size: int, width: int) -> nn.Sequential:
    """torchvision's feature layers with a small stem and without the last pooling.

    The last map is 8x8 at 32 and at 64 pixels, so that CAM methods can still localise.
    """
    stem = nn.Conv2d(3, width, kernel_size=3, stride=1 if size <= 32 else 2, padding=1)
    return _features(stem, pooling_padding=1)


def _narrow(width: int) -> nn.Sequential:
    """torchvision's feature layers of another width."""
    stem = nn.Conv2d(3, width, kernel_size=11, stride=4, padding=2)
    return _features(stem, pooling_padding=0).append(nn.MaxPool2d(3, stride=2))


def _features(stem: nn.Conv2d, pooling_padding: int) -> nn.Sequential:
    """A first convolution, and what follows at torchvision but for the last pooling, by the same names."""
    width = stem.out_channels
    return nn.Sequential(
        stem,
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=pooling_padding),
        nn.Conv2d(width, 3 * width, kernel_size=5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=pooling_padding),
        nn.Conv2d(3 * width, 6 * width, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6 * width, 4 * width, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4 * width, 4 * width, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
    )
