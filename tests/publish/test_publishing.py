"""From a run to a leaderboard: what is written, what is refused, and that the order of publishing does not matter."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from interpbench import api
from interpbench.core.errors import SubmissionError
from interpbench.publish import publishing, suite_leaderboard
from interpbench.publish.integrity import check
from interpbench.publish.publishing import publish
from interpbench.publish.submission import read_submission
from interpbench.publish.suite_leaderboard import (
    COLUMNS,
    read_leaderboard,
    read_submissions,
    suites,
    write_leaderboard,
)
from interpbench.results.cell_folder import read_cell
from interpbench.results.finished_run import Run
from interpbench.results.leaderboard import COLUMNS as OF_A_RUN
from interpbench.suite.suite import Suite
from tests.command_line import call, refused
from tests.paths import ROOT
from tests.published import copy_of, with_failed_cell
from tests.run_folders import write_cell


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_submission_holds_records_and_scores_and_no_machine_paths(
    finished: Run, results: Path
) -> None:
    folder = results / "few" / "ada"
    assert sorted(path.name for path in folder.iterdir()) == [
        "ceilings.csv",
        "run.json",
        "scores.csv",
    ]
    text = (folder / "run.json").read_text()
    assert str(finished.folder.parent) not in text
    assert str(ROOT) not in text
    submission = read_submission(folder)
    record = submission.record
    assert (record.by, record.suite.name, record.suite.version) == ("Ada", "few", 1)
    assert record.digest == record.computed_digest
    assert (
        record.models["resnet18"].weights_sha256 == finished.info["identity"]["weights"]["resnet18"]
    )
    assert len(submission.scores) == len(finished.scores) == 2 * 3 * 2 * 4
    pd.testing.assert_frame_equal(
        submission.tables.scores.sort_values(
            ["model", "method", "metric", "sample_id"], ignore_index=True
        ),
        finished.scores.sort_values(["model", "method", "metric", "sample_id"], ignore_index=True),
        check_dtype=False,
        rtol=1e-8,
    )


def test_the_leaderboard_is_that_of_the_run_and_says_where_it_came_from(
    finished: Run, results: Path
) -> None:
    board = read_leaderboard(results / "leaderboards" / "few.csv")
    assert list(board.columns) == COLUMNS
    shared = [c for c in OF_A_RUN if c not in ("reason",)]
    pd.testing.assert_frame_equal(
        board[shared], finished.leaderboard[shared], check_dtype=False, rtol=1e-6
    )
    assert set(board["submission"]) == {"ada"}
    assert board["precision"].eq("fp32").all()
    assert board["share"].notna().any()
    assert set(board["weights_sha256"]) == set(finished.info["identity"]["weights"].values())
    assert check(results) == {"few/ada": [], "leaderboards/few.csv": []}


def test_publishing_twice_changes_nothing(finished: Run, suite: Suite, results: Path) -> None:
    before = content(results)
    assert publish(finished, "Ada", results=results, suite=suite).what == "unchanged"
    assert content(results) == before


def test_methods_of_different_people_are_ranked_together_in_whatever_order(
    finished: Run, finished_with_mine: Run, suite: Suite, tmp_path: Path
) -> None:
    for folder, order in (("a", (0, 1)), ("b", (1, 0))):
        for index in order:
            run, by = ((finished, "Ada"), (finished_with_mine, "Grace Hopper"))[index]
            publish(run, by, results=tmp_path / folder, suite=suite)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    board = read_leaderboard(tmp_path / "a" / "leaderboards" / "few.csv")
    on_resnet = board[(board["model"] == "resnet18") & (board["metric"] == "deletion:steps=6")]
    assert sorted(on_resnet["method"]) == [
        "center",
        "mine",
        "random",
        "saliency",
    ]  # the controls once
    assert set(on_resnet["submission"]) == {"ada", "grace-hopper"}
    assert on_resnet["letters"].ne("").all()
    assert check(tmp_path / "a")["few/grace-hopper"] == []


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_two_branches_that_publish_merge_without_conflict(
    finished: Run, finished_with_mine: Run, suite: Suite, tmp_path: Path
) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    results = tmp_path / "results"
    publish(finished, "Ada", results=results, suite=suite)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "base")
    for branch in ("left", "right"):
        git(tmp_path, "checkout", "-q", "main")
        git(tmp_path, "checkout", "-qb", branch)
        publish(finished_with_mine, branch, results=results, suite=suite)
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", branch)
    git(tmp_path, "merge", "-q", "left", "-m", "both")  # raises where there is a conflict
    assert suites(results) == ["few"]
    write_leaderboard(results, "few")
    assert all(faults == [] for faults in check(results).values())
    assert {s.name for s in read_submissions(results, "few")} == {"ada", "left", "right"}


def test_a_corrected_submission_supersedes_by_name_and_says_so(
    finished: Run, finished_with_mine: Run, suite: Suite, results: Path
) -> None:
    old = read_submission(results / "few" / "ada").record
    with pytest.raises(SubmissionError, match=r"another submission 'ada'.*--supersede"):
        publish(finished_with_mine, "Ada", results=results, suite=suite)
    with pytest.raises(SubmissionError, match="is by Ada; only its author"):
        publish(finished_with_mine, "Eve", name="ada", supersede=True, results=results, suite=suite)
    assert read_submission(results / "few" / "ada").record == old
    done = publish(finished_with_mine, "Ada", supersede=True, results=results, suite=suite)
    assert done.what == "superseded"
    assert read_submission(done.folder).record.supersedes == (old.digest,)
    before = content(results)
    assert publish(finished_with_mine, "Ada", results=results, suite=suite).what == "unchanged"
    assert content(results) == before
    assert (
        publish(finished, "Ada", supersede=True, results=results, suite=suite).what == "superseded"
    )
    assert len(read_submission(done.folder).record.supersedes) == 2


def change(key: str, value: object, *, where: str = "identity"):
    """A change of run.json: the value at a dotted key of a section."""

    def changed(info: dict) -> None:
        section = info[where]
        *path, last = key.split("/")
        for name in path:
            section = section[name]
        section[last] = value

    return changed


INCOMPARABLE = {
    "another version": (
        change("version", 2, where="settings"),
        "version 2 of few; the suite is at version 1",
    ),
    "other steps": (change("steps", 7, where="settings"), "changed the suite: steps is 7, not 6"),
    "another target": (
        change("target", "label", where="settings"),
        "target is 'label', not 'predicted'",
    ),
    "another model": (
        change("models", ["resnet18", "evil.py:build"], where="settings"),
        "evil.py:build: no models of",
    ),
    "other data": (change("data/revision", "planted-2"), "its data are 'planted-2'"),
    "other images": (
        change("data/samples", ["a", "b", "c", "d"]),
        "row that the record does not know",
    ),
    "fewer images": (change("data/samples", ["a", "b", "c"]), "lists 3 images; the suite has 4"),
    "other weights": (change("weights/resnet18", "0" * 64), "resnet18 has other weights"),
    "other outputs": (
        change("outputs/resnet18", "sigmoid"),
        "resnet18 has its answers read as sigmoid, not softmax",
    ),
    "another protocol": (
        change("deletion:steps=6/protocol_text", "", where="metrics"),
        "does not have the hash",
    ),
    "a changed plugin": (
        change("method random/source_hash", "0" * 64, where="plugins"),
        "random is another plugin under the same name",
    ),
}


@pytest.mark.parametrize("case", INCOMPARABLE)
def test_what_cannot_be_compared_is_refused_and_leaves_nothing(
    case: str, finished_with_mine: Run, suite: Suite, results: Path, tmp_path: Path
) -> None:
    before = content(results)
    run = copy_of(finished_with_mine, tmp_path / "run", INCOMPARABLE[case][0])
    with pytest.raises(SubmissionError, match=INCOMPARABLE[case][1]):
        publish(run, "Grace", results=results, suite=suite)
    assert content(results) == before
    assert [path.name for path in (results / "few").iterdir()] == ["ada"]


def test_scores_of_another_machine_that_disagree_are_refused(
    finished: Run, finished_with_mine: Run, suite: Suite, results: Path, tmp_path: Path
) -> None:
    run = copy_of(finished_with_mine, tmp_path / "run", lambda info: None)
    [cell] = (run.folder / "cells").glob("*random*")
    scored = read_cell(cell)
    scored.scores.loc[0, "value"] += 0.01
    write_cell(cell, scored)
    from interpbench import api

    with pytest.raises(
        SubmissionError, match="random has other scores, though it has the same source"
    ):
        publish(api.load_run(run.folder), "Grace", results=results, suite=suite)


@pytest.mark.parametrize(("apart", "honest"), [(0.005, True), (0.02, False)])
def test_rare_scores_may_hang_on_the_last_bits(
    apart: float, honest: bool, finished_with_mine: Run, suite: Suite, results: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(suite_leaderboard, "RARE", 0.25)  # of four images, one
    run = copy_of(finished_with_mine, tmp_path / "run", lambda info: None)
    [cell] = (run.folder / "cells").glob("*random*")
    scored = read_cell(cell)
    scored.scores.loc[0, "value"] += apart
    write_cell(cell, scored)
    run = api.load_run(run.folder)
    if honest:
        publish(run, "Grace", results=results, suite=suite)
        assert not any(check(results).values())
    else:
        with pytest.raises(SubmissionError, match="random has other scores"):
            publish(run, "Grace", results=results, suite=suite)


def test_failed_cells_have_to_be_declared(finished: Run, suite: Suite, tmp_path: Path) -> None:
    run = with_failed_cell(finished, tmp_path / "run", "alexnet", "saliency")
    with pytest.raises(
        SubmissionError, match=r"(?s)saliency on alexnet failed.*it broke.*--declare"
    ):
        publish(run, "Ada", results=tmp_path / "results", suite=suite)
    publish(run, "Ada", declare_failures=True, results=tmp_path / "results", suite=suite)
    board = read_leaderboard(tmp_path / "results" / "leaderboards" / "few.csv").set_index(
        ["model", "method"]
    )
    assert set(board.loc[("alexnet", "saliency"), "reason"]) == {"it broke"}
    assert check(tmp_path / "results")["few/ada"] == []
    publish(finished, "Grace", results=tmp_path / "results", suite=suite)  # where it did not fail
    board = read_leaderboard(tmp_path / "results" / "leaderboards" / "few.csv").set_index(
        ["model", "method"]
    )
    assert set(board.loc[("alexnet", "saliency"), "submission"]) == {"grace"}


def test_an_unfinished_run_is_not_published(finished: Run, suite: Suite, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path / "run", lambda info: info.update(status="running"))
    with pytest.raises(SubmissionError, match="not finished: run it again with --resume"):
        publish(run, "Ada", results=tmp_path / "results", suite=suite)
    assert not (tmp_path / "results").exists()


def test_a_run_without_ceilings(suite: Suite, suite_file: Path, tmp_path: Path) -> None:
    run = api.run(
        str(suite_file), model="alexnet", method="center", ceiling="none", output=tmp_path / "run", device="cpu",
        plots=False,
    )  # fmt: skip
    with pytest.raises(SubmissionError, match="changed the suite: ceiling is 'none', not 2"):
        publish(run, "Ada", results=tmp_path / "results", suite=suite)
    assert not (tmp_path / "results").exists()
    without = suite.changed({"ceiling": "none"})
    publish(run, "Ada", results=tmp_path / "results", suite=without)
    assert not any(check(tmp_path / "results").values())
    board = read_leaderboard(tmp_path / "results" / "leaderboards" / "few.csv")
    assert board["share"].isna().all()
    assert board["mean"].notna().all()


def test_what_cannot_be_put_on_a_leaderboard_is_refused_before_it_is_written(
    finished: Run, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(submissions: object) -> None:
        raise SubmissionError("no leaderboard")

    monkeypatch.setattr(publishing, "published_leaderboard", fails)
    with pytest.raises(SubmissionError, match="no leaderboard"):
        publish(finished, "Ada", results=tmp_path / "results", suite=suite)
    assert not (tmp_path / "results").exists()


def test_publish_and_leaderboard_as_a_user_runs_them(
    finished: Run, suite_file: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    common = [
        "publish",
        str(finished.folder),
        "--suite",
        str(suite_file),
        "--results",
        str(results),
    ]
    signed = [*common, "--by", "Ada Lovelace", "--comment", "the first"]
    code, out, error = call(*signed)
    assert code == 0, error
    assert "few/ada-lovelace" in out
    assert "nothing changed" in call(*signed)[1]
    code, out, _ = call("leaderboard", "--check", "--results", results)
    assert (code, out.count("good")) == (0, 2)
    (results / "leaderboards" / "few.csv").unlink()
    code, out, _ = call("leaderboard", "--check", "--results", results)
    assert code == 1
    assert "leaderboard --rebuild" in out
    assert call("leaderboard", "--rebuild", "--results", results)[0] == 0
    assert "give one with --name" in refused(*common, "--by", "!!!")
    assert "is no run folder" in refused("publish", str(tmp_path), "--by", "Ada")
    assert (
        json.loads((results / "few" / "ada-lovelace" / "run.json").read_text())["comment"]
        == "the first"
    )


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/x", "a b", "", ".hidden", "a" * 65, "UP"])
def test_a_name_that_is_no_name_writes_nothing(
    name: str, finished: Run, suite: Suite, tmp_path: Path
) -> None:
    with pytest.raises(SubmissionError, match="is no name for a submission"):
        publish(finished, "Ada", name=name, results=tmp_path / "deep" / "results", suite=suite)
    assert content(tmp_path) == {}


def test_submissions_of_the_same_methods_on_different_models_stand_side_by_side(
    suite_file: Path, suite: Suite, tmp_path: Path
) -> None:
    for model in suite.models:
        run = api.run(
            str(suite_file), model=model, method="center", metric="deletion", output=tmp_path / model, device="cpu",
            plots=False,
        )  # fmt: skip
        publish(run, model, results=tmp_path / "results", suite=suite)
    assert all(faults == [] for faults in check(tmp_path / "results").values())
    board = read_leaderboard(tmp_path / "results" / "leaderboards" / "few.csv")
    assert list(zip(board["model"], board["by"], strict=True)) == [
        ("alexnet", "alexnet"),
        ("resnet18", "resnet18"),
    ]
    (tmp_path / "results" / ".git" / "objects").mkdir(parents=True)
    assert suites(tmp_path / "results") == ["few"]


def test_check_takes_no_arguments_that_it_would_ignore(results: Path, tmp_path: Path) -> None:
    assert "give nothing else" in refused(
        "leaderboard", "--results", str(results), "--check", "typo.csv"
    )
    assert "There is no folder" in refused(
        "leaderboard", "--results", str(tmp_path / "nothere"), "--check"
    )
