"""A lower precision is never silent: what it changes is measured in the run, and said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import interpbench
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
    [said] = low.info["notices"]
    assert said.startswith(
        "In bf16, areas of the 8 images that were scored in float32 too differ by up to"
    )


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
