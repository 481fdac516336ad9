"""The whole job through `interpbench.run`: numbers, failures that stay alone, resume, and what lies on disk."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import interpbench
from interpbench.core.errors import (
    DataError,
    InterpBenchError,
    PluginError,
    RunFolderError,
    UnknownNameError,
)
from interpbench.results.curves import points
from interpbench.results.run_folder import RunFolder
from tests.paths import TINY
from tests.run_folders import change_cell

TABLES = ("scores.csv", "scores.parquet", "curves.parquet", "leaderboard.csv")


def run(output: Path, **changes: Any) -> interpbench.Run:
    settings: dict[str, Any] = {
        "dataset": "tiny", "model": "quadrants", "method": ["gradient", "random", "center"],
        "metric": ["deletion", "insertion", "pointing-game"], "images": 8, "weights": "random", "plugin": TINY,
        "device": "cpu", "output": output, "plots": False,
    }  # fmt: skip
    return interpbench.run(**settings | changes)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> interpbench.Run:
    """A run of these settings; its folder is for reading and copying."""
    return run(tmp_path_factory.mktemp("sound") / "run")


@pytest.fixture
def copied(sound: interpbench.Run, tmp_path: Path) -> Path:
    """A copy of that run's folder."""
    return shutil.copytree(sound.folder, tmp_path / "run")


def means(finished: interpbench.Run, metric: str) -> dict[str, float]:
    board = finished.leaderboard
    return board[board["metric"] == metric].set_index("method")["mean"].to_dict()


def test_a_known_model_gives_known_scores(sound: interpbench.Run) -> None:
    assert len(sound.failed) == 0
    assert sound.tables.models["tiny", "quadrants"]["accuracy"] == 1
    assert means(sound, "pointing-game")["gradient"] == 1
    assert means(sound, "deletion")["gradient"] < means(sound, "deletion")["random"]
    assert means(sound, "insertion")["gradient"] > means(sound, "insertion")["random"]
    assert len(sound.scores) == 3 * 3 * 8
    assert len(sound.curves) == 3 * 2 * 8 * 17


def test_curves_are_read_of_a_selection(sound: interpbench.Run) -> None:
    every = sound.curves
    for labels in (
        {"method": "random"},
        {"metric": "insertion"},
        {"method": "random", "metric": "deletion"},
    ):
        rows = np.logical_and.reduce([every[column] == label for column, label in labels.items()])
        assert 0 < rows.sum() < len(every)
        pd.testing.assert_frame_equal(sound.curves_of(**labels), every[rows].reset_index(drop=True))
    assert sound.curves_of(method="none").empty


def test_the_file_of_all_curves_holds_those_of_the_cells(sound: interpbench.Run) -> None:
    rows = pd.read_parquet(sound.folder / "curves.parquet")
    by = ["dataset", "model", "method", "metric", "sample_id"]
    assert rows.equals(rows.sort_values(by, ignore_index=True))
    pd.testing.assert_frame_equal(points(rows), sound.curves)
    for (dataset, model, metric, method), curve in sound.tables.curves.items():
        mine = sound.curves_of(dataset=dataset, model=model, metric=metric, method=method)
        of_step = mine.groupby("step")
        np.testing.assert_allclose(curve.mean, of_step["value"].mean(), rtol=1e-6)
        np.testing.assert_array_equal(curve.fraction, of_step["fraction"].first())


def test_every_area_is_the_trapezoid_of_its_curve(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", steps=5)
    keys = ["method", "metric", "sample_id"]
    curves = finished.curves.astype(dict.fromkeys(keys, str))
    curves = curves.sort_values([*keys, "step"]).groupby(keys)
    areas = curves["value"].apply(
        lambda v: np.trapezoid(v.to_numpy(dtype=float), dx=1 / (len(v) - 1))
    )
    scores = finished.scores[finished.scores["metric"] != "pointing-game"]
    scores = scores.astype(dict.fromkeys(keys, str)).set_index(keys)["value"]
    pd.testing.assert_series_equal(
        areas.sort_index(), scores.sort_index(), check_names=False, rtol=1e-6
    )
    assert sorted(finished.curves["fraction"].unique()) == pytest.approx(
        [0, 52 / 256, 104 / 256, 156 / 256, 208 / 256, 1]
    )


def test_each_mean_of_the_leaderboard_is_the_mean_over_images(sound: interpbench.Run) -> None:
    scores = sound.scores.astype({"metric": str, "method": str})
    expected = scores.groupby(["metric", "method"])["value"].mean()
    actual = sound.leaderboard.set_index(["metric", "method"])["mean"].sort_index()
    pd.testing.assert_series_equal(actual, expected, check_names=False)


BROKEN = {
    "raises": r"RuntimeError: this method is \[red\]broken",
    "nan": "NaN or infinite maps for 1 of 8 images",
    "constant": "constant map for each of the 8 images",
    "wrong-shape": r"\[8, 3, 16, 16\]; expected a tensor \[8,16,16\]",
    "list": "returned list",
    "exits": "SystemExit: 3",
    "sneaky": "changed the model's weights behind its back",
}


def test_a_method_that_fails_fails_alone_and_the_table_says_why(
    sound: interpbench.Run, tmp_path: Path
) -> None:
    mixed = run(tmp_path / "mixed", method=["gradient", *BROKEN, "random", "center"])
    assert set(mixed.failed["method"]) == set(BROKEN)
    for method, reason in BROKEN.items():
        [row] = mixed.failed[mixed.failed["method"] == method].to_dict("records")
        assert pd.Series([row["reason"]]).str.contains(reason).all(), row["reason"]
        assert reason.split(":")[0].split("\\")[0] in " ".join(mixed.leaderboard["reason"])
    kept = mixed.scores[mixed.scores["method"].isin(sound.scores["method"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, sound.scores, check_categorical=False)
    info = json.loads((tmp_path / "mixed" / "run.json").read_text())
    assert {failure["method"] for failure in info["failures"]} == set(BROKEN)
    assert any("hook" in what for left in info["left_behind"] for what in left["what"])


def test_images_with_a_constant_map_are_counted_and_not_scored(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", method="sometimes-constant")
    assert len(finished.failed) == 0
    board = finished.leaderboard
    assert set(board["constant"]) == {6}
    assert set(board["n"]) == {2}


def test_a_nan_map_leaves_the_other_images_scores(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", method="nan")
    assert set(finished.leaderboard["n"]) == {7}
    assert set(finished.leaderboard["nonfinite"]) == {1}


def test_a_metric_that_fails_leaves_the_other_metrics(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", metric=["deletion", "half-broken"], method="gradient")
    assert (
        "metric half-broken: ValueError: no second class please" in finished.failed["reason"].item()
    )
    assert set(finished.scores["metric"]) == {"deletion"}


BEYOND = """
import interpbench

@interpbench.metric("beyond", better="higher", range=(0.0, 1.0))
def beyond(explanation, *, value: float = 1.0, infinite: bool = False):
    "The value for images of the second class; it means nothing for those of the first."
    scores = explanation.saliency.amax(dim=(1, 2)) * 0 + (float("inf") if infinite else value)
    return scores.masked_fill(explanation.label == 0, float("nan"))
"""


def test_a_score_outside_its_range_fails_its_metric_alone(tmp_path: Path) -> None:
    (tmp_path / "beyond.py").write_text(BEYOND)
    metrics = [
        "deletion",
        "beyond",
        "beyond:value=1.01",
        "beyond:value=-0.5",
        "beyond:infinite=true",
    ]
    finished = run(
        tmp_path / "run", metric=metrics, method="gradient", plugin=[TINY, tmp_path / "beyond.py"]
    )
    reason = finished.failed["reason"].item()
    assert "metric beyond:value=1.01: returned 1.01, and its range is 0 to 1" in reason
    assert "metric beyond:value=-0.5: returned -0.5" in reason
    assert "metric beyond:infinite=True: returned inf" in reason
    assert set(finished.scores["metric"]) == {"deletion", "beyond"}
    assert set(finished.scores.loc[finished.scores["metric"] == "beyond", "value"].dropna()) == {
        1.0
    }


def test_a_model_that_fails_fails_its_own_cells(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", model=["unsound", "quadrants"])
    assert set(finished.failed["model"]) == {"unsound"}
    assert finished.failed["reason"].str.contains("the model itself fails: RuntimeError").all()
    assert set(finished.scores["model"]) == {"quadrants"}


def test_a_model_that_flattens_with_view_runs_too(tmp_path: Path) -> None:
    finished = run(
        tmp_path / "run",
        model="viewing",
        method=["gradient", "saliency", "guided-backprop", "random"],
    )
    assert finished.failed["method"].tolist() == ["guided-backprop"]  # which needs ReLUs
    finished = run(tmp_path / "other", model="viewing")
    assert len(finished.failed) == 0
    assert finished.tables.models["tiny", "viewing"]["accuracy"] == 1


def test_running_out_of_memory_halves_the_batches_and_changes_no_score(tmp_path: Path) -> None:
    methods = ["gradient", "random", "occlusion", "rise:masks=20", "integrated-gradients"]
    sound = run(tmp_path / "sound", method=methods)
    cramped = run(tmp_path / "cramped", method=methods, model="cramped")
    assert len(cramped.failed) == 0
    assert {record["batch_size"] for record in RunFolder(cramped.folder).cell_records()} <= {1, 2}
    np.testing.assert_allclose(cramped.scores["value"], sound.scores["value"], atol=1e-5)


def test_a_model_that_cannot_be_built_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"model 'unbuildable' failed: KeyError.*tiny\.py:\d+"):
        run(tmp_path / "run", model="unbuildable")


def test_scores_depend_neither_on_the_order_of_methods_nor_on_what_ran_before(
    tmp_path: Path,
) -> None:
    one = run(tmp_path / "one", method=["random", "raises", "rise:masks=20", "gradient"])
    two = run(tmp_path / "two", method=["gradient", "rise:masks=20", "random"])
    common = one.scores[one.scores["method"] != "raises"].reset_index(drop=True)
    pd.testing.assert_frame_equal(common, two.scores)


def test_scores_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    one = run(tmp_path / "one", batch_size=3, method=["random", "rise:masks=20", "gradient"])
    two = run(tmp_path / "two", batch_size=64, method=["random", "rise:masks=20", "gradient"])
    np.testing.assert_allclose(one.scores["value"], two.scores["value"], atol=1e-6)


def test_the_same_run_writes_the_same_bytes(sound: interpbench.Run, tmp_path: Path) -> None:
    run(tmp_path / "again")
    for table in TABLES:
        assert (sound.folder / table).read_bytes() == (tmp_path / "again" / table).read_bytes()


def test_another_seed_takes_other_images(tmp_path: Path) -> None:
    one, two = (run(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    assert set(one.scores["sample_id"]) != set(two.scores["sample_id"])


def test_target_label_explains_the_label(tmp_path: Path) -> None:
    predicted = run(tmp_path / "p", model="quadrants:gain=-4.0")
    label = run(tmp_path / "l", model="quadrants:gain=-4.0", target="label")
    assert set(label.scores["target"] - label.scores["label"]) == {0}
    assert set(predicted.scores["target"] - predicted.scores["label"]) != {0}
    assert set(label.scores["protocol"]).isdisjoint(predicted.scores["protocol"])


def test_unreadable_images_are_skipped_counted_and_named(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", dataset="tiny:broken=2,count=8")
    model = finished.tables.models["tiny", "quadrants"]
    assert sorted(model["skipped"]) == sorted(finished.info["skipped"]) == ["tiny-000", "tiny-001"]
    assert model["accuracy_images"] == 6
    assert set(finished.leaderboard["n"]) == {6}


def test_all_models_are_all_that_have_weights(tmp_path: Path) -> None:
    finished = interpbench.run(
        model="all",
        method="center",
        metric="pointing-game",
        images=10,
        device="cpu",
        output=tmp_path / "run",
        plots=False,
    )
    assert set(finished.scores["model"]) == {"alexnet", "resnet18", "vgg11_bn"}
    assert any("'vgg16'" in notice for notice in finished.info["notices"])
    assert finished.info["plugins"]["model resnet18"]["parameters"] == {
        "width": 10,
        "norm": "batch",
        "stem": "auto",
    }
    assert finished.info["suite"]["changed"] is True
    assert len(repr(finished).splitlines()) < 8


def test_equal_maps_have_equal_intervals(tmp_path: Path) -> None:
    finished = run(
        tmp_path / "run", method=["slow:seconds=0", "slow:seconds=0.001"], metric="deletion"
    )
    rows = finished.leaderboard[["mean", "low", "high"]].drop_duplicates()
    assert len(rows) == 1


def test_two_settings_of_one_method_are_two_rows(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", method=["center", "center:sigma=0.1"])
    assert set(finished.leaderboard["method"]) == {"center", "center:sigma=0.1"}


def test_run_json_says_what_was_used(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", steps=4)
    info = finished.info
    assert info["status"] == "finished"
    assert info["settings"]["steps"] == 4
    assert info["settings"]["seed"] == 0
    assert info["versions"]["torch"]
    assert info["plugins"]["method gradient"]["origin"].startswith(str(TINY))
    assert len(info["plugins"]["method gradient"]["source_hash"]) == 64
    assert info["metrics"]["deletion:steps=4"]["better"] == "lower"
    assert info["models"]["tiny quadrants"]["accuracy"] == 1
    assert info["models"]["tiny quadrants"]["card"]["target_layer"] == "0"
    assert info["identity"]["data"]["revision"] == "tiny-1"
    assert len(info["identity"]["data"]["samples"]) == 8


class TestFolders:
    """A run folder is never mixed, and never loses finished work."""

    def test_a_folder_that_is_not_empty_is_refused(self, copied: Path) -> None:
        with pytest.raises(RunFolderError, match=r"not empty.*--resume.*--overwrite"):
            run(copied)

    def test_overwrite_replaces_a_run_but_nothing_else(self, copied: Path, tmp_path: Path) -> None:
        assert set(run(copied, method="center", overwrite=True).scores["method"]) == {"center"}
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.txt").write_text("years of work")
        with pytest.raises(RunFolderError, match="something else than a run"):
            run(tmp_path / "other", overwrite=True)
        assert (tmp_path / "other" / "thesis.txt").exists()

    def test_resume_runs_only_what_is_missing_and_ends_in_the_same_bytes(
        self, sound: interpbench.Run, copied: Path
    ) -> None:
        victim = next((copied / "cells").glob("*center*"))
        kept = {
            p: p.stat().st_mtime_ns
            for p in (copied / "cells").glob("*/cell.json")
            if victim not in p.parents
        }
        shutil.rmtree(victim)
        (copied / "cells" / ".half-written").mkdir()
        for table in TABLES:
            (copied / table).unlink()
        run(copied, resume=True)
        assert {p: p.stat().st_mtime_ns for p in kept} == kept
        for table in TABLES:
            assert (sound.folder / table).read_bytes() == (copied / table).read_bytes()

    def test_resume_needs_no_repetition_of_the_selection(self, copied: Path) -> None:
        again = interpbench.run(
            output=copied, resume=True, plugin=TINY, weights="random", device="cpu", plots=False
        )
        assert set(again.scores["method"]) == {"gradient", "random", "center"}
        assert again.info.suite.changed is True

    def test_resume_of_another_run_is_refused_with_what_differs(self, copied: Path) -> None:
        with pytest.raises(RunFolderError, match="suite differ"):
            run(copied, images=9, resume=True)
        with pytest.raises(RunFolderError, match="batch_size differ"):
            run(copied, batch_size=2, resume=True)

    def test_resume_tries_failed_cells_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert len(run(tmp_path / "run", method=["raises", "center"]).failed) == 1
        monkeypatch.setenv("TINY_MENDED", "yes")
        assert len(run(tmp_path / "run", method=["raises", "center"], resume=True).failed) == 0

    def test_resume_with_a_changed_method_is_refused(self, tmp_path: Path) -> None:
        plugin = tmp_path / "plugin.py"
        shutil.copy(TINY, plugin)
        run(tmp_path / "run", plugin=plugin)
        change_cell(next((tmp_path / "run" / "cells").glob("*gradient*")), method_hash="0" * 64)
        with pytest.raises(RunFolderError, match="Method 'gradient' has changed"):
            run(tmp_path / "run", plugin=plugin, resume=True)

    def test_resume_of_nothing_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunFolderError, match="no run"):
            run(tmp_path / "nothing", resume=True)

    def test_a_loaded_run_equals_the_one_returned(self, sound: interpbench.Run) -> None:
        loaded = interpbench.load_run(sound.folder)
        pd.testing.assert_frame_equal(loaded.leaderboard, sound.leaderboard)
        pd.testing.assert_frame_equal(loaded.scores, sound.scores)
        assert len(loaded.tables.examples) == 4
        assert set(loaded.tables.examples[0].maps) == {"gradient", "random", "center"}

    @pytest.mark.parametrize("content", ["", "{}", "[1]", '{"schema_version": 99}'])
    def test_a_folder_that_is_no_run_is_told_so(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(RunFolderError, match=r"no run folder|schema version 99"):
            interpbench.load_run(tmp_path)


def test_default_folder_is_named_after_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = run(None, method="center"), run(None, method="center")  # type: ignore[arg-type]
    assert first.folder.parent == Path("results/runs")
    assert first.folder.name.startswith("quick-")
    assert first.folder != second.folder


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": 41}, DataError, "holds 40 images, 41 are asked for"),
        ({"images": 0}, InterpBenchError, "key 'images'"),
        ({"method": "gradiant"}, UnknownNameError, "Did you mean 'gradient'"),
        ({"metric": "deletion:basline=black"}, UnknownNameError, "Did you mean 'baseline'"),
        ({"metric": "deletion:baseline=grey"}, InterpBenchError, r"zero \| black"),
        (
            {"weights": None},
            InterpBenchError,
            "no weights for model 'quadrants' on data set 'tiny'",
        ),
        ({"dataset": "tiny:count=0"}, DataError, "holds no images"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()
