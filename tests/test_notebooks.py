"""The notebooks of the documentation: they run from a fresh kernel in an empty folder, and are saved as they ran."""

import re
import tomllib
from pathlib import Path

import nbformat
import pytest

from docs.notebooks.render import FOLDER, executed
from tests.paths import ROOT

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "urls"
]["Repository"]


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """What each cell shows, by its kinds: `text/html`, `image/png`, `stdout`."""
    return [
        [
            kind
            for output in cell.outputs
            for kind in sorted(output.get("data", [output.get("name")]))
        ]
        for cell in code_cells(notebook)
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_saved_as_it_ran(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    install, *others = code_cells(notebook)
    assert f"git+{REPOSITORY}" in install.source
    assert 'find_spec("interpbench") is None' in install.source
    assert not install.outputs
    assert [cell.execution_count for cell in code_cells(notebook)] == [*range(1, len(others) + 2)]
    assert sum(map(len, shown(notebook))) >= 3
    assert all(output.output_type != "error" for cell in others for output in cell.outputs)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/tmp/|/home/|/work/|file://", text)
    repository = REPOSITORY.removeprefix("https://github.com/")
    assert (
        f"colab.research.google.com/github/{repository}/blob/main/docs/notebooks/{path.name}"
        in text
    )
    for linked in re.findall(r"\]\(([\w-]+\.ipynb)\)", text):
        assert (FOLDER / linked).is_file()


def test_notebooks_are_small() -> None:
    assert sum(path.stat().st_size for path in NOTEBOOKS) < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert shown(executed(path)) == shown(nbformat.read(path, as_version=4))
