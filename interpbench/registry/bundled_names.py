"""What the bundled plugins are called, without importing them: what the shell completes.

Plugins are code, and most of it imports torch, which takes longer than anybody waits for a key. So
their names stand in a file; `python -m interpbench.registry.bundled_names` writes it again.
"""

import csv
import io
from pathlib import Path

FILE = Path(__file__).with_name("bundled_names.csv")


def bundled_names(kind: str) -> list[str]:
    """The names of a kind, sorted."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return [row["name"] for row in csv.DictReader(file) if row["kind"] == kind]


def names_as_csv() -> str:
    """What belongs into the file, read off the plugins themselves."""
    from interpbench.registry.bundled_folder import bundled_folder
    from interpbench.registry.discovery import load_folder
    from interpbench.registry.plugin import KINDS
    from interpbench.registry.registry import Registry

    registry = Registry()
    load_folder(bundled_folder(), registry)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["kind", "name"])
    rows.writerows([kind, name] for kind in KINDS for name in registry.names(kind))
    return text.getvalue()


if __name__ == "__main__":
    FILE.write_text(names_as_csv(), encoding="utf-8")
