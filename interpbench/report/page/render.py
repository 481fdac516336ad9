"""One HTML file of everything: the templates filled in, style and script inlined.

Both are named by their hash.
"""

import functools
import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from interpbench.core.errors import RunFolderError
from interpbench.core.text import printable
from interpbench.drawing.method_colours import DASHES, PALETTE
from interpbench.files.atomic import write_text_atomically
from interpbench.files.versions import __version__
from interpbench.report.page.changes import about_the_run
from interpbench.report.page.charts import Chart, Scale, charts, rank_diagrams, scales
from interpbench.report.page.example_pictures import ExamplePictures, gallery
from interpbench.report.page.record import record
from interpbench.report.verdict import words
from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.findings import leading
from interpbench.report.verdict.legend import LEADS, legend
from interpbench.report.verdict.verdict import verdict
from interpbench.report.verdict.words import interval
from interpbench.results.cost import cost
from interpbench.results.judged_metrics import judged
from interpbench.results.leaderboard import rank_texts
from interpbench.results.run_info import CardRecord
from interpbench.results.tables import ARROWS

_PROMINENT = (
    10  # of more methods than these, only the best and the controls keep their colour at rest
)
_BEST = 6
SHOWN_ROWS = 5000  # of a leaderboard; what more of them is, is said of all


@dataclass(frozen=True)
class _BoardPlace:
    """A data set and model of the leaderboard, and what is known of the model.

    `tested` is its accuracy as its weights' file states it, measured after training; `accuracy`
    that of the run.
    """

    name: str
    dataset: str
    model: str
    weights: str
    accuracy: float
    images: int
    classes: str
    tested: str


def page(evidence: Evidence) -> str:
    """The page, as HTML. The same evidence gives the same text."""
    environment = _environment()
    content = _template_variables(evidence)
    source = environment.loader.get_source  # type: ignore[union-attr]
    script = source(environment, "page.js")[0]
    style = source(environment, "page.css")[0] + _colours(
        evidence, content["verdict"].answer.glance
    )
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hashed(style),
        "script-src": _hashed(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return environment.get_template("page.html").render(
        **content,
        policy="; ".join(f"{key} {value}" for key, value in policy.items()),
        style=Markup(style),
        script=Markup(script),
        version=__version__,
    )


def write_page(evidence: Evidence, path: Path) -> Path:
    """Writes the page to a file.

    Raises:
        RunFolderError: if the file cannot be written.
    """
    text = page(evidence)
    try:
        write_text_atomically(path, text)
    except OSError as error:
        raise RunFolderError(
            f"Cannot write {path}: {error.strerror or error}. Give another "
            "--output, or free some space."
        ) from error
    return path


@functools.cache
def _environment() -> Environment:
    """What fills in the templates, which it compiles once a process."""
    environment = Environment(
        loader=PackageLoader("interpbench.report.page"),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "percent": words.percent,
        "breakable": _breakable,
    }
    environment.globals |= {
        "interval": interval,
        "listing": words.listing,
        "count": words.count,
        "judged": judged,
        "arrows": ARROWS,
    }
    return environment


def _template_variables(evidence: Evidence) -> dict[str, Any]:
    drawn, shown = charts(evidence), gallery(evidence)
    places = _places(evidence)
    metrics = [metric for metric in evidence.metrics if metric in set(evidence.board["metric"])]
    return {
        "evidence": evidence,
        "about": about_the_run(evidence),
        "verdict": verdict(evidence),
        "legend": legend(evidence.board),
        "leads": LEADS,
        "record": record(evidence),
        "metrics": metrics,
        "places": places,
        "rows": _rows(evidence, metrics, places),
        "left_out": max(0, len(evidence.board) - SHOWN_ROWS),
        "costs": _costs(evidence),
        "charts": _by_place(drawn),
        "diagrams": rank_diagrams(evidence),
        "gallery": shown,
        "kept": sorted(
            {method for chart in drawn for method in (curve.method for curve in chart.curves)}
        ),
        "data": _data(evidence, drawn, shown),
    }


def _breakable(label: str) -> Markup:
    """A method's label that may break between its parameters."""
    return Markup("<wbr>").join(re.split(r"(?<=[:,=])", printable(label)))


def _hashed(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _colours(evidence: Evidence, glance: Any) -> str:
    """CSS: each method's colour and dashes.

    Of very many methods only the best keep theirs until pointed at.
    """
    best = {line.method for line in glance[:_BEST]} | evidence.controls
    lines = []
    for i, method in enumerate(evidence.methods):
        dashes = " ".join(f"{2 * length:g}" for length in DASHES[i % len(DASHES)]) or "none"
        colour = PALETTE[i % len(PALETTE)]
        shades = f"color-mix(in oklab,{colour},#000 12%),color-mix(in oklab,{colour},#fff 28%)"
        lines.append(f".m{i}{{--c:light-dark({shades});--dash:{dashes}}}")
        if len(evidence.methods) > _PROMINENT and method not in best:
            lines.append(f".curve.m{i}:not(.lit){{opacity:.25}}")
    return "\n".join(lines) + "\n"


def _places(evidence: Evidence) -> list[_BoardPlace]:
    several = len(set(evidence.board["dataset"])) > 1
    places = []
    for (dataset, model), rows in evidence.board.groupby(["dataset", "model"], sort=False):
        measured = evidence.tables.models.get((dataset, model)) if evidence.tables else None
        name = f"{model} on {dataset}" if several else model
        images = int((rows["n"] + rows["unscored"]).max())
        card = measured.card if measured else CardRecord()
        classes, tested = "" if card.classes is None else str(card.classes), _tested(card.notes)
        row = rows.iloc[0]
        places.append(
            _BoardPlace(
                name,
                dataset,
                model,
                str(row["weights"]),
                float(row["accuracy"]),
                images,
                classes,
                tested,
            )
        )
    return places


def _tested(notes: Mapping[str, str]) -> str:
    """The accuracy that a weights' file states, such as `(98.75 % on 2000 images)`.

    Empty if it states none. The file may be anybody's, so that an accuracy that is no number is
    left as it stands.
    """
    if not {"accuracy", "tested_on"} <= notes.keys():
        return ""
    accuracy = notes["accuracy"]
    with suppress(ValueError):
        accuracy = f"{100 * float(accuracy):.4g}\u202f%"
    return f"({accuracy} on {notes['tested_on']})"


@dataclass(frozen=True)
class _BoardRow:
    """A row of the leaderboard: its record, its places in the lists, and its interval.

    The interval is drawn between 0 and 100. `by` is who submitted it, where there are several
    submissions.
    """

    cells: dict[str, Any]
    place: int
    metric: int
    rank: str
    leads: bool
    at: dict[str, float | None]
    troubles: str
    by: str


def _rows(evidence: Evidence, metrics: list[str], places: list[_BoardPlace]) -> list[_BoardRow]:
    """The leaderboard's rows: by metric in the order of the run, by model, best first."""
    scale = scales(evidence.board)
    board = _shown(
        evidence.board.assign(leads=leading(evidence.board, evidence.controls)), evidence
    )
    index = {(place.dataset, place.model): i for i, place in enumerate(places)}
    texts, leads = rank_texts(board), board["leads"]
    several = len(evidence.submissions) > 1
    rows = []
    for cells, rank, lead in zip(board.to_dict("records"), texts, leads, strict=True):
        where = _positions(cells, scale.get(cells["metric"]))
        by = cells["by"] if several else ""
        place = index[cells["dataset"], cells["model"]]
        rows.append(
            _BoardRow(
                cells,
                place,
                metrics.index(cells["metric"]),
                rank,
                bool(lead),
                where,
                _troubles(cells),
                by,
            )
        )

    def order(row: _BoardRow) -> tuple[int, int, float]:
        mean = row.cells["mean"] if row.cells["better"] == "lower" else -row.cells["mean"]
        return row.metric, row.place, float("inf") if pd.isna(mean) else mean

    return sorted(rows, key=order)


def _shown(board: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """The rows that there is room for: controls, the best of each data set, model and metric."""
    if len(board) <= SHOWN_ROWS:
        return board
    cost = board["mean"].where(board["better"] == "lower", -board["mean"])
    groups = [board[name] for name in ("dataset", "model", "metric")]
    place = cost.groupby(groups).rank(method="first", na_option="bottom")
    place = place.where(~board["method"].isin(evidence.controls), 0)
    return board.iloc[np.sort(np.argsort(place.to_numpy(), kind="stable")[:SHOWN_ROWS])]


def _costs(evidence: Evidence) -> list[dict[str, Any]]:
    """What methods cost, a row each with the columns of `cost.cost`; none of a leaderboard."""
    rows = cost(evidence.tables) if evidence.tables else pd.DataFrame()
    return [row for row in rows.to_dict("records") if row["method"] in evidence.number]


def _positions(cells: dict[str, Any], scale: Scale | None) -> dict[str, float | None]:
    names = ("mean", "low", "high", "floor", "ceiling")
    return {name: scale.at(cells[name]) if scale else None for name in names}


def _troubles(cells: dict[str, Any]) -> str:
    """What went wrong in a row, in a few words; the reason in full where nothing was scored."""
    if cells["n"] == 0:
        return f"no score: {cells['reason'] or cells['status']}"
    counts = {
        "constant": cells["constant"],
        "not finite": cells["nonfinite"],
        "unscored": cells["unscored"],
    }
    return ", ".join(f"{amount} {what}" for what, amount in counts.items() if amount)


def _by_place(drawn: list[Chart]) -> dict[tuple[str, str], list[Chart]]:
    by_place: dict[tuple[str, str], list[Chart]] = {}
    for chart in drawn:
        by_place.setdefault((chart.dataset, chart.model), []).append(chart)
    return by_place


def _data(evidence: Evidence, drawn: list[Chart], shown: ExamplePictures) -> dict[str, Any]:
    """What the script looks up: the curves' values, and each image's scores.

    The scores stand by metric and method.
    """
    number = evidence.number
    return {
        "methods": list(evidence.methods),
        "charts": [
            {
                "fractions": chart.fractions,
                "low": chart.low,
                "high": chart.high,
                "curves": {
                    number[curve.method]: {"label": curve.label, "values": curve.means}
                    for curve in chart.curves
                },
            }
            for chart in drawn
        ],
        "images": [
            {number[tile.method]: tile.scores for tile in image.tiles if tile.scores}
            for image in shown.shown
        ],
        "better": {metric: about.better for metric, about in evidence.metrics.items()},
    }
