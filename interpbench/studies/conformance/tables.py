"""The deviations in the terminal: a table of all, or a line for each subject."""

from collections.abc import Iterable, Iterator

import pandas as pd
from rich.table import Column, Table
from rich.text import Text

from interpbench.studies.conformance.comparing import DIFFERS, NOT_COMPARABLE, Library, labelled


def as_table(deviations: pd.DataFrame) -> Table:
    """A row for each subject and library, a column for each model, or each kind of maps."""
    found = labelled(deviations)
    names = list(dict.fromkeys(found["column"]))
    columns = [Column(Text(name), justify="right") for name in names]
    first = Column(str(deviations.columns[0]), overflow="fold")
    table = Table(first, "library", *columns, "tolerance")
    for (subject, library), rows in found.groupby(["subject", "library"]):
        cells = {name: _cell(of_column) for name, of_column in rows.groupby("column")}
        tolerance = rows["tolerance"].iloc[0]
        table.add_row(
            Text(subject), Text(library), *(cells[name] for name in names),
            "" if pd.isna(tolerance) else f"{tolerance:.0e}",
        )  # fmt: skip
    return table


def _cell(rows: pd.DataFrame) -> Text:
    number, compared = _greatest(rows)
    if not compared:
        return Text(number, style="dim")
    return Text(number, style="bold red" if (rows["status"] == DIFFERS).any() else "")


def _greatest(rows: pd.DataFrame) -> tuple[str, bool]:
    """The greatest deviation in words, and whether any of the rows is compared.

    In brackets where none is; `-` where there is no deviation.
    """
    compared = rows[rows["status"] != NOT_COMPARABLE]
    number = _number((compared if len(compared) else rows)["deviation"].max())
    return number if len(compared) or number == "-" else f"({number})", len(compared) > 0


def _number(deviation: float) -> str:
    return "-" if pd.isna(deviation) else f"{deviation:.1e}" if deviation else "0"


def as_lines(deviations: pd.DataFrame) -> Iterator[str]:
    """For each subject its greatest deviation over all cases, from each library.

    In brackets where the two are known to be different; `-` where no case could be compared.
    """
    for subject, rows in labelled(deviations).groupby("subject"):
        parts = []
        for library, of_library in rows.groupby("library"):
            number, _ = _greatest(of_library)
            differs = (of_library["status"] == DIFFERS).any()
            parts.append(f"{library} {number}" + (" differs" if differs else ""))
        yield f"{subject}: {', '.join(parts)}"


def reasons(deviations: pd.DataFrame) -> Iterator[str]:
    """What is beyond its tolerance, and why some cannot be compared, once for each reason."""
    found = labelled(deviations)
    for row in found[found["status"] == DIFFERS].itertuples():
        much = f"{_number(row.deviation)} is more than {row.tolerance:.0e}"
        yield f"differs: {row.subject} from {row.library} on {row.where}: {much}. {row.why}".strip()
    not_compared = found[found["status"] == NOT_COMPARABLE]
    for why, rows in not_compared.groupby("why", sort=False):
        pairs = ", ".join(
            dict.fromkeys(f"{row.subject} ({row.library})" for row in rows.itertuples())
        )
        cases = list(dict.fromkeys(rows["case"]))
        everywhere = len(cases) == found["case"].nunique()
        where = "" if everywhere else f" on {'; '.join(cases)}"
        yield f"not comparable{where}: {pairs}: {why}"


def absent(libraries: Iterable[Library]) -> Iterator[str]:
    """The libraries that are not installed, and how to get them."""
    for library in libraries:
        if library.version is None:
            yield (
                f"Not installed: {library.name}, with which {', '.join(library.ours)} would be "
                f"compared. Get it with `pip install {library.name}`, or all of them with `pip "
                "install 'interpbench[test,bench]'`."
            )
