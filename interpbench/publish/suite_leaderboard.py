"""The published leaderboard of a suite: a pure function of its submissions.

The order in which they came does not matter.

    results/<suite>/<submission>/       what people published
    results/leaderboards/<suite>.csv    what follows from it

All methods are ranked together, on the images that they share. A method that several submissions
hold, as every one holds the controls, stands on the board once, as it was published first.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from interpbench.core.errors import SubmissionError
from interpbench.files.atomic import write_atomically
from interpbench.files.csv_files import read_csv, write_csv
from interpbench.publish.submission import KEY, SCHEMA_VERSION, Submission, read_submission
from interpbench.results import leaderboard as board
from interpbench.results.score_labels import joined, row_numbers
from interpbench.results.tables import RunTables

LEADERBOARDS = "leaderboards"
# Folders of results/ which are no suites.
OTHER_FOLDERS = (LEADERBOARDS, "runs", "explain", "gallery", "sanity", "conformance", "judge")
SUITE_COLUMNS = ["schema_version", "suite", "suite_version", "suite_hash", "data_revision"]
SOURCE_COLUMNS = [
    "weights_sha256",
    "method_sha256",
    "submission",
    "by",
    "date",
    "device",
    "precision",
    "versions",
    "digest",
]
COLUMNS = [*SUITE_COLUMNS, *board.COLUMNS, *SOURCE_COLUMNS]
_NUMBERS = {
    **dict.fromkeys(
        ["schema_version", "suite_version", "n", "constant", "nonfinite", "unscored"], "int64"
    ),
    **dict.fromkeys(["accuracy", "mean", "low", "high", "tied", "signed"], "float64"),
    **dict.fromkeys(["floor", "ceiling", "share", "share_low", "share_high"], "float64"),
    "rank": "Int64",
    "rank_to": "Int64",
}
# Of a metric's range: how far two scores may be apart if one is of half precision.
HALF_PRECISION = 0.02
RARE = 0.05  # of a method's scores by a metric: how many may be further apart than the tolerance,
FAR = 10  # and how many times as far
TYPES = {column: _NUMBERS.get(column, "str") for column in COLUMNS}


def suites(results: Path) -> list[str]:
    """The suites that have submissions below `results`."""
    if not results.is_dir():
        return []
    names = [
        path.name for path in results.iterdir() if path.is_dir() and not path.name.startswith(".")
    ]
    return sorted(
        name for name in names if name not in OTHER_FOLDERS and submission_folders(results, name)
    )


def submission_folders(results: Path, suite: str) -> list[Path]:
    """The folders of a suite's submissions, by name; what begins with a dot is unfinished."""
    folder = results / suite
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def read_submissions(results: Path, suite: str) -> list[Submission]:
    """All submissions of a suite, by name.

    Raises:
        SubmissionError: if one cannot be read.
    """
    return [read_submission(folder) for folder in submission_folders(results, suite)]


def published_leaderboard(submissions: Sequence[Submission]) -> pd.DataFrame:
    """The leaderboard of all methods of a suite's submissions, with COLUMNS, sorted as a run's is.

    Around the columns of a run's leaderboard stand those that say what was run, and where each row
    came from.
    """
    if not submissions:
        return pd.DataFrame(columns=COLUMNS)
    owners = _owners(submissions)
    frame = board.leaderboard(_merged(submissions, owners))
    sources = [
        _source(owners[row.model, row.method], row.model, row.method) for row in frame.itertuples()
    ]
    first = submissions[0].record
    return pd.concat([frame, pd.DataFrame(sources, index=frame.index)], axis=1).assign(
        schema_version=SCHEMA_VERSION,
        suite=first.suite.name,
        suite_version=first.suite.version,
        suite_hash=first.suite.frame,
        data_revision=first.data.revision,
    )[COLUMNS]


def write_leaderboard(results: Path, suite: str) -> Path:
    """Writes `leaderboards/<suite>.csv` from the suite's submissions; the file.

    Without any, it is removed.

    Raises:
        SubmissionError: if a submission cannot be read, or the file not be written.
    """
    return write_board(results, suite, published_leaderboard(read_submissions(results, suite)))


def write_board(results: Path, suite: str, board: pd.DataFrame) -> Path:
    """Writes a suite's leaderboard; the file. One without rows is removed.

    Raises:
        SubmissionError: if the file cannot be written.
    """
    path = results / LEADERBOARDS / f"{suite}.csv"
    try:
        if board.empty:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, lambda partial: write_csv(board, partial))
    except OSError as error:
        raise SubmissionError(f"Cannot write {path}: {error.strerror or error}.") from error
    return path


def read_leaderboard(path: Path) -> pd.DataFrame:
    """A published leaderboard, with COLUMNS.

    Raises:
        SubmissionError: if it is none.
    """
    try:
        return read_csv(path, TYPES)[COLUMNS]
    except ValueError as error:
        raise SubmissionError(f"{path}: {error}") from None


def why_not_comparable(new: Submission, other: Submission) -> list[str]:
    """Why two submissions cannot stand on one leaderboard; empty if they can."""
    return [f"{reason} (in submission {other.name!r})" for reason in _differences(new, other)]


def _differences(new: Submission, other: Submission) -> Iterable[str]:
    ours, theirs = new.record, other.record
    if ours.suite != theirs.suite:
        yield f"it ran {_name(new)}, not {_name(other)}: run the same version of the suite"
        return
    if (ours.data.revision, ours.data.samples) != (theirs.data.revision, theirs.data.samples):
        yield (
            f"its data are {ours.data.revision!r}, not {theirs.data.revision!r}, "
            "or other images of them"
        )
        return
    for label in ours.metrics.keys() & theirs.metrics.keys():
        if ours.metrics[label].protocol != theirs.metrics[label].protocol:
            yield (
                f"{label} has protocol {ours.metrics[label].protocol}, not "
                f"{theirs.metrics[label].protocol}"
            )
        for name in ("better", "range", "unit", "curve"):
            mine, other_s = (getattr(side.metrics[label], name) for side in (ours, theirs))
            if mine != other_s:
                yield f"the {name} of {label} is {mine}, not {other_s}"
    for label in ours.models.keys() & theirs.models.keys():
        if ours.models[label].weights_sha256 != theirs.models[label].weights_sha256:
            yield f"{label} has other weights"
        elif ours.models[label].prepared_otherwise(theirs.models[label].preparation):
            yield (
                f"{label} got its images prepared otherwise: {ours.models[label].preparation}, not "
                f"{theirs.models[label].preparation}"
            )
        elif ours.models[label].outputs != theirs.models[label].outputs:
            outputs = [side.models[label].outputs or "softmax" for side in (ours, theirs)]
            yield f"{label} has its answers read as {outputs[0]}, not {outputs[1]}"
        elif ours.models[label].pixels_sha256 != theirs.models[label].pixels_sha256:
            yield (
                f"{label} was shown other pixels: the images' files "
                "differ, or were decoded otherwise"
            )
    changed = [
        m
        for m in ours.methods.keys() & theirs.methods.keys()
        if ours.methods[m] != theirs.methods[m]
    ]
    for label in sorted(changed):
        yield (
            f"{label} is another plugin under the same name: give yours a new one, or run the "
            "published version"
        )
    yield from _other_scores(new, other, changed)


def _other_scores(new: Submission, other: Submission, changed: Sequence[str]) -> Iterable[str]:
    """Methods of the same source that do not have the same scores.

    Rare ones may be further apart, whose maps hang on the last bits of a sum, see `last_bits`.
    """
    merged = _of_both(new.scores, other.scores, changed)
    if merged.empty:
        return
    devices = (new.record.device, other.record.device)
    half = {new.record.precision, other.record.precision} != {"fp32"}
    allowed = (
        merged["metric"]
        .astype(str)
        .map(
            {
                label: HALF_PRECISION * scale(info.range)
                if half
                else tolerance(info.range, *devices)
                for label, info in new.record.metrics.items()
            }
        )
    )
    apart = (merged["value"] - merged["value_other"]).abs() / allowed
    of_metric = (apart > 1).groupby([merged[name] for name in KEY[:3]], observed=True)
    rare = of_metric.transform("mean") <= RARE
    far = 1 if half else FAR  # what half precision is allowed is more than last bits move
    differing = merged[(apart > 1) & ~(rare & (apart <= far))]
    for method, rows in differing.groupby("method", observed=True):
        row = rows.iloc[0]
        yield (
            f"{method} has other scores, though it has the same source: {row['metric']} of "
            f"{row['sample_id']} on {row['model']} is {row['value']:.6g}, not "
            f"{row['value_other']:.6g}"
        )


def _of_both(scores: pd.DataFrame, others: pd.DataFrame, changed: Sequence[str]) -> pd.DataFrame:
    """The rows that both have, with `value_other`, but for `changed` methods."""
    methods = set(scores["method"].unique()) & set(others["method"].unique()) - {*changed}
    parts = [rows[rows["method"].isin(methods)] for rows in (scores, others)]
    together = joined([part.assign(whose=i) for i, part in enumerate(parts)])
    if together.empty:
        return together
    numbers = row_numbers(together, KEY)
    mine, theirs = (together["whose"].to_numpy() == i for i in (0, 1))
    _, at, other_at = np.intersect1d(numbers[mine], numbers[theirs], return_indices=True)
    values = together["value"].to_numpy()
    return together[mine].iloc[at].assign(value_other=values[theirs][other_at])


def tolerance(limits: tuple[float, float], *devices: str) -> float:
    """How far two float32 scores of one map may be apart, in the metric's unit.

    Sums in another order change the last digits of an attribution, and so the order of positions
    that are nearly equal: 0.1 % of the metric's range, 0.5 % between kinds of devices.

    Parameters:
        limits: the metric's range.
        devices: that scored, in the words of the record.
    """
    return (0.001 if same_kind(*devices) else 0.005) * scale(limits)


def same_kind(*devices: str) -> bool:
    """Whether all devices, in the words of the record, are CPUs, or all GPUs of a kind."""
    return len({device.partition(" ")[0].partition(":")[0] for device in devices}) == 1


def scale(limits: tuple[float, float]) -> float:
    """The width of a metric's range; 1 where it has no end."""
    width = limits[1] - limits[0]
    return width if np.isfinite(width) else 1.0


def _name(submission: Submission) -> str:
    suite = submission.record.suite
    return f"{suite.name} version {suite.version} ({suite.frame})"


def _owners(submissions: Sequence[Submission]) -> dict[tuple[str, str], Submission]:
    """Whose a cell on the board is, by model and method.

    It is the first that did not fail, by date and then by name.
    """
    owners: dict[tuple[str, str], Submission] = {}
    for status in ("ok", "failed"):
        for submission in sorted(submissions, key=lambda s: (s.record.finished, s.name)):
            for cell in submission.record.cells:
                if cell.status == status:
                    owners.setdefault((cell.model, cell.method), submission)
    return owners


def _merged(
    submissions: Sequence[Submission], owners: dict[tuple[str, str], Submission]
) -> RunTables:
    def owned(submission: Submission, frame: pd.DataFrame) -> pd.DataFrame:
        cells = {key for key, owner in owners.items() if owner is submission}
        mine = cells_among(frame, cells)
        return frame if mine.all() else frame[mine]

    tables_of_submissions = [submission.tables for submission in submissions]
    pairs = list(zip(submissions, tables_of_submissions, strict=True))
    by = ["dataset", "model", "method"]
    return RunTables(
        scores=joined([owned(s, t.scores) for s, t in pairs]),
        curves={},
        cells=_concatenated([owned(s, t.cells) for s, t in pairs]).sort_values(
            by, ignore_index=True
        ),
        timings=pd.DataFrame(),
        metrics={
            label: info
            for tables in tables_of_submissions
            for label, info in sorted(tables.metrics.items())
        },
        models={
            key: info for tables in tables_of_submissions for key, info in tables.models.items()
        },
        examples=[],
        seed=submissions[0].record.settings.seed,
        ceilings=joined([owned(s, t.ceilings) for s, t in pairs]),
    )


def cells_among(rows: pd.DataFrame, cells: Collection[tuple[str, str]]) -> np.ndarray:
    """Whether the model and method of each row are among `cells`."""
    models, methods = (rows[name].astype("category") for name in ("model", "method"))
    known = [
        [(model, method) in cells for method in methods.cat.categories]
        for model in models.cat.categories
    ]
    shape = (len(models.cat.categories), len(methods.cat.categories))
    table = np.array(known, dtype=bool).reshape(shape)
    return np.asarray(table[models.cat.codes, methods.cat.codes])


def _concatenated(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def _source(submission: Submission, model: str, method: str) -> dict[str, str]:
    record = submission.record
    return {
        "weights_sha256": record.models[model].weights_sha256,
        "method_sha256": record.methods[method].source_hash,
        "submission": record.name,
        "by": record.by,
        "date": record.finished.isoformat(),
        "device": record.device,
        "precision": record.precision,
        "versions": "; ".join(
            f"{package} {version}" for package, version in sorted(record.versions.items())
        ),
        "digest": record.digest,
    }
