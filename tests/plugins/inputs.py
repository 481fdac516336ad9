"""A data set and a model of any number of channels, of images that need not be square."""

import numpy as np
from torch import nn

from interpbench import Dataset, DatasetCard, Pretrained, Sample, dataset, model


class Halves:
    """Noise that is brighter on the left or on the right, which is the class; all channels differ."""

    def __init__(self, channels: int, height: int, width: int, deep: bool) -> None:
        self.card = DatasetCard(
            f"halves-{channels}-{height}x{width}", ("left", "right"), "1", has_masks=True
        )
        self.ids = [f"half-{i}" for i in range(8)]
        self.labels = [i % 2 for i in range(8)]
        self.shape, self.deep = (height, width, channels), deep

    def __getitem__(self, index: int) -> Sample:
        image = np.random.default_rng(index).integers(0, 100, self.shape, dtype=np.uint8)
        mask = np.zeros(self.shape[:2], dtype=bool)
        half = self.shape[1] // 2
        mask[2:6, self.labels[index] * half + 1 : self.labels[index] * half + 5] = True
        image[mask] += 150
        deep = image.astype(np.float32) / 256  # no multiples of 1/255
        return Sample(self.ids[index], deep if self.deep else image, self.labels[index], mask)


@dataset("halves")
def halves(*, channels: int = 3, height: int = 16, width: int = 24, deep: bool = False) -> Dataset:
    """Bright patches whose side is the class."""
    return Halves(channels, height, width, deep)


def prepared(channels: int, height: int, width: int) -> Pretrained:
    return Pretrained(
        source="by construction",
        size=(height, width),
        resize=0,
        mean=tuple(0.3 + 0.02 * i for i in range(channels)),
        std=(0.25,) * channels,
        channels="own",
    )


@model("sides", target_layer="0", pretrained=prepared)
def sides(
    classes: int, size: int, *, channels: int = 3, height: int = 16, width: int = 24
) -> nn.Module:
    """Reads the class off by construction: the mean brightness of each half."""
    convolution = nn.Conv2d(channels, 1, 1, bias=False)
    nn.init.constant_(convolution.weight, 4 / channels)
    return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten())
