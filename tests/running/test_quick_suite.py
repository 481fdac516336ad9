"""The embedded default: what it must show for its numbers to be believed."""

from pathlib import Path

import pytest

import interpbench
from interpbench.suite.suite import load_suite

CONTROLS = ["center", "random", "sobel"]


@pytest.mark.slow
def test_controls_do_worse_than_gradcam_with_intervals_that_do_not_overlap(tmp_path: Path) -> None:
    """On insertion and on both localisation metrics, on each shipped model."""
    finished = interpbench.run(
        method=["gradcam", *CONTROLS], metric=["insertion", "pointing-game", "energy-inside"], images=200, device="cpu",
        output=tmp_path / "run", plots=False,
    )  # fmt: skip
    assert len(finished.failed) == 0
    board = finished.leaderboard.set_index(["model", "metric", "method"])
    for model, metric in {(model, metric) for model, metric, _ in board.index}:
        for control in CONTROLS:
            assert (
                board.loc[(model, metric, "gradcam"), "low"]
                > board.loc[(model, metric, control), "high"]
            ), (
                model,
                metric,
                control,
            )


@pytest.mark.slow
def test_the_default_run_has_what_the_readme_promises(tmp_path: Path) -> None:
    """Three trained models, nine methods, four metrics; on few images, since only the selection is at stake."""
    finished = interpbench.run(
        images=2, steps=4, device="cpu", output=tmp_path / "run", plots=False
    )
    assert len(finished.failed) == 0
    assert finished.leaderboard.groupby("model")["method"].nunique().to_dict() == {
        "alexnet": 9,
        "resnet18": 9,
        "vgg11_bn": 9,
    }
    assert {metric.partition(":")[0] for metric in finished.leaderboard["metric"]} == {
        "deletion",
        "insertion",
        "pointing-game",
        "energy-inside",
    }
    assert set(finished.leaderboard["weights"]) == {
        "planted-alexnet.safetensors",
        "planted-resnet18.safetensors",
        "planted-vgg11_bn.safetensors",
    }
    assert (load_suite("quick").images or 0) >= 24
