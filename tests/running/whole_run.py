"""A whole run with plots and page, for processes that are killed."""

from pathlib import Path

from interpbench import api
from interpbench.report import plots  # noqa: F401 (imported before the processes are made)
from interpbench.report.page import render  # noqa: F401
from interpbench.running import record, resume, runner  # noqa: F401
from tests.paths import TINY


def whole_run(folder: Path, mode: str) -> None:
    """Four methods, one of which takes its time, and a ceiling."""
    api.run(
        dataset="tiny", model="quadrants", method=["center", "gradient", "slow:seconds=0.1", "random"],
        metric=["deletion", "pointing-game"], images=8, steps=4, ceiling=2, weights="random", plugin=TINY,
        device="cpu", output=folder, resume=mode == "resume", overwrite=mode == "overwrite", progress=False,
    )  # fmt: skip
