"""Nothing in the loop over batches asks the device for a number, which on a GPU would make it wait."""

from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from interpbench.core.devices import Computing
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from interpbench.running.block_in_progress import BlockInProgress
from interpbench.running.cell_of_blocks import cell_of_blocks
from interpbench.running.image_stream import ImageStream
from interpbench.running.plan import make_plan
from interpbench.running.prepared_model import PreparedModel
from interpbench.suite.selection import Selection
from interpbench.suite.suite import load_suite
from tests.paths import TINY

METHODS = ("saliency", "gradcam", "hirescam", "smoothgrad:samples=2", "random", "center")


class NoQuestions(TorchDispatchMode):
    """Refuses operations whose result is a number, or whose size depends on one, on the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in (
            "_local_scalar_dense",
            "nonzero",
            "is_nonzero",
            "equal",
            "masked_select",
        ), name
        indices = args[1] if name == "index" else ()
        assert not any(index is not None and index.dtype == torch.bool for index in indices), (
            "index by a mask"
        )
        return func(*args, **(kwargs or {}))


@contextmanager
def cuda_must_not_wait() -> Any:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_loop_over_batches_waits_for_nothing(method: str, device: str) -> None:
    """On the CPU by the operations that are called, on a GPU by torch's own debug mode."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    changes = {
        "dataset": "tiny", "models": ("quadrants",), "methods": (method, "center"),
        "metrics": ("deletion", "insertion"), "images": 8, "ceiling": "none",
    }  # fmt: skip
    selection = Selection(load_suite("quick").changed(changes))
    computing = Computing(torch.device(device), batch_size=4)
    plan = make_plan(selection, discover([TINY]), computing, Sources(weights=("random",)))
    with ImageStream(plan) as stream:
        run = PreparedModel(plan, "quadrants", stream)
        images = run.open(run.blocks()[0])
    work = BlockInProgress(run, images, plan.cells[0])
    first, second = images.batches(4)
    work.add(first)  # asks once whether the metrics' paths depend on the maps
    watching: AbstractContextManager[Any] = (
        NoQuestions() if device == "cpu" else cuda_must_not_wait()
    )
    with watching:
        work.add(second)
    work.finish([])
    result = cell_of_blocks(plan, {0: work.result()})
    assert result.record.status == "ok"
    assert len(result.scores) == 2 * 8
