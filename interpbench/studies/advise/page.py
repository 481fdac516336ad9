"""The answer as one HTML file that needs no network."""

import hashlib
from base64 import b64encode
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from interpbench.core.text import printable
from interpbench.files.records import Record
from interpbench.files.versions import __version__
from interpbench.studies.advise.claims import Teller
from interpbench.studies.advise.findings import Findings


def page(answer: Teller, found: Findings, record: Record, plot: Path, title: str) -> str:
    """The page as HTML.

    Parameters:
        answer: the lines.
        found: the tables.
        record: of advice.json, so far.
        plot: a PNG.
        title: what was asked.
    """
    environment = Environment(
        loader=PackageLoader("interpbench.studies.advise"),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    style = environment.loader.get_source(environment, "advice.css")[0]  # type: ignore[union-attr]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    lines: dict[int, list[Any]] = {}
    for claim in answer.claims:
        lines.setdefault(claim.line, []).append(claim)
    return environment.get_template("advice.html").render(
        title=title,
        lines=list(lines.values()),
        tables=found.tables,
        picture=b64encode(plot.read_bytes()).decode(),
        record=record.text(),
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
        style=Markup(style),
        version=__version__,
    )


def _cell(value: object) -> str:
    """A value as a table shows it."""
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value)
