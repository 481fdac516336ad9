"""One run in a process of its own, and the memory that it needs at most: `python -m tests.bench.memory_point JSON`.

The JSON holds the arguments of `interpbench.run`. Prints MiB beyond what a run of one image needed before, when the
last map is scored: the intervals that are computed then hold blocks of resamples, of a size that is bounded.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import interpbench
from interpbench.core.peak_memory import most_held
from interpbench.results.cell_results import CellResult
from interpbench.running.execute import Listener


def peak() -> float:
    """The most memory until now, MiB: of the process, or the GPU's of tensors."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return (most_held() or 0) / 2**20


class Watch(Listener):
    """Notes the peak whenever a cell is finished."""

    peak = 0.0

    def cell(self, result: CellResult) -> None:
        self.peak = peak()


def grown(arguments: dict[str, Any]) -> float:
    """How much the run adds to the peak, after a first one that loads libraries, model and data set."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        smallest = {**arguments, "images": 1, "steps": 2, "method": "random", "batch_size": 1}
        interpbench.run(**smallest, output=Path(folder) / "first", ceiling="none", plots=False)
        before = peak()
        finished = interpbench.run(
            **arguments, output=Path(folder) / "run", ceiling="none", plots=False, listener=watch
        )
        assert len(finished.failed) == 0
    return watch.peak - before


if __name__ == "__main__":
    print(grown(json.loads(sys.argv[1])))
