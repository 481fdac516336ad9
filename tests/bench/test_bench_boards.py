"""What conclusions, pages and publishing take grows no faster than the scores do: seconds of the CPU, and memory.

    python -m pytest tests/bench/test_bench_boards.py -m bench -n 0 [--quick]

writes `boards.csv` beside the table: of each job on runs of so many images, methods and models, by four metrics, what
a process of its own took.
"""

import itertools
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from interpbench.results.leaderboard import conclude
from interpbench.results.tables import RunTables
from tests.bench import board_point
from tests.bench.board_point import JOBS, seconds
from tests.bench.conftest import TABLE_FILE
from tests.synthetic_runs import write_run

IMAGES, METHODS, MODELS = (1_000, 5_000, 50_000), (10, 40), (1, 2)
ROUNDS = 5


def process_seconds(tables: RunTables) -> float:
    """Of the CPU, for all conclusions."""
    started = seconds()
    conclude(tables)
    return seconds() - started


@pytest.mark.bench
@pytest.mark.parametrize(
    ("small", "large", "most"),
    [
        ({"images": 6_000, "methods": 8}, {"images": 12_000, "methods": 8}, 2.3),
        (
            {"images": 6_000, "methods": 8},
            {"images": 6_000, "methods": 16},
            4.6,
        ),  # pairs are squares
        ({"images": 6_000, "methods": 8}, {"images": 6_000, "methods": 8, "models": 2}, 2.3),
    ],
)
def test_twice_as_much_takes_twice_as_long(
    small: dict[str, int],
    large: dict[str, int],
    most: float,
    tmp_path: Path,
    benchmark: BenchmarkFixture,
) -> None:
    """In turns in one process, by the process's time: the median of the rounds' ratios."""
    folders = {
        name: write_run(tmp_path / name, **size)
        for name, size in (("small", small), ("large", large))
    }
    ratios: list[float] = []

    def turn() -> None:
        took = {name: process_seconds(folder.tables()) for name, folder in folders.items()}
        ratios.append(took["large"] / took["small"])

    benchmark.pedantic(turn, rounds=ROUNDS, warmup_rounds=1)
    assert statistics.median(ratios[1:]) <= most


@pytest.mark.bench
def test_growth(
    request: pytest.FixtureRequest, quick: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for images, methods, models in itertools.product(
        IMAGES[: 1 if quick else None], METHODS, MODELS
    ):
        folder = tmp_path / f"{images}-{methods}-{models}"
        write_run(folder, images=images, methods=methods, models=models)
        for job in JOBS:
            command = [sys.executable, "-m", board_point.__name__, job, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            took, peak = map(float, done.stdout.split()[-2:])
            size = {"images": images, "methods": methods, "models": models}
            rows.append({"job": job, **size, "cpu_seconds": round(took, 1), "gib": round(peak, 2)})
    table = pd.DataFrame(rows)
    path = request.config.getoption("--table", default=TABLE_FILE).parent / "boards.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, lineterminator="\n")
    assert (table["cpu_seconds"] < 120).all()
    assert (table["gib"] < 4).all()
    with capsys.disabled():
        print(f"\nWritten to {path}\n{table.to_string(index=False)}")
