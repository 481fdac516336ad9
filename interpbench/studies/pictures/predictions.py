"""What a model says of a data set's images, and which of them to show.

And how often it takes a class for another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from interpbench.attribution.explainer import Explainer
from interpbench.core.errors import DataError, unknown_name
from interpbench.core.progress import SILENT, Progress
from interpbench.core.types import Dataset, ModelCard
from interpbench.loading.images import choose
from interpbench.loading.part import Part
from interpbench.studies.pictures.images import batches

ONLY = ("misclassified", "correct", "all")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of a data set's images.

    Attributes:
        indices: of the samples that could be read.
        ids: of those samples.
        labels: int64 [N], their classes in the data set.
        true, predicted: int64 [N], the logit of the true class, and the greatest logit.
        true_probability, probability: float32 [N], what the model gives those two.
        skipped: id -> why, of the samples that could not be read.
    """

    indices: np.ndarray
    ids: tuple[str, ...]
    labels: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    true_probability: np.ndarray
    probability: np.ndarray
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def correct(self) -> np.ndarray:
        """bool [N]."""
        return np.asarray(self.true == self.predicted)

    @property
    def accuracy(self) -> float:
        """The share of images that the model is right about."""
        return float(self.correct.mean())


def predict(
    explainer: Explainer, dataset: Dataset, indices: Sequence[int], progress: Progress = SILENT
) -> Predictions:
    """Classifies the samples at `indices`, which are never all in memory.

    Raises:
        DataError: if none can be read.
    """
    card = explainer.model.card
    labels, predicted, probability, true_probability = [], [], [], []
    skipped: dict[str, str] = {}
    progress.begin(len(indices))
    for batch in batches(dataset, indices, card, explainer.model.batch_size):
        skipped |= batch.skipped
        if not batch.ids:
            continue
        probabilities, best = explainer.answers(batch.images)
        true = torch.tensor(card.logit_of_label)[batch.labels]
        labels.append(batch.labels)
        predicted.append(best)
        probability.append(probabilities.gather(1, best[:, None])[:, 0])
        true_probability.append(probabilities.gather(1, true[:, None])[:, 0])
        progress.advance("classifying", len(batch.ids))
    if not labels:
        reasons = "; ".join(list(skipped.values())[:3])
        raise DataError(
            f"None of the {len(indices)} images of {dataset.card.name!r} can be read: {reasons}."
        )
    read = [i for i in indices if dataset.ids[i] not in skipped]
    return Predictions(
        indices=np.array(read),
        ids=tuple(dataset.ids[i] for i in read),
        labels=torch.cat(labels).numpy(),
        true=np.array(card.logit_of_label)[torch.cat(labels).numpy()],
        predicted=torch.cat(predicted).numpy(),
        true_probability=torch.cat(true_probability).numpy(),
        probability=torch.cat(probability).numpy(),
        skipped=skipped,
    )


def confusion(labels: np.ndarray, predicted: np.ndarray, card: ModelCard) -> np.ndarray:
    """How often each class is taken for which: int64 [K,K].

    Rows are the true class, columns the predicted one. A last column is added, [K,K+1], if the
    model predicts a logit that is none of the data set's classes.

    Parameters:
        labels: int64 [N], of the data set's K classes.
        predicted: int64 [N], logits.
        card: says which logit is which class.
    """
    classes = len(card.logit_of_label)
    label_of_logit = np.full(card.classes, classes)
    label_of_logit[list(card.logit_of_label)] = np.arange(classes)
    columns = label_of_logit[predicted]
    counts = np.zeros((classes, classes + 1), dtype=np.int64)
    np.add.at(counts, (labels, columns), 1)
    return counts if counts[:, -1].any() else counts[:, :-1]


def check_only(only: str) -> None:
    """Raises UnknownNameError if `only` is none of `ONLY`."""
    if only not in ONLY:
        raise unknown_name("selection in --only:", only, ONLY)


def select(
    predictions: Predictions, dataset: Dataset, only: str, count: int, seed: int
) -> list[int]:
    """Which of the predictions a gallery shows, up to `count` of them.

    Misclassified samples: those of which the model is most certain, in that order. Correct ones, or
    all: a seeded, class-balanced sample, one class after the other.

    Raises:
        UnknownNameError: if `only` is none of `ONLY`.
    """
    check_only(only)
    if only == "misclassified":
        wrong = np.flatnonzero(~predictions.correct).tolist()
        return sorted(wrong, key=lambda i: (-predictions.probability[i], predictions.ids[i]))[
            :count
        ]
    rows = np.flatnonzero(predictions.correct | (only == "all"))
    if not len(rows):
        return []
    part = Part(dataset, predictions.indices[rows].tolist())
    chosen = rows[choose(part, min(count, len(rows)), seed)].tolist()
    return sorted(chosen, key=lambda i: (predictions.labels[i], predictions.ids[i]))
