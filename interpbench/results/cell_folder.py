"""What came of a cell, or was measured of a model, as files; and read again, if they are whole.

A record, JSON, says the checksum of each of its files, and of itself without the checksums: what
does not fit them was damaged, and is not read. Runs of before there were checksums are read by
their form alone.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from interpbench.core.errors import RunFolderError
from interpbench.files.records import first_problem
from interpbench.results import curves
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.run_info import CellRecord, Checked, ModelRecord
from interpbench.results.score_labels import LABELS, labelled, row_numbers
from interpbench.suite.cells import SCORE_COLUMNS, safe_name

CELL = "cell.json"
SCORES, CURVES, MAPS = "scores.parquet", "curves.parquet", "maps.npz"
_ORDER = ("metric", "sample_id")  # of curves
NUMBERS = ("label", "target", "tied", "value")


class DamagedError(RunFolderError):
    """A file of a run that is missing, or is not what was written.

    Attributes:
        what: it is, and what is wrong with it.
    """

    def __init__(self, path: Path, why: str) -> None:
        # As the folder knows it, so that the same damage is the same note wherever the run lies.
        self.what = f"{'/'.join(path.parts[-3:])} is damaged ({why})"
        super().__init__(
            f"{path} is damaged: {why}. Run it again with --resume, which makes anew what is "
            "damaged."
        )


def files_of_cell(result: CellResult) -> dict[str, bytes]:
    """A finished cell as the files of its folder, the record last."""
    files = {
        SCORES: table_content(result.scores),
        CURVES: curves.content_of(result.curves),
        MAPS: _arrays_content(result.maps),
    }
    return files | {CELL: _sealed(result.record, CELL, files)}


def files_of_model(result: ModelResult) -> dict[str, bytes]:
    """What was measured of a model as the files of its folder, the record last."""
    name = model_name(result.record)
    arrays = {"images": result.images, "predicted": result.predicted}
    if result.masks is not None:
        arrays["masks"] = result.masks
    files = {f"{name}.npz": _arrays_content(arrays)}
    return files | {f"{name}.json": _sealed(result.record, f"{name}.json", files)}


def read_cell(folder: Path) -> CellResult:
    """A finished cell.

    Raises:
        DamagedError: if a file is missing, or is not what was written.
    """
    record = read_cell_record(folder)
    whole = read_scores(folder, record)
    return replace(whole, curves=read_curves(folder, record))


def read_scores(folder: Path, record: CellRecord) -> CellResult:
    """The scores and maps of a finished cell, without its curves.

    Raises:
        DamagedError: if a file is missing, or is not what was written.
    """
    columns = record.cell.as_dict()
    return CellResult(
        record,
        scores=_read(folder / SCORES, record, lambda c: _table(c, SCORE_COLUMNS, columns)),
        maps=_read(folder / MAPS, record, _arrays),
    )


def read_curves(folder: Path, record: CellRecord) -> pd.DataFrame:
    """The curves of a finished cell alone, a row an image and metric.

    Raises:
        DamagedError: if the file is missing, or is not what was written.
    """
    columns = record.cell.as_dict()
    return _read(folder / CURVES, record, lambda c: _of_cell(curves.read(c), columns))


def read_curve_table(folder: Path, record: CellRecord) -> pa.Table:
    """As `read_curves`, as a table of pyarrow, in the order of metrics and images."""

    def parse(content: bytes) -> pa.Table:
        table = curves.read_table(content, ["dataset", "model", "method", "metric", "sample_id"])
        labels = table.select(["dataset", "model", "method", "metric", "sample_id"]).to_pandas()
        numbers = row_numbers(labelled(_of_cell(labels, record.cell.as_dict())), _ORDER)
        if (numbers[1:] >= numbers[:-1]).all():
            return table
        return table.take(np.argsort(numbers, kind="stable"))

    return _read(folder / CURVES, record, parse)


def check_curves(folder: Path, record: CellRecord) -> None:
    """Whether the curves of a finished cell are those that were written, without reading them.

    Raises:
        DamagedError: if the file is missing, or is not what was written.
    """
    if record.checksums:
        _read(folder / CURVES, record, len)
    else:
        read_curve_table(folder, record)


def read_cell_record(folder: Path) -> CellRecord:
    """What became of a cell.

    Raises:
        DamagedError: if it is missing, not what was written, or of another cell.
    """
    record = _read_record(CellRecord, folder / CELL)
    if record.cell.folder != folder.name:
        raise DamagedError(folder, f"it holds {record.method!r} on {record.model!r}")
    return record


def read_model(path: Path) -> ModelResult:
    """What was measured of a model.

    Parameters:
        path: of its record.

    Raises:
        DamagedError: if a file is missing, or is not what was written.
    """
    record = _read_record(ModelRecord, path)
    if path.stem != model_name(record):
        raise DamagedError(path, f"it holds {record.model!r} on {record.dataset!r}")
    arrays = _read(path.with_suffix(".npz"), record, _arrays)
    predicted = arrays.pop("predicted", np.zeros(0, np.int64))
    named = (record.example_ids, record.true_classes, record.predicted_classes)
    if "images" not in arrays or len({len(each) for each in (*named, *arrays.values())}) > 1:
        raise DamagedError(path, "it has not as many example images as names for them")
    if len(predicted) not in (0, len(record.sample_ids)):
        raise DamagedError(path, "it has not as many predictions as images")
    return ModelResult(record, arrays["images"], arrays.get("masks"), predicted)


def model_name(record: ModelRecord) -> str:
    """What a model's files are called."""
    return safe_name(record.dataset, record.model)


def strict_json(text: str) -> Any:
    """JSON of which no key stands twice.

    Raises:
        ValueError: if it is not so.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"a key stands twice among {', '.join(key for key, _ in pairs)[:200]}")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def table_content(table: pd.DataFrame) -> bytes:
    """A table as a parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _arrays_content(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays by their names as an .npz file."""
    buffer = io.BytesIO()
    named = {f"a:{name}": value for name, value in arrays.items()}
    np.savez_compressed(buffer, allow_pickle=False, **named)
    return buffer.getvalue()


def _checksum(content: bytes) -> str:
    """sha256 of a file."""
    return hashlib.sha256(content).hexdigest()


def _sealed(record: Checked, name: str, files: Mapping[str, bytes]) -> bytes:
    """A record with the checksums of its files and of itself."""
    sums = {file: _checksum(content) for file, content in files.items()}
    record = record.with_checksums({})
    sums[name] = _own_checksum(json.loads(record.text()))
    return record.with_checksums(sums).text(sort_keys=True).encode()


def _own_checksum(contents: dict[str, Any]) -> str:
    """That of a record as JSON, without its checksums.

    Of the JSON, since another version's record may say more than this one reads.
    """
    rest = {key: value for key, value in contents.items() if key != "checksums"}
    return _checksum(json.dumps(rest, sort_keys=True).encode())


Kind = TypeVar("Kind", bound=Checked)
Content = TypeVar("Content")


def _read_record(kind: type[Kind], path: Path) -> Kind:
    try:
        contents = strict_json(path.read_bytes().decode("utf-8"))
        record = kind.model_validate(contents)
    except ValidationError as invalid:
        key, reason, _ = first_problem(invalid)
        raise DamagedError(path, f"key {key!r}: {reason}") from None
    except (OSError, ValueError) as error:
        raise DamagedError(path, _in_words(error)) from None
    if record.checksums and record.checksums.get(path.name) != _own_checksum(contents):
        raise DamagedError(path, "it does not fit its checksum")
    return record


def _read(path: Path, record: Checked, parse: Callable[[bytes], Content]) -> Content:
    """A file of a record, if it is the one that was written."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedError(path, _in_words(error)) from None
    if record.checksums and record.checksums.get(path.name) != _checksum(content):
        raise DamagedError(path, "it does not fit its checksum")
    try:
        return parse(content)
    except Exception as error:  # whatever libraries make of bytes that are no such file
        raise DamagedError(path, _in_words(error)) from None


def _of_cell(table: pd.DataFrame, of_cell: Mapping[str, str]) -> pd.DataFrame:
    for column, label in of_cell.items():
        if not (table[column] == label).all():
            raise ValueError(f"its {column} is another one")
    return table


def _table(content: bytes, columns: Sequence[str], of_cell: Mapping[str, str]) -> pd.DataFrame:
    file = pq.ParquetFile(io.BytesIO(content), read_dictionary=list(LABELS))
    read = file.read().unify_dictionaries()
    table = read.replace_schema_metadata(None).to_pandas()  # which says that they are texts
    if list(table.columns) != list(columns):
        raise ValueError(f"its columns are {', '.join(map(str, table.columns))[:200]}")
    table = labelled(_of_cell(table, of_cell)) if len(table) else table
    for column in [*columns] if len(table) else []:
        if (column in NUMBERS) != pd.api.types.is_numeric_dtype(table[column]):
            raise ValueError(f"its column {column} is of type {table[column].dtype}")
    return table


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name.removeprefix("a:"): file[name] for name in file.files}


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
