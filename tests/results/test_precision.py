"""A lower precision is never silent: what it changes is measured in the run, and said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import interpbench
from interpbench.core.errors import RunFolderError, SubmissionError
from interpbench.publish.publishing import publish
from interpbench.results.precision import compared, notices
from interpbench.results.run_info import CellRecord, PrecisionEffect
from tests.paths import TINY

METHODS = ["gradient", "random", "center"]


def run(output: Path, **changes: Any) -> interpbench.Run:
    settings: dict[str, Any] = {
        "dataset": "tiny", "model": "quadrants", "method": METHODS, "metric": ["deletion", "insertion"], "images": 40,
        "weights": "random", "plugin": TINY, "device": "cpu", "output": output, "plots": False, "ceiling": "none",
    }  # fmt: skip
    return interpbench.run(**settings | changes)


def curved() -> nn.Module:
    """A network whose gradients depend on the image."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(32, 4),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("batch_size", [7, 64])
def test_the_effect_in_run_json_is_the_difference_between_two_runs(
    batch_size: int, tmp_path: Path
) -> None:
    """Eight of forty images, evenly spread, are scored in float32 too, whatever the batches are."""
    low = run(tmp_path / "low", precision="bf16", batch_size=batch_size)
    exact = run(tmp_path / "exact", batch_size=batch_size)
    compared = low.info["identity"]["data"]["samples"][::5]
    by = ["metric", "method", "sample_id"]
    both = [found.scores[found.scores["sample_id"].isin(compared)] for found in (low, exact)]
    difference = (both[0].set_index(by)["value"] - both[1].set_index(by)["value"]).abs()
    assert difference.max() > 0
    for effect in low.info["precision_effect"]:
        of_metric = difference.xs(effect["metric"])
        assert effect["images"] == 8
        assert effect["mean_difference"] == pytest.approx(of_metric.mean(), rel=1e-4)
        assert effect["greatest_difference"] == pytest.approx(of_metric.max(), rel=1e-4)
        means = both[1][both[1]["metric"] == effect["metric"]].groupby("method")["value"].mean()
        assert effect["methods_fp32"] == list(means.sort_values().index)
    assert [e["metric"] for e in low.info["precision_effect"]] == ["deletion", "insertion"]
    said = low.info["notices"][-1]
    assert said.startswith(
        "In bf16, areas of the 8 images that were computed in float32 too differ by up to"
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_maps_of_a_lower_precision_change_is_the_difference_between_two_runs(
    precision: str, tmp_path: Path
) -> None:
    """Metrics with an order of their own too; controls make no passes, so that nothing of theirs changes."""
    metrics = ["deletion", "insertion:sign=absolute", "deletion:first=least"]
    asked = {"model": curved(), "weights": None, "metric": metrics}
    low = run(tmp_path / "low", map_precision="bf16", precision=precision, **asked)
    exact = run(tmp_path / "exact", **asked)
    compared = low.info["identity"]["data"]["samples"][::5]
    by = ["metric", "method", "sample_id"]
    scores = [found.scores.astype(dict.fromkeys(by, str)) for found in (low, exact)]
    both = [found[found["sample_id"].isin(compared)].set_index(by)["value"] for found in scores]
    difference = (both[0] - both[1]).abs()
    moved = difference.groupby("method").max()
    assert moved["gradient"] > 0
    assert (moved["random"] == 0) == (precision == "fp32")
    for effect in low.info["precision_effect"]:
        of_metric = difference.xs(effect["metric"])
        assert effect["images"] == 8
        assert effect["mean_difference"] == pytest.approx(of_metric.mean(), rel=1e-4)
        assert effect["greatest_difference"] == pytest.approx(of_metric.max(), rel=1e-4)
    assert [effect["metric"] for effect in low.info["precision_effect"]] == sorted(metrics)
    said = low.info["notices"][-1]
    expected = "bf16, maps too" if precision == "bf16" else "bf16 for maps"
    assert said.startswith(f"In {expected}, areas of the 8 images")
    assert low.info["map_precision"] == low.info["identity"]["map_precision"] == "bf16"
    assert "map_precision" not in exact.info


def test_a_run_of_other_maps_does_not_go_on(tmp_path: Path) -> None:
    run(tmp_path / "low", map_precision="bf16", method="random", images=2)
    with pytest.raises(RunFolderError, match="holds another run: map_precision differ"):
        run(tmp_path / "low", method="random", images=2, resume=True)


def test_maps_of_a_lower_precision_are_not_published(tmp_path: Path) -> None:
    done = run(tmp_path / "low", map_precision="bf16", method="random", images=2)
    with pytest.raises(SubmissionError, match="its maps were made in bf16"):
        publish(done, "Ada", results=tmp_path / "results")


def test_float32_has_nothing_to_say(tmp_path: Path) -> None:
    exact = run(tmp_path / "exact")
    assert exact.info["precision_effect"] == []
    assert exact.info["notices"] == []
    assert exact.info["models"]["tiny quadrants"]["scoring"]["greatest_difference"] < 1e-4


def test_a_changed_order_is_said() -> None:
    cells = [
        CellRecord(
            dataset="d", model="m", method=method, status="ok",
            precision_effect={"deletion": PrecisionEffect(
                images=2, mean_difference=0.01, greatest_difference=0.02, mean=low, mean_fp32=exact
            )},
        )
        for method, low, exact in (("a", 0.1, 0.3), ("b", 0.2, 0.2))
    ]  # fmt: skip
    [found] = compared(cells)
    assert (found.methods, found.methods_fp32, found.same_order) == (("a", "b"), ("b", "a"), False)
    [said] = notices([found], "fp16")
    assert said.endswith(
        "by up to 0.01 on average, 0.02 at most; the order of methods by their means is another on m by deletion "
        "(b, a in float32)."
    )
    assert np.isclose(found.mean_difference, 0.01)
