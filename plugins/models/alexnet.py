"""AlexNet (Krizhevsky, arXiv 1404.5997, 2014): torchvision's, and a variant of it for images of up to 64 pixels."""

from collections import OrderedDict
from collections.abc import Callable

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
def alexnet(classes: int, size: int, *, width: PositiveInt = 64, lrn: bool = False) -> nn.Module:
    """AlexNet: torchvision's own above 64 pixels, otherwise a small-image variant with a 3x3 stem.

    Args:
        width: channels of the first layer; the others have 3, 6, 4 and 4 times as many.
        lrn: whether the first two layers have the local response normalisation of the first AlexNet (Krizhevsky,
            Sutskever, Hinton, NeurIPS 2012); in the small variant instead of batch norm. Not with ImageNet weights.
    """
    if size > 64 and width == 64:
        network = models.alexnet(num_classes=classes)
        if lrn:
            _add_local_response_norm(network.features)
        return network
    return _small(classes, size, width, _add_local_response_norm if lrn else _add_batch_norm)


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


def _small(classes: int, size: int, width: int, add_norm: Callable[[nn.Sequential], None]) -> nn.Module:
    """torchvision's feature layers with a small stem and without the last pooling, and one linear classifier.

    The last map is 8x8 at 32 and at 64 pixels, so that CAM methods can still localise.
    """
    features = nn.Sequential(
        nn.Conv2d(3, width, kernel_size=3, stride=1 if size <= 32 else 2, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(width, 3 * width, kernel_size=5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(3 * width, 6 * width, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6 * width, 4 * width, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4 * width, 4 * width, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
    )
    add_norm(features)
    return nn.Sequential(
        OrderedDict(
            features=features,
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(4 * width, classes),
        )
    )
