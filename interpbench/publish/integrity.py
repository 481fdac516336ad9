"""Whether what is published holds together: everything that can be known without running a model.

Hashes, completeness, accuracy, dates, and that the leaderboard is what follows from the submissions. Whether the scores
are true only `verification` can say.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from interpbench.core.errors import InterpBenchError, SubmissionError
from interpbench.publish.submission import Record, Submission, hashes, read_submission
from interpbench.publish.suite_leaderboard import (
    COLUMNS,
    LEADERBOARDS,
    TYPES,
    published_leaderboard,
    read_leaderboard,
    submission_folders,
    suites,
    why_not_comparable,
)
from interpbench.suite.suite import Suite, load_suite, suite_names

KEY = ["model", "method", "metric", "sample_id"]


def check(results: Path) -> dict[str, list[str]]:
    """What is wrong with everything below `results`: each file or folder that was looked at, and its faults."""
    found: dict[str, list[str]] = {}
    known = suites(results)
    for suite in known:
        sound: list[Submission] = []
        for folder in submission_folders(results, suite):
            name = f"{suite}/{folder.name}"
            try:
                submission = read_submission(folder)
            except SubmissionError as error:
                found[name] = [str(error)]
                continue
            found[name] = faults(submission, folder) or _against(submission, sound)
            if not found[name]:
                sound.append(submission)
        bad = len(submission_folders(results, suite)) - len(sound)
        found[f"{LEADERBOARDS}/{suite}.csv"] = (
            [f"cannot be made, since {bad} of its submissions do not hold together"]
            if bad
            else list(_board_faults(results, suite, sound))
        )
    for path in sorted((results / LEADERBOARDS).glob("*.csv")):
        if path.stem not in known:
            found[f"{LEADERBOARDS}/{path.name}"] = ["no submission stands behind it"]
    return found


def faults(submission: Submission, folder: Path | None = None, suite: Suite | None = None) -> list[str]:
    """What is wrong with a submission by itself.

    Args:
        submission: it.
        folder: where it lies, so that names and files can be compared; None if it is not written yet.
        suite: that it says it ran; the bundled one of that name by default.
    """
    record = submission.record
    found = [*_seal_faults(record, folder)] if folder else []
    found += _suite_faults(record, suite)
    found += _record_faults(record)
    if not found:  # only then are rows worth counting
        found += _row_faults(submission)
    return found


def _seal_faults(record: Record, folder: Path) -> Iterator[str]:
    if record.digest != record.computed_digest:
        yield "run.json was changed after it was published: its digest does not fit"
    published = record.files.model_dump()
    for name, found in hashes(folder).items():
        if found != published[name]:
            yield f"{name}.csv is not the file that was published: its hash does not fit"
    if (record.suite.name, record.name) != (folder.resolve().parent.name, folder.resolve().name):
        yield f"it calls itself {record.suite.name}/{record.name} and lies in {folder}"


def _suite_faults(record: Record, suite: Suite | None) -> Iterator[str]:
    said = record.settings
    if (record.suite.name, record.suite.version, record.suite.frame) != (said.name, said.version, said.frame):
        yield "the suite's name, version or hash are not those of its settings"
    if suite is None:
        if record.suite.name not in suite_names():
            return  # somebody's own suite: submissions are compared with one another
        suite = load_suite(record.suite.name)
    if said.version != suite.version:
        yield f"it ran version {said.version} of {suite.name}; the suite is at version {suite.version}"
    elif said.frame != suite.frame:
        theirs, ours = said.model_dump(), suite.model_dump()
        framing = [k for k in ours if k not in ("methods", "models", "metrics", "description") and ours[k] != theirs[k]]
        yield f"it changed the suite: {', '.join(f'{k} is {theirs[k]!r}, not {ours[k]!r}' for k in framing)}"
    for kind in ("models", "metrics"):
        added = set(getattr(said, kind)) - set(getattr(suite, kind))
        if added:
            yield f"{', '.join(sorted(added))}: no {kind} of {suite.name}, which has {', '.join(getattr(suite, kind))}"


def _record_faults(record: Record) -> Iterator[str]:
    if not record.started <= record.finished <= datetime.now(UTC) + timedelta(days=1):
        yield f"its dates cannot be: begun {record.started.isoformat()}, finished {record.finished.isoformat()}"
    for label, metric in record.metrics.items():
        if hashlib.sha256(metric.protocol_text.encode()).hexdigest()[:12] != metric.protocol:
            yield f"the protocol of {label} does not have the hash {metric.protocol}"
    samples, wanted = record.data.samples, record.settings.images
    if len(set(samples)) != len(samples) or (wanted is not None and len(samples) != wanted):
        yield f"it lists {len(set(samples))} images; the suite has {wanted or len(samples)}"
    yield from _cell_faults(record)


def _cell_faults(record: Record) -> Iterator[str]:
    cells = {(cell.model, cell.method): cell for cell in record.cells}
    searches = {f"(ceiling) {label}" for label, metric in record.metrics.items() if metric.curve}
    if len(cells) != len(record.cells):
        yield "a cell is listed twice"
    for (model, method), cell in cells.items():
        is_search = cell.role == "ceiling" and method in searches
        if model not in record.models or not (is_search or method in record.methods):
            yield f"{method} on {model}: the record knows no such model or method"
        elif not is_search and cell.role != record.methods[method].role:
            yield f"{method} on {model} is a {cell.role}, elsewhere a {record.methods[method].role}"
        if cell.status == "failed" and not record.failures_declared:
            yield f"{method} on {model} failed, which is not declared: {cell.reason}"
        if cell.status == "ok" and cell.images != len(record.data.samples):
            yield f"{method} on {model} saw {cell.images} of {len(record.data.samples)} images"
    if record.settings.ceiling == "none":
        searches = set()
    absent = [(model, search) for model in record.models for search in searches if (model, search) not in cells]
    for model, search in absent:
        yield f"the {search.removeprefix('(ceiling) ')} ceiling of {model} is missing"
    for model in record.models:
        if not any(cell.model == model and cell.role == "control" for cell in record.cells):
            yield f"{model} has no control, so no floor: run a control such as random too"


def _row_faults(submission: Submission) -> Iterator[str]:
    record = submission.record
    roles = {(cell.model, cell.method): cell.role for cell in record.cells}
    for name, frame, ceiling in (("scores.csv", submission.scores, False), ("ceilings.csv", submission.ceilings, True)):
        known = frame["metric"].isin(list(record.metrics)) & frame["sample_id"].isin(record.data.samples)
        keys = list(zip(frame["model"], frame["method"], strict=True))
        known &= np.array([key in roles and (roles[key] == "ceiling") == ceiling for key in keys], dtype=bool)
        if not known.all():
            row = frame[~known].iloc[0]
            yield f"{name} has a row that the record does not know: {' '.join(map(str, row[KEY]))}"
        if frame.duplicated(KEY).any():
            yield f"{name} has a row twice: {' '.join(map(str, frame[frame.duplicated(KEY)].iloc[0][KEY]))}"
        if not frame.equals(frame.sort_values(KEY, ignore_index=True)):
            yield f"{name} is not sorted by {', '.join(KEY)}"
        if not np.isfinite(frame["value"].dropna()).all() or not frame["tied"].between(0, 1).all():
            yield f"{name} has a value that is not finite, or a share of ties that is not in 0..1"
    yield from _count_faults(submission)
    yield from _target_faults(submission)


def _count_faults(submission: Submission) -> Iterator[str]:
    """An image may be absent where its map was constant or not finite, and only there."""
    rows = pd.concat([submission.scores, submission.ceilings])
    counts = rows.groupby(["model", "method", "metric"]).size()
    for cell in submission.record.cells:
        metrics = list(submission.record.metrics)
        if cell.role == "ceiling":
            metrics = [cell.method.removeprefix("(ceiling) ")]
        for metric in metrics if cell.status == "ok" else []:
            there, due = counts.get((cell.model, cell.method, metric), 0), cell.images - cell.constant - cell.nonfinite
            if there != due:
                yield f"{metric} of {cell.method} on {cell.model} has {there} images; {due} had a valid map"


def _target_faults(submission: Submission) -> Iterator[str]:
    """Label and target are the image's, whatever method; where the target is the prediction, they give the accuracy."""
    record = submission.record
    rows = pd.concat([submission.scores, submission.ceilings])
    images = rows.drop_duplicates(["model", "sample_id", "label", "target"])
    if images.duplicated(["model", "sample_id"]).any():
        yield "an image has several labels or targets"
    elif record.settings.target == "predicted":
        for model, mine in images.groupby("model"):
            accuracy = record.models[str(model)].accuracy
            whole = len(mine) == len(record.data.samples)
            if whole and accuracy is not None and abs((mine["label"] == mine["target"]).mean() - accuracy) > 1e-9:
                yield f"the accuracy of {model} is not what its rows give"


def _against(submission: Submission, others: list[Submission]) -> list[str]:
    return [reason for other in others for reason in why_not_comparable(submission, other)]


def _board_faults(results: Path, suite: str, submissions: list[Submission]) -> Iterator[str]:
    path = results / LEADERBOARDS / f"{suite}.csv"
    if not path.is_file():
        yield "is missing: write it with `interpbench leaderboard --rebuild`"
        return
    try:
        there, due = read_leaderboard(path), published_leaderboard(submissions)
    except InterpBenchError as error:
        yield str(error)
        return
    difference = _first_difference(there, due)
    if difference:
        yield f"is not what its submissions give: {difference}. Write it again with `interpbench leaderboard --rebuild`"


def _first_difference(there: pd.DataFrame, due: pd.DataFrame) -> str:
    """Where two leaderboards differ first; numbers to seven digits, as they may come from another machine."""
    if len(there) != len(due):
        return f"it has {len(there)} rows, not {len(due)}"
    for column in COLUMNS:
        one, other = there[column], due[column]
        if TYPES[column] == "str":
            same = (one == other).to_numpy()
        else:
            one, other = (c.astype("Float64").to_numpy(float, na_value=np.nan) for c in (one, other))
            same = np.isclose(one, other, rtol=1e-7, atol=1e-9, equal_nan=True)
        if not same.all():
            row = int(np.argmin(same))
            where = " ".join(str(due[name].iloc[row]) for name in ("model", "metric", "method"))
            return f"{column} of {where} is {there[column].iloc[row]}, not {due[column].iloc[row]}"
    return ""
