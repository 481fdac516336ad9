"""The most memory that a run needs: it grows with the batch, not with images, steps, methods or masks.

    python -m pytest tests/bench/test_bench_memory.py -m bench -n 0

writes `memory.csv` and `memory.png` beside the table. Each point is a process of its own. Batches are varied on more
images than the rest, so that the largest is full.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import pandas as pd
import pytest
import seaborn as sns
import torch

from tests.bench import memory_point
from tests.bench.conftest import TABLE_FILE

BASE = {"images": 32, "steps": 8, "methods": 1, "masks": 64, "batch": 32}
VALUES = {
    "images": [8, 32, 128],
    "steps": [8, 32, 128],
    "methods": [1, 3, 6],
    "masks": [64, 256, 1024],
    "batch": [8, 32, 128],
}
OF_BATCHES = {**BASE, "images": VALUES["batch"][-1]}
METHODS = ["saliency", "gradcam", "random", "sobel", "hirescam", "gradient-x-input"]


def arguments(images: int, steps: int, methods: int, masks: int, batch: int) -> dict[str, Any]:
    """RISE with so many masks, and so many methods besides."""
    return {
        "model": "resnet18",
        "method": [f"rise:masks={masks}", *METHODS[:methods]],
        "metric": ["deletion", "insertion"],
        "images": images,
        "steps": steps,
        "batch_size": batch,
    }


def peak(values: dict[str, int]) -> float:
    """MiB."""
    command = [sys.executable, "-m", memory_point.__name__, json.dumps(arguments(**values))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


def draw(table: pd.DataFrame, path: Path) -> None:
    """A panel for each of what is varied, all with one axis of memory."""
    grid = sns.relplot(
        table, x="value", y="mib", col="varied", kind="line", marker="o", height=2.6, aspect=0.8,
        facet_kws={"sharex": False},
    )  # fmt: skip
    grid.set(xscale="log", ylim=(0, None))
    for varied, axes in grid.axes_dict.items():
        axes.set_xlabel(varied)
        axes.set_xticks(VALUES[varied], labels=VALUES[varied])
        axes.minorticks_off()
    grid.set_titles("").set_ylabels(
        "peak of the GPU, MiB" if torch.cuda.is_available() else "growth of the peak, MiB"
    )
    grid.savefig(path, dpi=150)


@pytest.mark.bench
def test_memory(
    request: pytest.FixtureRequest, quick: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    base = peak(BASE)
    rows = []
    for varied, values in VALUES.items():
        for value in [values[0], values[-1]] if quick else values:
            point = {**(OF_BATCHES if varied == "batch" else BASE), varied: value}
            mib = base if point == BASE else peak(point)
            rows.append({"varied": varied, "value": value, **point, "mib": round(mib, 1)})
    table = pd.DataFrame(rows)
    folder = request.config.getoption("--table", default=TABLE_FILE).parent
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "memory.csv", index=False, lineterminator="\n")
    draw(table, folder / "memory.png")
    with capsys.disabled():
        print(f"\nPeak of memory, written to {folder / 'memory.csv'} and drawn beside it:")
        print(table.pivot_table("mib", "value", "varied").to_string(na_rep=""))
