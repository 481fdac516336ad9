"""What lies in the current folder is not run in place of a library, and a user's own files still are."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

SHADOWED = (
    "torch",
    "typer",
    "pandas",
    "rich",
    "typing",
    "inspect",
    "re",
    "pydantic",
    "json",
    "socket",
    "timm",
)
PLUGIN = """
import beside
import interpbench

@interpbench.metric("mine", better="higher")
def mine(explanation):
    "Imports what lies beside it."
    return beside.scores(explanation)
"""


def program(
    folder: Path, *arguments: str, checkout: bool = False
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if not checkout:
        environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, "-m", "interpbench", *arguments],
        capture_output=True, text=True, cwd=folder, env=environment, check=False,
    )  # fmt: skip


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    for name in SHADOWED:
        (tmp_path / f"{name}.py").write_text(
            f"raise SystemExit('{name} of the current folder was run')"
        )
    return tmp_path


def test_files_called_like_libraries_are_not_run(trap: Path) -> None:
    done = program(trap, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "conformance" in done.stdout


def test_a_named_file_may_import_what_lies_beside_it_and_hides_nothing(trap: Path) -> None:
    (trap / "mine.py").write_text(PLUGIN)
    (trap / "beside.py").write_text("import json, socket\n\ndef scores(explanation): ...")
    done = program(trap, "list", "metrics", "--plugin", "mine.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Imports what lies beside it." in done.stdout


def test_a_checkout_that_is_not_installed_runs_and_so_do_its_processes(tmp_path: Path) -> None:
    """Its folder is on the path as the current one alone; a process of its own finds it, with the libraries first."""
    shutil.copytree(
        ROOT / "interpbench", tmp_path / "interpbench", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(
        "import multiprocessing, sys\n"
        "import interpbench\n"
        "with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "    print(pool.apply(str, ('spawned',)))\n"
        "print(interpbench.__file__, sys.path[-1])\n"
    )
    done = program(tmp_path, "list", "metrics", checkout=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == [
        "spawned",
        str(tmp_path / "interpbench" / "__init__.py"),
        str(tmp_path),
    ]


def test_importing_the_package_changes_no_path(tmp_path: Path) -> None:
    code = "import sys; before = list(sys.path); import interpbench; assert sys.path == before, sys.path"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
