"""The experiment: a strip, a film and a table for each image."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from interpbench.attribution.explainer import Explainer
from interpbench.attribution.model_and_methods import PREDICTED, find_target
from interpbench.core.progress import SILENT, Progress
from interpbench.core.types import Dataset
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import Destination, OutputFolder, distinct
from interpbench.files.records import INLINE, Record
from interpbench.loading.images import ImageSet
from interpbench.studies.occlusion.drawing import draw_strip, write_film
from interpbench.studies.occlusion.sweep import Sweep, Window, sweep
from interpbench.studies.pictures.images import batches, pixels_id
from interpbench.studies.pictures.panels import percent
from interpbench.studies.records import Provenance
from interpbench.toolbox.baselines import Baseline

SHOWN = 6  # strips that a notebook shows


class SweptRecord(Record):
    """What came of an image.

    Attributes:
        file, pixels_sha256: the image.
        target: the class that is watched, and its logit.
        probability: of it, for the whole image.
        lowest: its least probability, at `place`: top and left of the window in pixels.
        predicted: classes that the model predicts with the window somewhere, the most frequent
            first.
        strip, film, table: files, relative to the folder.
    """

    file: str
    pixels_sha256: str
    target: str
    index: int
    probability: float
    lowest: float
    place: tuple[int, int]
    predicted: tuple[str, ...]
    strip: str
    film: str
    table: str


class OccludeRecord(Record):
    """occlude.json."""

    made: Annotated[Provenance, INLINE]
    window: int
    stride: int
    fill: str
    target: str
    images: tuple[SweptRecord, ...] = ()
    skipped: dict[str, str] | None = None


@dataclass(frozen=True, repr=False)
class Occluded:
    """What `occlude` made.

    Attributes:
        folder: where it lies: for each image a strip `<image>.png`, a film `<image>.gif` and a
            table `<image>.csv`; and occlude.json.
        images: a record for each image that could be read.
        skipped: path -> why, of the others.
        notes: what the user should know, a line each.
    """

    folder: Path
    images: tuple[SweptRecord, ...]
    skipped: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def table(self, image: int = 0) -> pd.DataFrame:
        """A row for each place of the window, by the image's number among `images`.

        Columns: row, column, top, left, bottom, right (in pixels, the last two behind the window),
        probability (of the class that is watched), predicted, predicted_probability.
        """
        return pd.read_csv(self.folder / self.images[image].table)

    def probabilities(self, image: int = 0) -> np.ndarray:
        """Of the class that is watched with the window at each place: float64 [rows,columns]."""
        table = self.table(image)
        rows: np.ndarray = table["probability"].to_numpy()
        return rows.reshape(table["row"].iloc[-1] + 1, -1)

    def __repr__(self) -> str:
        """What was found of each image, and where the pictures are."""
        return "\n".join([*map(in_words, self.images), f"In {self.folder}"])

    def _repr_html_(self) -> str:
        """The first strips, for a notebook."""
        parts = []
        for image in self.images[:SHOWN]:
            content = b64encode((self.folder / image.strip).read_bytes()).decode()
            parts.append(
                f'<img alt="{escape(in_words(image))}" style="max-width: 100%" '
                f'src="data:image/png;base64,{content}">'
            )
        return "".join([*parts, f"<p>in <code>{escape(str(self.folder))}</code></p>"])


def in_words(image: SweptRecord) -> str:
    """What came of an image, in a line."""
    others = [name for name in image.predicted if name != image.target]
    then = f"; elsewhere the model says {', '.join(others[:3])}" if others else ""
    top, left = image.place
    return (
        f"{image.file}: {image.target} {percent(image.probability)}, lowest "
        f"{percent(image.lowest)} with the window at {top},{left}{then}"
    )


def occlude_files(
    files: Dataset,
    explainer: Explainer,
    moves: tuple[int | None, int | None, Baseline],
    *,
    target: str = PREDICTED,
    to: Destination = Destination(),
    progress: Progress = SILENT,
) -> Occluded:
    """Moves a window over each image, and writes a strip, a film and a table for each.

    Parameters:
        files: the images; their ids are paths, or names.
        explainer: the model; it needs no methods.
        moves: side and stride of the window in pixels, or None, and what stands in it.
        target: the class that is watched: `predicted`, a class name, or a logit's index.
        to: where.
        progress: told which image is done.

    Raises:
        UnknownNameError: if there is no such class.
        ParameterError: if the window does not fit.
        RunFolderError: if the folder holds something else, or cannot be written.
        PluginError: if the model fails.
    """
    explained, card = explainer.explained, explainer.model.card
    window = Window.of(*moves, (card.preparation.height, card.preparation.width))
    logit = find_target(target, explained.classes)
    record = OccludeRecord(
        made=Provenance.of(explainer),
        window=window.side,
        stride=window.stride,
        fill=window.fill,
        target=target,
    )
    folder = to.open("occlude", explained.choice.slug, record)
    names = dict(zip(files.ids, distinct([Path(path).stem for path in files.ids]), strict=True))
    swept: list[SweptRecord] = []
    skipped: dict[str, str] = {}
    progress.begin(len(files.ids))
    with folder:
        for batch in batches(files, range(len(files.ids)), card, 1):
            skipped |= batch.skipped
            for path in batch.ids:
                swept.append(_sweep(explainer, batch, logit, window, (folder, names[path])))
                progress.advance(path, 1)
        folder.record = record.model_copy(update={"images": tuple(swept), "skipped": skipped})
    notes = tuple(f"Note: {notice}" for notice in explainer.notices)
    return Occluded(folder.path, tuple(swept), skipped, notes)


def _sweep(
    explainer: Explainer,
    batch: ImageSet,
    logit: int | None,
    window: Window,
    to: tuple[OutputFolder, str],
) -> SweptRecord:
    """The only image of a batch; `to` is the folder, and the name of its files."""
    classes = explainer.explained.classes
    probabilities, predicted = explainer.answers(batch.images)
    target = int(predicted[0]) if logit is None else logit
    whole = float(probabilities[0, target])
    found = sweep(explainer, batch.images[0], (target, whole), window)
    [path] = batch.ids
    folder, name = to
    row, column = found.lowest
    kinds = pd.Series(found.predicted.ravel()).value_counts().sort_index()
    frequent = kinds.sort_values(ascending=False, kind="stable").index
    titles = (Path(path).name, _line(explainer, classes[target], whole, window))
    return SweptRecord(
        file=path,
        pixels_sha256=pixels_id(batch.images[0]),
        target=classes[target],
        index=target,
        probability=whole,
        lowest=float(found.probability.min()),
        place=(found.tops[row], found.lefts[column]),
        predicted=tuple(classes[k] for k in frequent),
        strip=folder.write(f"{name}.png", partial(draw_strip, found, classes, titles)),
        film=folder.write(f"{name}.gif", partial(write_film, found, classes)),
        table=folder.write(f"{name}.csv", partial(write_csv, table_of(found, classes))),
    )


def _line(explainer: Explainer, target: str, whole: float, window: Window) -> str:
    label, card = explainer.explained.choice.label, explainer.model.card
    return (
        f"{label} ({card.dataset}); {target}: {percent(whole)}; a window of {window.side} pixels "
        f"({window.fill}) moves by {window.stride}; on the bar, a line: without it"
    )


def table_of(found: Sweep, classes: Sequence[str]) -> pd.DataFrame:
    """A row for each place of the window, see `Occluded.table`."""
    height, width = found.picture.shape[:2]
    side = found.window.side
    rows = [
        {
            "row": row,
            "column": column,
            "top": found.tops[row],
            "left": found.lefts[column],
            "bottom": min(found.tops[row] + side, height),
            "right": min(found.lefts[column] + side, width),
            "probability": found.probability[row, column],
            "predicted": classes[int(found.predicted[row, column])],
            "predicted_probability": found.predicted_probability[row, column],
        }
        for row, column in np.ndindex(found.probability.shape)
    ]
    return pd.DataFrame(rows)
