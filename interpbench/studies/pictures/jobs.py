"""The two jobs that make pictures: panels of a user's own images, and the gallery of a data set's samples.

They bring together what `explaining` finds out, how `plot_panels` and `plot_confusion` draw it, and where it goes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from interpbench.attribution.explainer import Explainer
from interpbench.core.types import Dataset
from interpbench.drawing.overlay import Look
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import PictureFolder, distinct
from interpbench.loading.images import ImageSet
from interpbench.loading.model import RANDOM
from interpbench.studies.pictures.confusion_plot import confusion_table, draw_confusion
from interpbench.studies.pictures.images import Files, batches, pixels_id
from interpbench.studies.pictures.panels import Map, Panel, Row, draw_page, draw_panel, percent
from interpbench.studies.pictures.predictions import Predictions, confusion

AT_ONCE = 16  # images of a user that are explained together: few, so that panels appear as they are made
TOP = 5  # predictions that a panel lists
ROWS, PAIRS, SINGLES = 10, 3, 5  # samples a page; methods a page with two maps a method, and with one


@dataclass(frozen=True, eq=False)
class Job:
    """What both jobs work with; `advance` is told which method has explained how many images more."""

    explainer: Explainer
    folder: PictureFolder
    look: Look
    advance: Callable[[str, int], object] = lambda what, images: None

    @property
    def model_text(self) -> str:
        """The model, and that it is untrained where it is."""
        card, label = self.explainer.model.card, self.explainer.subject.choice.label
        return f"{label}, RANDOM WEIGHTS" if card.weights == RANDOM else f"{label} trained on {card.dataset}"

    def maps(self, label: str, images: Tensor, target: Tensor, ids: Sequence[str]) -> list[Map]:
        """The method's map of each image, None for each if the method fails."""
        self.advance(label, 0)
        found = self.explainer.maps(label, images, target, ids)
        self.advance(label, len(ids))
        return [None] * len(ids) if found is None else list(found)


def explain_files(job: Job, files: Files, target: int | None, skipped: dict[str, str]) -> list[dict[str, Any]]:
    """Writes `<image>.png` and `maps/<image>/<method>.npy` for each file; what the record says of each.

    Args:
        job: with what, and where to.
        files: the images.
        target: the logit to explain, or None for the one that is predicted.
        skipped: gets path -> why for each file that cannot be read.
    """
    names = dict(zip(files.ids, distinct([Path(path).stem for path in files.ids]), strict=True))
    model = job.explainer.model
    records = []
    for batch in batches(files, range(len(files.ids)), model.card, min(model.batch_size, AT_ONCE), skipped):
        records += _explain_batch(job, batch, target, names)
    return records


def _explain_batch(job: Job, batch: ImageSet, target: int | None, names: Mapping[str, str]) -> list[dict[str, Any]]:
    probabilities = job.explainer.probabilities(batch.images)
    targets = probabilities.argmax(1) if target is None else torch.full((len(batch.ids),), target)
    pixels = [pixels_id(image) for image in batch.images]
    maps = {label: job.maps(label, batch.images, targets, pixels) for label in job.explainer.asked}
    return [
        {
            "file": path,
            "pixels_sha256": pixels[i],
            **_write_panel(
                job, path, names[path], batch.images[i], probabilities[i], int(targets[i]),
                {label: found[i] for label, found in maps.items()},
            ),
        }
        for i, path in enumerate(batch.ids)
    ]  # fmt: skip


def _write_panel(
    job: Job, path: str, name: str, image: Tensor, probabilities: Tensor, target: int, maps: Mapping[str, Map]
) -> dict[str, Any]:
    """One image's panel and raw maps; what the record says of them."""
    classes = job.explainer.subject.classes
    predictions = [(classes[k], float(probabilities[k])) for k in _top(probabilities, target)]
    certainty = percent(float(probabilities[target]))
    subtitle = f"{job.model_text}; explained: {classes[target]}, {certainty}"
    panel = Panel(Path(path).name, image.numpy(), predictions, classes[target], maps)
    drawn = job.folder.write(f"{name}.png", lambda file: draw_panel(panel, subtitle, job.look, file))
    raw = {}
    for (label, values), file_name in zip(maps.items(), distinct(list(maps)), strict=True):
        if values is not None:
            raw[label] = job.folder.write(f"maps/{name}/{file_name}.npy", _saving(values))

    def described(logit: int) -> dict[str, Any]:
        return {"class": classes[logit], "index": logit, "probability": float(probabilities[logit])}

    return {
        "panel": drawn,
        "predictions": [described(k) for k in _top(probabilities)],
        "target": described(target),
        "maps": raw,
    }


def _saving(values: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, values, allow_pickle=False)


def _top(probabilities: Tensor, target: int | None = None) -> list[int]:
    """The most probable logits of [classes]; the target takes the last place if it is not among them."""
    order: list[int] = probabilities.argsort(descending=True, stable=True)[:TOP].tolist()
    return order if target is None or target in order else [*order[:-1], target]


def draw_gallery(job: Job, data: Dataset, found: Predictions, chosen: Sequence[int], only: str) -> dict[str, Any]:
    """Writes confusion.png and .csv, gallery.csv and the pages, gallery-01.png and on; what the record says of them.

    Args:
        job: with what, and where to.
        data: the data set.
        found: what the model says of it.
        chosen: which of the predictions, in the order in which they are drawn.
        only: how they were chosen.
    """
    card, label = job.explainer.model.card, job.explainer.subject.choice.label
    weights = ", RANDOM WEIGHTS" if card.weights == RANDOM else ""
    of = "" if len(found.ids) == len(data.ids) else f" of {len(data.ids):,}"
    scored = f"accuracy {found.accuracy:.1%} on {len(found.ids):,}{of} images"
    heading = f"{label} on {data.card.name}{weights}: {scored}"
    _write_confusion(job, data, found, heading)
    table = _table(job, found, chosen)
    job.folder.write("gallery.csv", lambda path: write_csv(table, path))
    if chosen:
        _write_pages(job, _rows(job, data, found, chosen), heading, only)
    return {
        "heading": heading,
        "classified": len(found.ids),
        "accuracy": found.accuracy,
        "misclassified": int((~found.correct).sum()),
        "drawn": len(chosen),
    }


def gallery_text(summary: Mapping[str, Any], only: str) -> str:
    """What was drawn, for people."""
    how = ", those first of which the model is most certain" if only == "misclassified" else ", class-balanced"
    drawn = f"Drawn: {summary['drawn']} ({only}{how})." if summary["drawn"] else f"No {only} sample: nothing to draw."
    return f"{summary['heading']}; misclassified: {summary['misclassified']:,}. {drawn}"


def _write_confusion(job: Job, data: Dataset, found: Predictions, heading: str) -> None:
    classes = data.card.classes
    counts = confusion(found.labels, found.predicted, job.explainer.model.card)
    job.folder.write("confusion.png", lambda path: draw_confusion(counts, classes, heading, path))
    job.folder.write("confusion.csv", lambda path: write_csv(confusion_table(counts, classes), path))


def _write_pages(job: Job, rows: Sequence[Row], heading: str, only: str) -> None:
    methods = _blocks(list(job.explainer.asked), PAIRS if any(not row.correct for row in rows) else SINGLES)
    for page, samples in enumerate(_blocks(rows, ROWS, even=False)):
        first = page * ROWS + 1
        for number, labels in enumerate(methods, 1):
            line = f"{only} samples, {first} to {first + len(samples) - 1} of {len(rows)} drawn"
            line += ", most certain first" if only == "misclassified" else ""
            line += f"; methods: page {number} of {len(methods)}" if len(methods) > 1 else ""
            name = f"gallery-{page + 1:02d}" + (f"-methods-{number}" if len(methods) > 1 else "")
            job.folder.write(f"{name}.png", _drawing(samples, labels, (heading, line), job.look))


def _drawing(
    rows: Sequence[Row], methods: Sequence[str], titles: tuple[str, str], look: Look
) -> Callable[[Path], None]:
    return lambda path: draw_page(rows, methods, titles, look, path)


def _blocks(items: Sequence[Any], most: int, even: bool = True) -> list[Sequence[Any]]:
    """The items in as few blocks of at most `most` as possible, of about the same size if `even`."""
    size = -(-len(items) // -(-len(items) // most)) if even else most
    return [items[first : first + size] for first in range(0, len(items), size)]


def _table(job: Job, found: Predictions, chosen: Sequence[int]) -> pd.DataFrame:
    """gallery.csv, a row a drawn sample."""
    classes, rows = job.explainer.subject.classes, np.array(chosen, dtype=np.int64)
    return pd.DataFrame(
        {
            "id": [found.ids[i] for i in chosen],
            "true": [classes[found.true[i]] for i in chosen],
            "predicted": [classes[found.predicted[i]] for i in chosen],
            "probability": found.probability[rows],
            "probability_of_true": found.true_probability[rows],
        }
    )


def _rows(job: Job, data: Dataset, found: Predictions, chosen: Sequence[int]) -> list[Row]:
    """The chosen samples with their maps, those for the true class where another is predicted."""
    classes = job.explainer.subject.classes
    card = job.explainer.model.card
    [images] = batches(data, found.indices[list(chosen)].tolist(), card, len(chosen), {})
    wrong = [i for i, k in enumerate(chosen) if not found.correct[k]]
    predicted, true = (torch.from_numpy(logits[list(chosen)]) for logits in (found.predicted, found.true))
    ids = [images.ids[i] for i in wrong]
    maps: dict[str, list[tuple[Map, Map]]] = {}
    for label in job.explainer.asked:
        of_predicted = job.maps(label, images.images, predicted, images.ids)
        of_true = dict(zip(wrong, job.maps(label, images.images[wrong], true[wrong], ids), strict=True))
        maps[label] = [(values, of_true.get(i)) for i, values in enumerate(of_predicted)]
    return [
        Row(
            sample_id=images.ids[i],
            image=images.images[i].numpy(),
            mask=None if images.masks is None else images.masks[i].numpy(),
            true=(classes[found.true[k]], float(found.true_probability[k])),
            predicted=(classes[found.predicted[k]], float(found.probability[k])),
            maps={label: pairs[i] for label, pairs in maps.items()},
        )
        for i, k in enumerate(chosen)
    ]
