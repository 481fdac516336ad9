"""CSV files: the same bytes for the same table, safe in a spreadsheet, read back as they were."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

# What a spreadsheet may take for the start of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PART = 16_384  # rows that are written at once
_READ = 1_000_000  # rows that are read at once


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """A CSV with the same bytes for the same frame: UTF-8, "\\n", numbers to nine digits.

    Text that a spreadsheet would run as a formula is written after a single quote. Tables with
    columns of categories, which may be long, are written a part at a time.
    """
    if any(isinstance(kind, pd.CategoricalDtype) for kind in frame.dtypes):
        _write_in_parts(frame, path)
        return
    safe = frame.copy()
    for column in safe.select_dtypes(exclude="number").columns:
        safe[column] = safe[column].map(_harmless)
    safe.to_csv(
        path, index=False, float_format="%.9g", lineterminator="\n", quoting=csv.QUOTE_MINIMAL
    )


def _write_in_parts(frame: pd.DataFrame, path: Path) -> None:
    """As `write_csv`, some three times as fast: what a part's rows share is put into its format."""
    columns = [_column(frame[name]) for name in frame]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(map(_quoted, frame.columns)) + "\n")
        for start in range(0, len(frame), _PART):
            part = slice(start, start + _PART)
            forms, values = zip(*(column(part) for column in columns), strict=True)
            row = ",".join(forms) + "\n"
            rows = min(_PART, len(frame) - start)
            varying = [some for some in values if some is not None]
            file.write(
                "".join(map(row.__mod__, zip(*varying, strict=True)))
                if varying
                else row % () * rows
            )


# Of some rows the column's place in a row's format, and what is put there; None if it is all there.
_Part = Callable[[slice], tuple[str, list[Any] | None]]


def _column(column: pd.Series) -> _Part:
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = column.cat.codes.to_numpy()
        categories = [_quoted(_harmless(value)) for value in column.cat.categories]
        texts = np.array([*categories, ""], dtype=object)  # the code of what is missing is -1

        def labels(part: slice) -> tuple[str, list[Any] | None]:
            some = codes[part]
            if (some == some[0]).all():
                return texts[some[0]].replace("%", "%%"), None
            return "%s", texts[some].tolist()

        return labels
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        return lambda part: _floats(column.iloc[part].to_numpy(dtype=np.float64))
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        return lambda part: ("%d", column.iloc[part].tolist())
    return lambda part: (
        "%s",
        ["" if pd.isna(value) else _quoted(_harmless(value)) for value in column.iloc[part]],
    )


def _floats(values: np.ndarray) -> tuple[str, list[Any] | None]:
    numbers = values.tolist()
    if not np.isnan(values).any():
        return "%.9g", numbers
    return "%s", ["" if value != value else f"{value:.9g}" for value in numbers]


def _quoted(value: Any) -> str:
    """A field as `csv` writes it among others."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([value, ""])
    return text.getvalue()[:-2]


def read_csv(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """A CSV that `write_csv` wrote.

    Parameters:
        path: of the file.
        columns: those that it must have, in any order, with their pandas types; further ones are
            refused. Texts are `str`, or `category` where few differ.

    Raises:
        ValueError: if it is no CSV, or has other columns or types; the message says which.
    """
    # Read as categories, pandas takes labels that all look like numbers for numbers: `007` for 7.
    labels = [column for column, dtype in columns.items() if dtype == "category"]
    try:
        with (
            np.errstate(invalid="raise"),  # where NaN or infinity would become a whole number
            pd.read_csv(
                path,
                dtype=dict(columns) | dict.fromkeys(labels, "str"),
                keep_default_na=False,
                na_values=_empty_numbers(columns),
                chunksize=_READ,
                low_memory=False,
            ) as parts,
        ):
            frame = _together([_with_categories(part, labels) for part in parts])
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
        if dtype == "category":
            frame[column] = frame[column].cat.rename_categories(restored)
    return frame


def _with_categories(part: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    there = [label for label in labels if label in part]
    return part.astype(dict.fromkeys(there, "category"))


def _together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Parts of a table below each other; what few texts differ in stays categories."""
    if len(parts) == 1:
        return parts[0]
    return pd.DataFrame(
        {
            name: union_categoricals([part[name] for part in parts])
            if isinstance(parts[0][name].dtype, pd.CategoricalDtype)
            else pd.concat([part[name] for part in parts], ignore_index=True)
            for name in parts[0]
        }
    )


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
