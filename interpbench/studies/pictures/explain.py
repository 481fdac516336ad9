"""Panels of a user's own images: what each is predicted to be, and each method's map."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interpbench.attribution.explainer import Explainer
from interpbench.attribution.model_and_methods import PREDICTED, find_target
from interpbench.core.errors import unknown_name
from interpbench.core.progress import SILENT, Progress
from interpbench.core.types import Dataset
from interpbench.drawing.overlay import Look
from interpbench.files.output_folder import Destination, distinct
from interpbench.files.records import INLINE, Record
from interpbench.loading.images import ImageSet
from interpbench.studies.pictures.images import batches, pixels_id
from interpbench.studies.pictures.job import PictureJob
from interpbench.studies.pictures.panels import Map, Panel, draw_panel, percent
from interpbench.studies.records import MethodsOutcome, Provenance, notes_on

MODEL = "efficientnet_lite0"  # where none is named, and
METHODS = ("gradcam", "guided-backprop", "integrated-gradients", "layercam", "saliency")
AT_ONCE = 16  # images that are explained together: few, so that panels appear as they are made
TOP = 5  # predictions that a panel lists
SHOWN = 6  # panels that a notebook shows


class ClassRecord(Record):
    """A class, by its name and its logit, and what the model gives it."""

    name: Annotated[str, Field(alias="class")]
    index: int
    probability: float


class PanelRecord(Record):
    """What was made of an image.

    Attributes:
        file, pixels_sha256: the image.
        panel: the picture, relative to the folder.
        predictions: the most probable classes, best first.
        target: the class that was explained.
        maps: method -> the file of its map, relative to the folder.
    """

    file: str
    pixels_sha256: str
    panel: str
    predictions: tuple[ClassRecord, ...]
    target: ClassRecord
    maps: dict[str, str]


class ExplainRecord(Record):
    """explain.json.

    Attributes:
        drawing: how maps are drawn.
        alphas: their opacities, where they are drawn in several.
    """

    made: Annotated[Provenance, INLINE]
    drawing: Look
    alphas: tuple[float, ...] = ()
    target: str
    images: tuple[PanelRecord, ...] = ()
    skipped: dict[str, str] | None = None
    outcome: Annotated[MethodsOutcome | None, INLINE] = None


@dataclass(frozen=True, repr=False)
class Explained:
    """What `explain` made.

    Attributes:
        folder: where it lies: `<image>.png`, `maps/<image>/<method>.npy`, explain.json.
        images: a record for each image that could be read.
        skipped: path -> why, of the others.
        outcome: how the methods fared.
        notes: what the user should know of that, a line each.
    """

    folder: Path
    images: tuple[PanelRecord, ...]
    skipped: Mapping[str, str]
    outcome: MethodsOutcome
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every image was read, and no method failed."""
        return not (self.skipped or self.outcome.failures)

    def saliency(self, image: int = 0, method: str | None = None) -> np.ndarray:
        """A map as it was made, float32 [H,W].

        Parameters:
            image: its number among `images`.
            method: the label of one; may be left out where there is one alone.

        Raises:
            UnknownNameError: if there is no such map.
        """
        files = self.images[image].maps
        name = next(iter(files)) if method is None and len(files) == 1 else str(method)
        if name not in files:
            raise unknown_name("map", name, files)
        saliency: np.ndarray = np.load(self.folder / files[name])
        return saliency

    def __repr__(self) -> str:
        """How many images were explained, and where the pictures are."""
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        failed = f", failed: {', '.join(self.outcome.failures)}" if self.outcome.failures else ""
        return f"Explained {len(self.images)} images{skipped}{failed}, in {self.folder}"

    def _repr_html_(self) -> str:
        """The first panels, for a notebook, and what the user should know."""
        parts = [f"<p>{escape(note)}</p>" for note in self.notes]
        for image in self.images[:SHOWN]:
            content = b64encode((self.folder / image.panel).read_bytes()).decode()
            parts.append(
                f'<img alt="{escape(image.file)}" style="max-width: 100%" '
                f'src="data:image/png;base64,{content}">'
            )
        more = len(self.images) - SHOWN
        rest = f"and {more} more, in " if more > 0 else "in "
        return "".join([*parts, f"<p>{rest}<code>{escape(str(self.folder))}</code></p>"])


def explain_files(
    files: Dataset,
    explainer: Explainer,
    *,
    target: str = PREDICTED,
    looks: Sequence[Look] = (Look(),),
    to: Destination = Destination(),
    progress: Progress = SILENT,
) -> Explained:
    """Writes `<image>.png` and `maps/<image>/<method>.npy` for each file, and explain.json.

    Parameters:
        files: the images; their ids are paths, or names.
        explainer: the model and the methods.
        target: the class to explain: `predicted`, a class name, or a logit's index.
        looks: how maps are drawn, each time with another opacity.
        to: where.
        progress: told which method has explained how many images more.

    Raises:
        UnknownNameError: if there is no such class.
        RunFolderError: if the folder holds something else, or cannot be written.
        PluginError: if the model fails.
    """
    explained = explainer.explained
    logit = find_target(target, explained.classes)
    record = ExplainRecord(made=Provenance.of(explainer), drawing=looks[0], target=target)
    if len(looks) > 1:
        record = record.model_copy(update={"alphas": tuple(look.alpha for look in looks)})
    folder = to.open("explain", explained.choice.slug, record)
    job = PictureJob(explainer, folder, looks, progress)
    names = dict(zip(files.ids, distinct([Path(path).stem for path in files.ids]), strict=True))
    card, at_once = explainer.model.card, min(explainer.model.batch_size, AT_ONCE)
    panels: list[PanelRecord] = []
    skipped: dict[str, str] = {}
    progress.begin(len(files.ids) * len(explained.methods))
    with folder:
        for batch in batches(files, range(len(files.ids)), card, at_once):
            skipped |= batch.skipped
            panels += _explain_batch(job, batch, logit, names) if batch.ids else []
        outcome = MethodsOutcome.of(explainer)
        results = {"images": tuple(panels), "skipped": skipped, "outcome": outcome}
        folder.record = record.model_copy(update=results)
    return Explained(folder.path, tuple(panels), skipped, outcome, notes_on(explainer))


def _explain_batch(
    job: PictureJob, batch: ImageSet, logit: int | None, names: Mapping[str, str]
) -> list[PanelRecord]:
    probabilities, predicted = job.explainer.answers(batch.images)
    targets = predicted if logit is None else torch.full((len(batch.ids),), logit)
    pixels = [pixels_id(image) for image in batch.images]
    maps = {
        label: job.maps(label, batch.images, targets, pixels) for label in job.explainer.accounts
    }
    panels, pictures = [], batch.pictures()
    for i, path in enumerate(batch.ids):
        maps_of_image = {label: maps_of_batch[i] for label, maps_of_batch in maps.items()}
        panel = _panel(job, path, pictures[i], probabilities[i], int(targets[i]), maps_of_image)
        name = names[path]
        subtitle = (
            f"{job.model_text}; explained: {panel.target}, "
            f"{percent(float(probabilities[i][targets[i]]))}"
        ) + (f"; {batch.shown}" if batch.shown else "")
        panels.append(
            PanelRecord(
                file=path,
                pixels_sha256=pixels[i],
                panel=job.folder.write(f"{name}.png", _drawing(panel, subtitle, job.looks)),
                predictions=tuple(_class(job, probabilities[i], k) for k in _top(probabilities[i])),
                target=_class(job, probabilities[i], int(targets[i])),
                maps=_write_maps(job, name, maps_of_image),
            )
        )
    return panels


def _panel(
    job: PictureJob,
    path: str,
    picture: np.ndarray,
    probabilities: Tensor,
    target: int,
    maps: Mapping[str, Map],
) -> Panel:
    classes = job.explainer.explained.classes
    predictions = [(classes[k], float(probabilities[k])) for k in _top(probabilities, target)]
    return Panel(Path(path).name, picture, predictions, classes[target], maps)


def _drawing(panel: Panel, subtitle: str, looks: Sequence[Look]) -> Callable[[Path], None]:
    return lambda path: draw_panel(panel, subtitle, looks, path)


def _write_maps(job: PictureJob, name: str, maps: Mapping[str, Map]) -> dict[str, str]:
    """The maps of an image as they are; method -> file."""
    written = {}
    for (label, values), file_name in zip(maps.items(), distinct(list(maps)), strict=True):
        if values is not None:
            written[label] = job.folder.write(f"maps/{name}/{file_name}.npy", _saving(values))
    return written


def _saving(values: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, values, allow_pickle=False)


def _class(job: PictureJob, probabilities: Tensor, logit: int) -> ClassRecord:
    name = job.explainer.explained.classes[logit]
    return ClassRecord(**{"class": name}, index=logit, probability=float(probabilities[logit]))


def _top(probabilities: Tensor, target: int | None = None) -> list[int]:
    """The most probable logits of [classes].

    The target takes the last place if it is not among them.
    """
    order: list[int] = probabilities.argsort(descending=True, stable=True)[:TOP].tolist()
    return order if target is None or target in order else [*order[:-1], target]
