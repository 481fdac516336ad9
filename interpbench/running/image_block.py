"""A block of a run's images, batch by batch on the device, ready to be explained and scored."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from interpbench.attribution.attribute import Batch, Maps
from interpbench.core.time_spent import phase
from interpbench.core.types import UNKNOWN, Model, normalise
from interpbench.loading.images import ImageSet
from interpbench.running.blocks import Block
from interpbench.running.plan import Plan
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.ranking import rank, tie_breakers

COMPARED = 16  # one image in so many is compared with float32,
AT_LEAST = 8  # and this many at least, if there are so many


class ImageBlock:
    """Images of one model.

    Attributes:
        block: which images of the plan.
        images: those that could be read, on the CPU.
    """

    def __init__(
        self,
        plan: Plan,
        model: Model,
        block: Block,
        images: ImageSet,
        fastest_format: torch.memory_format,
    ) -> None:
        self.block, self.images = block, images
        self._plan, self._model, self._fastest_format = plan, model, fastest_format
        self._device = plan.computing.device
        on_gpu = self._device.type == "cuda"
        self._pixels = images.images.pin_memory() if on_gpu else images.images
        logits = (*model.card.logit_of_label, UNKNOWN)  # the last is that of no label
        self._labels = torch.tensor(logits)[images.labels]
        self._predicted: Tensor | None = None

    def predict_as(self, predicted: Mapping[str, int]) -> "ImageBlock":
        """The same, once it is known which logit is greatest for each image."""
        ids = self.images.ids
        self._predicted = torch.tensor([predicted[name] for name in ids], dtype=torch.int64)
        return self

    def __len__(self) -> int:
        return len(self.images.ids)

    def batches(self, images: int) -> Iterator[slice]:
        """The images, so many at a time."""
        for first in range(0, len(self), images):
            yield slice(first, min(first + images, len(self)))

    def compared(self, rows: slice) -> slice:
        """Which images are scored in float32 too: evenly spread, under a lower precision."""
        stride = max(1, min(COMPARED, self._plan.size // AT_LEAST))
        return slice(-(self.block.first + rows.start) % stride, None, stride)

    def batch(self, rows: slice, *, gradients: bool) -> Batch:
        """Some images and their targets, on the device.

        Parameters:
            rows: which images.
            gradients: whether gradients will be asked for. The images are then contiguous: in
                another memory format sums are rounded otherwise, and where max pooling or a ReLU
                is at a tie, as on an area of one colour, the subgradient is another than that of
                an ordinary tensor. Whoever only calls the model gets its fastest format.
        """
        with phase("transfers"):
            target = self.targets(rows).to(self._device, non_blocking=True)
            x = self.as_methods_like(self.contiguous(rows), gradients=gradients)
            name = (self.block.number, rows.start, rows.stop, gradients)
            return Batch(x, target, self.images.ids[rows], name)

    def as_methods_like(self, x: Tensor, *, gradients: bool) -> Tensor:
        """Images [B,C,H,W] in the memory format that `batch` gives them in."""
        if gradients:
            return x.contiguous()
        return x.contiguous(memory_format=self._fastest_format)

    def contiguous(self, rows: slice) -> Tensor:
        """Some images as the model's input, float32 [B,C,H,W]."""
        pixels = self._pixels[rows].to(self._device, non_blocking=True)
        return normalise(pixels, self._model.card.preparation)

    def fastest(self, rows: slice) -> Tensor:
        """As `contiguous`, in the memory format that forward passes like."""
        return self.contiguous(rows).contiguous(memory_format=self._fastest_format)

    def targets(self, rows: slice) -> Tensor:
        """The logits that are explained for some images, int64 [B], on the CPU."""
        if self._plan.suite.target == "predicted":
            assert self._predicted is not None
            return self._predicted[rows]
        return self.labels(rows)

    def labels(self, rows: slice) -> Tensor:
        """The logits of the true classes of some images, int64 [B], on the CPU.

        UNKNOWN where an image has no label.
        """
        return self._labels[rows]

    def explanation(self, maps: Maps, batch: Batch, rows: slice) -> tuple[Explanation, Tensor]:
        """Some images with their maps ranked, and the share of tied positions of each.

        A map that is no answer counts as one of zeros, so that nobody waits for which these are;
        see `Maps.valid`.
        """
        x, ids = batch.x.contiguous(memory_format=self._fastest_format), self.images.ids[rows]
        saliency = maps.saliency.where(maps.valid[:, None, None], 0)
        with phase("ranking"):
            ties = tie_breakers(ids, x.shape[2] * x.shape[3], self._plan.suite.seed).to(
                x.device, non_blocking=True
            )
            ranks, tied = rank(saliency, ties)
        with phase("transfers"):
            masks, ignored = (
                None if marks is None else marks[rows].to(x.device, non_blocking=True)
                for marks in (self.images.masks, self.images.ignored)
            )
            labels = self.labels(rows).to(x.device, non_blocking=True)
        explanation = Explanation(
            model=self._model,
            x=x,
            target=batch.target,
            label=labels,
            mask=masks,
            ids=ids,
            ignored=ignored,
            seed=self._plan.suite.seed,
            saliency=saliency,
            rank=ranks,
        )
        return explanation, tied
