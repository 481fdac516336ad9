"""A data set's samples with maps for the predicted and the true class, and the confusion matrix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch

from interpbench.attribution.explainer import Explainer
from interpbench.core.errors import DataError
from interpbench.core.progress import SILENT, Progress
from interpbench.core.types import UNKNOWN, Dataset
from interpbench.drawing.overlay import Look
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import Destination
from interpbench.files.records import INLINE, Record
from interpbench.loading.chosen_weights import RANDOM
from interpbench.loading.images import choose
from interpbench.studies.pictures.confusion_plot import confusion_table, draw_confusion
from interpbench.studies.pictures.images import batches
from interpbench.studies.pictures.job import PictureJob
from interpbench.studies.pictures.panels import Map, Row, draw_page
from interpbench.studies.pictures.predictions import (
    Predictions,
    check_only,
    confusion,
    predict,
    select,
)
from interpbench.studies.records import MethodsOutcome, Provenance, notes_on

ROWS = 10  # samples a page
PAIRS = 3  # methods a page with two maps a method
SINGLES = 5  # methods a page with one map a method


@dataclass(frozen=True)
class SampleChoice:
    """Which samples a gallery shows.

    Attributes:
        only: `misclassified`, with those first of which the model is most certain; `correct` or
            `all`, a seeded, class-balanced sample.
        count: how many, at most.
        images: how many samples are classified, class-balanced; None for all.
    """

    only: str = "misclassified"
    count: int = 20
    images: int | None = None


class GallerySummary(Record):
    """What was classified and drawn."""

    heading: str
    classified: int
    accuracy: float
    misclassified: int
    drawn: int


class GalleryRecord(Record):
    """gallery.json."""

    made: Annotated[Provenance, INLINE]
    drawing: Look
    dataset: str
    revision: str
    only: str
    summary: Annotated[GallerySummary | None, INLINE] = None
    skipped: dict[str, str] | None = None
    outcome: Annotated[MethodsOutcome | None, INLINE] = None


@dataclass(frozen=True, eq=False)
class Gallery:
    """What `gallery` made.

    Attributes:
        folder: where it lies: gallery-01.png and on, gallery.csv, confusion.png and .csv,
            gallery.json.
        summary: what was classified and drawn.
        samples: a row a drawn sample: id, true, predicted, probability, probability_of_true.
        only: how they were chosen.
        skipped: id -> why, of the samples that could not be read.
        outcome: how the methods fared.
        notes: what the user should know of that, a line each.
    """

    folder: Path
    summary: GallerySummary
    samples: pd.DataFrame
    only: str
    skipped: dict[str, str]
    outcome: MethodsOutcome
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        """What was drawn, and where it is."""
        return f"{self.text} In {self.folder}"

    @property
    def text(self) -> str:
        """What was drawn, for people."""
        summary, only = self.summary, self.only
        how = (
            ", those first of which the model is most certain"
            if only == "misclassified"
            else ", class-balanced"
        )
        drawn = (
            f"Drawn: {summary.drawn} ({only}{how})."
            if summary.drawn
            else f"No {only} sample: nothing to draw."
        )
        return f"{summary.heading}; misclassified: {summary.misclassified:,}. {drawn}"


def draw_gallery(
    data: Dataset,
    explainer: Explainer,
    choice: SampleChoice = SampleChoice(),
    *,
    dataset: str = "",
    look: Look = Look(),
    to: Destination = Destination(),
    progress: Progress = SILENT,
) -> Gallery:
    """Classifies a data set and draws some of its samples.

    Writes confusion.png and .csv, gallery.csv and the pages.

    Parameters:
        data: the data set.
        explainer: the model and the methods.
        choice: which samples.
        dataset: what the data set was called, for the record.
        look: how maps are drawn.
        to: where.
        progress: told what is going on.

    Raises:
        UnknownNameError: if `choice.only` is none that there is.
        DataError: if no image can be read, or there are fewer than asked for.
        RunFolderError: if the folder holds something else, or cannot be written.
        PluginError: if the model fails.
    """
    check_only(choice.only)
    if UNKNOWN in data.labels:
        raise DataError(
            f"A gallery compares with the true classes, and {data.card.name!r} has images without "
            "labels. Give labels=, or use `explain`."
        )
    indices = choose(data, choice.images, explainer.seed)
    explained = explainer.explained
    record = GalleryRecord(
        made=Provenance.of(explainer),
        drawing=look,
        dataset=dataset,
        revision=data.card.revision,
        only=choice.only,
    )
    folder = to.open("gallery", f"{data.card.name}-{explained.choice.slug}", record)
    job = PictureJob(explainer, folder, (look,), progress)
    with folder:
        predictions = predict(explainer, data, indices, progress)
        chosen = select(predictions, data, choice.only, choice.count, explainer.seed)
        progress.begin(len(chosen) * len(explained.methods))
        summary = _draw(job, data, predictions, chosen, choice.only)
        skipped, outcome = dict(predictions.skipped), MethodsOutcome.of(explainer)
        folder.record = record.model_copy(
            update={"summary": summary, "skipped": skipped, "outcome": outcome}
        )
    samples = _table(job, predictions, chosen)
    return Gallery(
        folder.path, summary, samples, choice.only, skipped, outcome, notes_on(explainer)
    )


def _draw(
    job: PictureJob, data: Dataset, predictions: Predictions, chosen: Sequence[int], only: str
) -> GallerySummary:
    card, label = job.explainer.model.card, job.explainer.explained.choice.label
    weights = ", RANDOM WEIGHTS" if card.weights == RANDOM else ""
    of = "" if len(predictions.ids) == len(data.ids) else f" of {len(data.ids):,}"
    scored = f"accuracy {predictions.accuracy:.1%} on {len(predictions.ids):,}{of} images"
    heading = f"{label} on {data.card.name}{weights}: {scored}"
    _write_confusion(job, data, predictions, heading)
    table = _table(job, predictions, chosen)
    job.folder.write("gallery.csv", lambda path: write_csv(table, path))
    if chosen:
        rows, shown = _rows(job, data, predictions, chosen)
        _write_pages(job, rows, f"{heading}; {shown}" if shown else heading, only)
    return GallerySummary(
        heading=heading,
        classified=len(predictions.ids),
        accuracy=predictions.accuracy,
        misclassified=int((~predictions.correct).sum()),
        drawn=len(chosen),
    )


def _write_confusion(
    job: PictureJob, data: Dataset, predictions: Predictions, heading: str
) -> None:
    classes = data.card.classes
    counts = confusion(predictions.labels, predictions.predicted, job.explainer.model.card)
    job.folder.write("confusion.png", lambda path: draw_confusion(counts, classes, heading, path))
    job.folder.write(
        "confusion.csv", lambda path: write_csv(confusion_table(counts, classes), path)
    )


def _write_pages(job: PictureJob, rows: Sequence[Row], heading: str, only: str) -> None:
    methods = _blocks(
        list(job.explainer.accounts), PAIRS if any(not row.correct for row in rows) else SINGLES
    )
    for page, samples in enumerate(_blocks(rows, ROWS, even=False)):
        first = page * ROWS + 1
        for number, labels in enumerate(methods, 1):
            line = f"{only} samples, {first} to {first + len(samples) - 1} of {len(rows)} drawn"
            line += ", most certain first" if only == "misclassified" else ""
            line += f"; methods: page {number} of {len(methods)}" if len(methods) > 1 else ""
            name = f"gallery-{page + 1:02d}" + (f"-methods-{number}" if len(methods) > 1 else "")
            job.folder.write(
                f"{name}.png", _drawing(samples, labels, (heading, line), job.looks[0])
            )


def _drawing(
    rows: Sequence[Row], methods: Sequence[str], titles: tuple[str, str], look: Look
) -> Callable[[Path], None]:
    return lambda path: draw_page(rows, methods, titles, look, path)


def _blocks(items: Sequence[Any], most: int, even: bool = True) -> list[Sequence[Any]]:
    """The items in as few blocks of at most `most` as possible.

    They are of about the same size if `even`.
    """
    size = -(-len(items) // -(-len(items) // most)) if even else most
    return [items[first : first + size] for first in range(0, len(items), size)]


def _table(job: PictureJob, predictions: Predictions, chosen: Sequence[int]) -> pd.DataFrame:
    """gallery.csv, a row a drawn sample."""
    classes, rows = job.explainer.explained.classes, np.array(chosen, dtype=np.int64)
    return pd.DataFrame(
        {
            "id": [predictions.ids[i] for i in chosen],
            "true": [classes[predictions.true[i]] for i in chosen],
            "predicted": [classes[predictions.predicted[i]] for i in chosen],
            "probability": predictions.probability[rows],
            "probability_of_true": predictions.true_probability[rows],
        }
    )


def _rows(
    job: PictureJob, data: Dataset, predictions: Predictions, chosen: Sequence[int]
) -> tuple[list[Row], str]:
    """The chosen samples with their maps, those for the true class where another is predicted.

    And which of their channels pictures show, where not all.
    """
    classes = job.explainer.explained.classes
    card = job.explainer.model.card
    [images] = batches(data, predictions.indices[list(chosen)].tolist(), card, len(chosen))
    wrong = [i for i, k in enumerate(chosen) if not predictions.correct[k]]
    predicted = torch.from_numpy(predictions.predicted[list(chosen)])
    true = torch.from_numpy(predictions.true[list(chosen)])
    ids = [images.ids[i] for i in wrong]
    maps: dict[str, list[tuple[Map, Map]]] = {}
    for label in job.explainer.accounts:
        of_predicted = job.maps(label, images.images, predicted, images.ids)
        of_true = dict(
            zip(wrong, job.maps(label, images.images[wrong], true[wrong], ids), strict=True)
        )
        maps[label] = [(values, of_true.get(i)) for i, values in enumerate(of_predicted)]
    pictures = images.pictures()
    rows = [
        Row(
            sample_id=images.ids[i],
            image=pictures[i],
            mask=None if images.masks is None else images.masks[i].numpy(),
            true=(classes[predictions.true[k]], float(predictions.true_probability[k])),
            predicted=(classes[predictions.predicted[k]], float(predictions.probability[k])),
            maps={label: pairs[i] for label, pairs in maps.items()},
        )
        for i, k in enumerate(chosen)
    ]
    return rows, images.shown
