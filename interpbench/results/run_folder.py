"""The run folder: its schema, writing cell by cell, reading, and refusing to mix.

    run.json                     what was run, with what, where and when; there before the rest
    run.lock                     which process is writing it, as long as one is
    models/<model>.json .npz     each model's card and accuracy; the example images
    cells/<cell>/                a finished cell: cell.json, maps.npz, and scores and curves.parquet
    blocks/<cell>/000007.block   of a cell that is not finished: what came of a block of images
    scores.parquet scores.csv curves.parquet
    timings.csv cost.csv         what it took, other figures each time; ranks of what methods cost
    leaderboard.csv comparisons.csv ranks.csv agreement.csv shares.csv resolution.csv
                                 what follows from the scores
    plots/ report.html           all of it to look at
    profile.csv trace.json       of a run with --profile

A block and a cell appear whole or not at all, so a killed run loses at most the block it was in.
What is hidden is unfinished, or not a run's, and never read. The tables are put together from the
cells, sorted, whatever order they were finished in. Neither torch nor plugins are needed to read.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import ValidationError

from interpbench.core.errors import RunFolderError
from interpbench.files.atomic import (
    content_of,
    folder_beside,
    move_in_place_of,
    remove,
    remove_partial,
    write_atomically,
)
from interpbench.files.csv_files import write_csv
from interpbench.files.lock import Holder, Lock
from interpbench.files.records import first_problem
from interpbench.results.assembly import Assembly
from interpbench.results.block_files import BlockFiles, BlockResult
from interpbench.results.cell_folder import (
    DamagedError,
    check_curves,
    files_of_cell,
    files_of_model,
    read_cell,
    read_cell_record,
    read_curve_table,
    read_curves,
    read_model,
    read_scores,
    strict_json,
)
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.cost import cost
from interpbench.results.curves import CurvesFile
from interpbench.results.mean_curve import (
    CurveKey,
    LazyCurves,
    MeanCurve,
    MeanCurves,
    mean_curves_of,
)
from interpbench.results.run_info import SCHEMA_VERSION, CellRecord, ModelRecord, RunInfo
from interpbench.results.tables import RunTables
from interpbench.suite.cells import CURVE_COLUMNS, Cell, safe_name
from interpbench.suite.suite import Suite

# Tables drawn from the others, as CSV.
CONCLUSIONS = ("leaderboard", "comparisons", "ranks", "agreement", "shares", "resolution")
PAGE = "report.html"
PROFILE = ("profile.csv", "trace.json")
RECORD, LOCK, BLOCKS = "run.json", "run.lock", "blocks"
# What a run has always recorded, without which what is shown of it would be another run's.
_ALWAYS, _OF_SUITE = ("suite", "settings", "seed", "metrics"), ("name", "changed")
REPLACED = ".run.json.replaced"  # the record of a run that is being overwritten
Mode = Literal["new", "resume", "overwrite"]


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock(path / LOCK)
        self._blocks = BlockFiles(path / BLOCKS)

    @contextmanager
    def writing(self, mode: Mode) -> Iterator[None]:
        """The folder made ready, and nobody else's, until the end of the context.

        Raises:
            RunFolderError: if it is not empty (mode `new`), holds no run (`resume`), holds
                something else than a run (`overwrite`), is being written by another process, or
                cannot be written.
        """
        with _disk(self.path):
            self._refuse(mode)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.take()
        try:
            with _disk(self.path):
                self._refuse(mode)  # another process may have begun a run meanwhile
                if mode == "overwrite":
                    self._clear()
                self._remove_unfinished()
            yield
        finally:
            with _disk(self.path):
                self._lock.release()

    def writer(self) -> Holder | None:
        """The process that is writing it at the moment, or None."""
        return self._lock.holder()

    def _refuse(self, mode: Mode) -> None:
        content = [path for path in content_of(self.path) if path.name not in ("plots", LOCK)]
        holds_run = (self.path / RECORD).is_file()
        if content and mode == "new":
            raise RunFolderError(
                f"{self.path} is not empty. Continue that run with --resume, replace it with "
                "--overwrite, or give another --output."
            )
        if not holds_run and mode == "resume":
            raise RunFolderError(
                f"{self.path} holds no run to resume. Leave --resume out to begin one."
            )
        if not holds_run and mode == "overwrite" and not self._replaceable(content):
            raise RunFolderError(
                f"{self.path} holds something else than a run; it is not overwritten."
            )

    def _replaceable(self, content: Sequence[Path]) -> bool:
        """Whether what lies in it without a record is what a run that broke off has left."""
        if (self.path / REPLACED).exists():
            return True
        empty = {"cells", "models", BLOCKS}
        return all(path.name in empty and not any(path.iterdir()) for path in content)

    def _clear(self) -> None:
        """Removes what a run writes and nothing else.

        The record goes first, so that nobody takes what is left for a run, to where the folder is
        still known to have held one.
        """
        record = self.path / RECORD
        if record.exists():
            os.replace(record, self.path / REPLACED)
        for name in ("cells", "models", "plots", BLOCKS):
            remove(self.path / name)
        tables = ("scores.parquet", "scores.csv", "curves.parquet", "timings.csv", "cost.csv")
        for name in (*tables, PAGE, *PROFILE, *(f"{table}.csv" for table in CONCLUSIONS)):
            (self.path / name).unlink(missing_ok=True)

    def _remove_unfinished(self) -> None:
        """Removes what a killed process was writing."""
        folders = [self.path / name for name in ("cells", "models", "plots")]
        for folder in (self.path, *folders, *(self.path / BLOCKS).glob("*")):
            remove_partial(folder)
        for unfinished in (self.path / "cells").glob(".*"):
            if unfinished.is_dir() and not unfinished.is_symlink():
                remove(unfinished)

    def info(self) -> RunInfo:
        """run.json.

        Raises:
            RunFolderError: if it is missing, not JSON, or of another schema.
        """
        file = self.path / RECORD
        try:
            contents = strict_json(file.read_text(encoding="utf-8"))
            version = contents["schema_version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{self.path} is no run folder: {file.name} is missing or not valid."
            ) from error
        if version != SCHEMA_VERSION:
            raise RunFolderError(
                f"{file} has schema version {version}; this InterpBench reads {SCHEMA_VERSION}."
            )
        try:
            info = RunInfo.model_validate(contents)
        except ValidationError as invalid:
            key, reason, _ = first_problem(invalid)
            raise RunFolderError(
                f"{file} is not valid: key {key!r}: {reason}. Begin the run anew with --overwrite."
            ) from None
        missing = [key for key in _ALWAYS if key not in info.model_fields_set]
        missing += [f"suite.{key}" for key in _OF_SUITE if key not in info.suite.model_fields_set]
        if missing:
            raise RunFolderError(
                f"{file} is not valid: key {missing[0]!r} is missing, which every run has. Begin "
                "the run anew with --overwrite."
            )
        return info

    def write_info(self, info: RunInfo) -> None:
        """Writes run.json, which nothing else in the folder could be put together to again."""
        content = info.text().encode()
        with _disk(self.path):
            write_atomically(
                self.path / RECORD, lambda path: path.write_bytes(content), durable=True
            )
            (self.path / REPLACED).unlink(missing_ok=True)

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
        for name, content in files_of_model(result).items():
            self.write(f"models/{name}", partial(_put, content))

    def write_block(self, result: BlockResult) -> None:
        """Writes a block of a cell that is not finished yet."""
        with _disk(self.path):
            self._blocks.write(result)

    def block_numbers(self, cell: Cell) -> list[int]:
        """Which blocks there are of a cell that is not finished."""
        with _disk(self.path):
            return self._blocks.numbers(cell)

    def block(self, cell: Cell, number: int) -> BlockResult:
        """A block of a cell that is not finished.

        Raises:
            DamagedError: if it is missing, or not what was written.
        """
        return self._blocks.read(cell, number)

    def forget_blocks(self, cell: Cell) -> None:
        """Removes the blocks of a cell that is finished."""
        with _disk(self.path):
            self._blocks.forget(cell)

    def write_cell(self, result: CellResult) -> None:
        """Writes a finished cell; its folder appears whole or not at all."""
        final = self.path / "cells" / result.record.cell.folder
        with _disk(self.path), folder_beside(final) as unfinished:
            for name, content in files_of_cell(result).items():
                _put(content, unfinished / name)
            move_in_place_of(unfinished, final)

    def cell_records(self) -> list[CellRecord]:
        """The records of the run's finished cells, sorted by labels.

        Raises:
            DamagedError: if one is not what was written.
        """
        records = [read_cell_record(folder) for folder in self._cell_folders(self.info())]
        return sorted(records, key=lambda record: record.cell)

    def cells(self) -> Iterator[CellResult | DamagedError]:
        """The run's finished cells, or what is wrong with them."""
        for folder in self._cell_folders(self.info()):
            try:
                yield read_cell(folder)
            except DamagedError as damaged:
                yield damaged

    def model(self, dataset: str, model: str) -> ModelResult:
        """What was measured of a model.

        Raises:
            DamagedError: if it is missing, or not what was written.
        """
        return read_model(self.path / "models" / f"{safe_name(dataset, model)}.json")

    def models(self) -> list[ModelResult]:
        """What was measured of all models so far, sorted by their files.

        Raises:
            DamagedError: if something is not what was written.
        """
        return [read_model(path) for path in sorted((self.path / "models").glob("*.json"))]

    def model_records(self) -> list[ModelRecord]:
        """What was measured of the models of the run's finished cells, sorted by labels.

        Raises:
            DamagedError: if something is not what was written.
        """
        return [model.record for model in self._models(self.cell_records())]

    def _models(self, cells: Sequence[CellRecord]) -> list[ModelResult]:
        """What was measured of cells' models; of one that failed itself, nothing may be there."""
        scored = {(cell.dataset, cell.model): False for cell in cells}
        scored |= {(cell.dataset, cell.model): True for cell in cells if cell.status == "ok"}
        models = []
        for labels, needed in sorted(scored.items()):
            try:
                models.append(self.model(*labels))
            except DamagedError:
                if needed:
                    raise
        return models

    def _cell_folders(self, info: RunInfo) -> list[Path]:
        """The folders of the run's finished cells: those that it plans and that are there."""
        found = _visible(self.path / "cells")
        if info.cells:
            return [path for path in found if path.name in info.cells]
        return [path for path in found if path.is_dir()]

    def assemble(self) -> RunTables:
        """Puts the tables together from the finished cells, and writes them."""
        made: list[RunTables] = []

        def write_curves(path: Path) -> None:
            with CurvesFile(path) as file:
                made.append(self._assembled(file))

        self.write("curves.parquet", write_curves)
        [tables] = made
        self.write("scores.parquet", lambda path: tables.scores.to_parquet(path, index=False))
        self.write("scores.csv", lambda path: write_csv(tables.scores, path))
        self.write("timings.csv", lambda path: write_csv(tables.timings, path))
        self.write("cost.csv", lambda path: write_csv(cost(tables), path))
        return tables

    def tables(self) -> RunTables:
        """The tables of a run, finished or not.

        Raises:
            RunFolderError: if something of it is damaged, or missing in a finished run.
        """
        return self._assembled(None)

    def curves(self, **labels: str | None) -> pd.DataFrame:
        """The curves of single images, a row each, with CURVE_COLUMNS, sorted by their labels.

        Parameters:
            labels: dataset, model, method or metric -> of which alone; None for all.

        Raises:
            RunFolderError: if something of the run is damaged.
        """
        wanted = {column: label for column, label in labels.items() if label is not None}
        frames = [
            rows
            for record in self.cell_records()
            if not record.is_search
            and all(getattr(record, key) == wanted[key] for key in wanted if key != "metric")
            for rows in [read_curves(self.path / "cells" / record.cell.folder, record)]
            if len(rows)
        ]
        if "metric" in wanted:
            frames = [rows[rows["metric"] == wanted["metric"]] for rows in frames]
        if not frames:
            return pd.DataFrame(columns=CURVE_COLUMNS)
        return pd.concat([_sorted(rows) for rows in frames], ignore_index=True)

    def _assembled(self, file: CurvesFile | None) -> RunTables:
        """The tables.

        Parameters:
            file: gets all curves, sorted by their labels; where there is none, they are read when
                their means are asked for.
        """
        info = self.info()
        records = self.cell_records()
        self._refuse_contradictions(info, records)
        assembly = Assembly(info)
        for record in records:
            folder = self.path / "cells" / record.cell.folder
            cell = read_scores(folder, record)
            self._refuse_unknown_metrics(info, cell)
            assembly.add(cell)
            if file is None:
                check_curves(folder, record)
        curves = partial(self._mean_curves, records, info.seed, file)
        means: MeanCurves = LazyCurves(curves) if file is None else curves()
        return assembly.tables(self._models(records), means)

    def _mean_curves(
        self, records: Sequence[CellRecord], seed: int, file: CurvesFile | None
    ) -> dict[CurveKey, MeanCurve]:
        """The means of the curves of cells; a cell's curves are gone before the next are read."""
        means: dict[CurveKey, MeanCurve] = {}
        for record in records:
            if not record.is_search:
                folder = self.path / "cells" / record.cell.folder
                curves = read_curve_table(folder, record)
                try:
                    means |= mean_curves_of(curves, seed)
                except ValueError as error:
                    raise DamagedError(folder, str(error)) from None
                if file is not None:
                    file.write_table(curves)
        return means

    def _refuse_contradictions(self, info: RunInfo, cells: Sequence[CellRecord]) -> None:
        """Refuses what would make another table than the run's: run.json and cells disagree."""
        missing = sorted(set(info.cells) - {record.cell.folder for record in cells})
        if missing and info.is_finished:
            raise DamagedError(self.path / "cells" / missing[0], "it is missing")
        if isinstance(info.settings, Suite) and info.settings.seed != info.seed:
            raise RunFolderError(
                f"{self.path / RECORD} is not valid: it says two seeds, {info.seed} and "
                f"{info.settings.seed}. Begin the run anew with --overwrite."
            )

    def _refuse_unknown_metrics(self, info: RunInfo, cell: CellResult) -> None:
        unknown = set(cell.scores["metric"]) - set(info.metrics)
        if unknown:
            raise RunFolderError(
                f"{self.path / RECORD} does not fit the run's cells: it knows no metric "
                f"{min(unknown)!r}. Begin the run anew with --overwrite."
            )


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder of a run, but for what is hidden: it is unfinished, or not a run's.

    Raises:
        DamagedError: if it is none.
    """
    try:
        return [path for path in content_of(folder) if not path.name.startswith(".")]
    except OSError as error:
        raise DamagedError(folder, error.strerror or str(error)) from None


def _sorted(curves: pd.DataFrame) -> pd.DataFrame:
    """Those of one cell."""
    return curves.sort_values(["metric", "sample_id"], ignore_index=True)


def _put(content: bytes, path: Path) -> None:
    path.write_bytes(content)


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
