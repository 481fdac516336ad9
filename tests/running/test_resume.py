"""What a resumed run compares with the record before it goes on, what it keeps of it, and who may write."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import interpbench
from interpbench.core.errors import RunFolderError
from interpbench.files.lock import Holder
from interpbench.results.cell_folder import files_of_model, read_model
from interpbench.results.run_folder import RunFolder
from interpbench.running import record, resume
from tests.cached_runs import computed_once, content, run, the_plan
from tests.command_line import call
from tests.run_folders import without_checksums

__all__ = ["computed_once"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, "new")
    return folder


@pytest.fixture
def begun(whole: Path, tmp_path: Path) -> Path:
    """A run that broke off before its last cell."""
    folder = shutil.copytree(whole, tmp_path / "run")
    edit(folder, status="running", finished="")
    shutil.rmtree(next((folder / "cells").glob("*gradient*")))
    return folder


def edit(folder: Path, **changes: Any) -> None:
    said = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(said | changes, indent=1) + "\n")


def edit_model(folder: Path, change: Callable[[Any], Any]) -> None:
    """Another record of the model, with checksums that fit."""
    [path] = (folder / "models").glob("*.json")
    model = read_model(path)
    for name, written in files_of_model(replace(model, record=change(model.record))).items():
        (folder / "models" / name).write_bytes(written)


class TestComparisons:
    """Nothing is mixed that was computed otherwise."""

    def test_other_pixels_are_refused_before_a_cell_runs(self, begun: Path) -> None:
        edit_model(begun, lambda record: record.model_copy(update={"pixels_sha256": "0" * 64}))
        with pytest.raises(RunFolderError, match=r"not those that 'quadrants' saw.*--overwrite"):
            run(begun, "resume")
        assert len(list((begun / "cells").iterdir())) == 2

    def test_another_image_that_cannot_be_read_is_refused(self, begun: Path) -> None:
        edit_model(begun, lambda record: record.model_copy(update={"skipped": {"a": "broken"}}))
        with pytest.raises(RunFolderError, match="not those that 'quadrants' saw"):
            run(begun, "resume")

    def test_a_model_that_was_compiled_goes_on_compiled(self, begun: Path) -> None:
        def compiled(record: Any) -> Any:
            scoring = record.scoring.model_copy(update={"compiled": "yes: in 3.0 s"})
            return record.model_copy(update={"scoring": scoring})

        edit_model(begun, compiled)
        with pytest.raises(
            RunFolderError, match=r"was compiled .*is not compiled now.*--compile always"
        ):
            run(begun, "resume")

    @pytest.mark.parametrize("package", ["torch", "numpy", "pillow"])
    def test_other_versions_are_refused_by_name(
        self, begun: Path, package: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = resume.versions()
        monkeypatch.setattr(resume, "versions", lambda: here | {package: "0.0.7"})
        with pytest.raises(
            RunFolderError, match=rf"versions \({package} {here[package]}, now 0\.0\.7\)"
        ):
            run(begun, "resume")

    def test_whether_to_compile_is_judged_by_all_cells(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from interpbench.running import image_stream, prepared_model

        judged, tune = [], prepared_model.tune
        monkeypatch.setattr(
            prepared_model, "tune",
            lambda scorer, x, passes, **wishes: judged.append(passes) or tune(scorer, x, passes, **wishes),
        )  # fmt: skip
        plan = the_plan()
        with image_stream.ImageStream(plan) as stream:
            prepared_model.PreparedModel(plan, "quadrants", stream)
        assert judged == [plan.scored_images(plan.cells)]


class TestWhatIsSaid:
    """What goes on otherwise, but counts as the same, is noted."""

    def test_another_isolation_or_number_of_threads(self, begun: Path) -> None:
        edit(begun, isolation="cell", threads=77)
        run(begun, "resume")
        notices = interpbench.load_run(begun).info.notices
        assert "The run began with isolation cell and went on with none." in notices
        assert any(note.startswith("The run began with threads 77 and") for note in notices)

    def test_nothing_is_said_where_nothing_differs(self, begun: Path) -> None:
        run(begun, "resume")
        assert interpbench.load_run(begun).info.notices == ()


class TestWhatIsKept:
    """What began a run stands in its record at the end too."""

    def test_a_change_of_the_suite_survives(self, begun: Path) -> None:
        edit(begun, suite=json.loads((begun / "run.json").read_text())["suite"] | {"changed": True})
        plan = replace(
            the_plan(), changed=False
        )  # the settings are the record's, so nothing differs
        folder = RunFolder(begun)
        with folder.writing("resume"):
            info = resume.begun_again(record.begun(plan), folder, resume.kept(folder, plan))
        assert info.suite.changed is True

    def test_command_beginning_and_notices_survive(self, begun: Path, whole: Path) -> None:
        edit(
            begun,
            command=["the", "first"],
            started="2001-01-01T00:00:00+00:00",
            notices=["take care"],
        )
        run(begun, "resume")
        info = interpbench.load_run(begun).info
        assert info.command == ("the", "first")
        assert info.started == "2001-01-01T00:00:00+00:00"
        assert info.finished > "2002"
        assert info.notices[0] == "take care"

    def test_a_finished_run_that_is_resumed_stays_as_it_is(
        self, whole: Path, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(whole, tmp_path / "run")
        run(folder, "resume")
        assert content(folder) == content(whole)

    def test_a_damaged_cell_is_run_again_with_a_note(self, whole: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(whole, tmp_path / "run")
        [cell] = (folder / "cells").glob("*center*")
        scores = cell / "scores.parquet"
        scores.write_bytes(scores.read_bytes()[:-1] + b"?")
        with pytest.raises(
            RunFolderError, match=r"scores.parquet is damaged: .*checksum.*--resume"
        ):
            interpbench.load_run(folder)
        run(folder, "resume")
        again = interpbench.load_run(folder)
        [note] = set(again.info.notices) - set(interpbench.load_run(whole).info.notices)
        assert note.startswith("Made anew when the run was resumed: cells/")
        assert "scores.parquet is damaged (it does not fit its checksum)" in note
        assert (folder / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()

    def test_a_run_of_before_there_were_checksums_opens_and_resumes(
        self, whole: Path, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(whole, tmp_path / "run")
        without_checksums(folder)
        assert interpbench.load_run(folder).leaderboard.equals(
            interpbench.load_run(whole).leaderboard
        )
        cells = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/*")}
        assert len(cells) == 12
        run(folder, "resume")
        assert {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/*")} == cells


class TestUnfinished:
    """A run in progress can be looked at."""

    def test_its_report_says_how_far_it_is(self, begun: Path, whole: Path) -> None:
        before = {path: path.read_bytes() for path in begun.rglob("*.json")}
        code, out, error = call("report", begun)
        assert code == 0, error
        assert "The run is not finished." in out
        assert "Some cells are missing (2 of 3 are there), and places may change." in out
        assert "Continue it with --resume." in out
        assert {path: path.read_bytes() for path in begun.rglob("*.json")} == before

    def test_its_report_says_who_writes_it(self, begun: Path) -> None:
        with Writer(begun) as pid:
            code, out, error = call("report", begun)
        assert code == 0, error
        assert f"It goes on in process {pid} on {os.uname().nodename}." in out

    def test_one_without_any_cell_has_a_report_too(self, begun: Path) -> None:
        for name in ("cells", "models", "plots"):
            shutil.rmtree(begun / name)
        code, out, error = call("report", begun)
        assert code == 0, error
        assert "Some cells are missing (0 of 3 are there)" in out

    def test_what_is_hidden_is_not_read(self, begun: Path, whole: Path) -> None:
        expected = interpbench.load_run(begun).scores
        [cell] = (whole / "cells").glob("*gradient*")
        shutil.copytree(cell, begun / "cells" / f".{cell.name}.x1")
        assert interpbench.load_run(begun).scores.equals(expected)


class Writer:
    """Another process that holds a run's lock; its number."""

    def __init__(self, folder: Path) -> None:
        self._code = (
            "import sys; from pathlib import Path; from interpbench.files.lock import Lock\n"
            f"Lock(Path({str(folder / 'run.lock')!r})).take(); print('taken', flush=True); sys.stdin.read()"
        )

    def __enter__(self) -> int:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self._code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "taken\n"
        return self.process.pid

    def __exit__(self, *_: object) -> None:
        self.process.kill()  # so that the lock is left behind
        self.process.wait()


class TestLock:
    """One writer a folder, and what a killed one has left is no obstacle."""

    @pytest.mark.parametrize("mode", ["resume", "overwrite"])
    def test_a_second_writer_is_refused_and_the_lock_of_a_killed_one_is_taken_over(
        self, begun: Path, whole: Path, mode: Any
    ) -> None:
        before = {path: path.read_bytes() for path in begun.rglob("*.*") if path.is_file()}
        with (
            Writer(begun) as pid,
            pytest.raises(
                RunFolderError, match=rf"is being written by process {pid} on .*run\.lock"
            ),
        ):
            run(begun, mode)
        assert (begun / "run.lock").exists()
        (begun / "run.lock").rename(begun / "kept.lock")
        assert {p: p.read_bytes() for p in before} == before
        (begun / "kept.lock").rename(begun / "run.lock")
        run(begun, mode)
        assert content(begun) == content(whole)

    def test_a_process_of_another_machine_may_live(self, begun: Path) -> None:
        (begun / "run.lock").write_text(Holder(pid=os.getpid(), host="far-away").text())
        with pytest.raises(
            RunFolderError, match=r"on far-away.*process is gone, remove .*run\.lock"
        ):
            run(begun, "resume")

    def test_a_number_that_another_process_has_now_is_no_holder(self) -> None:
        assert Holder(pid=1, host=os.uname().nodename).lives
        assert not Holder(pid=1, host=os.uname().nodename, began="another time").lives
        assert not Holder(pid=2**22 + 5, host=os.uname().nodename).lives

    def test_a_folder_of_something_else_keeps_no_lock(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("years of work")
        for mode in ("new", "overwrite", "resume"):
            with pytest.raises(RunFolderError, match=r"not empty|something else|no run to resume"):
                run(tmp_path, mode)  # type: ignore[arg-type]
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
