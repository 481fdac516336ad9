"""What a run was made with: versions, git state, machine. For the record, so that somebody else can check it."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__version__ = "0.1.0"
PACKAGES = ("torch", "torchvision", "captum", "numpy", "pandas", "scipy", "scikit-image", "pillow", "pyarrow")


def versions() -> dict[str, str]:
    """Versions of Python, InterpBench and the packages that numbers depend on."""
    found = {"python": platform.python_version(), "interpbench": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def git_state() -> dict[str, Any]:
    """Commit of the checkout that this package runs from, and whether it has changes; empty outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}
    commit = _git(root, "rev-parse", "HEAD")
    return {"commit": commit, "changed": bool(_git(root, "status", "--porcelain"))} if commit else {}


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
