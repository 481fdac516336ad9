"""MobileNet V2 (Sandler et al., CVPR 2018) and V3 (Howard et al., ICCV 2019), from torchvision."""

from pydantic import PositiveFloat
from torch import nn
from torchvision import models
from torchvision.models import MobileNetV2, MobileNetV3

from interpbench import model

V3 = "Howard et al., Searching for MobileNetV3, ICCV 2019"


@model(
    "mobilenet_v2",
    reference="Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018",
    licence="BSD-3-Clause",
    target_layer="features.18",
    pretrained=models.MobileNet_V2_Weights.IMAGENET1K_V1,
)
def mobilenet_v2(classes: int, size: int, *, width: PositiveFloat = 1.0) -> nn.Module:
    """MobileNet V2: torchvision's own above 64 pixels, up to 64 with smaller strides.

    Args:
        width: multiplies the channels of every layer.
    """
    return _fit_strides(models.mobilenet_v2(num_classes=classes, width_mult=width), size)


@model(
    "mobilenet_v3_small",
    reference=V3,
    licence="BSD-3-Clause",
    target_layer="features.12",
    pretrained=models.MobileNet_V3_Small_Weights.IMAGENET1K_V1,
)
def mobilenet_v3_small(classes: int, size: int, *, width: PositiveFloat = 1.0) -> nn.Module:
    """MobileNet V3, the small one: torchvision's own above 64 pixels, up to 64 with smaller strides.

    Args:
        width: multiplies the channels of every layer.
    """
    return _fit_strides(models.mobilenet_v3_small(num_classes=classes, width_mult=width), size)


@model(
    "mobilenet_v3_large",
    reference=V3,
    licence="BSD-3-Clause",
    target_layer="features.16",
    pretrained=models.MobileNet_V3_Large_Weights.IMAGENET1K_V1,
)
def mobilenet_v3_large(classes: int, size: int, *, width: PositiveFloat = 1.0) -> nn.Module:
    """MobileNet V3, the large one: torchvision's own above 64 pixels, up to 64 with smaller strides.

    Args:
        width: multiplies the channels of every layer.
    """
    return _fit_strides(models.mobilenet_v3_large(num_classes=classes, width_mult=width), size)


def _fit_strides(network: MobileNetV2 | MobileNetV3, size: int) -> nn.Module:
    """Takes two of the five halvings out for images of up to 64 pixels: the last map is an eighth of their side.

    Up to 32 pixels the stem and the first stage keep the size, which keeps detail (a map of 8x8 instead of 4x4 would
    make a training step 25 to 50 % longer). Above, the last two stages do. No parameter changes its name or shape.
    """
    halvings = [m for m in network.features.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    kept = [] if size > 64 else halvings[3:] if size > 32 else halvings[:2]
    for convolution in kept:
        convolution.stride = (1, 1)
    return network
