"""What `explain` and `gallery` find out before they draw: probabilities, maps, confusions, and what to show."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interpbench.attribution import attribute
from interpbench.contracts import Dataset, DatasetCard, ModelCard, Sample, normalise
from interpbench.devices import exact_arithmetic
from interpbench.doctor import Finding
from interpbench.errors import (
    DataError,
    InterpBenchError,
    MethodError,
    PluginError,
    UnreadableImageError,
    unknown_name,
)
from interpbench.guard import Guard
from interpbench.images import ImageSet, choose, fit, fit_mask, read_image
from interpbench.perturb import BatchSize
from interpbench.plugin import Configured, blaming
from interpbench.repair import sound
from interpbench.subject import Subject

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
ONLY = ("misclassified", "correct", "all")


class Files:
    """Image files as a data set of one class, whose name nobody asks for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.card = DatasetCard("files", ("",), "")
        self.ids = [str(path) for path in paths]
        self.labels = [0] * len(paths)
        self._paths = paths

    def __getitem__(self, index: int) -> Sample:
        """The file's image; raises UnreadableImageError if it cannot be decoded."""
        return Sample(self.ids[index], read_image(self._paths[index], self.ids[index]), 0)


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The image files that are named, and those below folders, sorted by their names within each folder; each once.

    Raises:
        DataError: if a path does not exist, or a folder holds no images.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not found:
                raise DataError(f"Folder {str(path)!r} holds no images ({', '.join(SUFFIXES)}).")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"There is no image {str(path)!r}. Expected image files, or folders of them.")
    return list(dict.fromkeys(files))


def batches(
    dataset: Dataset, indices: Sequence[int], card: ModelCard, count: int, skipped: dict[str, str]
) -> Iterator[ImageSet]:
    """The samples at the model's input size, up to `count` of those at `indices` at a time.

    One that cannot be read is left out, and `skipped` says why.
    """
    for first in range(0, len(indices), count):
        samples: list[Sample] = []
        for index in indices[first : first + count]:
            try:
                samples.append(dataset[index])
            except UnreadableImageError as error:
                skipped[dataset.ids[index]] = str(error)
        if samples:
            masks = [fit_mask(s, card) for s in samples] if dataset.card.has_masks else None
            yield ImageSet(
                ids=tuple(s.id for s in samples),
                images=torch.from_numpy(np.stack([fit(s.image, card) for s in samples])),
                labels=torch.tensor([s.label for s in samples]),
                masks=None if masks is None else torch.from_numpy(np.stack(masks)),
                skipped={},
            )


def pixels_id(image: Tensor) -> str:
    """The hash of an image's pixels, uint8 [H,W,3]: what chance is seeded with where images have no lasting ids."""
    return hashlib.sha256(image.numpy().tobytes()).hexdigest()


@dataclass
class Asked:
    """A method, and how it fared.

    Attributes:
        method: with its parameters.
        batch_size: images a forward pass; halved on out-of-memory.
        images, constant, nonfinite: how many maps it was asked for, and how many of them are no answer.
        left_behind: what it left on the model, which was undone.
        error: why it broke down; it is then not asked again.
    """

    method: Configured
    batch_size: BatchSize
    images: int = 0
    constant: int = 0
    nonfinite: int = 0
    left_behind: dict[str, None] = field(default_factory=dict)
    error: str = ""

    @property
    def failure(self) -> str:
        """What went wrong, or nothing."""
        if self.error or not self.nonfinite:
            return self.error
        return f"gave NaN or infinite maps for {self.nonfinite} of {self.images} images"


class Explainer:
    """A model on its device that classifies and explains whatever images it is given.

    Attributes:
        subject: the model with its classes, and the methods.
        model: the model, on the device.
        device: where it is.
        seed: chance comes from it and from the ids of the images.
        asked: label -> the method and how it fared.
        findings: what the first images show to be wrong with the model, once it has seen them.
    """

    def __init__(self, subject: Subject, device: torch.device, seed: int) -> None:
        self.subject = subject
        self.model = subject.model.to(device)
        self.asked = {
            label: Asked(method, BatchSize(self.model.batch_size)) for label, method in subject.methods.items()
        }
        self.device = device
        self.seed = seed
        self.findings: tuple[Finding, ...] | None = None
        self._guard = Guard(self.model)
        self._batch_size = BatchSize(self.model.batch_size)

    @property
    def failures(self) -> dict[str, str]:
        """label -> why, of the methods that failed."""
        return {label: asked.failure for label, asked in self.asked.items() if asked.failure}

    @property
    def notices(self) -> list[str]:
        """What the user should know: which methods cannot be trusted on the model, and why."""
        notices = list(self.subject.notices)
        for finding in self.findings or ():
            methods = [label for label, asked in self.asked.items() if finding.concerns(asked.method)]
            if methods:
                notices.append(f"{finding.what}, which rules out {', '.join(methods)}. {finding.advice}")
        return notices

    def probabilities(self, images: Tensor) -> Tensor:
        """The softmax of the model's logits, float32 [N,classes] on the CPU, for images uint8 [N,size,size,3].

        Raises:
            PluginError: if the model fails, or its logits are not finite.
        """

        def work(count: int) -> Tensor:
            parts = [self.model(self._x(part)).float().softmax(1).cpu() for part in images.split(count)]
            return torch.cat(parts)

        with exact_arithmetic(), blaming(self.subject.choice):
            if self.findings is None:
                self._examine(images[:2])
            with torch.inference_mode():
                probabilities = self._batch_size.attempt(work)
        if not bool(probabilities.isfinite().all()):
            raise PluginError(
                f"The logits of model {self.subject.choice.label!r} are not all finite: mend its weights."
            )
        return probabilities.clone()  # a tensor of inference mode could not be used elsewhere

    def maps(self, label: str, images: Tensor, target: Tensor, ids: Sequence[str]) -> np.ndarray | None:
        """The method's maps, made as in a run: guarded and seeded.

        Args:
            label: of the method.
            images: uint8 [N,size,size,3].
            target: int64 [N], logits.
            ids: of the images; chance is seeded by them.

        Returns:
            float32 [N,size,size], or None if the method fails, or has failed before: see `failures`.
        """
        asked = self.asked[label]
        if asked.error or not len(images):
            return None
        try:
            with exact_arithmetic():
                maps = attribute(
                    asked.method, self.model, self._guard, self._x(images), target.to(self.device), ids=ids,
                    seed=self.seed, batch_size=asked.batch_size, left_behind=asked.left_behind,
                )  # fmt: skip
            if changed := self._guard.changed_weights():
                raise MethodError(f"changed the model's weights behind its back ({changed[0]}); they are restored.")
        except InterpBenchError as error:
            asked.error = str(error)
        except (Exception, SystemExit) as error:  # a plugin may call sys.exit; it fails alone all the same
            asked.error = f"{type(error).__name__}: {error}"
        if asked.error:
            self._guard.changed_weights()
            return None
        asked.images += len(images)
        asked.constant += int(maps.constant.sum())
        asked.nonfinite += int(maps.nonfinite.sum())
        found: np.ndarray = maps.saliency.cpu().numpy()
        return found

    def _examine(self, images: Tensor) -> None:
        """Looks for what makes methods go wrong; from here on the model may be a repaired copy, as in a run."""
        mended, diagnosis, _ = sound(self.model, self._x(images), self.seed, self._guard)
        self.findings = diagnosis.findings
        if mended is not self.model:
            self.model, self._guard = mended, Guard(mended)

    def _x(self, images: Tensor) -> Tensor:
        return normalise(images.to(self.device), self.model.card)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of a data set's images.

    Attributes:
        indices: of the samples that could be read.
        ids: of those samples.
        labels: int64 [N], their classes in the data set.
        true, predicted: int64 [N], the logit of the true class, and the greatest logit.
        true_probability, probability: float32 [N], what the model gives those two.
    """

    indices: np.ndarray
    ids: tuple[str, ...]
    labels: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    true_probability: np.ndarray
    probability: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """bool [N]."""
        return np.asarray(self.true == self.predicted)

    @property
    def accuracy(self) -> float:
        """The share of images that the model is right about."""
        return float(self.correct.mean())


def predict(
    explainer: Explainer,
    dataset: Dataset,
    indices: Sequence[int],
    skipped: dict[str, str],
    advance: Callable[[int], object] = lambda images: None,
) -> Predictions:
    """Classifies the samples at `indices`, which are never all in memory.

    Args:
        explainer: the model.
        dataset: the data set.
        indices: of its samples.
        skipped: gets id -> why for each that cannot be read.
        advance: told how many images more are classified.

    Raises:
        DataError: if none can be read.
    """
    card = explainer.model.card
    labels, predicted, probability, true_probability = [], [], [], []
    for batch in batches(dataset, indices, card, explainer.model.batch_size, skipped):
        probabilities = explainer.probabilities(batch.images)
        true = torch.tensor(card.logit_of_label)[batch.labels]
        best = probabilities.max(1)
        labels.append(batch.labels)
        predicted.append(best.indices)
        probability.append(best.values)
        true_probability.append(probabilities.gather(1, true[:, None])[:, 0])
        advance(len(batch.ids))
    if not labels:
        reasons = "; ".join(list(skipped.values())[:3])
        raise DataError(f"None of the {len(indices)} images of {dataset.card.name!r} can be read: {reasons}.")
    read = [i for i in indices if dataset.ids[i] not in skipped]
    return Predictions(
        indices=np.array(read),
        ids=tuple(dataset.ids[i] for i in read),
        labels=torch.cat(labels).numpy(),
        true=np.array(card.logit_of_label)[torch.cat(labels).numpy()],
        predicted=torch.cat(predicted).numpy(),
        true_probability=torch.cat(true_probability).numpy(),
        probability=torch.cat(probability).numpy(),
    )


def confusion(labels: np.ndarray, predicted: np.ndarray, card: ModelCard) -> np.ndarray:
    """How often each class is taken for which: int64 [K,K], rows the true class, columns the predicted one.

    A last column is added, [K,K+1], if the model predicts a logit that is none of the data set's classes.

    Args:
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


class _Part:
    """Some samples of a data set."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.card = dataset.card
        self.ids = [dataset.ids[i] for i in indices]
        self.labels = [dataset.labels[i] for i in indices]
        self._dataset, self._indices = dataset, indices

    def __getitem__(self, index: int) -> Sample:
        return self._dataset[self._indices[index]]


def check_only(only: str) -> None:
    """Raises UnknownNameError if `only` is none of `ONLY`."""
    if only not in ONLY:
        raise unknown_name("selection in --only:", only, ONLY)


def select(found: Predictions, dataset: Dataset, only: str, count: int, seed: int) -> list[int]:
    """Which of the predictions a gallery shows, up to `count` of them.

    Misclassified samples: those of which the model is most certain, in that order. Correct ones, or all: a seeded,
    class-balanced sample, one class after the other.

    Raises:
        UnknownNameError: if `only` is none of `ONLY`.
    """
    check_only(only)
    if only == "misclassified":
        wrong = np.flatnonzero(~found.correct).tolist()
        return sorted(wrong, key=lambda i: (-found.probability[i], found.ids[i]))[:count]
    rows = np.flatnonzero(found.correct | (only == "all"))
    if not len(rows):
        return []
    part = _Part(dataset, found.indices[rows].tolist())
    chosen = rows[choose(part, min(count, len(rows)), seed)].tolist()
    return sorted(chosen, key=lambda i: (found.labels[i], found.ids[i]))
