"""ROAD beside pytorch-grad-cam's, at the same shares of removed positions, most and least salient first.

python -m pytest tests/bench/test_bench_road.py -m bench -n 0
"""

import pytest
import torch
from torch import Tensor

from tests.bench import ours, peers
from tests.bench.conftest import Report
from tests.bench.timing import Contender
from tests.bench.workloads import (
    ALEXNET,
    REGISTRY,
    RESNET18,
    Workload,
    eager,
    images,
    maps_without_ties,
    plain,
    predicted,
)

SHARES = torch.arange(1, 10) / 10


@pytest.mark.bench
@pytest.mark.parametrize("workload", [ALEXNET, RESNET18], ids=lambda workload: workload.title)
def test_road(workload: Workload, report: Report, quick: bool) -> None:
    """Its 18 forward passes are what this cannot do without; pytorch-grad-cam makes 36."""
    if quick and workload is RESNET18:
        pytest.skip("not in the quick table")
    count = 4
    model, x, maps = plain(workload), images(workload, count), maps_without_ties(workload, count)
    target = predicted(model, x)
    choice = REGISTRY.configure("metric", "road", {"first": "both", "output": "probability"})
    mine = ours.metric(choice, model, x, maps, target)

    def apart(found: object, theirs: Tensor) -> float:
        return float((found.scored["it"][:1].cpu() - torch.from_numpy(theirs)).abs().max())  # type: ignore[attr-defined]

    contenders = [
        Contender("this, road:first=both", "ours", mine, count, note=f"{count} images"),
        Contender(
            "pytorch-grad-cam, ROADCombined",
            "peer",
            lambda: peers.road_combined(model, x[:1], maps[:1], target[:1]),
            1,
            apart,
            "1 image",
        ),
        eager(workload).turn(1),
    ]
    report(f"ROAD, {workload.title}", "per image", contenders, warm_up=0)


@pytest.mark.bench
def test_imputation(report: Report) -> None:
    """What ROAD does beside its forward passes: 18 sets of removed positions of an image."""
    count = 4
    x = images(ALEXNET, count)
    ranks = maps_without_ties(ALEXNET, count)[:, None]
    shares = torch.cat([SHARES, SHARES]).to(x.device).view(-1, 1, 1, 1, 1)
    most = torch.arange(18, device=x.device).view(-1, 1, 1, 1, 1) < 9
    removed = torch.where(most, ranks >= 1 - shares, ranks < shares)
    tolerance = torch.full((3, 1, 1), 1 / 255 / 0.225, device=x.device)
    mine = ours.imputations(x, removed, tolerance)
    contenders = [
        Contender("this, linear_imputation", "ours", mine, count, note=f"{count} images"),
        Contender(
            "pytorch-grad-cam, NoisyLinearImputer",
            "peer",
            lambda: peers.road_imputation(x[:1], removed[:, :1]),
            1,
            lambda found, theirs: float((found[:, :1] - theirs).abs().max()),
            "1 image, without noise",
        ),
        eager(ALEXNET).turn(0.2),
    ]
    report("ROAD's imputation, 224 pixels", "per image", contenders, warm_up=0)
