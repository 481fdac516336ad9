"""A leaderboard's CSV gives what the run itself gives, and what is none is refused with a reason."""

import re
from pathlib import Path

import pandas as pd
import pytest

from interpbench.core.errors import RunFolderError
from interpbench.files.csv_files import write_csv
from interpbench.publish.suite_leaderboard import COLUMNS
from interpbench.report.page import render
from interpbench.report.page.leaderboard_csv import of_csv
from interpbench.report.page.record import record
from interpbench.report.page.render import page
from interpbench.report.verdict.verdict import verdict
from tests.report.page.pages import HOSTILE, board_evidence, run_evidence

ROWS = [("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 2, "b")]
PUBLISHED = {
    "schema_version": 1, "suite": "cifar10", "suite_version": 3, "suite_hash": "feed", "data_revision": "files-1",
    "submission": "ours", "by": "A. Nonymous", "date": "2026-01-01", "device": "cpu", "precision": "fp32",
    "versions": "torch 2.15", "digest": "beef", "weights_sha256": "fade", "method_sha256": "cafe",
}  # fmt: skip


def test_a_leaderboard_says_what_its_run_says(tmp_path: Path) -> None:
    run = run_evidence(models=("a", "b"), images=12, failed=("sobel",), constant={"center": 2})
    write_csv(run.board, tmp_path / "leaderboard.csv")
    read = of_csv(tmp_path / "leaderboard.csv")
    pd.testing.assert_frame_equal(
        read.board[run.board.columns], run.board, check_dtype=False, rtol=1e-8
    )
    pd.testing.assert_frame_equal(read.agreement, run.agreement, check_dtype=False, rtol=1e-6)
    assert read.methods == run.methods
    assert {metric.line for metric in verdict(read).answer.metrics} == {
        metric.line for metric in verdict(run).answer.metrics
    }


def test_names_come_back_as_they_were(tmp_path: Path) -> None:
    names = ["=1+1", "-x", "@y", "'quoted", "a,b", *HOSTILE]
    evidence = board_evidence(
        *[("a", "deletion", name, 0.1 * i, 1, "a") for i, name in enumerate(names)]
    )
    write_csv(evidence.board, tmp_path / "board.csv")
    assert of_csv(tmp_path / "board.csv").board["method"].tolist() == names


def test_a_published_leaderboard_names_its_suite_and_submissions(tmp_path: Path) -> None:
    board = board_evidence(*ROWS).board.assign(**PUBLISHED)
    assert set(board.columns) <= set(COLUMNS)
    write_csv(board, tmp_path / "any.csv")
    found = of_csv(tmp_path / "any.csv")
    assert found.title == "cifar10 version 3"
    assert [submission.by for submission in found.submissions] == ["A. Nonymous"]


def test_a_published_leaderboard_says_how_it_was_made_and_who_submitted_what(
    tmp_path: Path,
) -> None:
    board = board_evidence(*ROWS).board.assign(**PUBLISHED)
    board.loc[board["method"] == "y", ["submission", "by", "date"]] = [
        "theirs",
        "Ada Lovelace",
        "2025-12-31",
    ]
    write_csv(board, tmp_path / "any.csv")
    found = record(of_csv(tmp_path / "any.csv"))
    assert [(entry.by, entry.date) for entry in found.submissions] == [
        ("Ada Lovelace", "2025-12-31"), ("A. Nonymous", "2026-01-01"),
    ]  # fmt: skip
    assert dict(found.facts) == {
        "suite": "cifar10 version 3, hash feed",
        "data revision": "files-1",
    }
    assert [(entry.name, entry.facts) for entry in found.models] == [
        ("planted a", (("weights' sha256", "fade"),))
    ]
    assert [(entry.name, entry.facts) for entry in found.plugins] == [
        (f"method {method}", (("source hash", "cafe"),)) for method in "xy"
    ]
    text = page(of_csv(tmp_path / "any.csv"))
    for part in ("2025-12-31", "torch 2.15", "fp32", ">by Ada Lovelace<", ">by A. Nonymous<"):
        assert part in text
    assert "nor how it was made" not in text


def test_of_one_submission_the_rows_need_no_name(tmp_path: Path) -> None:
    write_csv(board_evidence(*ROWS).board.assign(**PUBLISHED), tmp_path / "any.csv")
    text = page(of_csv(tmp_path / "any.csv"))
    assert "A. Nonymous" in text
    assert ">by A. Nonymous<" not in text


def test_of_a_large_board_a_page_shows_the_best_and_the_controls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        (model, metric, f"m{i:02d}", i / 100, i + 1, "")
        for model in "ab"
        for metric in ("deletion", "insertion")
        for i in range(30)
    ]
    write_csv(board_evidence(*rows, control="m17").board, tmp_path / "large.csv")
    evidence = of_csv(tmp_path / "large.csv")
    assert evidence.controls == {"m17"}
    whole = page(evidence)
    assert len(re.findall(r'<tr data-m="\d+" data-place', whole)) == 120
    assert "stand in the CSV" not in whole
    monkeypatch.setattr(render, "SHOWN_ROWS", 16)
    text = page(evidence)
    shown = re.findall(r'<tr data-m="(\d+)" data-place="(\d)" data-metric="(\d)"', text)
    best = {"0": ["0", "1", "2"], "1": ["29", "28", "27"]}
    for metric in "01":
        for place in "01":
            methods = [m for m, *where in shown if where == [place, metric]]
            assert set(methods) == {*best[metric], "17"}
    assert "104 rows more" in text
    assert verdict(evidence).headline in text


def test_few_columns_suffice(tmp_path: Path) -> None:
    board = board_evidence(*ROWS).board[
        ["dataset", "model", "metric", "better", "method", "n", "mean", "rank"]
    ]
    write_csv(board, tmp_path / "small.csv")
    headline = (
        "x leads, but was not shown to be better than every other method"  # for want of letters
    )
    assert verdict(of_csv(tmp_path / "small.csv")).answer.headline == headline


def test_roles_tell_the_controls_and_without_them_the_floors_do(tmp_path: Path) -> None:
    board = run_evidence(images=12).board
    write_csv(board, tmp_path / "board.csv")
    assert of_csv(tmp_path / "board.csv").controls == {"center", "random", "sobel"}
    older = board.drop(columns="role").assign(control="sobel")
    write_csv(older, tmp_path / "older.csv")
    assert of_csv(tmp_path / "older.csv").controls == {"sobel"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mean": "high"}, "mean is 'high' in row 1; expected a number"),
        ({"method": "x"}, "has x more than once by deletion on a"),
        ({"protocol": ["1", "2"]}, "more than one kind in column protocol"),
        ({"rank": pd.NA}, "scores without ranks"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    write_csv(board_evidence(*ROWS).board.assign(**changes), tmp_path / "board.csv")
    with pytest.raises(RunFolderError, match=says):
        of_csv(tmp_path / "board.csv")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a,b\n1,2\n", "lacks the columns dataset, model"),
        (b"", "lacks the columns dataset, model"),
        (b"\xff\xfe\x00,", "cannot be read"),
        (b"dataset,model,metric,better,method,n,mean,rank\n", "no rows"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "file.csv").write_bytes(content)
    with pytest.raises(RunFolderError, match=says):
        of_csv(tmp_path / "file.csv")
