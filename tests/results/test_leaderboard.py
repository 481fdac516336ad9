"""The leaderboard of synthetic tables: what rows there are, in which order, and that nothing else moves them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from interpbench.core.errors import RunFolderError
from interpbench.core.seeding import derive
from interpbench.results.comparison import comparisons
from interpbench.results.leaderboard import COLUMNS, leaderboard
from interpbench.results.run_info import ModelRecord
from interpbench.results.shares import BOARD_COLUMNS
from interpbench.results.statistics import bootstrap_interval
from interpbench.results.tables import RunTables
from tests.synthetic_tables import EMPTY_SCORES, board_of, synthetic_tables

THREE = ("gradcam", "random", "sobel")


def rows_of(tables: RunTables, **labels: str) -> pd.DataFrame:
    board = leaderboard(tables)
    for column, label in labels.items():
        board = board[board[column] == label]
    return board.reset_index(drop=True)


def test_one_row_per_model_metric_and_method() -> None:
    board = board_of(models=("vgg11", "alexnet"), methods=THREE)
    assert list(board.columns) == COLUMNS
    assert len(board) == 2 * 4 * 3
    assert not board.duplicated(["dataset", "model", "metric", "method"]).any()
    assert board[["model", "metric"]].drop_duplicates().to_numpy().tolist() == [
        [model, metric]
        for model in ("alexnet", "vgg11")
        for metric in ("deletion", "energy-inside", "insertion", "pointing-game")
    ]


def test_a_row_summarises_its_images() -> None:
    tables = synthetic_tables(methods=THREE)
    row = rows_of(tables, metric="deletion", method="sobel").iloc[0]
    scores = tables.scores[
        (tables.scores["metric"] == "deletion") & (tables.scores["method"] == "sobel")
    ]
    assert row["n"] == 24
    assert row["mean"] == pytest.approx(scores["value"].mean())
    seed = derive(tables.seed, "planted", "resnet18", "deletion")
    assert (row["low"], row["high"]) == bootstrap_interval(scores["value"].to_numpy(), seed=seed)
    assert row["tied"] == 0.25
    assert (row["accuracy"], row["weights"], row["status"], row["reason"]) == (
        0.975,
        "shipped",
        "ok",
        "",
    )


@pytest.mark.parametrize(("metric", "ascending"), [("deletion", True), ("insertion", False)])
def test_best_comes_first(metric: str, ascending: bool) -> None:
    means = board_of().query("metric == @metric")["mean"]
    assert means.is_monotonic_increasing if ascending else means.is_monotonic_decreasing


def test_equal_means_are_sorted_by_name() -> None:
    tables = synthetic_tables(methods=THREE)
    tables = replace(tables, scores=tables.scores.assign(value=0.5))
    assert rows_of(tables, metric="insertion")["method"].tolist() == list(THREE)


def test_intervals_keep_to_the_metrics_range_where_the_scores_do() -> None:
    tables = synthetic_tables(methods=THREE, metrics=("deletion",), images=4)
    values = np.array([0.01, 0.02, 0.4, 0.9])
    inside = rows_of(
        replace(tables, scores=tables.scores.assign(value=np.tile(values, 3))), method="sobel"
    ).iloc[0]
    assert (inside["low"], inside["high"]) == (0, 1)
    alone = rows_of(
        synthetic_tables(methods=THREE, metrics=("deletion",), images=1), method="sobel"
    ).iloc[0]
    assert np.isnan([alone["low"], alone["high"]]).all()
    logits = rows_of(
        replace(tables, scores=tables.scores.assign(value=np.tile(3 * values, 3))), method="sobel"
    ).iloc[0]
    assert logits["low"] < 0 < 1 < logits["high"]


def test_ranks_and_letters_are_those_of_the_pairs() -> None:
    tables = synthetic_tables(failed=("random",), metrics=("deletion", "insertion"))
    pairs = comparisons(tables)
    board = leaderboard(tables)
    pd.testing.assert_frame_equal(leaderboard(tables, pairs), board)
    for metric, rows in board.groupby("metric"):
        better = pairs.loc[pairs["metric"] == metric, "better"]
        assert rows["method"].iloc[-1] == "random"
        assert rows["rank"].isna().tolist() == [False] * 8 + [True]
        for row in rows.iloc[:-1].itertuples():
            mine = pairs[
                (pairs["metric"] == metric)
                & ((pairs["method"] == row.method) | (pairs["other"] == row.method))
            ]
            assert row.rank == 1 + ((mine["better"] != "") & (mine["better"] != row.method)).sum()
            assert row.rank_to == 8 - (mine["better"] == row.method).sum()
        assert rows["rank"].iloc[0] == 1
        assert rows["letters"].iloc[0].startswith("a")
        assert len(better) == 8 * 7 / 2


def test_failures_and_invalid_maps_keep_their_rows_last() -> None:
    tables = synthetic_tables(
        methods=THREE, failed=("gradcam",), constant={"random": 24, "sobel": 3}
    )
    rows = rows_of(tables, metric="deletion").set_index("method")
    assert list(rows.index) == ["sobel", "gradcam", "random"]
    assert rows["n"].tolist() == [21, 0, 0]
    assert rows["mean"].isna().tolist() == [False, True, True]
    assert rows["constant"].tolist() == [3, 0, 24]
    assert rows["unscored"].tolist() == [3, 24, 24]
    assert rows["status"].tolist() == ["ok", "failed", "ok"]
    assert rows["reason"].tolist() == [
        "",
        "RuntimeError: gradcam met a layer that it does not know",
        "no valid map: 24 constant, 0 not finite",
    ]


def test_a_metric_undefined_on_an_image_leaves_it_out() -> None:
    tables = synthetic_tables(methods=THREE)
    scores = tables.scores.copy()
    scores.loc[scores["metric"].eq("insertion") & scores["sample_id"].eq("image-000"), "value"] = (
        np.nan
    )
    board = leaderboard(replace(tables, scores=scores))
    assert board.loc[board["metric"] == "insertion", "n"].tolist() == [23, 23, 23]
    gone = scores[scores["metric"].ne("insertion") | scores["method"].ne("random")]
    row = rows_of(replace(tables, scores=gone), metric="insertion", method="random").iloc[0]
    assert (row["n"], row["reason"]) == (0, "the metric gave no score")


def test_when_all_fail_each_metric_has_a_row() -> None:
    tables = synthetic_tables(methods=THREE, failed=THREE)
    board = leaderboard(replace(tables, scores=EMPTY_SCORES, curves={}))
    assert len(board) == 4 * 3
    assert (board["n"] == 0).all()


def test_an_unfinished_run_without_cells_gives_an_empty_board() -> None:
    tables = synthetic_tables(methods=THREE)
    empty = replace(tables, scores=EMPTY_SCORES, cells=tables.cells.iloc[:0])
    assert list(leaderboard(empty).columns) == COLUMNS
    assert leaderboard(empty).empty


def test_but_for_its_rank_and_share_a_row_does_not_depend_on_other_rows_or_on_their_order() -> None:
    tables = synthetic_tables(methods=THREE)
    keep = tables.scores["method"] == "sobel"
    alone = replace(
        tables, scores=tables.scores[keep], cells=tables.cells[tables.cells["method"] == "sobel"]
    )
    together = leaderboard(tables).query("method == 'sobel'").reset_index(drop=True)
    relative = ["rank", "rank_to", "letters", *BOARD_COLUMNS]
    pd.testing.assert_frame_equal(
        leaderboard(alone).drop(columns=relative), together.drop(columns=relative)
    )
    shuffled = replace(tables, cells=tables.cells.iloc[::-1])
    pd.testing.assert_frame_equal(leaderboard(shuffled), leaderboard(tables))


def test_unknown_accuracy_is_nan() -> None:
    tables = synthetic_tables(methods=THREE)
    board = leaderboard(
        replace(
            tables,
            models={
                ("planted", "resnet18"): ModelRecord(
                    dataset="planted", model="resnet18", weights="random"
                )
            },
        )
    )
    assert board["accuracy"].isna().all()
    assert (board["weights"] == "random").all()


def test_mixed_protocols_are_refused() -> None:
    tables = synthetic_tables(methods=THREE)
    scores = tables.scores.copy()
    scores.loc[scores.index[0], "protocol"] = "000000000000"
    with pytest.raises(RunFolderError, match="deletion have protocol 000000000000"):
        leaderboard(replace(tables, scores=scores))
