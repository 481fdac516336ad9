"""The study: images of what units answer to most, a grid of them, and what was reached."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch

from interpbench.attribution.explainer import Explainer
from interpbench.attribution.model_and_methods import find_class
from interpbench.core.devices import exact_arithmetic
from interpbench.core.errors import MethodError, ParameterError, unknown_name
from interpbench.core.layers import is_scripted
from interpbench.core.preparation import MOST_PIXELS, Size
from interpbench.core.progress import SILENT, Progress
from interpbench.core.text import shown, whole_number
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import Destination, OutputFolder, distinct
from interpbench.files.records import INLINE, Record
from interpbench.loading.chosen_weights import RANDOM
from interpbench.registry.plugin import blaming
from interpbench.studies.records import Provenance
from interpbench.studies.visualisation.ascent import RATE, Ascent, Climbed, as_input, climb
from interpbench.studies.visualisation.canvas import COLOURS, canvas_channels
from interpbench.studies.visualisation.picture import draw_grid, write_image
from interpbench.studies.visualisation.units import CHANNEL, LOGIT, OBJECTIVES, Answering, Unit
from interpbench.studies.visualisation.views import GREY, Views

MODEL = "efficientnet_lite0"  # where none is named
GRID = "grid.png"
SMALLEST = 8  # pixels a side


class ReachedRecord(Record):
    """What came of a unit.

    Attributes:
        name, layer, index, objective: see `Unit`.
        file: its image, relative to the folder.
        start: what the unit says of the noise that the ascent began with.
        reached: what it says of the image.
    """

    name: str
    layer: str | None
    index: int
    objective: str
    file: str
    start: float
    reached: float


class VisualiseRecord(Record):
    """visualise.json."""

    made: Annotated[Provenance, INLINE]
    steps: int
    height: int
    width: int
    rate: float
    views: Views
    colours: tuple[tuple[float, ...], ...]
    images: tuple[ReachedRecord, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What is to be visualised, as a user says it.

    Attributes:
        layer: dotted name; None for the one that CAM methods look at.
        channels: of it, numbers, each perhaps several with commas between.
        classes: names, or indices of logits, likewise.
        objective: `channel` or `neuron`.
    """

    layer: str | None = None
    channels: Sequence[str] = ()
    classes: Sequence[str] = ()
    objective: str = CHANNEL


@dataclass(frozen=True, repr=False)
class Visualised:
    """What `visualise` made.

    Attributes:
        folder: where it lies: grid.png, an image for each unit, reached.csv, steps.csv,
            visualise.json.
        units: a record for each unit, in their order.
        steps: what each unit said of the view of each step: columns unit, step, said.
    """

    folder: Path
    units: tuple[ReachedRecord, ...]
    steps: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """A row a unit: its name, layer, index, objective, file, start and reached."""
        return _table(self.units)

    def image(self, unit: int = 0) -> np.ndarray:
        """The image of a unit, by its number among `units`: uint8 [H,W,3], or [H,W] in grey."""
        from PIL import Image

        with Image.open(self.folder / self.units[unit].file) as image:
            return np.asarray(image)

    def __repr__(self) -> str:
        """What was reached, and where the pictures are."""
        lines = [
            f"{each.name}: {each.reached:.4g} (noise: {each.start:.4g})" for each in self.units
        ]
        return "\n".join([*lines, f"In {self.folder}"])

    def _repr_html_(self) -> str:
        """The grid, for a notebook."""
        content = b64encode((self.folder / GRID).read_bytes()).decode()
        names = escape(", ".join(each.name for each in self.units))
        return (
            f'<img alt="{names}" style="max-width: 100%" src="data:image/png;base64,{content}">'
            f"<p>in <code>{escape(str(self.folder))}</code></p>"
        )


def visualise_units(
    explainer: Explainer,
    asked: Asked,
    ascent: Ascent,
    to: Destination = Destination(),
    progress: Progress = SILENT,
) -> Visualised:
    """Makes an image for each unit, and writes them with what was reached.

    Parameters:
        explainer: the model; it needs no methods.
        asked: which units.
        ascent: how.
        to: where.
        progress: told how many images have made a step.

    Raises:
        UnknownNameError: if there is no such layer, channel, class or objective.
        ParameterError: if nothing is asked for, or the network takes no such images.
        MethodError: if the layer has no channels, or the model has no gradients.
        RunFolderError: if the folder holds something else, or cannot be written.
    """
    explained = explainer.explained
    _check(explainer, ascent)
    with exact_arithmetic(), blaming(explained.choice):
        units = units_of(explainer, asked, ascent)
    record = VisualiseRecord(
        made=Provenance.of(explainer),
        steps=ascent.steps,
        height=ascent.height,
        width=ascent.width,
        rate=ascent.rate,
        views=ascent.views,
        colours=COLOURS if canvas_channels(explainer.model.card.preparation) == 3 else (),
    )
    folder = to.open("visualise", explained.choice.slug, record)
    progress.begin(ascent.steps * len(units))
    with folder:
        found = list(_climb_all(explainer, units, ascent, progress))
        reached = _write(folder, found, (_heading(explainer), _line(units, ascent)))
        steps = _steps(found)
        folder.write("reached.csv", partial(write_csv, _table(reached)))
        folder.write("steps.csv", partial(write_csv, steps))
        folder.record = record.model_copy(update={"images": reached})
    return Visualised(folder.path, reached, steps)


def planned(explainer: Explainer, steps: int, size: Size | None) -> Ascent:
    """How images are made: of the model's own size, unless another is given."""
    made = explainer.model.card.preparation
    own = made.height, made.width
    height, width = own if size is None else (size, size) if isinstance(size, int) else size
    return Ascent(steps, height, width, RATE, Views(), explainer.seed)


def units_of(explainer: Explainer, asked: Asked, ascent: Ascent) -> list[Unit]:
    """The units that a user asks for; each exists.

    Raises:
        UnknownNameError, ParameterError, MethodError: see `visualise_units`.
    """
    explained = explainer.explained
    if asked.objective not in OBJECTIVES:
        raise unknown_name("objective", asked.objective, OBJECTIVES)
    units: list[Unit] = []
    if asked.channels or not asked.classes:
        units += _channels(explainer, asked, ascent)
    for text in asked.classes:
        for name in [text] if text in explained.classes else text.split(","):
            logit = find_class(name.strip(), explained.classes)
            units.append(Unit(None, logit, explained.classes[logit], LOGIT))
    return list(dict.fromkeys(units))


def _channels(explainer: Explainer, asked: Asked, ascent: Ascent) -> Iterator[Unit]:
    """The channels that a user asks for."""
    model, label = explainer.model, explainer.explained.choice.label
    layer = model.card.target_layer if asked.layer is None else asked.layer
    names = [name for name, _ in model.network.named_modules() if name]
    try:
        answering = Answering(model, layer)
    except MethodError:
        if layer is None or is_scripted(model.network):
            raise
        raise unknown_name("layer", layer, names) from None
    channels = canvas_channels(model.card.preparation)
    grey = torch.full((1, channels, ascent.height, ascent.width), GREY, device=explainer.device)
    count = answering.size(as_input(grey, model.card.preparation))
    if not asked.channels:
        raise ParameterError(
            f"What is to be visualised? Name channels with --channel, such as 0,1,2 of layer "
            f"{layer!r}, which has {count}, or classes with --class."
        )
    kind = "channel" if asked.objective == CHANNEL else "neuron in the middle of channel"
    for text in (part.strip() for texts in asked.channels for part in texts.split(",")):
        index = whole_number(text)
        if index is None or index >= count:
            raise ParameterError(
                f"Layer {layer!r} of model {label!r} has no channel {shown(text)}: it has {count}, "
                f"from 0 to {count - 1}."
            )
        yield Unit(layer, index, f"{kind} {index}", asked.objective)


def _check(explainer: Explainer, ascent: Ascent) -> None:
    if ascent.steps < 1:
        raise ParameterError(f"steps={ascent.steps}: expected at least one.")
    for side in (ascent.height, ascent.width):
        if not SMALLEST <= side <= MOST_PIXELS:
            raise ParameterError(
                f"Images of {ascent.height}x{ascent.width}: expected sides from {SMALLEST} to "
                f"{MOST_PIXELS} pixels."
            )
    if not explainer.model.gradients:
        raise ParameterError(
            f"Model {explainer.explained.choice.label!r} lets no gradients through, by which "
            "images are made. Give a model that does."
        )


def _climb_all(
    explainer: Explainer, units: Sequence[Unit], ascent: Ascent, progress: Progress
) -> Iterator[Climbed]:
    """Layer by layer, as many at a time as a forward pass holds."""
    model, choice = explainer.model, explainer.explained.choice
    for layer in dict.fromkeys(unit.layer for unit in units):
        answering = Answering(model, layer)
        of_layer = [unit for unit in units if unit.layer == layer]
        for first in range(0, len(of_layer), model.batch_size):
            some = of_layer[first : first + model.batch_size]
            tell = partial(progress.advance, ", ".join(unit.name for unit in some[:3]))
            with (
                exact_arithmetic(),
                blaming(choice),
                explainer.examined.guard.watching(ascent.seed),
            ):
                found = climb(answering, some, ascent, explainer.device, tell)
            yield from found


def _write(
    folder: OutputFolder, found: Sequence[Climbed], titles: tuple[str, str]
) -> tuple[ReachedRecord, ...]:
    names = distinct([each.unit.slug for each in found])
    reached = []
    for each, name in zip(found, names, strict=True):
        file = folder.write(f"{name}.png", partial(write_image, each.image))
        unit = each.unit
        reached.append(
            ReachedRecord(
                name=unit.name,
                layer=unit.layer,
                index=unit.index,
                objective=unit.objective,
                file=file,
                start=each.start,
                reached=each.reached,
            )
        )
    folder.write(GRID, partial(draw_grid, found, titles))
    return tuple(reached)


def _heading(explainer: Explainer) -> str:
    card, label = explainer.model.card, explainer.explained.choice.label
    return (
        f"{label}, RANDOM WEIGHTS"
        if card.weights == RANDOM
        else f"{label} trained on {card.dataset}"
    )


def _line(units: Sequence[Unit], ascent: Ascent) -> str:
    layers = dict.fromkeys("logits" if unit.layer is None else unit.layer for unit in units)
    return (
        f"{', '.join(layers)}: images that raise each unit most, {ascent.steps} steps from grey, "
        "and what it says of them"
    )


def _table(units: Sequence[ReachedRecord]) -> pd.DataFrame:
    return pd.DataFrame([unit.contents() for unit in units])


def _steps(found: Sequence[Climbed]) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame(
                {"unit": each.unit.name, "step": range(len(each.by_step)), "said": each.by_step}
            )
            for each in found
        ],
        ignore_index=True,
    )
