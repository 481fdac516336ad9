"""What each metric costs, and a whole run over the forward passes that it makes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from tests.bench import ours
from tests.bench.conftest import Report
from tests.bench.timing import Contender
from tests.bench.workloads import (
    PLANTED,
    REGISTRY,
    eager,
    images,
    maps_without_ties,
    plain,
    predicted,
)

METHODS = ["gradcam", "saliency", "occlusion", "random"]


@pytest.mark.bench
@pytest.mark.parametrize("name", REGISTRY.names("metric"))
def test_metric(name: str, report: Report, quick: bool) -> None:
    count = 2 if quick else 8
    model, x, maps = plain(PLANTED), images(PLANTED, count), maps_without_ties(PLANTED, count)
    work = ours.metric(REGISTRY.configure("metric", name, {}), model, x, maps, predicted(model, x))
    contenders = [
        Contender(name, "ours", work, count, note=f"{count} images"),
        eager(PLANTED).turn(0.05),
    ]
    report(f"Metrics, {PLANTED.title}", "per image", contenders)


@pytest.mark.bench
def test_whole_run(report: Report, quick: bool, tmp_path: Path) -> None:
    count = 2 if quick else 10
    work = ours.run(tmp_path / "run", METHODS, count)
    with counted() as passes:
        assert len(work().failed) == 0
    run = Contender(
        "interpbench.run", "ours", work, passes[0],
        note=f"{passes[0]} images pass the network, of {count} that are explained by {', '.join(METHODS)}",
    )  # fmt: skip
    report(f"A whole run, {PLANTED.title}", "per forward pass", [run, eager(PLANTED).turn(0.25)])


@contextmanager
def counted() -> Iterator[list[int]]:
    """How many images pass through networks within this context, whatever is inside of them: a list of one number."""
    passes, depth = [0], 0

    def enter(module: torch.nn.Module, inputs: Any) -> None:
        nonlocal depth
        if depth == 0 and inputs[0].ndim == 4:
            passes[0] += len(inputs[0])
        depth += 1

    def leave(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        nonlocal depth
        depth -= 1

    handles = [
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()
