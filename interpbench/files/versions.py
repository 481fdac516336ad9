"""What a run was made with: versions and git state, so that somebody else can check it."""

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from interpbench.files.records import Record

__version__ = "0.2.0"
PACKAGES = (
    "torch",
    "torchvision",
    "captum",
    "numpy",
    "pandas",
    "scipy",
    "scikit-image",
    "pillow",
    "pyarrow",
)


def versions() -> dict[str, str]:
    """Versions of Python, InterpBench and the packages that numbers depend on."""
    return {
        "python": platform.python_version(),
        "interpbench": __version__,
        **{package: _installed(package) for package in PACKAGES},
    }


@functools.cache
def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


class GitState(Record):
    """The commit of the checkout that this package runs from, and whether it has changes.

    Empty where the package does not run from a checkout.
    """

    commit: str = ""
    changed: bool = False


def git_state() -> GitState:
    """That of this moment."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return GitState()
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return GitState()
    return GitState(commit=commit, changed=bool(_git(root, "status", "--porcelain")))


def _git(root: Path, *arguments: str) -> str:
    try:
        # Without locks: else the user's own git may find the checkout locked, and refuse.
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout.strip() if finished.returncode == 0 else ""
