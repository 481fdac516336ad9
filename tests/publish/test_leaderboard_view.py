"""Leaderboards laid out: which methods are bold, what Markdown escapes, and the command as a user runs it."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpbench.publish.latex_tables import latex
from interpbench.publish.leaderboard_view import UNRANKED, grids, markdown
from tests.command_line import call, refused
from tests.synthetic_tables import board_of

METHODS = ("gradcam", "occlusion:stride=8,window=16", "random", "saliency")


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    return board_of(models=("alexnet", "resnet18"), methods=METHODS)


def test_a_grid_has_every_number_of_the_board(board: pd.DataFrame) -> None:
    for grid in grids(board):
        of_model = board[board["model"] == grid.model]
        assert len(grid.rows) == len(METHODS)
        for row in grid.rows:
            for metric, entry in zip(grid.metrics, row.entries, strict=True):
                [found] = of_model[
                    (of_model["metric"] == metric.name) & (of_model["method"] == row.label)
                ].to_dict("records")
                assert entry is not None
                assert (entry.mean, entry.low, entry.high) == (
                    found["mean"],
                    found["low"],
                    found["high"],
                )
                assert entry.letters == found["letters"]
                assert (
                    f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" in entry.text
                )
                assert metric.arrow == {"lower": "↓", "higher": "↑"}[found["better"]]


@settings(deadline=None)
@given(drawn=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=4, max_size=4))
def test_bold_is_a_method_in_the_first_place_where_no_control_is_and_never_a_control(
    board: pd.DataFrame,
    drawn: list[tuple[int, bool]],
) -> None:
    rows = board[(board["model"] == "alexnet") & (board["metric"] == "deletion")]
    ranks, controls = zip(*drawn, strict=True)
    roles = ["control" if control else "method" for control in controls]
    [grid] = grids(rows.assign(rank=list(ranks), rank_to=4, role=roles))
    bold = [row.entries[0].leads for row in grid.rows if row.entries[0] is not None]
    level = (1, True) in drawn
    assert bold == [rank == 1 and not control and not level for rank, control in drawn]
    lines = [line for line in markdown([grid]).splitlines() if line.startswith("|")]
    assert "\n".join(lines).count("**") == 2 * sum(bold)
    assert latex([grid]).count(r"\textbf{") == sum(bold)
    assert latex([grid]).count(r"\textit{") == sum(controls)


def test_a_method_without_a_score_has_a_dash() -> None:
    [grid] = grids(board_of(methods=METHODS, failed=["gradcam"]))
    [failed] = [row for row in grid.rows if row.label == "gradcam"]
    assert set(failed.entries) == {None}
    [line] = [line for line in markdown([grid]).splitlines() if "gradcam" in line]
    assert set(line.replace("gradcam", "").split()) == {"|", "–"}


def test_markdown_escapes_what_means_something_there() -> None:
    nasty = "a|b_c*<script>&%$#{}~^\\"
    board = board_of(methods=("gradcam", "random"), metrics=("deletion",))
    text = markdown(grids(board.replace({"method": {"gradcam": nasty}})))
    [line] = [line for line in text.splitlines() if "script" in line]
    assert "a\\|b\\_c\\*\\<script\\>" in line
    assert line.replace("\\|", "").count("|") == 3


def test_leaderboard_as_a_user_runs_it(results: Path, tmp_path: Path) -> None:
    common = ["leaderboard", "--results", str(results)]
    code, out, error = call(*common, columns=160)
    assert code == 0, error
    assert "resnet18 on planted" in out
    assert "Bold leads: " in out
    # The suite has four images, and three methods.
    headline = "With 4 images and 3 methods no difference can be shown."
    assert headline in out.splitlines()
    assert call(*common, "--format", "markdown")[1].startswith(f"**{headline}**\n\n- ")
    latex_text = call(*common, "--format", "latex")[1]
    assert latex_text.count(r"\begin{table*}") == latex_text.count(headline) == 2
    assert call(*common, "--model", "alexnet", "--format", "csv")[1].count("\n") == 1 + 6
    code, _, error = call(
        *common, "--format", "latex", "--sort", "-share", "--output", tmp_path / "board.tex"
    )
    assert code == 0, error
    assert (tmp_path / "board.tex").read_text().count(r"\begin{table*}") == 2
    assert "Give a CSV, or --results DIR" in refused("leaderboard", "--results", str(tmp_path))
    assert "Unknown model 'alexnett'. Did you mean 'alexnet'" in refused(
        *common, "--model", "alexnett"
    )
    assert "is no leaderboard" in refused(
        "leaderboard", str(results / "few" / "ada" / "scores.csv")
    )


def test_where_several_people_have_published_each_method_says_whose_it_is(
    board: pd.DataFrame,
) -> None:
    theirs = board.assign(
        by=["Ada" if method == "random" else "Grace" for method in board["method"]]
    )
    assert {row.label for row in grids(theirs)[0].rows} == {
        f"{method} ({'Ada' if method == 'random' else 'Grace'})" for method in METHODS
    }


def test_where_there_are_no_places_a_note_says_why(board: pd.DataFrame) -> None:
    unranked = board.assign(letters="")
    unranked[["rank", "rank_to"]] = pd.NA
    found = grids(unranked)
    assert all(grid.notes == (UNRANKED,) for grid in found)
    assert UNRANKED in markdown(found)
    assert UNRANKED in latex(found)
    assert "**0" not in markdown(found)
    assert not any(grid.notes for grid in grids(board))


def test_names_steer_neither_markdown_nor_latex(board: pd.DataFrame) -> None:
    named = board.assign(method=board["method"].replace("random", "a\x1b[2Jb\n| c\u202ed"))
    for text in (markdown(grids(named)), latex(grids(named))):
        assert not set(text) & {"\x1b", "\u202e"}
        assert "x1b" in text
    rows = [line for line in markdown(grids(named)).splitlines() if "x1b" in line]
    assert all(line.startswith("| a") and line.endswith(" |") for line in rows)
