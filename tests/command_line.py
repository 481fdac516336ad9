"""The command line, called in this process or, as a user does, in another one."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interpbench.api import runs
from interpbench.commands.app import main
from tests.paths import ROOT, TINY

BASE = ["--dataset", "tiny", "--model", "quadrants", "--plugin", str(TINY), "--device", "cpu"]
QUICK = [*BASE, "--weights", "random", "--metric", "deletion,pointing-game", "--images", "8"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "interpbench", *arguments]


def interpbench(
    *arguments: str, cwd: Path | None = None, columns: int = 160
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    environment = os.environ | {"COLUMNS": str(columns), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=cwd, env=environment, timeout=300
    )


def call(*arguments: object, columns: int = 1000) -> tuple[int, str, str]:
    """The command in this process: exit code, what it prints, and its errors on one line.

    The process of its own above costs seconds of imports: it is for what only a process shows.
    """
    out, error = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        patch.setattr(sys, "argv", ["interpbench", *map(str, arguments)])
        patch.setenv("COLUMNS", str(columns))
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return code, out.getvalue(), " ".join(error.getvalue().split())


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """In this process runs draw neither plots nor a page, which takes longer than a small run does otherwise.

    For tests that look at neither: with it, or decorated by it.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("redraw", "write_page"):
            patch.setattr(runs, name, lambda finished: None)
        yield


def refused(*arguments: object) -> str:
    """The message of a command that must be refused."""
    code, out, error = call(*arguments)
    assert code == 2, out + error
    assert "Traceback" not in error
    return error
