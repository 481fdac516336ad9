"""From a finished run to a submission, and onto the leaderboard of its suite."""

import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from interpbench.core.errors import SubmissionError
from interpbench.files.atomic import folder_beside
from interpbench.publish.integrity import faults
from interpbench.publish.run_record import Signed, record_of
from interpbench.publish.submission import (
    SLUG,
    Submission,
    SubmissionRecord,
    read_submission,
    write_tables,
)
from interpbench.publish.suite_leaderboard import (
    OTHER_FOLDERS,
    published_leaderboard,
    read_submissions,
    why_not_comparable,
    write_board,
    write_leaderboard,
)
from interpbench.registry.plugin import MADE_ELSEWHERE, MEMORY
from interpbench.results.finished_run import Run
from interpbench.results.run_folder import RunFolder
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
    _refuse_unfit(run, by)
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
    with _disk(final.parent), tempfile.TemporaryDirectory() as folder:
        old = read_submission(final) if final.exists() else None
        signed = Signed(
            name,
            by,
            comment,
            declare_failures,
            old.record.supersedes if old else (),
            write_tables(run.tables.scores, run.tables.ceilings, Path(folder)),
        )
        models, cells = list(run.tables.models.values()), RunFolder(run.folder).cell_records()
        new = record_of(run.info, models, cells, signed)
        if old and new.digest == old.record.digest:
            return Published(final, write_leaderboard(results, suite_name), "unchanged")
        if old:
            new = _superseding(new, old.record, supersede)
        (Path(folder) / "run.json").write_text(new.text(), encoding="utf-8", newline="\n")
        board = _board_with(read_submission(Path(folder)), results, suite)
        _move(Path(folder), final)
        return Published(
            final,
            write_board(results, suite_name, board),
            "superseded" if old else "published",
        )


def _refuse_unfit(run: Run, by: str) -> None:
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
    elsewhere = [
        name for name, it in run.info.plugins.items() if it.origin.startswith(MADE_ELSEWHERE)
    ]
    if elsewhere:
        raise SubmissionError(
            f"{run.folder} cannot be published: nobody can make the maps of {', '.join(elsewhere)} "
            "again, which come from files. Publish what makes them, as a method (`python -m "
            "interpbench new method NAME`), or run without them."
        )
    if run.info.identity.in_domain:
        raise SubmissionError(
            f"{run.folder} cannot be published: its metrics ask other networks than the explained "
            "ones (network=in-domain), whose weights a board does not hold. Run it without them."
        )
    if run.info.map_precision:
        raise SubmissionError(
            f"{run.folder} cannot be published: its maps were made in {run.info.map_precision}, "
            "and a board compares those of float32. Run it without --map-precision."
        )
    if not by.strip():
        raise SubmissionError("Who publishes it? Give your name with --by.")


def _board_with(new: Submission, results: Path, suite: Suite | None) -> pd.DataFrame:
    """The leaderboard with a new submission, or an old one's place taken by it.

    Raises:
        SubmissionError: if it does not hold together, or cannot be compared with the others.
    """
    _refuse(new, faults(new, suite=suite))
    published = read_submissions(results, new.record.suite.name)
    others = [other for other in published if other.name != new.name]
    _refuse(new, [reason for other in others for reason in why_not_comparable(new, other)])
    return published_leaderboard(sorted([*others, new], key=lambda submission: submission.name))


def _move(draft: Path, final: Path) -> None:
    """Puts a submission where it is published; it appears whole or not at all."""
    with folder_beside(final) as partial:
        partial.chmod(0o755)  # it is to be read by others
        for file in draft.iterdir():
            shutil.copyfile(file, partial / file.name)
        if final.exists():
            shutil.rmtree(final)
        os.replace(partial, final)


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


def _slug(text: str) -> str:
    """A submission's name made of its author's."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64].strip("-")
    if not slug:
        raise SubmissionError(
            f"No name for a submission can be made of {text!r}: give one with --name."
        )
    return slug
