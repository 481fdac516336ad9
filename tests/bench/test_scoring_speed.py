"""What deletion and insertion cost beside the forward passes they need: `pytest tests/bench -m bench`.

Both are timed in turns in one process, at the same batch size and precision; the ratio is what counts.
"""

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from interpbench.contracts import Perturbation
from interpbench.devices import default_batch_size, synchronise
from interpbench.discovery import discover
from interpbench.perturb import BatchSize, curve, rank, thresholds, tie_breakers

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WORKLOADS = {
    "small resnet18 (width 10), 64 pixels": ("resnet18", {"width": 10}, 64, 32, None),
    "small resnet18 (width 64), 64 pixels": ("resnet18", {}, 64, 32, 4),
    "torchvision resnet18, 224 pixels": ("resnet18", {}, 224, 4, 14),
}


def network(name: str, values: dict[str, int], size: int) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = discover().configure("model", name, values)(10, size)
    return module.eval().requires_grad_(False).to(DEVICE)


@torch.inference_mode()
def plain_forwards(model: nn.Module, batch: Tensor, passes: int) -> None:
    for _ in range(passes):
        model(batch).softmax(1)
    synchronise(DEVICE)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@pytest.mark.bench
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_deletion_and_insertion_over_plain_forwards(
    workload: str, memory_format: str, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plain passes are eager, contiguous fp32; the engine gets the memory format that a run would choose."""
    name, values, size, images, steps = WORKLOADS[workload]
    plain_model, model = network(name, values, size), network(name, values, size)
    x = torch.randn(images, 3, size, size, device=DEVICE)
    if memory_format == "channels_last":
        model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    saliency = torch.rand(images, size, size, device=DEVICE)
    ids = [str(i) for i in range(images)]
    target = torch.zeros(images, dtype=torch.int64, device=DEVICE)
    batch_size = default_batch_size(size, DEVICE)
    paths = [Perturbation(x, torch.zeros_like(x), steps), Perturbation(torch.zeros_like(x), x, steps)]
    ties = tie_breakers(ids, size * size, 0).to(DEVICE)

    def score() -> None:
        ranks, _ = rank(saliency, ties)
        for path in paths:
            curve(model, path, ranks, target, BatchSize(batch_size))
        synchronise(DEVICE)

    forwards = 2 * images * len(thresholds((size, size), steps))
    full, rest = divmod(forwards, batch_size)
    batch = torch.randn(batch_size, 3, size, size, device=DEVICE)

    def plain() -> None:
        plain_forwards(plain_model, batch, full)
        if rest:
            plain_forwards(plain_model, batch[:rest], 1)

    plain()
    ratios = []

    def one_round() -> None:
        baseline = timed(plain)
        ratios.append(timed(score) / baseline)

    benchmark.pedantic(one_round, rounds=5, warmup_rounds=1)
    ratios = sorted(ratios[1:])
    benchmark.extra_info["ratio"] = statistics.median(ratios)
    with capsys.disabled():
        print(
            f"\n{workload}, {memory_format}: deletion + insertion over {forwards} plain contiguous forward passes "
            f"at batch {batch_size} on {DEVICE}: {statistics.median(ratios):.3f} "
            f"(from {ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
