"""What occlusion costs beside captum's, and whether the model of costs is right: `pytest tests/bench -m bench`.

All are timed in turns in one process; the ratio is what counts.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import pytest
import torch
from captum.attr import Occlusion
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

import interpbench.incremental as incremental
from interpbench.devices import default_batch_size
from interpbench.discovery import discover
from interpbench.incremental import Choice, listening
from tests.tiny_models import wrap

REGISTRY = discover()
# architecture, its parameters, side of the image, window, stride
WORKLOADS = {
    "VGG-16, 224 pixels": ("vgg16", {}, 224, 16, 8),
    "ResNet-18, 224 pixels": ("resnet18", {}, 224, 16, 8),
    "AlexNet, 224 pixels": ("alexnet", {}, 224, 16, 8),
    "MobileNet V2, 224 pixels": ("mobilenet_v2", {}, 224, 16, 8),
    "small ResNet-18 (width 10), 64 pixels": ("resnet18", {"width": 10}, 64, 8, 4),
    "small VGG-11 (width 32), 32 pixels": ("vgg11_bn", {"width": 32}, 32, 4, 2),
}
PER_EVALUATION = (4, 8, 16, 32)  # among these is the best for captum
ROUNDS = 3


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def captum(model: nn.Module, x: Tensor, target: Tensor, window: int, stride: int, windows_at_once: int) -> Tensor:
    with torch.no_grad():
        found: Tensor = Occlusion(model).attribute(
            x,
            sliding_window_shapes=(3, window, window),
            strides=(3, stride, stride),
            target=target,
            perturbations_per_eval=windows_at_once,
        )
    return found[:, 0]


def best_for_captum(model: nn.Module, x: Tensor, target: Tensor, window: int) -> int:
    """Windows a pass with which a quarter of them, at twice the stride, is quickest."""
    times = {count: timed(lambda n=count: captum(model, x, target, window, window, n)) for count in PER_EVALUATION}
    return min(times, key=lambda count: times[count])


def over(times: Sequence[float], ours: Sequence[float]) -> str:
    """The ratios of the rounds: their median, the least and the greatest."""
    ratios = [time / our for time, our in zip(times, ours, strict=True)]
    return f"{statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})"


@pytest.mark.bench
@pytest.mark.parametrize("workload", WORKLOADS)
def test_occlusion_over_captum_and_over_plain_passes(
    workload: str, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, values, size, window, stride = WORKLOADS[workload]
    torch.manual_seed(0)
    device = torch.device("cpu")
    network = REGISTRY.configure("model", name, values)(10, size)
    model = wrap(network, size, 10, default_batch_size(size, device))
    method = REGISTRY.configure("method", "occlusion", {"window": window, "stride": stride})
    x, target = torch.randn(1, 3, size, size), torch.tensor([3])
    count = best_for_captum(model, x, target, window)
    engine = incremental._engine
    rivals: dict[str, list[float]] = {f"captum, {count} windows a pass": [], "plain passes": []}
    ours: list[float] = []
    of_captum, of_plain = rivals.values()

    def one_round() -> None:
        ours.append(timed(lambda: method(model, x, target)))
        of_captum.append(timed(lambda: captum(model, x, target, window, stride, count)))
        monkeypatch.setattr(incremental, "_engine", lambda *arguments: Choice("to be timed"))
        of_plain.append(timed(lambda: method(model, x, target)))
        monkeypatch.setattr(incremental, "_engine", engine)

    with listening() as choices:
        method(model, x, target)
    benchmark.pedantic(one_round, rounds=ROUNDS)
    lines = [
        f"{workload}, {torch.get_num_threads()} threads: occlusion {statistics.median(ours):.2f} s ({choices[0]})",
        *(f"    {rival}, over occlusion: {over(times, ours)}" for rival, times in rivals.items()),
    ]
    benchmark.extra_info["summary"] = lines
    with capsys.disabled():
        print("", *lines, sep="\n")
