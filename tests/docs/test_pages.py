"""Every block of the documentation is held against the program, and runs as a reader would run it, in small."""

from collections import Counter
from pathlib import Path

import pytest

from tests.command_line import call
from tests.docs.commands import check_command, commands_of
from tests.docs.pages import LANGUAGES, MARKS, PAGES, blocks_of
from tests.docs.running import Reader, furnish
from tests.slow_cases import with_slow

BLOCKS = {page: blocks_of(page) for page in PAGES}
WITH_BLOCKS = [
    page for page in PAGES if any(b.language in ("bash", "python") for b in BLOCKS[page])
]
LONG = [
    "how-to/many-machines.md",
    "how-to/new-dataset.md",
    "how-to/new-method.md",
    "how-to/notebooks.md",
    "how-to/own-maps.md",
    "how-to/own-photographs.md",
    "how-to/paper.md",
    "how-to/train.md",
    "tutorials/compare-methods.md",
    "tutorials/write-a-method.md",
]
WITH_SLOW_ONES = [page for page in PAGES if any(block.is_slow for block in BLOCKS[page])]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    furnish(folder)
    return folder


def read(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, slowly: bool = False) -> None:
    monkeypatch.chdir(folder)
    reader = Reader(slowly=slowly)
    reader.read(page)
    assert sum(reader.done.values()) == len(BLOCKS[page]), reader.done


@pytest.mark.parametrize("page", with_slow(WITH_BLOCKS, LONG))
def test_what_a_page_shows_works(
    page: str, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(page, own_folder, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_SLOW_ONES)
def test_what_a_page_shows_works_where_it_is_slow(
    page: str, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(page, own_folder, monkeypatch, slowly=True)


@pytest.fixture
def own_folder(furnished: Path, tmp_path: Path) -> Path:
    """A folder of the page's own, with what readers have."""
    for entry in furnished.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", "results/README.md"])
def test_commands_beside_the_documentation_are_there(
    file: str, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_folder)
    assert call("new", "method", "my-method")[0] == 0
    assert call("new", "method", "mine")[0] == 0
    blocks = blocks_of(f"../{file}")
    commands = [words for b in blocks if b.language != "python" for words in commands_of(b.text)]
    assert len(commands) > 3
    for words in commands:
        check_command(words)
    for block in blocks:
        if block.language == "python":
            compile(block.text, str(block), "exec")


def test_each_block_says_what_it_is_and_why_it_does_not_run() -> None:
    for block in (block for blocks in BLOCKS.values() for block in blocks):
        assert block.language in LANGUAGES, f"{block}: {block.language!r}: one of {LANGUAGES}"
        assert block.mark in ("", *MARKS) or block.mark == "generated", f"{block}: {block.mark!r}"
        assert bool(block.why) == (block.mark in ("slow", "not run")), f"{block}: give a reason"
        if block.language == "text" and not block.title:
            assert "python -m interpbench" not in block.text, f"{block}: commands are ```bash"


def test_most_blocks_run_and_few_cannot() -> None:
    """The figures, with `pytest -s`; each that cannot run has its reason above it."""
    tried = [b for blocks in BLOCKS.values() for b in blocks if b.language in ("bash", "python")]
    counts = Counter(block.mark or "in small" for block in tried)
    print(f"\nblocks of the documentation: {dict(counts)}")
    for block in tried:
        if block.cannot_run:
            print(f"  not run: {block}: {block.why}")
    assert counts["not run"] <= len(tried) // 5
