"""What a forecast says of a run is what the run does: passes, blocks, bytes; and nothing of it is kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

import interpbench
from interpbench.core.errors import DataError, ParameterError, UnknownNameError
from interpbench.core.passes_counted import PassCount
from interpbench.results.run_folder import RunFolder
from interpbench.running import expected_tables, forecast
from interpbench.running.calibration import Tried
from interpbench.running.expected_tables import Disk
from interpbench.running.forecast import Cost, Forecast, Memory, ModelForecast

JOB: dict[str, Any] = {
    "dataset": "planted", "model": "resnet18", "device": "cpu", "batch_size": 4, "compile": "never",
    "method": ["gradcam", "layercam", "integrated-gradients:steps=5", "rise:masks=9", "random"],
    "metric": ["deletion", "insertion", "pointing-game"], "steps": 8, "ceiling": 2,
}  # fmt: skip


@contextmanager
def hooked() -> Iterator[list[int]]:
    """How many images pass networks, whatever is inside of them, and pass them back: a list of two numbers."""
    passes, depth = [0, 0], 0

    def enter(module: nn.Module, inputs: Any) -> None:
        nonlocal depth
        depth += 1

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0:
            images = len(inputs[0])
            passes[0] += images
            if output.requires_grad:
                output.register_hook(lambda gradient: back(images))

    def back(images: int) -> None:
        passes[1] += images

    handles = [
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()


@pytest.fixture(scope="module", autouse=True)
def hurried() -> Iterator[None]:
    """No time is spent on taking the time more exactly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecast, "BUDGET", 0.0)
        yield


@pytest.fixture(scope="module")
def eleven() -> Forecast:
    """Eleven images in three batches."""
    return interpbench.forecast(**JOB, images=11)


def passes_of_a_run(images: int, folder: Path) -> tuple[int, int]:
    with hooked() as passes:
        finished = interpbench.run(
            **JOB | {"ceiling": "none"}, images=images, plots=False, output=folder / f"{images}"
        )
    assert finished.failed.empty
    return passes[0], passes[1]


@pytest.mark.slow
def test_passes_are_those_of_a_run(eleven: Forecast, tmp_path: Path) -> None:
    """What a run asks of a model beside its cells is the same for 8 and for 11 images."""
    eight = interpbench.forecast(**JOB, images=8)
    (forwards, backwards), (more_forwards, more_backwards) = (
        passes_of_a_run(images, tmp_path) for images in (8, 11)
    )
    searches = 2 * (9 + 7)  # for two metrics; the passes, and the score of what was found
    assert eleven.forwards - eight.forwards == more_forwards - forwards + searches * 3
    assert eleven.backwards - eight.backwards == more_backwards - backwards == 3 * (1 + 5)


def test_passes_of_each_method_and_metric_are_what_they_are_by_definition(
    eleven: Forecast,
) -> None:
    forwards = {(cost.part, cost.label.partition(":")[0]): cost.forwards for cost in eleven.costs}
    assert forwards["maps", "gradcam"] == 11
    assert forwards["maps", "layercam"] == 0  # it finds what gradcam has computed
    assert forwards["maps", "integrated-gradients"] == 5 * 11
    assert forwards["maps", "rise"] == 9 * 11
    assert forwards["scores", "deletion"] == (5 + 1) * 11 * 7  # of 9 points, the ends are known
    assert forwards["scores", "pointing-game"] == 0
    assert forwards["images", "end points"] == 3 * 11  # the image, black, the blurred image
    assert forwards["search", "deletion"] == forwards["search", "insertion"] == 9 * 11
    backwards = {cost.label: cost.backwards for cost in eleven.costs if cost.backwards}
    assert backwards == {"gradcam": 11, "integrated-gradients:steps=5": 5 * 11}


def test_what_a_metric_asks_of_methods_costs_what_their_maps_cost() -> None:
    job = JOB | {
        "method": ["gradcam", "integrated-gradients:steps=5", "random"], "ceiling": "none",
        "metric": ["max-sensitivity:samples=3", "mprt", "forward-passes"],
    }  # fmt: skip
    found = interpbench.forecast(**job, images=11)
    scores = {
        cost.label: (cost.forwards, cost.backwards) for cost in found.costs if cost.part == "scores"
    }
    each = (1 + 5) * 11
    assert scores == {
        "max-sensitivity:samples=3": (3 * each, 3 * each),
        "mprt": (each, each),
        "forward-passes": (each, each),
    }
    assert not [cost.failure for cost in found.costs if cost.failure]


def test_what_is_done_once_a_batch_is_not_counted_for_each_image() -> None:
    tried = Tried(9, counted=4, passes=PassCount(2 + 4 * 3, 4, 0), first=PassCount(2 + 3, 1, 0))
    assert tried.passes_of(images=100, batches=7) == PassCount(7 * 2 + 100 * 3, 100, 0)
    alone = Tried(1, passes=PassCount(5, 1, 0), first=PassCount(5, 1, 0))
    assert alone.passes_of(images=100, batches=7) == PassCount(500, 100, 0)


def test_windows_are_counted_apart() -> None:
    job = JOB | {"method": "occlusion:window=8,stride=4", "metric": "pointing-game"}
    found = interpbench.forecast(**job, images=3)
    [occlusion] = [cost for cost in found.costs if cost.part == "maps"]
    assert occlusion.windows == found.windows == 15 * 15 * 3


def test_blocks_are_those_of_a_run(tmp_path: Path) -> None:
    job = JOB | {"method": "random", "metric": "pointing-game", "batch_size": 3, "block_size": 7}
    [model] = interpbench.forecast(**job, images=20).models
    finished = interpbench.run(**job, images=20, plots=False, output=tmp_path / "run")
    [record] = RunFolder(finished.folder).model_records()
    assert (model.block_size, model.blocks) == (record.block_size, len(record.pixels_of_blocks))
    assert (model.block_size, model.blocks, model.images, model.batch_size) == (6, 4, 20, 3)
    [second] = interpbench.forecast(**job, images=20, shard="2/3").models
    assert (second.blocks, second.images) == (1, 6)


def test_disk_is_what_a_run_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = JOB | {
        "method": "center,sobel", "metric": "deletion", "images": 40, "batch_size": 20, "ceiling": "none",
    }  # fmt: skip
    whole = interpbench.forecast(**job).disk
    monkeypatch.setattr(expected_tables, "ROWS", 1)
    from_a_part = interpbench.forecast(**job).disk
    finished = interpbench.run(**job, plots=False, output=tmp_path / "run")
    found = {
        what: sum(path.stat().st_size for path in finished.folder.rglob(f"{what}.*"))
        for what in ("scores", "curves", "maps")
    }
    for disk in (whole, from_a_part):
        assert disk.scores == pytest.approx(found["scores"], rel=0.3)
        assert disk.curves == pytest.approx(found["curves"], rel=0.3)
        assert found["maps"] <= disk.maps


def test_what_fails_is_named_and_the_rest_goes_on() -> None:
    def broken(model: Any, x: Tensor, target: Tensor) -> Tensor:
        raise RuntimeError("no such luck")

    def vandal(model: Any, x: Tensor, target: Tensor) -> Tensor:
        next(model.parameters()).data.mul_(2)
        return x.sum(1)

    def refusing(explanation: interpbench.Explanation) -> Tensor:
        raise ValueError("not this one")

    job = JOB | {"method": [broken, vandal, "random"], "ceiling": "none"}
    job["metric"] = ["deletion", (refusing, "lower")]
    found = interpbench.forecast(**job, images=3)
    failures = {cost.label: cost.failure for cost in found.costs if cost.failure}
    assert set(failures) == {"broken", "vandal", "refusing"}
    assert "no such luck" in failures["broken"]
    assert "changed" in failures["vandal"]
    assert "not this one" in failures["refusing"]
    counts = {cost.label: cost.count for cost in found.costs}
    assert (counts["random"], counts["deletion:steps=8"], counts["broken"]) == (3, 3, 0)


def test_a_model_that_fails_is_named() -> None:
    class Sulking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) * float("nan")

    images = torch.rand(4, 3, 16, 16)
    found = interpbench.forecast(
        model={"sulking": Sulking()}, method="random", metric="deletion", images=images,
        device="cpu", ceiling="none", mean=0.0, std=1.0,
    )  # fmt: skip
    assert "not all finite" in found.models[0].failure
    assert (found.costs, found.seconds) == ((), 0.0)


def test_what_cannot_be_run_cannot_be_forecast() -> None:
    with pytest.raises(UnknownNameError, match="gradcam"):
        interpbench.forecast(**JOB | {"method": "gradcan"})
    with pytest.raises(ParameterError, match="workers=0"):
        interpbench.forecast(**JOB, workers=0)
    with pytest.raises(DataError, match="images"):
        interpbench.forecast(**JOB, images=10**6)


def the_forecast(seconds: float, blocks: int, preparation: float) -> Forecast:
    cost = Cost("m", "maps", "it", count=1, measured_on=1, seconds=seconds)
    model = ModelForecast("m", 1, blocks, 1, 1, preparation, (cost,))
    return Forecast(1, "cpu", 1, (model,), Memory(0, None, 0, 0), Disk(0, 0, 0, 0), 0.0, notices=())


@pytest.mark.parametrize(("workers", "rounds"), [(1, 3), (2, 2), (3, 1), (50, 1)])
def test_workers_share_whole_blocks(workers: int, rounds: int) -> None:
    found = the_forecast(seconds=30.0, blocks=3, preparation=5.0)
    assert found.seconds_with(workers) == pytest.approx(5 + 10 * rounds)
    assert found.seconds == pytest.approx(35)
