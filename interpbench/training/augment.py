"""What happens to the images of a training batch before the model sees them."""

from io import BytesIO

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from interpbench.core.types import DatasetCard
from interpbench.training.recipe import Augmentation


def image_transform(settings: Augmentation, card: DatasetCard, size: int) -> v2.Transform:
    """What is drawn anew for each image: uint8 [3,S,S] -> uint8 [3,size,size].

    S is `size` but for random resized crops, which are cut from images of any size. Chance is
    torch's global state.
    """
    steps: list[nn.Module] = []
    if settings.resized_crop:
        steps.append(v2.RandomResizedCrop(size, scale=(settings.resized_crop, 1.0)))
    if settings.crop:
        steps.append(v2.RandomCrop(size, padding=settings.crop, padding_mode="reflect"))
    if settings.flip:
        steps.append(v2.RandomHorizontalFlip())
    if settings.rotation:
        steps.append(
            v2.RandomRotation(settings.rotation, v2.InterpolationMode.BILINEAR, fill=_mean(card))
        )
    if settings.randaugment:
        steps.append(v2.RandAugment(settings.randaugment, settings.magnitude, fill=_mean(card)))
    if settings.jpeg:
        steps.append(_Jpeg(settings.jpeg))
    if settings.erasing:
        steps.append(v2.RandomErasing(settings.erasing, value=_mean(card)))
    if settings.removed_cell:
        steps.append(_RemovedCell(settings.removed_cell, settings.cells, _mean(card)))
    return v2.Compose(steps or [v2.Identity()])


class Mixing:
    """What mixes the images of a batch, and their labels with them."""

    def __init__(self, settings: Augmentation, classes: int) -> None:
        self._pairing = settings.pairing
        self._classes = classes
        mixers: list[v2.Transform] = []
        if settings.mixup:
            mixers.append(v2.MixUp(alpha=settings.mixup, num_classes=classes))
        if settings.cutmix:
            mixers.append(v2.CutMix(alpha=settings.cutmix, num_classes=classes))
        self._mix = v2.RandomChoice(mixers) if mixers else None

    def __call__(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [B,3,S,S] and int64 [B] -> mixed images and target probabilities.

        These are float32 [B,3,S,S] and float32 [B,classes].
        """
        if self._pairing and torch.rand(()) < self._pairing:
            x = (x + x[torch.randperm(len(x))]) / 2
        if self._mix is not None:
            return self._mix(x, labels)
        return x, nn.functional.one_hot(labels, self._classes).to(x.dtype)


class _Jpeg(nn.Module):
    """Compresses an image and decodes it again, at a random quality.

    torchvision's own transform is deprecated.
    """

    def __init__(self, lowest: int) -> None:
        super().__init__()
        self._lowest = lowest

    def forward(self, image: Tensor) -> Tensor:
        """uint8 [3,H,W] -> the same."""
        file = BytesIO()
        F.to_pil_image(image).save(file, "JPEG", quality=int(torch.randint(self._lowest, 101, ())))
        return F.pil_to_tensor(Image.open(file))


class _RemovedCell(nn.Module):
    """Paints one cell of a grid in one colour, with some probability: as metrics remove cells."""

    def __init__(self, probability: float, cells: int, colour: list[float]) -> None:
        super().__init__()
        self._probability, self._cells = probability, cells
        self._colour = torch.tensor(colour).to(torch.uint8)[:, None, None]

    def forward(self, image: Tensor) -> Tensor:
        """uint8 [3,H,W] -> the same, changed on a copy."""
        if torch.rand(()) >= self._probability:
            return image
        rows, columns = (self._span(side) for side in image.shape[1:])
        image = image.clone()
        image[:, rows, columns] = self._colour
        return image

    def _span(self, side: int) -> slice:
        """The pixels of one of the cells along a side; cells differ by a pixel at most."""
        cell = int(torch.randint(self._cells, ()))
        first, last = (-(-(cell + more) * side // self._cells) for more in (0, 1))
        return slice(first, last)


def _mean(card: DatasetCard) -> list[float]:
    """The mean colour of uint8 pixels."""
    return [float(round(255 * value)) for value in card.mean or ()]
