"""What `doctor` found of each layer, as CSV, as a picture, and with its findings as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interpbench.diagnosis.layer_statistics import LayerStatistics
from interpbench.diagnosis.study import DoctorsReport
from interpbench.drawing.fitted_text import Font
from interpbench.drawing.style import RIGHT, SMALL, WRONG, logarithmic, save, style
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import Destination
from interpbench.files.records import Record
from interpbench.results.run_info import FindingRecord

COLUMNS = (
    "layer", "kind", "shape", "mean", "std", "gradient_mean", "gradient_std", "gradient_length",
    "dead", "saturated",
)  # fmt: skip
NAMED = 60  # layers whose names stand below the picture; of more, every second, third, ...
_FONT = Font(6)


class DoctorRecord(Record):
    """doctor.json."""

    model: str
    weights: str
    dataset: str
    images: int
    findings: tuple[FindingRecord, ...]


def layer_table(layers: Sequence[LayerStatistics]) -> pd.DataFrame:
    """A row a layer, see `LayerStatistics`; the shape as `8x16x16`."""
    rows = [{**asdict(each), "shape": "x".join(map(str, each.shape))} for each in layers]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_layers(report: DoctorsReport, to: Destination) -> Path:
    """Writes layers.csv, layers.png (where there are layers) and doctor.json; the folder.

    Raises:
        RunFolderError: if it holds something else, or cannot be written.
    """
    record = DoctorRecord(
        model=report.model,
        weights=report.weights,
        dataset=report.dataset,
        images=report.images,
        findings=tuple(FindingRecord(**asdict(each)) for each in report.diagnosis.findings),
    )
    with to.open("doctor", report.model, record) as folder:
        folder.write("layers.csv", partial(write_csv, layer_table(report.layers)))
        if report.layers:
            title = f"{report.model} ({report.weights}), {report.images} images of {report.dataset}"
            folder.write("layers.png", partial(draw_layers, report.layers, title))
    return folder.path


def draw_layers(layers: Sequence[LayerStatistics], title: str, path: Path) -> None:
    """Writes a PNG: spread of activations, spread of gradients, dead and saturated shares."""
    with style():
        figure = _figure(layer_table(layers), title)
        save(figure, path)


def _figure(table: pd.DataFrame, title: str) -> Figure:
    table = table.replace({"std": {0.0: np.nan}, "gradient_std": {0.0: np.nan}})
    every = -(-len(table) // NAMED)
    names = [_FONT.shorten(name, 1.6, "end") for name in table["layer"][::every]]
    foot = 0.15 + max(map(_FONT.width, names))
    width, heights = max(4.5, 1.2 + 0.14 * len(table) / every), (1.4, 1.4, 0.9)
    height = 0.55 + sum(heights) + 2 * 0.25 + foot
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.text(0.1 / width, 1 - 0.1 / height, Font(9).shorten(title, width - 0.2), va="top",
                fontsize=9, fontweight="bold")  # fmt: skip
    top = height - 0.45
    panels = []
    for inches in heights:
        place = (0.75 / width, (top - inches) / height, (width - 0.85) / width, inches / height)
        panels.append(figure.add_axes(place))
        top -= inches + 0.25
    places = np.arange(len(table))
    _spread(panels[0], places, table["std"], "std of activations")
    _spread(panels[1], places, table["gradient_std"], "std of gradients")
    panels[2].bar(places, table["dead"], color=WRONG, label="never fire")
    panels[2].bar(places, table["saturated"], color=RIGHT, label="saturated")
    panels[2].set(ylim=(0, 1), ylabel="share")
    panels[2].legend(loc="upper right", fontsize=SMALL, frameon=False, ncols=2,
                     bbox_to_anchor=(1, 1.3), borderaxespad=0)  # fmt: skip
    for panel in panels:
        panel.set_xlim(-0.6, len(table) - 0.4)
        panel.set_xticks(places[::every], [""] * len(names))
        panel.yaxis.label.set_fontsize(SMALL)
        panel.tick_params(labelsize=SMALL, length=2)
        panel.grid(visible=False, axis="x")
    panels[2].set_xticklabels(names, rotation=90, fontsize=_FONT.size)
    return figure


def _spread(panel: Axes, places: np.ndarray, values: pd.Series, label: str) -> None:
    """On a log scale; what is 0 has no place on it, and stands below as a cross."""
    panel.plot(places, values, marker="o", markersize=2.5, linewidth=1, color="#0173b2")
    if values.notna().any():
        logarithmic(panel, "y")
        if values.max() < 10 * values.min():  # so that an axis of less than a decade has ticks
            middle = float(np.sqrt(values.max() * values.min()))
            panel.set_ylim(middle / 10, middle * 10)
    missing = places[values.isna()]
    panel.plot(missing, np.full(len(missing), 0.04), "x", color=WRONG, markersize=4,
               transform=panel.get_xaxis_transform())  # fmt: skip
    panel.set_ylabel(label)
