"""Leaderboards shown, filtered, sorted and merged; what is best is marked, and what ties with it."""

from pathlib import Path

import pandas as pd
import pytest

from interpbench.core.errors import SubmissionError, UnknownNameError
from interpbench.files.csv_files import write_csv
from interpbench.publish.leaderboard_view import (
    grids,
    latex,
    markdown,
    merge,
    read_board,
    select,
    sort,
)
from interpbench.results.finished_run import Run
from tests.command_line import call, refused
from tests.synthetic_tables import board_of

METHODS = ("gradcam", "occlusion:stride=8,window=16", "random", "saliency")


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    return board_of(models=("alexnet", "resnet18"), methods=METHODS)


def test_a_leaderboard_of_a_run_and_a_published_one_are_read(
    finished: Run, results: Path, tmp_path: Path
) -> None:
    write_csv(finished.leaderboard, tmp_path / "leaderboard.csv")
    mine, published = (
        read_board(tmp_path / "leaderboard.csv"),
        read_board(results / "leaderboards" / "few.csv"),
    )
    columns = [c for c in mine.columns if c != "reason"]
    pd.testing.assert_frame_equal(mine[columns], published[columns])
    both = merge({"mine": mine, "published": published})
    assert len(both) == len(mine)  # the same rows once
    with pytest.raises(SubmissionError, match=r"is no leaderboard.*results/leaderboards"):
        read_board(finished.folder / "scores.csv")
    with pytest.raises(SubmissionError, match="No such file"):
        read_board(tmp_path / "absent.csv")


def test_merging_other_methods_removes_the_ranks_and_conflicts_are_refused(
    board: pd.DataFrame,
) -> None:
    first, second = board[board["method"] != "random"], board[board["method"] == "random"]
    both = merge({"a.csv": first, "b.csv": second})
    assert len(both) == len(board)
    assert both["rank"].isna().all()  # only scores image by image could tell
    assert (
        merge(
            {
                "a.csv": board[board["model"] == "alexnet"],
                "b.csv": board[board["model"] == "resnet18"],
            }
        )["rank"]
        .notna()
        .all()
    )  # nothing meets
    with pytest.raises(SubmissionError, match=r"random on .* has several results .*a\.csv.*b\.csv"):
        merge({"a.csv": board, "b.csv": second.assign(mean=second["mean"] + 0.1)})
    with pytest.raises(SubmissionError, match=r"several protocols.*b\.csv: 000000000000"):
        merge({"a.csv": first, "b.csv": second.assign(protocol="000000000000")})


def test_filters_take_patterns_and_name_what_is_near(board: pd.DataFrame) -> None:
    found = select(board, {"model": ["res*"], "method": ["random", "occ*"], "metric": []})
    assert set(found["model"]) == {"resnet18"}
    assert set(found["method"]) == {"random", "occlusion:stride=8,window=16"}
    with pytest.raises(UnknownNameError, match="'gradcam'"):
        select(board, {"method": ["gradcamm"]})


def test_sorting_stays_within_a_model_and_metric(board: pd.DataFrame) -> None:
    for column, ascending in (("mean", True), ("-mean", False)):
        found = sort(board, column)
        for _, rows in found.groupby(["model", "metric"]):
            assert (
                rows["mean"].is_monotonic_increasing
                if ascending
                else rows["mean"].is_monotonic_decreasing
            )
        assert (
            found["metric"].drop_duplicates().tolist() == board["metric"].drop_duplicates().tolist()
        )
    with pytest.raises(UnknownNameError, match="'share'"):
        sort(board, "shar")


def test_a_grid_marks_the_best_and_what_ties_with_it(board: pd.DataFrame) -> None:
    for grid in grids(board):
        model = grid.title.split()[0]
        for column, title in enumerate(grid.header):
            rows = board[
                (board["model"] == model) & (board["metric"] == title.split()[0])
            ].set_index("method")
            best = rows["mean"].idxmin() if "↓" in title else rows["mean"].idxmax()
            for method, entries in grid.rows:
                tied = rows.loc[method, "rank"] == rows.loc[best, "rank"]
                assert entries[column].mark == (
                    "best" if method == best else "tied" if tied else ""
                )
                assert f"{rows.loc[method, 'mean']:.3f}" in entries[column].text


def test_a_method_without_a_score_has_a_dash() -> None:
    [grid] = grids(board_of(methods=METHODS, failed=["gradcam"]))
    assert {entry.text for entry in dict(grid.rows)["gradcam"]} == {"–"}


def test_markdown_and_latex_escape_what_means_something_there() -> None:
    nasty = "a|b_c*<script>&%$#{}~^\\"
    board = board_of(methods=("gradcam", "random"), metrics=("deletion",))
    found = grids(board.replace({"method": {"gradcam": nasty}}))
    text = markdown(found)
    [line] = [line for line in text.splitlines() if "script" in line]
    assert "a\\|b\\_c\\*\\<script\\>" in line
    assert line.replace("\\|", "").count("|") == 3
    assert "**" in text
    text = latex(found)
    assert r"a\textbar{}b\_c*\textless{}script\textgreater{}\&\%\$\#\{\}\textasciitilde{}" in text
    assert r"\textbf{" in text
    assert r"$\downarrow$" in text
    assert r"\toprule" in text


def test_leaderboard_as_a_user_runs_it(results: Path, tmp_path: Path) -> None:
    common = ["leaderboard", "--results", str(results)]
    code, out, error = call(*common, columns=160)
    assert code == 0, error
    assert "resnet18 on planted" in out
    assert "cannot be told apart" in out
    assert call(*common, "--model", "alexnet", "--format", "csv")[1].count("\n") == 1 + 6
    assert call(*common, "--format", "markdown")[1].startswith("**")
    code, _, error = call(
        *common, "--format", "latex", "--sort", "-share", "--output", tmp_path / "board.tex"
    )
    assert code == 0, error
    assert (tmp_path / "board.tex").read_text().count(r"\begin{table}") == 2
    assert "Give a CSV, or --results DIR" in refused("leaderboard", "--results", str(tmp_path))
    assert "Unknown model 'alexnett'. Did you mean 'alexnet'" in refused(
        *common, "--model", "alexnett"
    )
    assert "is no leaderboard" in refused(
        "leaderboard", str(results / "few" / "ada" / "scores.csv")
    )


def test_a_selection_says_what_is_best_among_all(board: pd.DataFrame) -> None:
    for (model, metric), rows in board.groupby(["model", "metric"]):
        for method in METHODS:
            [grid] = grids(
                select(board, {"model": [model], "metric": [metric], "method": [method]}), board
            )
            [everything] = grids(rows)
            assert grid.rows == [row for row in everything.rows if row[0] == method]


def test_where_several_people_have_published_each_method_says_whose_it_is(
    board: pd.DataFrame,
) -> None:
    theirs = board.assign(
        by=["Ada" if method == "random" else "Grace" for method in board["method"]]
    )
    assert {method for method, _ in grids(theirs)[0].rows} == {
        f"{method} ({'Ada' if method == 'random' else 'Grace'})" for method in METHODS
    }


def test_names_steer_neither_markdown_nor_latex(board: pd.DataFrame) -> None:
    named = board.assign(method=board["method"].replace("random", "a\x1b[2Jb\n| c\u202ed"))
    for text in (markdown(grids(named)), latex(grids(named))):
        assert not set(text) & {"\x1b", "\u202e"}
        assert "x1b" in text
    rows = [line for line in markdown(grids(named)).splitlines() if "x1b" in line]
    assert all(line.startswith("| a") and line.endswith(" |") for line in rows)
