"""Pictures of a finished run: curves, scores, maps, quality against time, and ranks across models.

Figures are made without pyplot, so that drawing changes neither the backend nor the settings of the
caller. A method has the same colour, marker and dashes in every picture of a run; markers and
dashes make it readable without colours.
"""

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from interpbench.core.errors import ParameterError, RunFolderError, unknown_name
from interpbench.core.seeding import derive
from interpbench.drawing.method_colours import MARKERS, MethodLook, method_looks
from interpbench.drawing.point_labels import place_labels
from interpbench.drawing.style import DPI, style
from interpbench.files.atomic import write_atomically
from interpbench.report.map_grid import map_grid
from interpbench.report.rank_diagram import critical_differences
from interpbench.results.leaderboard import rank_texts
from interpbench.results.mean_curve import mean_curve
from interpbench.results.tables import ARROWS, RunTables

_CHARACTER = 0.068  # inches that a character of a label takes
_LANE = 0.18  # inches that a line of a legend takes
_NAMED = 12  # methods that are named beside their points; more are numbered
# Where a legend stands beside its panel.
_BESIDE: dict[str, Any] = {
    "loc": "upper left",
    "bbox_to_anchor": (1, 1.02),
    "frameon": False,
    "alignment": "left",
}


@dataclass(frozen=True)
class _Scene:
    """What every picture is drawn from."""

    tables: RunTables
    board: pd.DataFrame
    looks: dict[str, MethodLook]

    def ranked(self, **labels: str) -> pd.DataFrame:
        """Rows of the leaderboard with these labels and a mean, best first."""
        rows = _rows_of(self.board, **labels)
        return rows[rows["n"] > 0]

    def metrics(self, rows: pd.DataFrame) -> list[str]:
        """Metrics that occur in `rows`, in the order of the run."""
        present = set(rows["metric"])
        return [name for name in self.tables.metrics if name in present]

    def place(self, row: Any) -> str:
        """The rank of a row of the leaderboard, with a = where methods share it."""
        rows = self.ranked(dataset=row.dataset, model=row.model, metric=row.metric)
        return str(rank_texts(rows)[rows["method"] == row.method].iloc[0])

    def heading(self, metric: str) -> str:
        """A panel's title: the metric and which direction is better."""
        better = self.tables.metrics[metric].better
        return f"{metric}  {ARROWS[better]} {better} is better"


KINDS = ("scores", "curves", "maps", "shares", "quality-time", "critical-difference")


def figure_of(tables: RunTables, board: pd.DataFrame, kind: str, **labels: str) -> Figure:
    """One of the pictures that `draw` draws.

    Parameters:
        tables, board: of the run.
        kind: of KINDS.
        labels: `dataset` and `model` of the picture; the first that there are by default.

    Raises:
        UnknownNameError: if there is no such kind.
        ParameterError: if the run has no data for it.
    """
    if kind not in KINDS:
        raise unknown_name("picture", kind, KINDS)
    scene = _Scene(tables, board, method_looks(sorted(set(tables.cells["method"]))))
    wanted = {label for label in labels.values() if label is not None}
    for (found, *of), make in _figures(scene):
        if found == kind and wanted <= set(of):
            with style():
                return make()
    where = f" of {', '.join(sorted(wanted))}" if wanted else ""
    raise ParameterError(f"The run has no data for the picture {kind!r}{where}.")


def draw(tables: RunTables, board: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw every picture that the run has data for into `folder` as PNG, and return the files.

    Per data set and model: `curves-*` (mean perturbation curve and 95 % band of each method) and
    `maps-*` (image x method). Per data set: `scores-*` (means with intervals), `shares-*` (of the
    achievable, likewise) and `quality-time-*` (score against ms per image). Where there are several
    models: `critical-difference` (mean ranks across them).

    Raises:
        RunFolderError: if they cannot be written.
    """
    scene = _Scene(tables, board, method_looks(sorted(set(tables.cells["method"]))))
    written: list[Path] = []
    with style():
        for labels, make in _figures(scene):
            path = _unused(folder, "-".join(labels), written)
            drawn = partial(make().savefig, dpi=DPI, metadata={"Software": None})
            _write(path, drawn)
            written.append(path)
    return written


def _write(path: Path, draw: Callable[[Path], object]) -> None:
    try:
        write_atomically(path, draw)
    except OSError as error:
        raise RunFolderError(
            f"Cannot write {path}: {error.strerror or error}. Free some space or mend the "
            "permissions; `interpbench report` draws it again."
        ) from error


def _figures(scene: _Scene) -> Iterator[tuple[list[str], Callable[[], Figure]]]:
    """Kind and labels of each picture, and what draws it."""
    pairs = scene.tables.cells[["dataset", "model"]].drop_duplicates()
    for dataset, model in pairs.itertuples(index=False):
        curves = _rows_of(scene.tables.curves, dataset=dataset, model=model)
        scored = scene.ranked(dataset=dataset, model=model).merge(
            curves[["metric", "method"]].drop_duplicates()
        )
        if not scored.empty:
            yield (
                ["curves", dataset, model],
                partial(_curves, scene, dataset, model, scored, curves),
            )
        examples = [e for e in scene.tables.examples if (e.dataset, e.model) == (dataset, model)]
        if examples:
            yield (
                ["maps", dataset, model],
                partial(map_grid, examples, _title(scene, dataset, model)),
            )
    for dataset in pairs["dataset"].unique():
        if not scene.ranked(dataset=dataset).empty:
            yield ["scores", dataset], partial(_scores, scene, dataset)
            if scene.ranked(dataset=dataset)["share"].notna().any():
                yield ["shares", dataset], partial(_shares, scene, dataset)
        timed = _timed(scene, dataset)
        if not timed.empty:
            yield ["quality-time", dataset], partial(_quality_time, scene, dataset, timed)
    ranks = critical_differences(
        scene.board, {metric: scene.heading(metric) for metric in scene.tables.metrics}
    )
    if ranks is not None:
        yield ["critical-difference"], lambda: ranks


def _unused(folder: Path, name: str, taken: Sequence[Path]) -> Path:
    """A file name that is safe on every system.

    Labels that differ only in unsafe characters stay apart.
    """
    safe = re.sub(r"[^A-Za-z0-9._=,-]+", "-", name)[:120]
    used = {path.name.lower() for path in taken}
    names = (f"{safe}{suffix}.png" for suffix in ["", *(f"-{i}" for i in range(2, len(taken) + 3))])
    return folder / next(name for name in names if name.lower() not in used)


def _rows_of(frame: pd.DataFrame, **labels: str) -> pd.DataFrame:
    for column, label in labels.items():
        frame = frame[frame[column] == label]
    return frame


def _title(scene: _Scene, dataset: str, model: str) -> str:
    weights = "RANDOM WEIGHTS, " if scene.tables.is_untrained(dataset, model) else ""
    return f"{model} on {dataset} ({weights}{scene.tables.accuracy_text(dataset, model)})"


def _suptitle(figure: Figure, text: str) -> None:
    figure.suptitle(textwrap.fill(text, int(10 * figure.get_figwidth())))


def _grid(
    rows: int, columns: int, width: float, height: float, sharey: Any = False
) -> tuple[Figure, np.ndarray]:
    """A figure of `rows` x `columns` panels, each `width` x `height` inches.

    The panels are a 2-d array of axes.
    """
    figure = Figure(figsize=(columns * width, rows * height + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)


def _curves(
    scene: _Scene, dataset: str, model: str, scored: pd.DataFrame, curves: pd.DataFrame
) -> Figure:
    """A panel for each metric.

    `scored` are the rows of the leaderboard to draw, `curves` those of the images.
    """
    metrics, methods = scene.metrics(scored), scored["method"].unique()
    legend = 0.9 + _CHARACTER * max(map(len, methods))
    figure, axes = _grid(1, len(metrics), 3.6 + legend, max(3.2, _LANE * len(methods) + 0.8))
    for panel, metric in zip(axes[0], metrics, strict=True):
        groups = dict(iter(_rows_of(curves, metric=metric).groupby("method")))
        for rank, row in enumerate(_rows_of(scored, metric=metric).itertuples()):
            seed = derive(scene.tables.seed, dataset, model, metric, row.method)
            label = f"{row.mean:.3f}  {scene.place(row)}  {row.method}"
            _curve(panel, groups[row.method], scene.looks[row.method], seed, rank, label)
        panel.set(title=scene.heading(metric), xlabel="share of positions changed", xlim=(0, 1))
        panel.set_ylabel(scene.tables.metrics[metric].unit)
        panel.legend(title="mean AUC, places, method", handlelength=3.2, **_BESIDE)
    _suptitle(figure, f"{_title(scene, dataset, model)}: mean and 95 % band over images")
    return figure


def _curve(
    panel: Axes, curves: pd.DataFrame, look: MethodLook, seed: int, rank: int, label: str
) -> None:
    """One method's mean curve over images with its 95 % band.

    The better its rank, the further in front.
    """
    curve = mean_curve(curves, seed)
    order = 3 - rank / 100
    panel.fill_between(
        curve.fraction,
        curve.low,
        curve.high,
        color=look.color,
        alpha=0.15,
        linewidth=0,
        zorder=order - 1,
    )
    panel.plot(
        curve.fraction,
        curve.mean,
        color=look.color,
        linestyle=look.dashes,
        marker=look.marker,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.5,
        markevery=(0.02 + 0.012 * (rank % 10), 0.14),
        linewidth=1.4,
        zorder=order,
        label=label,
    )


def _scores(scene: _Scene, dataset: str) -> Figure:
    figure, panels = _intervals(scene, dataset, _rows_of(scene.board, dataset=dataset))
    for metric, panel in panels.items():
        panel.set_xlabel(scene.tables.metrics[metric].unit)
    _suptitle(figure, f"{dataset}: mean and 95 % interval over images")
    return figure


def _shares(scene: _Scene, dataset: str) -> Figure:
    """As the scores, between the floor at 0 and the ceiling at 1.

    More is better, whatever the metric.
    """
    board = _rows_of(scene.board, dataset=dataset)
    measured = board.groupby("metric")["share"].transform(lambda share: share.notna().any())
    board = board[measured].drop(columns=["mean", "low", "high"]).assign(better="higher")
    board = board.rename(columns={"share": "mean", "share_low": "low", "share_high": "high"})
    figure, panels = _intervals(scene, dataset, board)
    for metric, panel in panels.items():
        panel.set(title=metric, xlabel="0 %: best control, 100 %: greedy search")
        panel.xaxis.set_major_formatter(PercentFormatter(1))
        for end in (0, 1):
            panel.axvline(end, color="0.35", linewidth=1, linestyle="--", zorder=1)
    _suptitle(figure, f"{dataset}: share of the achievable and 95 % interval over images")
    return figure


def _intervals(scene: _Scene, dataset: str, board: pd.DataFrame) -> tuple[Figure, dict[str, Axes]]:
    """A panel for each metric of `board`: means with intervals, a lane for each method."""
    metrics, models = scene.metrics(board), sorted(board["model"].unique())
    names = {model: _model_label(scene, dataset, model) for model in models}
    columns = min(2, len(metrics))
    methods = board["method"].unique()
    width = 3.4 + _CHARACTER * max(map(len, methods))
    height = 0.9 + len(methods) * (0.16 + 0.1 * len(models))
    figure, axes = _grid(-(-len(metrics) // columns), columns, width, height)
    panels = dict(zip(metrics, axes.flat, strict=False))
    for metric, panel in panels.items():
        _score_panel(panel, _rows_of(board, metric=metric), names)
        panel.set_title(scene.heading(metric))
    for panel in axes.flat[len(metrics) :]:
        panel.set_axis_off()
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(4, len(models)), frameon=False
    )
    return figure, panels


def _score_panel(panel: Axes, rows: pd.DataFrame, names: dict[str, str]) -> None:
    """Methods from best (top) to worst by their mean over models.

    A model is a colour, a marker and a lane.
    """
    cost = rows["mean"].where(rows["better"] == "lower", -rows["mean"])
    methods = list(
        cost.groupby(rows["method"]).mean().sort_values(kind="stable", na_position="last").index
    )
    for lane in range(0, len(methods), 2):
        panel.axhspan(lane - 0.5, lane + 0.5, color="0.95", linewidth=0, zorder=0)
    palette = sns.color_palette("viridis", len(names) + 1)  # its last, yellow, is left out
    for i, (model, name) in enumerate(names.items()):
        of_model = rows[rows["model"] == model]
        lanes = of_model["method"].map(methods.index) + 0.7 * ((i + 0.5) / len(names) - 0.5)
        spread = [
            (of_model["mean"] - of_model["low"]).fillna(0),
            (of_model["high"] - of_model["mean"]).fillna(0),
        ]
        look = {"color": palette[i], "marker": MARKERS[i % len(MARKERS)], "label": name}
        panel.errorbar(
            of_model["mean"],
            lanes,
            xerr=spread,
            linestyle="",
            markersize=4.5,
            elinewidth=1.3,
            **look,
        )
        for lane in lanes[of_model["n"] == 0]:
            panel.text(
                0.99, lane, f"{model}: no score", transform=panel.get_yaxis_transform(), **_FAINT
            )
    panel.set_yticks(range(len(methods)), methods)
    panel.set_ylim(len(methods) - 0.5, -0.5)
    panel.grid(visible=False, axis="y")
    panel.xaxis.set_major_locator(MaxNLocator(6))


_FAINT: dict[str, Any] = {
    "ha": "right",
    "va": "center",
    "fontsize": "x-small",
    "color": "0.35",
    "style": "italic",
}


def _model_label(scene: _Scene, dataset: str, model: str) -> str:
    random = scene.tables.is_untrained(dataset, model)
    return f"{model} (random weights)" if random else model


def _timed(scene: _Scene, dataset: str) -> pd.DataFrame:
    """The leaderboard's scored rows, with a column of milliseconds, where a time was taken."""
    speed = scene.tables.milliseconds().rename("milliseconds").reset_index()
    return scene.ranked(dataset=dataset).merge(
        speed[speed["milliseconds"] > 0], on=["dataset", "model", "method"]
    )


def _quality_time(scene: _Scene, dataset: str, rows: pd.DataFrame) -> Figure:
    metrics = scene.metrics(rows)
    metrics = [m for m in metrics if scene.tables.metrics[m].curve] or metrics
    models, methods = sorted(rows["model"].unique()), rows["method"].unique()
    numbered = len(methods) > _NAMED
    legend = 1.0 + _CHARACTER * max(map(len, methods)) if numbered else 0
    height = max(3.6, _LANE * len(methods) + 0.9) if numbered else 3.6
    figure, axes = _grid(len(metrics), len(models), 4.4 + legend, height, sharey="row")
    points = {}
    for line, metric in zip(axes, metrics, strict=True):
        for panel, model in zip(line, models, strict=True):
            points[panel] = _time_panel(
                panel, _rows_of(rows, metric=metric, model=model), scene.looks, numbered
            )
            name = _model_label(scene, dataset, model)
            panel.set(title=f"{name}\n{scene.heading(metric)}", xlabel="ms per image")
        line[0].set_ylabel(scene.tables.metrics[metric].unit)
    _suptitle(figure, f"{dataset}: quality against the time of one map")
    # Labels are placed in pixels, so the panels must have their final size.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for panel, named in points.items():
        place_labels(panel, named)
    return figure


def _time_panel(
    panel: Axes, rows: pd.DataFrame, looks: dict[str, MethodLook], numbered: bool
) -> dict[str, tuple[float, float]]:
    """A point with its interval for each method; the labels to be written: label -> (x, y).

    The method's name; or, if `numbered`, its number in a list beside the panel, best first.
    """
    rows = rows.fillna({"low": rows["mean"], "high": rows["mean"]})
    for number, row in enumerate(rows.itertuples(), 1):
        look = looks[row.method]
        panel.plot(
            [row.milliseconds] * 2, [row.low, row.high], color=look.color, linewidth=1, alpha=0.6
        )
        label = f"{number}   {row.mean:.3f}  {row.method}"
        panel.plot(
            row.milliseconds, row.mean, look.marker, color=look.color, markersize=6, label=label
        )
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.margins(x=0.18, y=0.15)
    if numbered:
        panel.legend(title="number, mean, method", **_BESIDE)
    names = map(str, range(1, len(rows) + 1)) if numbered else rows["method"]
    return dict(zip(names, zip(rows["milliseconds"], rows["mean"], strict=True), strict=True))
