"""The run folder: its schema, writing cell by cell, reading, and refusing to mix.

    run.json                     what was run, with what, where and when
    models/<model>.json .npz     each model's card and accuracy; the example images
    cells/<cell>/                a finished cell: cell.json, maps.npz, and scores and curves.parquet
    scores.parquet scores.csv curves.parquet timings.csv
    leaderboard.csv comparisons.csv ranks.csv agreement.csv shares.csv
                                 what follows from the scores
    plots/ report.html           all of it to look at
    profile.csv trace.json       of a run with --profile

A cell's folder appears whole or not at all, so a killed run loses at most the cell it was in. The
tables are put together from the cells, sorted, whatever order they were finished in. Neither torch
nor plugins are needed to read.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from pydantic import ValidationError

from interpbench.core.errors import RunFolderError
from interpbench.files.atomic import folder_beside, remove_partial, write_atomically
from interpbench.files.csv_files import write_csv
from interpbench.files.records import Record, first_problem
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.run_info import SCHEMA_VERSION, CellRecord, ModelRecord, RunInfo
from interpbench.results.tables import Example, RunTables
from interpbench.suite.cells import CURVE_COLUMNS, SCORE_COLUMNS, safe_name

CELL_COLUMNS = [
    "dataset",
    "model",
    "method",
    "parameters",
    "role",
    "status",
    "reason",
    "images",
    "constant",
    "nonfinite",
]
TIMING_COLUMNS = ["dataset", "model", "method", "attribution_seconds", "scoring_seconds", "images"]
# Tables drawn from the others, as CSV.
CONCLUSIONS = ("leaderboard", "comparisons", "ranks", "agreement", "shares")
PAGE = "report.html"
PROFILE = ("profile.csv", "trace.json")
Mode = Literal["new", "resume", "overwrite"]


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, mode: Mode) -> None:
        """Makes the folder ready.

        Raises:
            RunFolderError: if it is not empty (mode `new`), holds no run (`resume`), holds
                something else than a run (`overwrite`), or cannot be written.
        """
        with _disk(self.path):
            content = (
                [p for p in self.path.iterdir() if p.name != "plots"] if self.path.exists() else []
            )
            holds_run = (self.path / "run.json").is_file()
            if content and mode == "new":
                raise RunFolderError(
                    f"{self.path} is not empty. Continue that run with --resume, replace it with "
                    "--overwrite, or give another --output."
                )
            if not holds_run and mode == "resume":
                raise RunFolderError(
                    f"{self.path} holds no run to resume. Leave --resume out to begin one."
                )
            if content and mode == "overwrite":
                if not holds_run:
                    raise RunFolderError(
                        f"{self.path} holds something else than a run; it is not overwritten."
                    )
                self._clear()
            for folder in ("cells", "models"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
                remove_partial(self.path / folder)
            remove_partial(self.path)
            for unfinished in (self.path / "cells").glob(".*"):
                shutil.rmtree(unfinished)

    def _clear(self) -> None:
        """Removes what a run writes and nothing else."""
        for name in ("cells", "models", "plots"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        tables = (
            "scores.parquet",
            "scores.csv",
            "curves.parquet",
            "timings.csv",
            "run.json",
            PAGE,
            *PROFILE,
        )
        for name in (*tables, *(f"{table}.csv" for table in CONCLUSIONS)):
            (self.path / name).unlink(missing_ok=True)

    def info(self) -> RunInfo:
        """run.json.

        Raises:
            RunFolderError: if it is missing, not JSON, or of another schema.
        """
        file = self.path / "run.json"
        try:
            contents = json.loads(file.read_text(encoding="utf-8"))
            version = contents["schema_version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{self.path} is no run folder: {file.name} is missing or not valid."
            ) from error
        if version != SCHEMA_VERSION:
            raise RunFolderError(
                f"{file} has schema version {version}; this InterpBench reads {SCHEMA_VERSION}."
            )
        return _validated(RunInfo, contents, file)

    def write_info(self, info: RunInfo) -> None:
        """Writes run.json."""
        self.write("run.json", lambda path: path.write_text(info.text(), encoding="utf-8"))

    def write(self, name: str, write: Callable[[Path], object]) -> None:
        """Writes a file atomically.

        `write` gets a temporary path, which then takes the name's place.

        Raises:
            RunFolderError: if the disk is full, or not writable.
        """
        with _disk(self.path):
            write_atomically(self.path / name, write)

    def write_model(self, result: ModelResult) -> None:
        """Writes what was measured of a model, and its example images."""
        name = safe_name(result.record.dataset, result.record.model)
        arrays = {"images": result.images}
        if result.masks is not None:
            arrays["masks"] = result.masks
        self.write(f"models/{name}.npz", lambda path: _save_arrays(path, arrays))
        text = result.record.text(sort_keys=True)
        self.write(f"models/{name}.json", lambda path: path.write_text(text, encoding="utf-8"))

    def write_cell(self, result: CellResult) -> None:
        """Writes a finished cell; its folder appears whole or not at all."""
        final = self.path / "cells" / result.record.cell.folder
        with _disk(self.path), folder_beside(final) as partial:
            result.scores.to_parquet(partial / "scores.parquet", index=False)
            result.curves.to_parquet(partial / "curves.parquet", index=False)
            _save_arrays(partial / "maps.npz", result.maps)
            (partial / "cell.json").write_text(result.record.text(sort_keys=True), encoding="utf-8")
            if final.exists():  # a failed cell that was run again
                shutil.rmtree(final)
            os.replace(partial, final)

    def cell_records(self) -> list[CellRecord]:
        """cell.json of every finished cell, sorted by labels."""
        records = [_read(CellRecord, path) for path in self.path.glob("cells/*/cell.json")]
        return sorted(records, key=lambda record: record.cell)

    def model_records(self) -> list[ModelRecord]:
        """models/*.json, sorted by labels."""
        records = [_read(ModelRecord, path) for path in self.path.glob("models/*.json")]
        return sorted(records, key=lambda record: (record.dataset, record.model))

    def assemble(self) -> RunTables:
        """Puts the tables together from the finished cells, and writes them."""
        tables = self._from_cells()
        self.write("scores.parquet", lambda path: tables.scores.to_parquet(path, index=False))
        self.write("scores.csv", lambda path: write_csv(tables.scores, path))
        self.write("curves.parquet", lambda path: tables.curves.to_parquet(path, index=False))
        self.write("timings.csv", lambda path: write_csv(tables.timings, path))
        return tables

    def tables(self) -> RunTables:
        """The tables of a run, finished or not."""
        return self._from_cells()

    def _from_cells(self) -> RunTables:
        info = self.info()
        records, models = self.cell_records(), self.model_records()
        cells = [record for record in records if not record.is_search]
        folders = [self.path / "cells" / record.cell.folder for record in cells]
        searches = [
            self.path / "cells" / record.cell.folder for record in records if record.is_search
        ]
        scores = _read_tables([f / "scores.parquet" for f in folders], SCORE_COLUMNS)
        curves = _read_tables([f / "curves.parquet" for f in folders], CURVE_COLUMNS)
        ceilings = _read_tables([f / "scores.parquet" for f in searches], SCORE_COLUMNS)
        by = ["dataset", "model", "method", "metric", "sample_id"]
        return RunTables(
            scores=scores.sort_values(by, ignore_index=True),
            curves=curves.sort_values([*by, "step"], ignore_index=True),
            cells=_frame(cells, CELL_COLUMNS),
            timings=_frame(records, TIMING_COLUMNS),
            metrics=info.metrics,
            models={(record.dataset, record.model): record for record in models},
            examples=list(self._examples(models, cells)),
            seed=info.seed,
            ceilings=ceilings.sort_values(by, ignore_index=True),
        )

    def _examples(
        self, models: Sequence[ModelRecord], cells: Sequence[CellRecord]
    ) -> Iterator[Example]:
        for model in models:
            arrays = _load_arrays(
                self.path / "models" / f"{safe_name(model.dataset, model.model)}.npz"
            )
            maps = {
                record.method: _load_arrays(self.path / "cells" / record.cell.folder / "maps.npz")
                for record in cells
                if (record.dataset, record.model) == (model.dataset, model.model)
            }
            for i, sample_id in enumerate(model.example_ids):
                yield Example(
                    dataset=model.dataset,
                    model=model.model,
                    sample_id=sample_id,
                    image=arrays["images"][i],
                    true_class=model.true_classes[i],
                    predicted_class=model.predicted_classes[i],
                    mask=arrays["masks"][i] if "masks" in arrays else None,
                    maps={
                        method: kept[sample_id]
                        for method, kept in maps.items()
                        if sample_id in kept
                    },
                )


Kind = TypeVar("Kind", bound=Record)


def _read(kind: type[Kind], path: Path) -> Kind:
    """The record in a JSON file."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{path} is not valid: {error}. Run again with --resume after removing it."
        ) from error
    return _validated(kind, contents, path)


def _validated(kind: type[Kind], contents: Any, path: Path) -> Kind:
    try:
        return kind.model_validate(contents)
    except ValidationError as invalid:
        key, reason, _ = first_problem(invalid)
        raise RunFolderError(
            f"{path} is not valid: key {key!r}: {reason}. Run again "
            "with --resume after removing it."
        ) from None


def _frame(records: Sequence[Record], columns: list[str]) -> pd.DataFrame:
    """Some fields of records, a row each."""
    return pd.DataFrame(
        [[getattr(record, column) for column in columns] for record in records], columns=columns
    )


def _read_tables(paths: list[Path], columns: list[str]) -> pd.DataFrame:
    frames = [pd.read_parquet(path) for path in paths]
    frames = [frame for frame in frames if len(frame)]
    return (
        pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
    )


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, **{f"a:{name}": value for name, value in arrays.items()}
        )


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name.removeprefix("a:"): file[name] for name in file.files}


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turns what the disk refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"Cannot write to {path}: {error.strerror or error}. Give another --output, or free "
            "some space or mend the permissions; what is finished stays there, and --resume "
            "continues it."
        ) from error
