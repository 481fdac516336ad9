"""Leaderboards read, filtered, merged and sorted: equal rows once, others told apart, filters first."""

from pathlib import Path

import pandas as pd
import pytest

from interpbench.core.errors import RunFolderError, SubmissionError, UnknownNameError
from interpbench.files.csv_files import write_csv
from interpbench.publish.boards import (
    KEY,
    file_columns,
    merge,
    read_board,
    read_boards,
    select,
    sort,
)
from interpbench.report.page.leaderboard_csv import of_csv
from interpbench.results.finished_run import Run
from tests.command_line import call, refused
from tests.synthetic_tables import board_of

METHODS = ("gradcam", "occlusion:stride=8,window=16", "random", "saliency")
CONTROL = "random"


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    return board_of(models=("alexnet", "resnet18"), methods=METHODS)


def written(folder: Path, **boards: pd.DataFrame) -> list[Path]:
    """The CSVs of leaderboards, called after their keywords."""
    for name, board in boards.items():
        write_csv(board, folder / f"{name}.csv")
    return [folder / f"{name}.csv" for name in boards]


def merged(folder: Path, **boards: pd.DataFrame) -> pd.DataFrame:
    """The columns of the file of what they make together."""
    found = merge(read_boards(written(folder, **boards)))
    return found[file_columns(found)]


def only(board: pd.DataFrame, *methods: str) -> pd.DataFrame:
    return board[board["method"].isin(methods)]


def test_a_leaderboard_of_a_run_its_folder_and_a_published_one_are_read(
    finished: Run, results: Path, tmp_path: Path
) -> None:
    [path] = written(tmp_path, leaderboard=finished.leaderboard)
    mine, published = read_board(path), read_board(results / "leaderboards" / "few.csv")
    columns = [c for c in mine.columns if c != "reason"]
    pd.testing.assert_frame_equal(mine[columns], published[columns])
    of_folder = read_board(finished.folder)
    pd.testing.assert_frame_equal(of_folder[columns], mine[columns], rtol=1e-8)
    assert set(of_folder["date"]) == set(published["date"])
    assert set(of_folder["data_revision"]) == set(published["data_revision"])
    assert "parameter baseline: zero" in of_folder["protocol_text"].iloc[0]
    assert [list(frame) for frame in (mine, of_folder[file_columns(of_folder)], published)] == [
        file_columns(frame) for frame in (mine, of_folder, published)
    ]
    with pytest.raises(SubmissionError, match=r"is no leaderboard.*results/leaderboards"):
        read_board(finished.folder / "scores.csv")
    with pytest.raises(SubmissionError, match="No such file"):
        read_board(tmp_path / "absent.csv")
    with pytest.raises(RunFolderError):
        read_board(tmp_path)


def test_a_row_that_stands_twice_is_refused(board: pd.DataFrame, tmp_path: Path) -> None:
    [path] = written(tmp_path, twice=pd.concat([board, board.iloc[[2]]]))
    with pytest.raises(SubmissionError, match=rf"row {len(board) + 1} is of the same method"):
        read_board(path)


def test_a_run_a_copy_of_it_and_what_was_published_of_it_are_one(
    finished: Run, results: Path, tmp_path: Path
) -> None:
    paths = [
        *written(tmp_path, copy=finished.leaderboard),
        finished.folder,
        results / "leaderboards" / "few.csv",
    ]
    for order in (paths, [*paths[::-1], paths[0]]):
        found = merge(read_boards(order))
        expected = finished.leaderboard[KEY]
        pd.testing.assert_frame_equal(
            found[KEY].sort_values(KEY, ignore_index=True),
            expected.sort_values(KEY, ignore_index=True),
        )
        assert found["rank"].notna().all()


def test_a_control_that_both_have_stands_once(board: pd.DataFrame, tmp_path: Path) -> None:
    found = merged(
        tmp_path,
        a=only(board, "gradcam", CONTROL),
        b=only(board, "saliency", "occlusion:stride=8,window=16", CONTROL),
    )
    assert sorted(map(tuple, found[KEY].to_numpy())) == sorted(map(tuple, board[KEY].to_numpy()))
    assert found["rank"].isna().all()  # only scores image by image could tell
    assert set(found["letters"]) == {""}
    for _, rows in found.groupby(KEY[:3]):
        lower = rows["better"].iloc[0] == "lower"
        assert (
            rows["mean"].is_monotonic_increasing if lower else rows["mean"].is_monotonic_decreasing
        )


def test_places_stay_where_one_file_holds_all(board: pd.DataFrame, tmp_path: Path) -> None:
    models = {model: board[board["model"] == model] for model in ("alexnet", "resnet18")}
    assert merged(tmp_path, **models)["rank"].notna().all()  # nothing meets
    found = merged(tmp_path, part=only(board, CONTROL, "saliency"), whole=board)
    pd.testing.assert_frame_equal(found, read_board(tmp_path / "whole.csv"))
    found = merged(tmp_path, first=models["alexnet"], second=only(board, CONTROL))
    assert found["rank"].notna().all()
    assert len(found) == len(models["alexnet"]) + 4


def test_what_leads_is_known_in_a_part_without_controls_and_not_where_files_meet(
    board: pd.DataFrame, tmp_path: Path
) -> None:
    """The control stands first in each model and metric; then it is no control."""
    control = board["method"] == CONTROL
    level = board.assign(rank=board["rank"].where(~control, 1))
    theirs = board.assign(rank=1, role="method")
    for whole, leads in ((level, False), (theirs, True)):
        part = {"method": ["gradcam", "saliency"]}
        found = merge(select(read_boards(written(tmp_path, whole=whole)), part))
        assert found.loc[found["method"] == "gradcam", "leads"].eq(leads).all()
    met = merge(
        read_boards(written(tmp_path, a=only(theirs, "gradcam"), b=only(theirs, "saliency")))
    )
    assert not met["leads"].any()


def test_other_numbers_are_told_apart(board: pd.DataFrame, tmp_path: Path) -> None:
    other = board.assign(mean=board["mean"].where(board["method"] != CONTROL, board["mean"] + 1e-6))
    found = merged(tmp_path, a=board, b=other, c=board)
    assert set(found["method"]) == {*METHODS} - {CONTROL} | {f"{CONTROL} (a)", f"{CONTROL} (b)"}
    assert not found.duplicated(KEY).any()
    rounded = board.assign(mean=board["mean"] * (1 + 1e-9))
    assert set(merged(tmp_path, a=board, b=rounded)["method"]) == set(METHODS)
    fewer = board.assign(n=board["n"] - 1)
    assert set(merged(tmp_path, a=board, b=fewer)["method"]) == {
        f"{m} ({f})" for m in METHODS for f in "ab"
    }
    again = found[found["method"] == f"{CONTROL} (a)"]
    with pytest.raises(SubmissionError, match=r"random \(a\) would be the name of two methods"):
        merged(tmp_path, a=pd.concat([board, again]), b=other)


def test_runs_are_told_apart_by_their_folders(board: pd.DataFrame, tmp_path: Path) -> None:
    paths = []
    for name, more in (("first", 0.0), ("second", 0.1)):
        (tmp_path / name).mkdir()
        paths += written(tmp_path / name, leaderboard=board.assign(mean=board["mean"] + more))
    found = merge(read_boards(paths))
    assert set(found["method"]) == {f"{m} ({f})" for m in METHODS for f in ("first", "second")}
    (tmp_path / "other" / "first").mkdir(parents=True)
    more = written(tmp_path / "other" / "first", leaderboard=board.assign(mean=board["mean"] + 0.2))
    found = merge(read_boards([paths[0], *more]))
    assert set(found["method"]) == {f"{m} ({path})" for m in METHODS for path in (paths[0], *more)}


def test_published_results_are_told_apart_by_who_made_them(results: Path, tmp_path: Path) -> None:
    published = read_board(results / "leaderboards" / "few.csv")
    changed = published.assign(mean=published["mean"] / 2)
    found = merged(tmp_path, a=published, b=changed.assign(by="Grace"))
    assert {method.partition(" ")[2] for method in found["method"]} == {"(Ada)", "(Grace)"}
    found = merged(tmp_path, a=published, b=changed.assign(submission="later"))
    assert {method.partition(" ")[2] for method in found["method"]} == {"(ada)", "(later)"}
    found = merged(tmp_path, a=published, b=changed)
    assert {method.partition(" ")[2] for method in found["method"]} == {"(a)", "(b)"}


def test_a_score_takes_the_place_of_a_failure(board: pd.DataFrame, tmp_path: Path) -> None:
    failed = board.copy()
    of_method = failed["method"] == "gradcam"
    failed.loc[of_method, ["mean", "low", "high", "rank", "rank_to"]] = pd.NA
    failed.loc[of_method, ["n", "status", "letters"]] = 0, "failed", ""
    found = merged(tmp_path, failed=failed, scored=board)
    pd.testing.assert_frame_equal(found, read_board(tmp_path / "scored.csv"))


def test_several_protocols_are_refused_after_the_filters(
    board: pd.DataFrame, tmp_path: Path
) -> None:
    of_insertion = board["metric"] == "insertion"
    other = board.assign(protocol=board["protocol"].where(~of_insertion, "000000000000"))
    paths = written(tmp_path, a=board, b=other)
    with pytest.raises(SubmissionError, match=r"insertion .* several protocols.*b: 000000000000"):
        merge(read_boards(paths))
    found = merge(select(read_boards(paths), {"metric": ["deletion"]})).drop(columns="leads")
    assert len(found) == len(board) // 4
    assert "several protocols" in refused("leaderboard", *paths)
    code, out, error = call(
        "leaderboard", *paths, "--metric", "deletion,pointing-game", "--format", "csv"
    )
    assert code == 2, out + error  # patterns are repeated, not listed
    code, out, error = call("leaderboard", *paths, "--metric", "deletion", "--format", "csv")
    assert code == 0, error
    (tmp_path / "merged.csv").write_text(out)
    pd.testing.assert_frame_equal(read_board(tmp_path / "merged.csv"), found)


def test_the_page_takes_a_merged_leaderboard_that_has_places(
    board: pd.DataFrame, tmp_path: Path
) -> None:
    models = {model: board[board["model"] == model] for model in ("alexnet", "resnet18")}
    write_csv(merged(tmp_path, **models), tmp_path / "merged.csv")
    assert sorted(of_csv(tmp_path / "merged.csv").scored["model"].unique()) == sorted(models)
    write_csv(
        merged(tmp_path, a=only(board, "gradcam"), b=only(board, CONTROL)), tmp_path / "met.csv"
    )
    with pytest.raises(RunFolderError, match="scores without ranks"):
        of_csv(tmp_path / "met.csv")


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
