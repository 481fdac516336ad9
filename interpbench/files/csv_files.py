"""CSV files: the same bytes for the same table, safe in a spreadsheet, read back as they were."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# What a spreadsheet may take for the start of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """A CSV with the same bytes for the same frame: UTF-8, "\\n", numbers to nine digits.

    Text that a spreadsheet would run as a formula is written after a single quote.
    """
    safe = frame.copy()
    for column in safe.select_dtypes(exclude="number").columns:
        safe[column] = safe[column].map(_harmless)
    safe.to_csv(
        path, index=False, float_format="%.9g", lineterminator="\n", quoting=csv.QUOTE_MINIMAL
    )


def read_csv(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """A CSV that `write_csv` wrote.

    Parameters:
        path: of the file.
        columns: those that it must have, in any order, with their pandas types; further ones are
            refused.

    Raises:
        ValueError: if it is no CSV, or has other columns or types; the message says which.
    """
    try:
        with np.errstate(invalid="raise"):  # where NaN or infinity would become a whole number
            frame = pd.read_csv(
                path, dtype=dict(columns), keep_default_na=False, na_values=_empty_numbers(columns)
            )
    except (OSError, ValueError, TypeError, ArithmeticError, pd.errors.ParserError) as error:
        raise ValueError(f"no table of this kind: {str(error)[:300]}.") from None
    if sorted(frame.columns) != sorted(columns):
        raise ValueError(
            f"its columns are {', '.join(map(str, frame.columns))[:500]}; "
            f"expected {', '.join(columns)}."
        )
    if not isinstance(frame.index, pd.RangeIndex):  # else pandas takes the first for an index
        raise ValueError("its rows have more fields than its header.")
    for column, dtype in columns.items():
        if dtype == "str":
            frame[column] = frame[column].map(restored)
    return frame


def _empty_numbers(columns: Mapping[str, str]) -> dict[str, list[str]]:
    """Column -> the texts that stand for no number; text columns have none."""
    return {column: [""] for column, dtype in columns.items() if dtype in ("float64", "Int64")}


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def restored(value: str) -> str:
    """Text as it was before it was kept from being a formula."""
    return value[1:] if value.startswith("'") and _is_formula(value) else value


def _is_formula(text: str) -> bool:
    # Or one that is quoted already: it gets a further quote, which comes off again.
    return text.lstrip("'").startswith(_FORMULA)
