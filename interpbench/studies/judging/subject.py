"""What metrics are judged on: a model, and images that it predicts rightly, with their evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from interpbench.attribution.explainer import Explainer
from interpbench.core.errors import DataError
from interpbench.core.types import Dataset, normalise
from interpbench.loading.images import ImageSet, choose, load_images
from interpbench.registry.plugin import Configured
from interpbench.scoring.map_scores import LabelledImages, MapScorer

ROUNDING = 1e-6  # share of a score: what differs by less is equal


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with its methods, and images whose evidence is known.

    Attributes:
        explainer: the model and the methods.
        images: those that the model predicts rightly, so that the evidence is what it is asked for.
        masks: bool [N,H,W], the evidence.
        target: int64 [N], the logits of the classes.
        metrics: label -> metric.
        left_out: how many images the model gets wrong, or have nothing or all of them as evidence.
    """

    explainer: Explainer
    images: ImageSet
    masks: Tensor
    target: Tensor
    metrics: Mapping[str, Configured]
    left_out: int = 0

    @classmethod
    def of(
        cls, data: Dataset, explainer: Explainer, metrics: Mapping[str, Configured], count: int
    ) -> "Subject":
        """Of a class-balanced sample of so many images, less those that are left out.

        Raises:
            DataError: if the data have no masks, or hold fewer images, or fewer than two are left.
            PluginError: if the model fails.
        """
        if not data.card.has_masks:
            raise DataError(
                f"Metrics are judged where the evidence is known, and {data.card.name!r} has no "
                "masks. Name a data set that has them with --dataset."
            )
        card = explainer.model.card
        images = load_images(data, choose(data, count, explainer.seed), card.preparation)
        assert images.masks is not None  # promised by the data set's card
        logits = torch.tensor(card.logit_of_label)[images.labels]
        area = images.masks.flatten(1).double().mean(1)
        right = explainer.answers(images.images).predicted == logits
        kept = (right & (area > 0) & (area < 1)).nonzero()[:, 0]
        if len(kept) < 2:
            raise DataError(
                f"Of {len(area)} images the model predicts {len(kept)} rightly that have evidence, "
                "and two at least are needed. Raise --images, or name another --model."
            )
        some = replace(
            images,
            ids=tuple(images.ids[i] for i in kept.tolist()),
            images=images.images[kept],
            labels=images.labels[kept],
        )
        masks, target = images.masks[kept], logits[kept]
        return cls(explainer, some, masks, target, metrics, len(area) - len(kept))

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the images."""
        return self.images.ids

    @property
    def seed(self) -> int:
        """Of all chance."""
        return self.explainer.seed

    @property
    def pixels(self) -> Tensor:
        """The images, float32 [N,H,W,C] in 0..1."""
        images = self.images.images
        return images if images.is_floating_point() else images.float() / 255

    def asking(self, metrics: Mapping[str, Configured]) -> "Subject":
        """The same, with other metrics."""
        return replace(self, metrics=metrics)

    def changed(
        self, explainer: Explainer | None = None, pixels: Tensor | None = None
    ) -> "Subject":
        """The same with another model, or with other pixels, float32 [N,H,W,C] in 0..1."""
        images = self.images if pixels is None else replace(self.images, images=pixels)
        return replace(self, explainer=explainer or self.explainer, images=images)

    def maps(self, method: str) -> np.ndarray | None:
        """A method's maps for the targets, float32 [N,H,W]; None if it fails."""
        return self.explainer.maps(method, self.images.images, self.target, self.ids)

    def scorer(self) -> MapScorer:
        """Scores maps of these images by all metrics."""
        model, device = self.explainer.model, self.explainer.device
        x = normalise(self.images.images.to(device), model.card.preparation)
        target = self.target.to(device)
        masks = self.masks.to(device)
        images = LabelledImages(x=x, target=target, label=target, mask=masks, ids=self.ids)
        return MapScorer(model, images, self.metrics, self.seed)


def better_first(metrics: Mapping[str, Configured], label: str, scores: np.ndarray) -> np.ndarray:
    """Scores with the sign that makes higher ones better."""
    metric = metrics[label]
    return -scores if metric.plugin.direction(metric.values) == "lower" else scores


def how_compared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 where the first is greater, -1 where it is less, 0 where they are equal up to rounding.

    NaN where one of them is.
    """
    equal = np.abs(first - second) <= ROUNDING * np.maximum(np.abs(first), np.abs(second))
    return np.where(equal, 0.0, np.sign(first - second))


def tidy(ids: Sequence[str], scores: Mapping[str, np.ndarray], **where: object) -> list[dict]:
    """A record for each metric and image: the score, and where it comes from."""
    return [
        {"metric": label, **where, "sample_id": name, "score": float(value)}
        for label, values in scores.items()
        for name, value in zip(ids, values, strict=True)
    ]
