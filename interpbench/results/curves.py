"""Perturbation curves as tables: a row a curve, and a row a point for whoever asks.

A row an image, method and metric holds its points as two lists, so that a point takes four bytes
and what zstd leaves of its place; as a row of its own it would take some 170.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from interpbench.suite.cells import CURVE_COLUMNS

POINT_COLUMNS = [*CURVE_COLUMNS[:-2], "step", "fraction", "value"]
ROWS = 4096  # curves that are turned into a file, or read, at once
_LISTS = {"fraction": pa.float64(), "value": pa.float32()}
_LABELS = [column for column in CURVE_COLUMNS if column not in _LISTS]
_SCHEMA = pa.schema(
    [pa.field(label, pa.string()) for label in _LABELS]
    + [pa.field(name, pa.list_(kind)) for name, kind in _LISTS.items()]
)


def points(curves: pd.DataFrame) -> pd.DataFrame:
    """A row a point, with POINT_COLUMNS: step counts from 0, value is float32.

    Parameters:
        curves: a row a curve, with CURVE_COLUMNS.
    """
    counts = curves["value"].map(len).to_numpy(dtype=int)
    columns = {label: np.repeat(curves[label].to_numpy(), counts) for label in _LABELS}
    columns["step"] = np.concatenate([np.arange(count) for count in [0, *counts]])
    columns["fraction"] = np.concatenate([np.zeros(0), *curves["fraction"]])
    columns["value"] = np.concatenate([np.zeros(0, np.float32), *curves["value"]])
    return pd.DataFrame(columns)[POINT_COLUMNS]


def of_points(table: pd.DataFrame) -> pd.DataFrame:
    """A row a curve again, as runs of before were written: with CURVE_COLUMNS.

    Parameters:
        table: a row a point, with POINT_COLUMNS.
    """
    rows = [
        (*key, of_curve["fraction"].to_numpy(), of_curve["value"].to_numpy(dtype=np.float32))
        for key, of_curve in table.sort_values("step", kind="stable").groupby(_LABELS, sort=False)
    ]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def table_of(curves: pd.DataFrame) -> pa.Table:
    """Curves as a table of pyarrow.

    Parameters:
        curves: a row a curve, with CURVE_COLUMNS.
    """
    columns = {label: pa.array(curves[label].tolist(), pa.string()) for label in _LABELS}
    for name, kind in _LISTS.items():
        lists = curves[name].tolist()
        ends = np.cumsum([0, *map(len, lists)], dtype=np.int32)
        points = np.concatenate([np.zeros(0, kind.to_pandas_dtype()), *lists])
        columns[name] = pa.ListArray.from_arrays(ends, pa.array(points, kind))
    return pa.table(columns, schema=_SCHEMA)


class CurvesFile:
    """A parquet file of curves that is written a part at a time, and closed by its context.

    Parameters:
        to: its path, or a buffer.
    """

    def __init__(self, to: Path | io.BytesIO) -> None:
        self._file = pq.ParquetWriter(
            to,
            _SCHEMA,
            compression="zstd",
            use_dictionary=[*_LABELS, "fraction.list.element"],
            use_byte_stream_split=["value.list.element"],
        )

    def __enter__(self) -> "CurvesFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, curves: pd.DataFrame) -> None:
        """Some curves more.

        Parameters:
            curves: a row a curve, with CURVE_COLUMNS.
        """
        for first in range(0, max(1, len(curves)), ROWS):
            self.write_table(table_of(curves.iloc[first : first + ROWS]))

    def write_table(self, curves: pa.Table) -> None:
        """Some curves more, as `read_table` gives them."""
        self._file.write_table(curves.cast(_SCHEMA), row_group_size=ROWS)


def content_of(curves: pd.DataFrame) -> bytes:
    """Curves as a parquet file."""
    buffer = io.BytesIO()
    with CurvesFile(buffer) as file:
        file.write(curves)
    return buffer.getvalue()


def read(content: bytes) -> pd.DataFrame:
    """Curves of a parquet file, as written now or with a row a point: with CURVE_COLUMNS.

    Raises:
        ValueError: if it holds something else.
    """
    known: dict[bytes, np.ndarray] = {}  # curves of a metric share their fractions
    table = read_table(content)
    frames = [_frame(batch, known) for batch in table.to_batches(ROWS)]
    return pd.concat(frames, ignore_index=True) if frames else table.to_pandas()


def read_table(content: bytes, categories: Sequence[str] = ()) -> pa.Table:
    """As `read`, as a table of pyarrow, which holds all points in a row.

    Parameters:
        content: of the file.
        categories: the labels that are read as such.

    Raises:
        ValueError: if it holds something else.
    """
    file = pq.ParquetFile(io.BytesIO(content), read_dictionary=list(categories))
    schema = file.schema_arrow
    if schema.names == POINT_COLUMNS:
        return table_of(of_points(file.read().to_pandas()))
    if schema.names != CURVE_COLUMNS:
        raise ValueError(f"its columns are {', '.join(schema.names)[:200]}")
    for name, kind in _LISTS.items():
        if schema.field(name).type not in (pa.list_(kind), pa.null()):
            raise ValueError(f"its column {name} is of type {schema.field(name).type}")
    return file.read().unify_dictionaries().replace_schema_metadata(None)


def _frame(batch: pa.RecordBatch, known: dict[bytes, np.ndarray]) -> pd.DataFrame:
    columns = {name: batch.column(name).to_pandas() for name in CURVE_COLUMNS}
    columns["fraction"] = [known.setdefault(row.tobytes(), row) for row in columns["fraction"]]
    return pd.DataFrame(columns)


def values_of(lists: pa.ChunkedArray) -> np.ndarray:
    """Curves as float32 [n,P], of a table's column of lists that are equally long.

    Raises:
        ValueError: if they are not.
    """
    lists = lists.combine_chunks()
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    if lists.null_count or (lengths != lengths[:1]).any():
        raise ValueError("its curves are not equally long")
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(len(lists), -1)
