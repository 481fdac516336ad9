"""Runs the notebooks from a fresh kernel each, and saves what they show: `python docs/notebooks/render.py [NAME ...]`.

Nothing of the machine is saved: no paths of its folders, no progress.
"""

import base64
import io
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

FOLDER = Path(__file__).parent
SECONDS = 600  # that a cell may take, on a machine that is busy
WIDEST = 900  # pixels of a picture


def executed(path: Path) -> NotebookNode:
    """A notebook with its outputs, run in an empty folder.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails; the message has its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}
        ).execute()
        for cell in notebook.cells:
            if cell.cell_type == "code":
                _tidy(cell, Path(folder).resolve())
    nbformat.validate(notebook)
    return notebook


def _tidy(cell: NotebookNode, folder: Path) -> None:
    cell.metadata = {}
    cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    for output in cell.outputs:
        output.pop("execution_count", None)
        if output.output_type == "stream":
            output.text = output.text.split("\r")[-1]
        data = output.get("data", {})
        for kind, content in data.items():
            if kind == "image/png":
                data[kind] = _smaller(content)
            elif isinstance(content, str):
                content = content.replace(folder.as_uri() + "/", "").replace(f"{folder}/", "")
                embedded = r"(?<=data:image/png;base64,)[A-Za-z0-9+/=]+"
                data[kind] = re.sub(embedded, lambda found: _smaller(found[0]), content)
        if output.output_type == "execute_result":
            output.execution_count = cell.execution_count


def _smaller(content: str) -> str:
    """A picture of few colours and no more pixels than a page shows; PNG in base64."""
    image = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
    if image.width > WIDEST:
        height = round(image.height * WIDEST / image.width)
        image = image.resize((WIDEST, height), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.quantize(256).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def main(names: list[str]) -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            nbformat.write(executed(path), path)
            print(path.name, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
