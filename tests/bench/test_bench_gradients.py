"""Methods that ask for gradients at the image, over a plain loop of as many forward and backward passes.

The limit is the network with its batch norms folded, in the memory format and at the batch size that suit it best.
"""

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from interpbench.core.passes_counted import counting
from interpbench.fast.method_copies import image_gradients
from tests.bench import ours, peers
from tests.bench.conftest import Report
from tests.bench.test_bench_methods import apart
from tests.bench.timing import Contender, seconds
from tests.bench.workloads import (
    CIFAR10,
    PLANTED,
    REGISTRY,
    RESNET18,
    Workload,
    images,
    plain,
    predicted,
)

METHODS = [
    "saliency", "gradient-x-input", "smoothgrad", "integrated-gradients", "expected-gradients",
    "blur-integrated-gradients",
]  # fmt: skip
CASES = list(itertools.product([CIFAR10, PLANTED, RESNET18], METHODS))


def loop(network: nn.Module, batch: Tensor, passes: int) -> Contender:
    """So many images forwards and backwards."""
    batches = math.ceil(passes / len(batch))

    def work() -> None:
        for _ in range(batches):
            image_gradients(network, batch)

    name = f"forward and backward passes, folded, batch {len(batch)}"
    return Contender(name, "limit", work, batches * len(batch))


def limit(workload: Workload, usual: int) -> Contender:
    """The cheapest of two formats and three batch sizes."""
    folded = fuse(plain(workload).network).requires_grad_(False)
    x = images(workload, 2 * usual)
    ways = [
        loop(
            copy.deepcopy(folded).to(memory_format=memory_format),
            x[:count].contiguous(memory_format=memory_format),
            2 * usual,
        )
        for memory_format in (torch.contiguous_format, torch.channels_last)
        for count in (usual // 2, usual, 2 * usual)
    ]
    return min(ways, key=lambda way: min(seconds(way.work) for _ in range(3)))


@pytest.mark.bench
@pytest.mark.parametrize(
    ("workload", "name"), CASES, ids=[f"{w.title}-{name}" for w, name in CASES]
)
def test_gradients(workload: Workload, name: str, report: Report, quick: bool) -> None:
    if quick and workload is not PLANTED:
        pytest.skip("not in the quick table")
    model = plain(workload)
    count = model.batch_size if workload is not RESNET18 else 2
    x = images(workload, count)
    target = predicted(model, x)
    mine = ours.maps([REGISTRY.configure("method", name, {})], model, x, target)
    with counting() as passes:
        mine()
    unit = f"per backward pass, {passes.backwards} of {count} images"
    contenders = [Contender(name, "ours", mine, passes.backwards)]
    if name == "integrated-gradients":
        by_captum = peers.captum_integrated_gradients
        contenders += [
            Contender("captum, as it comes", "peer", lambda: by_captum(model, x, target), passes.backwards, apart),
            Contender(
                f"captum, {model.batch_size} a pass", "peer",
                lambda: by_captum(model, x, target, at_once=model.batch_size), passes.backwards, apart,
            ),
        ]  # fmt: skip
    report(f"Gradients, {workload.title}", unit, [*contenders, limit(workload, model.batch_size)])
