"""What a window of occlusion costs beside captum's and beside plain passes: whether the model of costs is right.

A wrong choice of it is a failure, with a margin wide enough for any machine's noise.
"""

from collections.abc import Callable
from unittest.mock import patch

import pytest
from torch import Tensor

import interpbench.fast.occlusion.occluded_outputs as incremental
from interpbench.core.types import Model
from interpbench.fast.occlusion.occluded_outputs import Choice, listening
from tests.bench import ours, peers
from tests.bench.conftest import Report
from tests.bench.timing import Contender
from tests.bench.workloads import (
    ALEXNET,
    LARGE,
    MOBILENET,
    PLANTED,
    REGISTRY,
    RESNET18,
    SMALL_VGG,
    VGG16,
    Workload,
    eager,
    images,
    plain,
    predicted,
)

# side of a window, and the stride
SIZES = {
    PLANTED: (8, 4),
    SMALL_VGG: (4, 2),
    **dict.fromkeys((RESNET18, ALEXNET, VGG16, MOBILENET), (16, 8)),
}
MARGIN = 1.3  # times as long as another way
LIMIT = 0.5  # seconds of plain forward passes in a turn


@pytest.mark.bench
@pytest.mark.parametrize("workload", SIZES, ids=lambda workload: workload.title)
def test_occlusion(workload: Workload, report: Report, quick: bool) -> None:
    if quick and workload is not PLANTED:
        pytest.skip("not in the quick table")
    count = (
        1 if workload.size == LARGE else 16
    )  # what is planned for a batch would weigh too much for one small image
    model, x = plain(workload), images(workload, count)
    target = predicted(model, x)
    window, stride = SIZES[workload]
    # What passes whole images through the network takes as long for each window, large or small: some will do.
    side, step = (7 * stride, 7 * stride) if workload.size == LARGE else (window, stride)
    some = count * windows(workload.size, side, step)
    with listening() as choices:
        mine = occlusion(model, x, target, window, stride)
        mine()
    expected = f"the model of costs says {choices[0].gain:.2g} times as fast as plain passes"
    best = peers.best_at_once(
        lambda at_once: peers.captum_occlusion(model, x, target, at_once, side, side), (4, 8, 16)
    )
    rows = report(
        f"Occlusion, {workload.title}",
        f"per window of {window} pixels, at a stride of {stride}",
        [
            Contender("occlusion", "ours", mine, count * windows(workload.size, window, stride), note=expected),
            Contender(
                "occlusion by plain passes", "ours", by_plain_passes(occlusion(model, x, target, side, step)), some,
                note=f"{some} windows",
            ),
            Contender(
                f"captum, {best} windows a pass", "peer",
                lambda: peers.captum_occlusion(model, x, target, best, side, step), some, note=f"{some} windows",
            ),
            eager(workload).turn(LIMIT),
        ],
        warm_up=0,
    )  # fmt: skip
    for other in rows[1:3]:
        assert other["over_ours"] >= 1 / MARGIN, f"ours takes longer than {other['contender']}"


def occlusion(
    model: Model, x: Tensor, target: Tensor, window: int, stride: int
) -> Callable[[], Tensor]:
    """A turn of it."""
    return ours.maps(
        [REGISTRY.configure("method", "occlusion", {"window": window, "stride": stride})],
        model,
        x,
        target,
    )


def by_plain_passes(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The same where nothing is computed in parts."""

    def turn() -> Tensor:
        with patch.object(incremental, "_engine", lambda *arguments: Choice("to be timed")):
            return work()

    return turn


def windows(size: int, window: int, stride: int) -> int:
    """How many windows an image has; the last of a row may reach beyond it."""
    return (1 - (window - size) // stride) ** 2
