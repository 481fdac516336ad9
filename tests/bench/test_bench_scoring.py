"""Deletion and insertion beside the forward passes they need and beside RISE, Quantus and ROAD.

python -m pytest tests/bench -m bench -n 0
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from torch import Tensor

from interpbench import baseline
from interpbench.scoring.curves import area
from tests.bench import ours, peers
from tests.bench.conftest import Report
from tests.bench.timing import DEVICE, Contender
from tests.bench.workloads import (
    SMALL,
    WORKLOADS,
    Workload,
    eager,
    fitting,
    images,
    limits,
    maps_without_ties,
    plain,
    predicted,
)


def apart(expected: Tensor, actual: Tensor) -> float:
    """The greatest difference of a score; of the images that both have."""
    return float(
        (area(expected[:, : actual.shape[1]]) - area(actual.to(expected.device))).abs().max()
    )


def points_apart(expected: Tensor, actual: Tensor) -> float:
    """The greatest difference of a point of deletion's curve after the first; Quantus may have three steps for one."""
    every = actual.shape[1] // (expected.shape[2] - 1)
    return float((expected[0, : len(actual), 1:].cpu() - actual[:, every - 1 :: every]).abs().max())


@pytest.mark.bench
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.title)
def test_deletion_and_insertion(workload: Workload, report: Report, quick: bool) -> None:
    if quick and workload not in SMALL:
        pytest.skip("not in the quick table")
    scoring = Scoring(workload, quick)
    unit = f"per forward pass that is needed ({scoring.count} images, {scoring.steps} steps of deletion and insertion)"
    contenders = [scoring.ours("fp32"), scoring.ours("bf16"), scoring.rise(), *scoring.quantus()]
    if (
        not quick and DEVICE.type == "cuda"
    ):  # compilation takes half a minute of a CPU, for less than fusion gains
        contenders += [scoring.ours("fp32", compile=True), scoring.ours("bf16", compile=True)]
    if workload in SMALL:
        contenders += [scoring.rise_single(), scoring.road()]
    contenders += [limit.turn(scoring.turn / 5) for limit in limits(workload, quick)]
    report(workload.title, unit, contenders, warm_up=int(workload in SMALL))


class Scoring:
    """Images, maps without ties and targets of a workload, and the contenders that score them."""

    def __init__(self, workload: Workload, quick: bool) -> None:
        self.workload = workload
        self.turn = workload.turn(quick)
        self.count, self.steps = fitting(workload, quick)
        self.few = max(1, self.count // 8)  # images for what is slow
        self.model, self.batch = plain(workload), len(eager(workload).batch)
        self.x, self.maps = images(workload, self.count), maps_without_ties(workload, self.count)
        self.target = predicted(self.model, self.x)
        self.blurred = baseline("blur", self.x, self.model.card)
        self.stride = -(-(workload.size**2) // self.steps)
        self.points = -(-(workload.size**2) // self.stride) + 1

    def ours(self, precision: str, compile: bool = False) -> Contender:
        work = ours.deletion_and_insertion(
            self.model, self.x, self.maps, self.target, self.steps, precision, compile
        )
        name, difference = (
            f"this, {precision}{', compiled' * compile}",
            None if precision == "fp32" else apart,
        )
        return Contender(name, "ours", work, 2 * self.count * self.points, difference)

    def rise(self) -> Contender:
        def work() -> Tensor:
            return peers.rise_evaluate(
                self.model, self.x, self.blurred, self.maps, self.target, self.stride, self.batch
            )

        note = f"batches of up to {self.batch} images"
        return Contender("RISE, evaluate", "peer", work, 2 * self.count * self.points, apart, note)

    def rise_single(self) -> Contender:
        part = slice(0, self.few)

        def work() -> Tensor:
            return peers.rise_single_runs(
                self.model,
                self.x[part],
                self.blurred[part],
                self.maps[part],
                self.target[part],
                self.stride,
            )

        return Contender(
            "RISE, single_run",
            "peer",
            work,
            2 * self.few * self.points,
            apart,
            f"{self.few} images",
        )

    def quantus(self) -> list[Contender]:
        """Patched, for the same steps; and, if the network is small, as shipped."""
        if not peers.HAS_QUANTUS:
            return [
                Contender(
                    "Quantus PixelFlipping",
                    "peer",
                    lambda: None,
                    math.nan,
                    note="quantus is not installed",
                )
            ]
        steps = self.points - 1

        def work(images: int, features: int, patched: bool) -> Callable[[], Tensor]:
            part = slice(0, images)
            return lambda: peers.quantus_pixel_flipping(
                self.model,
                self.x[part],
                self.maps[part],
                self.target[part],
                features,
                self.batch,
                patched=patched,
            )

        patched = Contender(
            "Quantus, patched", "peer", work(self.count, 3 * self.stride, True), self.count * steps, points_apart,
            "deletion alone; np.trapz given back, its checks left out",
        )  # fmt: skip
        if self.workload not in SMALL:
            return [patched]
        shipped = Contender(
            "Quantus, as shipped", "peer", work(self.few, self.stride, False), 3 * self.few * steps, points_apart,
            f"deletion alone, {self.few} images, a third of a step each; no area (np.trapz is gone)",
        )  # fmt: skip
        return [shipped, patched]

    def road(self) -> Contender:
        part = slice(0, self.few)

        def work() -> np.ndarray:
            return peers.road_combined(self.model, self.x[part], self.maps[part], self.target[part])

        note = f"per image and percentile, {self.few} images"
        return Contender("pytorch-grad-cam, ROADCombined", "peer", work, 18 * self.few, note=note)
