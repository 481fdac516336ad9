"""A run that breaks off at any operation on its folder goes on with --resume, and ends in the same bytes."""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from interpbench.core.errors import RunFolderError
from interpbench.results.run_folder import Mode, RunFolder
from tests.cached_runs import computed_once, content, run
from tests.crashes import Disk, How, Killed, opened_for_writing

__all__ = ["computed_once"]
BEGINNINGS = ("new", "resumed", "overwritten")


def go_on(folder: Path) -> None:
    """What a user does: resume, or replace where there is nothing to resume."""
    run(folder, "resume" if (folder / "run.json").is_file() else "overwrite")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, "new")
    return folder


@pytest.fixture(scope="module")
def begun(
    whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path | None, Mode]]:
    """What lies in the folder when a run begins, and how it begins."""
    half = shutil.copytree(whole, tmp_path_factory.mktemp("half") / "run")
    info = json.loads((half / "run.json").read_text())
    (half / "run.json").write_text(json.dumps(info | {"status": "running"}, indent=1) + "\n")
    shutil.rmtree(next((half / "cells").glob("*gradient*")))
    (half / "scores.csv").unlink()
    (next((half / "cells").glob("*center*")) / "maps.npz").write_bytes(b"")
    return {"new": (None, "new"), "resumed": (half, "resume"), "overwritten": (whole, "overwrite")}


def tried(folder: Path, begun: tuple[Path | None, Mode], disk: Disk) -> bool:
    """Whether a run broke off."""
    old, mode = begun
    if old is not None:
        shutil.copytree(old, folder)
    said = ""
    try:
        with disk.watched():
            run(folder, mode)
    except Killed:
        return True
    except RunFolderError as error:
        said = str(error)
    assert not said or re.search(r"No space left.*free some space", said, re.IGNORECASE), said
    return bool(said)


def points(folder: Path, begun: tuple[Path | None, Mode], how: How) -> int:
    disk = Disk(folder, how=how)
    assert not tried(folder, begun, disk)
    return len(disk.done)


def break_off_everywhere(
    begun: dict[str, tuple[Path | None, Mode]], whole: Path, tmp_path: Path, every: int
) -> int:
    """Breaks runs off at every so many operations; how many there were."""
    count, expected = 0, content(whole)
    for beginning in BEGINNINGS:
        for how in ("full", "killed"):
            of_all = points(tmp_path / f"{beginning}-{how}", begun[beginning], how)
            for at in range(1, of_all + 1, every):
                folder = tmp_path / f"{beginning}-{how}-{at}" / "run"
                folder.parent.mkdir()
                disk = Disk(folder, at, how)
                broken = tried(folder, begun[beginning], disk)
                where = f"{beginning}, {how} at {at}: {disk.done[at - 1]}"
                if broken:
                    read_or_refused(folder, whole)
                    go_on(folder)
                assert forgiven(content(folder), expected, beginning), where
                shutil.rmtree(folder.parent)
                count += 1
    return count


def forgiven(found: dict[str, bytes], expected: dict[str, bytes], beginning: str) -> bool:
    """Whether files are the same, but for the note of the cell that was damaged from the beginning."""
    if beginning == "resumed":
        said = json.loads(found["run.json"])
        said["notices"] = [notice for notice in said["notices"] if "is damaged" not in notice]
        found = found | {"run.json": json.dumps(said).encode()}
    return found == expected


def read_or_refused(folder: Path, whole: Path) -> None:
    """What is left of a run is refused, or read as a part of the whole."""
    try:
        found = RunFolder(folder).tables().scores
    except RunFolderError:
        return
    labels = ["method", "metric", "sample_id", "value"]
    scores = pd.read_csv(whole / "scores.csv")[labels]
    scores["value"] = scores["value"].map("{:.9g}".format)
    rows = found[labels].assign(value=found["value"].map("{:.9g}".format))
    assert set(rows.itertuples(index=False, name=None)) <= set(
        scores.itertuples(index=False, name=None)
    )
    if RunFolder(folder).info().is_finished:
        assert len(rows) == len(scores)


def test_a_run_that_breaks_off_at_any_operation_goes_on_to_the_same_bytes(
    begun: dict[str, tuple[Path | None, Mode]], whole: Path, tmp_path: Path
) -> None:
    assert break_off_everywhere(begun, whole, tmp_path, every=41) > 12


@pytest.mark.slow
def test_a_run_that_breaks_off_at_every_operation_goes_on_to_the_same_bytes(
    begun: dict[str, tuple[Path | None, Mode]], whole: Path, tmp_path: Path
) -> None:
    count = break_off_everywhere(begun, whole, tmp_path, every=1)
    print(f"{count} points of {len(BEGINNINGS)} beginnings")
    assert count >= 500


def test_a_run_writes_through_what_can_be_made_to_fail_and_nothing_else(tmp_path: Path) -> None:
    disk, folder = Disk(tmp_path / "run"), tmp_path / "run"
    with opened_for_writing() as told, disk.watched():
        run(folder, "new")
    counted = [path for what, path in disk.done if what == "open"]
    assert sorted(path for path in told if disk.holds(path)) == sorted(counted)
    reached = {Path(path).name for what, path in disk.done if what in ("open", "replace")}
    assert {path.name for path in folder.rglob("*") if path.is_file()} <= reached
    assert {"fsync", "mkdir", "open", "write", "replace", "link"} <= {what for what, _ in disk.done}


def test_the_record_is_there_before_the_rest(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "run", how="killed")
    with disk.watched():
        run(tmp_path / "run", "new")
    names = [Path(path).name for what, path in disk.done if what in ("replace", "mkdir")]
    assert names.index("run.json") < min(names.index("cells"), names.index("models"))


KILLS = 50


@pytest.mark.slow
def test_runs_killed_with_sigkill_resume_to_the_same_bytes(tmp_path: Path) -> None:
    """Whole runs with plots and page, in processes of their own, which hold all imports ready."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.running.whole_run"])
    from tests.running.whole_run import whole_run

    def begin(folder: Path, mode: str) -> Any:
        process = context.Process(target=whole_run, args=(folder, mode))
        process.start()
        return process

    begin(tmp_path / "whole", "new").join()  # which waits for the imports too
    expected, chance = unlike_time(tmp_path / "whole"), random.Random(0)
    started = time.monotonic()
    begin(tmp_path / "timed", "new").join()
    lasted = time.monotonic() - started
    killed = begun = 0
    while killed < KILLS:
        folder = tmp_path / str(begun)
        begun += 1
        assert begun <= 3 * KILLS, "they finish before they can be killed"
        process = begin(folder, "new")
        process.join(chance.uniform(0.05, 0.9) * lasted)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
        again = "resume" if (folder / "run.json").exists() else "overwrite"
        process = begin(folder, again)
        process.join()
        assert process.exitcode == 0, (begun, again)
        assert not differing(unlike_time(folder), expected), begun
        shutil.rmtree(folder)
    print(f"{killed} of {begun} runs were killed")


def differing(found: dict[str, bytes], expected: dict[str, bytes]) -> dict[str, Any]:
    """The files that are not as expected; of JSON, both values of each key that differs."""
    names = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    different: dict[str, Any] = dict.fromkeys(names, "other bytes")
    for name in names:
        if name.endswith(".json") and name in found and name in expected:
            ours, theirs = json.loads(found[name]), json.loads(expected[name])
            keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
            different[name] = {key: (ours.get(key), theirs.get(key)) for key in keys}
    return different


def unlike_time(folder: Path) -> dict[str, bytes]:
    """The files that have the same bytes in each run: without the seconds that it took, and what shows them."""
    files = content(folder)
    for name in [*files]:
        timed = (
            name in ("timings.csv", "cost.csv")
            or name.startswith("plots/quality-time")
            or name == "report.html"
        )
        if timed:
            assert files.pop(name)
    for name in [name for name in files if name.endswith(".json")]:
        said = json.loads(files[name])
        for key in ("attribution_seconds", "scoring_seconds", "checksums"):
            said.pop(key, None)
        said.pop("command", None)
        files[name] = json.dumps(said).encode()
    return files
