"""Whether what is published holds together: everything that can be known without running a model.

Hashes, completeness, accuracy, dates, and that the leaderboard is what follows from the
submissions. Whether the scores are true only `rescoring` can say.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from interpbench.core.errors import InterpBenchError, SubmissionError
from interpbench.publish.submission import (
    KEY,
    Submission,
    SubmissionRecord,
    hashes,
    is_written,
    read_submission,
)
from interpbench.publish.suite_leaderboard import (
    COLUMNS,
    LEADERBOARDS,
    TYPES,
    cells_among,
    published_leaderboard,
    read_leaderboard,
    submission_folders,
    suites,
    why_not_comparable,
)
from interpbench.results.score_labels import row_numbers
from interpbench.suite.cells import search_for, searched_metric
from interpbench.suite.suite import Suite, load_suite, suite_names

# In the protocol of areas of logits, to which older records give the range of probabilities.
LOGITS = "parameter output: logit"
ROUNDING = 1e-6  # of an area, beyond its range


def check(results: Path) -> dict[str, list[str]]:
    """Each file or folder below `results` that was looked at, and its faults."""
    faults_of: dict[str, list[str]] = {}
    published = suites(results)
    for suite in published:
        sound: list[Submission] = []
        for folder in submission_folders(results, suite):
            name = f"{suite}/{folder.name}"
            try:
                submission = read_submission(folder)
            except SubmissionError as error:
                faults_of[name] = [str(error)]
                continue
            faults_of[name] = faults(submission, folder) or _conflicts(submission, sound)
            if not faults_of[name]:
                sound.append(submission)
        bad = len(submission_folders(results, suite)) - len(sound)
        faults_of[f"{LEADERBOARDS}/{suite}.csv"] = (
            [f"cannot be made, since {bad} of its submissions do not hold together"]
            if bad
            else list(_board_faults(results, suite, sound))
        )
    for path in sorted((results / LEADERBOARDS).glob("*.csv")):
        if path.stem not in published:
            faults_of[f"{LEADERBOARDS}/{path.name}"] = ["no submission stands behind it"]
    return faults_of


def faults(
    submission: Submission, folder: Path | None = None, suite: Suite | None = None
) -> list[str]:
    """What is wrong with a submission by itself.

    Parameters:
        submission: it.
        folder: where it lies, so that names and files can be compared; None if it is not written
            yet.
        suite: that it says it ran; the bundled one of that name by default.
    """
    record = submission.record
    problems = [*_seal_faults(record, folder)] if folder else []
    problems += _suite_faults(record, suite)
    problems += _record_faults(record)
    if not problems:  # only then are rows worth counting
        problems += _row_faults(submission)
    return problems


def _seal_faults(record: SubmissionRecord, folder: Path) -> Iterator[str]:
    if record.digest != record.computed_digest:
        yield "run.json was changed after it was published: its digest does not fit"
    elif not is_written(record, folder):
        yield "its record is not written as `publish` writes it, though it says the same"
    published = record.files.model_dump()
    for name, digest in hashes(folder).items():
        if digest != published[name]:
            yield f"{name}.csv is not the file that was published: its hash does not fit"
    if (record.suite.name, record.name) != (folder.resolve().parent.name, folder.resolve().name):
        yield f"it calls itself {record.suite.name}/{record.name} and lies in {folder}"


def _suite_faults(record: SubmissionRecord, suite: Suite | None) -> Iterator[str]:
    settings = record.settings
    if (record.suite.name, record.suite.version, record.suite.frame) != (
        settings.name,
        settings.version,
        settings.frame,
    ):
        yield "the suite's name, version or hash are not those of its settings"
    if suite is None:
        if record.suite.name not in suite_names():
            return  # somebody's own suite: submissions are compared with one another
        suite = load_suite(record.suite.name)
    if settings.version != suite.version:
        yield (
            f"it ran version {settings.version} of {suite.name}; the suite is at version "
            f"{suite.version}"
        )
    elif settings.frame != suite.frame:
        theirs, ours = settings.model_dump(), suite.model_dump()
        framing = [
            k
            for k in ours
            if k not in ("methods", "models", "metrics", "description") and ours[k] != theirs[k]
        ]
        yield (
            "it changed the suite: "
            f"{', '.join(f'{k} is {theirs[k]!r}, not {ours[k]!r}' for k in framing)}"
        )
    for kind in ("models", "metrics"):
        added = set(getattr(settings, kind)) - set(getattr(suite, kind))
        if added:
            yield (
                f"{', '.join(sorted(added))}: no {kind} of {suite.name}, which has "
                f"{', '.join(getattr(suite, kind))}"
            )


def _record_faults(record: SubmissionRecord) -> Iterator[str]:
    if not record.started <= record.finished <= datetime.now(UTC) + timedelta(days=1):
        yield (
            f"its dates cannot be: begun {record.started.isoformat()}, finished "
            f"{record.finished.isoformat()}"
        )
    for label, metric in record.metrics.items():
        if hashlib.sha256(metric.protocol_text.encode()).hexdigest()[:12] != metric.protocol:
            yield f"the protocol of {label} does not have the hash {metric.protocol}"
    listed, different = len(record.data.samples), len(set(record.data.samples))
    of_suite = record.settings.images or listed
    if different != listed or listed != of_suite:
        yield f"it lists {different} images; the suite has {of_suite}"
    yield from _cell_faults(record)


def _cell_faults(record: SubmissionRecord) -> Iterator[str]:
    cells = {(cell.model, cell.method): cell for cell in record.cells}
    searches = {search_for(label) for label, metric in record.metrics.items() if metric.curve}
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
        if cell.status == "ok" and cell.reason:
            yield f"{method} on {model} did not fail, and has a reason: {cell.reason}"
        if cell.status == "ok" and cell.images != len(record.data.samples):
            yield f"{method} on {model} saw {cell.images} of {len(record.data.samples)} images"
        if cell.signed is not None and cell.signed > cell.valid:
            yield f"{method} on {model} has {cell.signed} signed maps; {cell.valid} were valid"
    if record.settings.ceiling == "none":
        searches = set()
    absent = [
        (model, search)
        for model in record.models
        for search in searches
        if (model, search) not in cells
    ]
    for model, search in absent:
        yield f"the {searched_metric(search)} ceiling of {model} is missing"
    for model in record.models:
        if not any(cell.model == model and cell.role == "control" for cell in record.cells):
            yield f"{model} has no control, so no floor: run a control such as random too"


def _row_faults(submission: Submission) -> Iterator[str]:
    record = submission.record
    roles = {(cell.model, cell.method): cell.role for cell in record.cells}
    for name, frame, ceiling in (
        ("scores.csv", submission.scores, False),
        ("ceilings.csv", submission.ceilings, True),
    ):
        declared = frame["metric"].isin(list(record.metrics)) & frame["sample_id"].isin(
            record.data.samples
        )
        declared &= cells_among(
            frame, {key for key, role in roles.items() if (role == "ceiling") == ceiling}
        )
        if not declared.all():
            row = frame[~declared].iloc[0]
            yield f"{name} has a row that the record does not know: {' '.join(map(str, row[KEY]))}"
        numbers = row_numbers(frame, KEY)
        sorted_numbers = np.sort(numbers)
        twice = sorted_numbers[1:][sorted_numbers[1:] == sorted_numbers[:-1]]
        if len(twice):
            row = frame[numbers == twice[0]].iloc[0]
            yield f"{name} has a row twice: {' '.join(map(str, row[KEY]))}"
        if (numbers[1:] < numbers[:-1]).any():
            yield f"{name} is not sorted by {', '.join(KEY)}"
        if not np.isfinite(frame["value"].dropna()).all() or not frame["tied"].between(0, 1).all():
            yield f"{name} has a value that is not finite, or a share of ties that is not in 0..1"
    yield from _range_faults(submission)
    yield from _count_faults(submission)
    yield from _target_faults(submission)


def _range_faults(submission: Submission) -> Iterator[str]:
    """Scores lie within their metric's range, but for areas of logits, which have none."""
    for label, metric in submission.record.metrics.items():
        if LOGITS in metric.protocol_text.splitlines():
            continue
        least, greatest = metric.range
        outside = [
            rows[
                (rows["metric"] == label)
                & rows["value"].notna()
                & ~rows["value"].between(least - ROUNDING, greatest + ROUNDING)
            ]
            for rows in (submission.scores, submission.ceilings)
        ]
        if any(map(len, outside)):
            row = next(rows.iloc[0] for rows in outside if len(rows))
            yield (
                f"{label} of {row['method']} on {row['model']}, {row['sample_id']}, is "
                f"{row['value']:.6g}; its range is {least:g} to {greatest:g}"
            )


def _count_faults(submission: Submission) -> Iterator[str]:
    """An image may be absent where its map was constant or not finite, and only there."""
    counts: dict[tuple[str, str, str], int] = {}
    for rows in (submission.scores, submission.ceilings):
        counts |= rows.groupby(KEY[:3], observed=True).size().to_dict()
    for cell in submission.record.cells:
        metrics = list(submission.record.metrics)
        if cell.role == "ceiling":
            metrics = [str(searched_metric(cell.method))]
        for metric in metrics if cell.status == "ok" else []:
            scored = counts.get((cell.model, cell.method, metric), 0)
            if scored != cell.valid:
                yield (
                    f"{metric} of {cell.method} on {cell.model} has {scored} "
                    f"images; {cell.valid} had a valid map"
                )


def _target_faults(submission: Submission) -> Iterator[str]:
    """Label and target are the image's, whatever method.

    Where the target is the prediction, they give the accuracy.
    """
    record = submission.record
    about = ["model", "sample_id", "label", "target"]
    of_images = [
        rows[about].drop_duplicates().astype({"model": str, "sample_id": str})
        for rows in (submission.scores, submission.ceilings)
    ]
    images = pd.concat(of_images).drop_duplicates()
    if images.duplicated(["model", "sample_id"]).any():
        yield "an image has several labels or targets"
    elif record.settings.target == "predicted":
        for model, of_model in images.groupby("model"):
            accuracy = record.models[str(model)].accuracy
            whole = len(of_model) == len(record.data.samples)
            of_model = of_model[of_model["label"] >= 0]  # of the others no class is known
            if (
                whole
                and accuracy is not None
                and abs((of_model["label"] == of_model["target"]).mean() - accuracy) > 1e-9
            ):
                yield f"the accuracy of {model} is not what its rows give"


def _conflicts(submission: Submission, others: list[Submission]) -> list[str]:
    return [reason for other in others for reason in why_not_comparable(submission, other)]


def _board_faults(results: Path, suite: str, submissions: list[Submission]) -> Iterator[str]:
    path = results / LEADERBOARDS / f"{suite}.csv"
    if not path.is_file():
        yield "is missing: write it with `interpbench leaderboard --rebuild`"
        return
    try:
        written, expected = read_leaderboard(path), published_leaderboard(submissions)
    except InterpBenchError as error:
        yield str(error)
        return
    difference = _first_difference(written, expected)
    if difference:
        yield (
            f"is not what its submissions give: {difference}. Write it again with `interpbench "
            "leaderboard --rebuild`"
        )


def _first_difference(written: pd.DataFrame, expected: pd.DataFrame) -> str:
    """Where two leaderboards differ first.

    Numbers count to seven digits, as they may come from another machine.
    """
    if len(written) != len(expected):
        return f"it has {len(written)} rows, not {len(expected)}"
    for column in COLUMNS:
        written_values, expected_values = written[column], expected[column]
        if TYPES[column] == "str":
            same = (written_values == expected_values).to_numpy()
        else:
            written_values, expected_values = (
                c.astype("Float64").to_numpy(float, na_value=np.nan)
                for c in (written_values, expected_values)
            )
            same = np.isclose(written_values, expected_values, rtol=1e-7, atol=1e-9, equal_nan=True)
        if not same.all():
            row = int(np.argmin(same))
            where = " ".join(
                str(expected[name].iloc[row]) for name in ("model", "metric", "method")
            )
            wrong, right = written[column].iloc[row], expected[column].iloc[row]
            return f"{column} of {where} is {wrong}, not {right}"
    return ""
