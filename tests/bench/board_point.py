"""One job on a run's folder in a process of its own: `python -m tests.bench.board_point WHAT FOLDER`.

Prints the seconds of the CPU and the most memory, GiB, that it took with all its imports.
"""

import contextlib
import io
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from interpbench.commands.app import app
from interpbench.core.peak_memory import most_held
from interpbench.files.csv_files import write_csv
from interpbench.results.leaderboard import conclude
from interpbench.results.run_folder import CONCLUSIONS, RunFolder


def _assemble(folder: Path) -> None:
    RunFolder(folder).assemble()


def _conclude(folder: Path) -> None:
    run = RunFolder(folder)
    for name, table in conclude(run.tables()).items():
        run.write(f"{name}.csv", lambda path, table=table: write_csv(table, path))
    assert all((folder / f"{name}.csv").is_file() for name in CONCLUSIONS)


def _command(*words: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        app(list(words), standalone_mode=False)


def _publish(folder: Path) -> None:
    results = folder.parent / f"{folder.name}-results"
    shutil.rmtree(results, ignore_errors=True)
    _command("publish", str(folder), "--by", "Ada", "--results", str(results))
    assert (results / "leaderboards" / "grown.csv").is_file()


def _scores(folder: Path) -> None:
    import interpbench

    assert len(interpbench.load_run(folder).scores)


JOBS: dict[str, Callable[[Path], None]] = {
    "assemble": _assemble,
    "conclude": _conclude,
    "page": lambda folder: _command("report", str(folder), "--html"),
    "publish": _publish,
    "leaderboard": lambda folder: _command("leaderboard", str(folder), "--format", "csv"),
    "scores": _scores,
}


def seconds() -> float:
    """Of the CPU, until now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    JOBS[sys.argv[1]](Path(sys.argv[2]))
    print(seconds(), (most_held() or 0) / 2**30)
