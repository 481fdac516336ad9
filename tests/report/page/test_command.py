"""`report --html` and the page that a run writes, as a user meets them."""

import shutil
from pathlib import Path

import pytest

import interpbench
from interpbench.api import write_page
from interpbench.results.run_folder import RunFolder
from tests.command_line import call, refused
from tests.paths import TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    interpbench.run(
        dataset="tiny", model="quadrants", method=["gradient", "random"], metric="deletion", images=8,
        plugin=TINY, weights="random", device="cpu", output=folder,
    )  # fmt: skip
    return folder


def test_a_run_writes_its_page(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "quadrants is untrained" in text
    assert 'id="curves"' in text


def test_the_page_is_written_again_in_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    code, out, error = call("report", folder, "--html", "--output", tmp_path / "new" / "page.html")
    assert code == 0, error
    assert out.split() == ["Page:", str(tmp_path / "new" / "page.html")]
    assert (tmp_path / "new" / "page.html").read_bytes() == (folder / "report.html").read_bytes()


def test_the_page_of_a_leaderboard_stands_beside_it(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "leaderboard.csv", tmp_path / "mine.csv")
    code, _, error = call("report", tmp_path / "mine.csv", "--html")
    assert code == 0, error
    assert "Only a leaderboard" in (tmp_path / "mine.html").read_text(encoding="utf-8")


def test_a_run_in_memory_has_a_page(folder: Path, tmp_path: Path) -> None:
    file = write_page(interpbench.load_run(folder), tmp_path / "page.html")
    assert file.read_bytes() == (folder / "report.html").read_bytes()


def test_the_page_goes_with_the_run_that_is_overwritten(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "run")
    with RunFolder(copy).writing("overwrite"):
        assert not (copy / "run.json").exists()
    assert not (copy / "report.html").exists()


def test_wrong_input_is_one_message(folder: Path, tmp_path: Path) -> None:
    assert "give --html" in refused("report", str(folder), "--output", str(tmp_path / "page.html"))
    assert "or --html for a page" in refused("report", str(folder / "leaderboard.csv"))
    assert "is no run folder" in refused("report", str(tmp_path / "absent"), "--html")
    assert "lacks the columns" in refused("report", str(folder / "timings.csv"), "--html")
    assert "Cannot write" in refused(
        "report", str(folder), "--html", "--output", str(folder / "run.json" / "page")
    )
