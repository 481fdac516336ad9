"""A package that pip installs brings a method: found and run like a bundled one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import BASE, command
from tests.paths import ROOT, THIRD_PARTY

PACKAGE = THIRD_PARTY
pytestmark = (
    pytest.mark.slow
)  # pip builds the package; how an entry point is found is tested without it


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip installed the package, built by what is installed here, without an index."""
    source = shutil.copytree(PACKAGE, tmp_path_factory.mktemp("source") / "package")
    target = tmp_path_factory.mktemp("site")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
    ]
    done = subprocess.run(
        [*pip, "--target", str(target), str(source)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (target / "local_contrast" / "__init__.py").is_file()
    return target


def interpbench(site: Path, *arguments: str) -> str:
    environment = os.environ | {
        "COLUMNS": "200",
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
    }
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_method_is_listed(site: Path) -> None:
    assert "local-contrast" in interpbench(site, "list", "methods")


def test_its_method_is_run_and_ranked_beside_the_bundled_ones(site: Path, tmp_path: Path) -> None:
    chosen = ["--method", "local-contrast:radius=1,random", "--metric", "deletion", "--images", "4"]
    interpbench(
        site, "run", *BASE, "--weights", "random", *chosen, "--output", str(tmp_path / "run")
    )
    board = (tmp_path / "run" / "leaderboard.csv").read_text()
    assert "local-contrast" in board
    assert "random" in board
