"""Folders that commands write: what was killed can be replaced, and a file manager's files are no obstacle."""

import json
from pathlib import Path

import pytest

from interpbench.core.errors import RunFolderError
from interpbench.files.output_folder import OutputFolder
from interpbench.files.records import Record


def folder(path: Path) -> OutputFolder:
    return OutputFolder(path, "explain", Record())


def test_what_was_written_before_a_kill_is_replaced(tmp_path: Path) -> None:
    killed = folder(tmp_path)
    killed.start(overwrite=False)
    killed.write("a.txt", lambda path: path.write_text("a"))
    # No more is written: the process is gone.
    with folder(tmp_path) as again:
        again.start(overwrite=True)
        assert not (tmp_path / "a.txt").exists()
        again.write("b.txt", lambda path: path.write_text("b"))
    assert json.loads((tmp_path / "explain.json").read_text())["files"] == ["b.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_kill_or_a_file_manager_left_is_no_content(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / ".explain.json.17.partial.json").write_text("{")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    folder(tmp_path).start(overwrite=overwrite)
    assert {path.name for path in tmp_path.iterdir()} == {"explain.json", ".DS_Store"}


def test_what_somebody_else_wrote_is_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match="holds nothing of `explain`"):
        folder(tmp_path).start(overwrite=True)
