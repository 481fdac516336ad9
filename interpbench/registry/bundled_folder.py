"""Where the bundled plugins lie."""

from pathlib import Path


def bundled_folder() -> Path:
    """The bundled plugins: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "plugins"
    return inside if inside.is_dir() else package.parent / "plugins"
