"""From a finished run to a submission, and onto the leaderboard of its suite."""

import os
import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from interpbench.core.errors import SubmissionError
from interpbench.files.atomic import folder_beside
from interpbench.files.records import first_problem
from interpbench.publish.integrity import faults
from interpbench.publish.submission import (
    SLUG,
    CellOf,
    Submission,
    SubmissionRecord,
    read_submission,
    write_tables,
)
from interpbench.publish.suite_leaderboard import (
    OTHER_FOLDERS,
    read_submissions,
    why_not_comparable,
    write_leaderboard,
)
from interpbench.registry.plugin import MEMORY
from interpbench.results.finished_run import Run
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import ModelRecord, RunInfo
from interpbench.suite.suite import Suite


@dataclass(frozen=True)
class Published:
    """What `publish` did: the submission's folder, the leaderboard, whether anything changed."""

    folder: Path
    leaderboard: Path
    what: Literal["published", "unchanged", "superseded"]


def publish(
    run: Run,
    by: str,
    *,
    name: str | None = None,
    comment: str = "",
    results: str | Path = "results",
    declare_failures: bool = False,
    supersede: bool = False,
    suite: Suite | None = None,
) -> Published:
    """Publishes a finished run: writes `results/<suite>/<name>/` and the suite's leaderboard.

    Parameters:
        run: it.
        by: who publishes it.
        name: of the submission; made from `by` if None.
        comment: a line or two on what it is.
        results: where submissions and leaderboards lie.
        declare_failures: failed cells are meant to be there; each keeps its reason.
        supersede: take the place of the submission of this name, if it is by the same author.
        suite: that was run, where it is not a bundled one.

    Raises:
        SubmissionError: if the run is not finished or cannot be compared with what is published;
            the message lists why.
    """
    if not run.info.is_finished:
        raise SubmissionError(
            f"{run.folder} is not finished: run it again with --resume, then publish it."
        )
    in_memory = [name for name, it in run.info.plugins.items() if it.origin.startswith(MEMORY)]
    if in_memory:
        raise SubmissionError(
            f"{run.folder} cannot be published: nobody else can run {', '.join(in_memory)}, which "
            "exist in memory alone. Put them into files (--plugin FILE, FILE.py:FUNCTION, a folder "
            "of images), and run it again."
        )
    if not by.strip():
        raise SubmissionError("Who publishes it? Give your name with --by.")
    results = Path(results)
    name = _slug(by) if name is None else name
    if not re.fullmatch(SLUG, name):
        raise SubmissionError(
            f"{name!r} is no name for a submission: use lower case letters and digits, and . _ - "
            "between, 64 at most."
        )
    suite_name = run.info.suite.name
    if suite_name in OTHER_FOLDERS:
        raise SubmissionError(
            f"A suite cannot be called {suite_name!r}: {results / suite_name} "
            "is for something else."
        )
    final = results / suite_name / name
    old = read_submission(final) if final.exists() else None
    fixed = {"by": by, "name": name, "comment": comment, "failures_declared": declare_failures}
    with _disk(final.parent), folder_beside(final) as partial:
        partial.chmod(0o755)  # it is to be read by others
        files = write_tables(run.tables.scores, run.tables.ceilings, partial)
        record = _record(
            run, {**fixed, "files": files, "supersedes": old.record.supersedes if old else ()}
        )
        if old and record.digest == old.record.digest:
            return Published(final, write_leaderboard(results, suite_name), "unchanged")
        if old:
            record = _superseding(record, old.record, supersede)
        (partial / "run.json").write_text(record.text(), encoding="utf-8", newline="\n")
        new = read_submission(partial)
        _refuse(new, faults(new, suite=suite))
        others = [other for other in read_submissions(results, suite_name) if other.name != name]
        _refuse(new, [reason for other in others for reason in why_not_comparable(new, other)])
        if old:
            shutil.rmtree(final)
        os.replace(partial, final)
    return Published(
        final, write_leaderboard(results, suite_name), "superseded" if old else "published"
    )


def _superseding(new: SubmissionRecord, old: SubmissionRecord, asked: bool) -> SubmissionRecord:
    if not asked:
        raise SubmissionError(
            f"There is another submission {old.name!r}, by {old.by}. Give yours another --name; "
            "or, if it corrects that one, --supersede."
        )
    if new.by != old.by:
        raise SubmissionError(
            f"Submission {old.name!r} is by {old.by}; only its author can supersede it."
        )
    return new.model_copy(update={"supersedes": (*old.supersedes, old.digest)}).sealed()


def _refuse(submission: Submission, reasons: list[str]) -> None:
    if reasons:
        listed = "".join(f"\n- {reason}" for reason in reasons[:20])
        more = f"\nand {len(reasons) - 20} more" if len(reasons) > 20 else ""
        declare = any("not declared" in reason for reason in reasons)
        hint = (
            "\nIf failed cells are meant to be there, say so with --declare-failures."
            if declare
            else ""
        )
        raise SubmissionError(
            f"{submission.record.name!r} cannot be published:{listed}{more}{hint}"
        )


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SubmissionError(f"Cannot write to {folder}: {error.strerror or error}.") from error


def _record(run: Run, given: Mapping[str, Any]) -> SubmissionRecord:
    """What a run says of itself, without the paths of the machine that it ran on; sealed.

    Raises:
        SubmissionError: if something in it cannot be published, such as a name that is too long.
    """
    info, settings = run.info, run.info.settings
    if not isinstance(settings, Suite):
        raise SubmissionError(
            f"{run.folder} was made by another version of InterpBench, which has to publish it."
        )
    (dataset,) = {name for name, _ in run.tables.models}
    cells = RunFolder(run.folder).cell_records()
    contents = {
        **given,
        "suite": {"name": settings.name, "version": settings.version, "frame": settings.frame},
        "settings": settings,
        "data": {
            "name": dataset,
            **info.identity.data.contents(),
            "source_hash": info.identity.plugins[settings.dataset.partition(":")[0]],
        },
        "models": {
            label: _model(info, model) for (_, label), model in sorted(run.tables.models.items())
        },
        "methods": {
            record.method: {
                "source_hash": info.plugins[f"method {record.method}"].source_hash,
                "reference": info.plugins[f"method {record.method}"].reference,
                "parameters": record.parameters,
                "role": record.role,
            }
            for record in sorted(cells, key=lambda record: record.method)
            if not record.is_search
        },
        "metrics": {
            label: {**metric.contents(), "source_hash": info.plugins[f"metric {label}"].source_hash}
            for label, metric in sorted(info.metrics.items())
        },
        "cells": [{key: getattr(record, key) for key in CellOf.model_fields} for record in cells],
        "git": info.git.contents(),
        **{
            key: getattr(info, key)
            for key in ("started", "finished", "device", "precision", "versions")
        },
    }
    try:
        return SubmissionRecord.model_validate(contents).sealed()
    except ValidationError as invalid:
        key, reason, value = first_problem(invalid)
        raise SubmissionError(
            f"The run cannot be published: {key}: {reason} (got {str(value)[:200]!r})."
        ) from None


def _model(info: RunInfo, measured: ModelRecord) -> dict[str, object]:
    label = measured.model
    return {
        "source_hash": info.identity.plugins[label],
        "parameters": info.plugins[f"model {label}"].parameters,
        "weights": measured.weights,
        "weights_sha256": info.identity.weights[label],
        "preparation": measured.card.prepared,
        "outputs": info.identity.outputs.get(label, ""),
        "pixels_sha256": measured.pixels_sha256,
        "accuracy": measured.accuracy,
        "accuracy_images": measured.accuracy_images,
    }


def _slug(text: str) -> str:
    """A submission's name made of its author's."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64].strip("-")
    if not slug:
        raise SubmissionError(
            f"No name for a submission can be made of {text!r}: give one with --name."
        )
    return slug
