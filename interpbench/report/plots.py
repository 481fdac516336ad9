"""Pictures of a finished run: curves, scores, maps, quality against time, and ranks across models.

Figures are made without pyplot, so that drawing changes neither the backend nor the settings of the
caller. A method has the same colour, marker and dashes in every picture of a run; markers and
dashes make it readable without colours.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from interpbench.core.errors import ParameterError, RunFolderError, unknown_name
from interpbench.drawing.style import FORMATS, SCREEN, Page, save, style
from interpbench.files.atomic import write_atomically
from interpbench.report.curves_plot import curves_plot
from interpbench.report.interval_plot import scores_plot, shares_plot
from interpbench.report.map_grid import map_grid
from interpbench.report.rank_diagram import critical_differences
from interpbench.report.scene import Scene
from interpbench.report.time_plot import time_plot
from interpbench.results.tables import RunTables

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
    wanted = set(labels.values())
    for (found, *of), make in _figures(Scene(tables, board)):
        if found == kind and wanted <= set(of):
            with style():
                figure = make()
            if figure is not None:
                return figure
    where = f" of {', '.join(sorted(wanted))}" if wanted else ""
    raise ParameterError(f"The run has no data for the picture {kind!r}{where}.")


def draw(
    tables: RunTables,
    board: pd.DataFrame,
    folder: Path,
    formats: Sequence[str] = ("png",),
    page: Page = SCREEN,
) -> list[Path]:
    """Draw every picture that the run has data for into `folder`, and return the files.

    Per data set and model: `curves-*` (mean perturbation curve and 95 % band of each method) and
    `maps-*` (image x method). Per data set: `scores-*` (means with intervals), `shares-*` (of the
    achievable, likewise) and `quality-time-*` (score against ms per image). Where there are several
    models: `critical-difference` (mean ranks across them).

    Parameters:
        tables, board: of the run.
        folder: is made if need be.
        formats: of FORMATS.
        page: where the pictures are to stand.

    Raises:
        UnknownNameError: if there is no such format.
        RunFolderError: if they cannot be written.
    """
    for format in formats:
        if format not in FORMATS:
            raise unknown_name("format", format, FORMATS)
    names: list[str] = []
    written: list[Path] = []
    with style(page):
        for labels, make in _figures(Scene(tables, board, page)):
            figure = make()
            if figure is None:
                continue
            names.append(_unused("-".join(labels), names))
            for format in dict.fromkeys(formats):
                written.append(folder / f"{names[-1]}.{format}")
                _write(written[-1], partial(save, figure))
    return written


def draw_for_readme(tables: RunTables, board: pd.DataFrame, folder: Path) -> dict[str, list[Path]]:
    """Draws the means of each data set as SVG for a README, on a light and on a dark ground.

    Letters are outlines, since a picture in a page has no fonts but its own.

    Parameters:
        tables, board: of the run.
        folder: is made if need be.

    Returns:
        data set -> the light file and the dark one; none where nothing was scored.

    Raises:
        RunFolderError: if they cannot be written.
    """
    written: dict[str, list[Path]] = {}
    for dark in (False, True):
        page = Page(dark=dark, outlined=True)
        with style(page):
            for dataset in tables.cells["dataset"].unique():
                figure = scores_plot(Scene(tables, board, page), dataset)
                if figure is not None:
                    name = _unused(f"readme-{dataset}-{'dark' if dark else 'light'}", ())
                    written.setdefault(dataset, []).append(folder / f"{name}.svg")
                    _write(written[dataset][-1], partial(save, figure))
    return written


def _write(path: Path, draw: Callable[[Path], object]) -> None:
    try:
        write_atomically(path, draw)
    except OSError as error:
        raise RunFolderError(
            f"Cannot write {path}: {error.strerror or error}. Free some space or mend the "
            "permissions; `interpbench report` draws it again."
        ) from error


def _figures(scene: Scene) -> Iterator[tuple[list[str], Callable[[], Figure | None]]]:
    """Kind and labels of each picture, and what draws it, if there are data for it."""
    pairs = scene.tables.cells[["dataset", "model"]].drop_duplicates()
    for dataset, model in pairs.itertuples(index=False):
        yield ["curves", dataset, model], partial(curves_plot, scene, dataset, model)
        yield ["maps", dataset, model], partial(_maps, scene, dataset, model)
    for dataset in pairs["dataset"].unique():
        yield ["scores", dataset], partial(scores_plot, scene, dataset)
        yield ["shares", dataset], partial(shares_plot, scene, dataset)
        yield ["quality-time", dataset], partial(time_plot, scene, dataset)
    yield ["critical-difference"], partial(_ranks, scene)


def _maps(scene: Scene, dataset: str, model: str) -> Figure | None:
    examples = [e for e in scene.tables.examples if (e.dataset, e.model) == (dataset, model)]
    return map_grid(examples, scene.title(dataset, model), scene.page) if examples else None


def _ranks(scene: Scene) -> Figure | None:
    headings = {metric: scene.heading(metric) for metric in scene.tables.metrics}
    return critical_differences(scene.board, headings, scene.page)


def _unused(name: str, taken: Sequence[str]) -> str:
    """A file's name, without its suffix, that is safe on every system.

    Labels that differ only in unsafe characters stay apart.
    """
    safe = re.sub(r"[^A-Za-z0-9._=,-]+", "-", name)[:120]
    used = {other.lower() for other in taken}
    names = (f"{safe}{suffix}" for suffix in ["", *(f"-{i}" for i in range(2, len(taken) + 3))])
    return next(name for name in names if name.lower() not in used)
