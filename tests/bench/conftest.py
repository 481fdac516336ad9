"""The options, the fixture by which every benchmark reports, and the table at the end."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from interpbench.core.devices import exact_arithmetic
from tests.bench.timing import ROUNDS, Contender, Table, Turns

Report = Callable[..., list[dict[str, Any]]]
TABLE_FILE = Path(".benchmarks/table.csv")
TABLE = pytest.StashKey[Table]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bench", "speed beside peers and plain forward passes, of tests/bench")
    group.addoption(
        "--quick", action="store_true", help="a subset in a minute: the small networks, short turns"
    )
    group.addoption(
        "--table", type=Path, default=TABLE_FILE, help="where the table is written, CSV"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = Table()
    config.option.benchmark_quiet = True  # one table is enough


@pytest.fixture(scope="session")
def quick(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--quick", default=False))


@pytest.fixture(scope="session", autouse=True)
def arithmetic() -> Iterator[None]:
    """Everyone computes as a run does: on a GPU without TF32, by kernels that repeat."""
    with exact_arithmetic():
        yield


@pytest.fixture
def report(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Report:
    """`report(workload, unit, contenders, warm_up=1)` times them in turns; gives a row each, for the table too.

    The first `ours` and the first `limit` among the contenders are what the others are divided by. The rounds of
    warming up are not counted; where a turn takes seconds, none are needed.
    """
    if not benchmark.enabled:
        pytest.skip("times mean nothing beside other processes: run with -n 0")

    def measure(
        workload: str, unit: str, contenders: Sequence[Contender], warm_up: int = 1
    ) -> list[dict[str, Any]]:
        turns = Turns(contenders)
        benchmark.pedantic(turns.round, rounds=ROUNDS, warmup_rounds=warm_up)
        rows = turns.rows(workload, unit, ROUNDS)
        benchmark.extra_info["rows"] = rows
        table = request.config.stash[TABLE]
        table.rows += rows
        table.write(
            request.config.getoption("--table", default=TABLE_FILE)
        )  # a killed session leaves what it has
        return rows

    return measure


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    table = config.stash[TABLE]
    if not table.rows:
        return
    terminalreporter.section("speed")
    path = config.getoption("--table", default=TABLE_FILE)
    terminalreporter.write_line(f"{table.text()}\n\nWritten to {path}")
