"""The deviations in the terminal: a table of all, or a line for each method."""

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
from rich.table import Column, Table
from rich.text import Text

from interpbench.studies.conformance.comparing import DIFFERS, NOT_COMPARABLE, Library, short_names


def as_table(deviations: pd.DataFrame) -> Table:
    """A row for each method and library, a column for each model."""
    names = short_names(deviations["model"])
    models = [Column(Text(name), justify="right") for name in names.values()]
    table = Table("method", "library", *models, "tolerance")
    for (method, library), rows in deviations.groupby(["method", "library"]):
        cells = {row.model: _cell(row) for row in rows.itertuples()}
        tolerance = rows["tolerance"].iloc[0]
        numbers = [cells[model] for model in names]
        table.add_row(
            Text(method), Text(library), *numbers, "" if pd.isna(tolerance) else f"{tolerance:.0e}"
        )
    return table


def _cell(row: Any) -> Text:
    number = _number(row.deviation)
    if row.status == NOT_COMPARABLE:
        return Text(number if number == "-" else f"({number})", style="dim")
    return Text(number, style="bold red" if row.status == DIFFERS else "")


def _number(deviation: float) -> str:
    return "-" if pd.isna(deviation) else f"{deviation:.1e}" if deviation else "0"


def as_lines(deviations: pd.DataFrame) -> Iterator[str]:
    """For each method its greatest deviation over all models, from each library.

    In brackets where the two are known to be different methods; `-` where no model could be
    compared.
    """
    for method, rows in deviations.groupby("method"):
        parts = []
        for library, of_library in rows.groupby("library"):
            compared = of_library[of_library["status"] != NOT_COMPARABLE]
            greatest = (compared if len(compared) else of_library)["deviation"].max()
            number = _number(greatest)
            number = number if len(compared) or number == "-" else f"({number})"
            parts.append(
                f"{library} {number}"
                + (" differs" if (of_library["status"] == DIFFERS).any() else "")
            )
        yield f"{method}: {', '.join(parts)}"


def reasons(deviations: pd.DataFrame) -> Iterator[str]:
    """What is beyond its tolerance, and why some cannot be compared, once for each reason."""
    names = short_names(deviations["model"])
    for row in deviations[deviations["status"] == DIFFERS].itertuples():
        much = f"{_number(row.deviation)} is more than {row.tolerance:.0e}"
        yield f"differs: {row.method} from {row.library} on {row.model}: {much}. {row.why}".strip()
    not_compared = deviations[deviations["status"] == NOT_COMPARABLE]
    for why, rows in not_compared.groupby("why", sort=False):
        pairs = ", ".join(
            dict.fromkeys(f"{row.method} ({row.library})" for row in rows.itertuples())
        )
        models = ", ".join(names[model] for model in dict.fromkeys(rows["model"]))
        yield f"not comparable on {models}: {pairs}: {why}"


def absent(libraries: Iterable[Library]) -> Iterator[str]:
    """The libraries that are not installed, and how to get them."""
    for library in libraries:
        if library.version is None:
            yield (
                f"Not installed: {library.name}, with which {', '.join(library.methods)} would be "
                f"compared. Get it with `pip install {library.name}`, or all of them with `pip "
                "install 'interpbench[test]'`."
            )
