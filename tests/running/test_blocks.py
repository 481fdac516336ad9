"""A run cut into small blocks writes what a run in one block writes, whatever breaks it off."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench.core.devices import Computing
from interpbench.core.errors import RunFolderError
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from interpbench.results import leaderboard
from interpbench.results.block_files import BlockFiles, BlockResult
from interpbench.results.cell_folder import DamagedError
from interpbench.results.run_folder import RunFolder
from interpbench.running import execute as execution
from interpbench.running import runner
from interpbench.running.blocks import block_size, blocks
from interpbench.running.execute import Listener, execute
from interpbench.running.gathering import Gathering
from interpbench.running.plan import Plan, make_plan
from interpbench.suite.cells import Cell
from interpbench.suite.selection import Selection
from interpbench.suite.suite import load_suite
from tests.paths import TINY

ASKED = {
    "dataset": "tiny", "models": ["quadrants"], "methods": ["center", "gradient", "random"],
    "metrics": ["deletion", "insertion", "pointing-game"], "images": 7, "steps": 3, "ceiling": 2,
}  # fmt: skip


@given(st.integers(1, 2000), st.integers(1, 300), st.integers(1, 400))
def test_blocks_hold_every_image_once_and_whole_batches(
    images: int, batch: int, about: int
) -> None:
    size = block_size(batch, about)
    found = blocks(images, size)
    assert [i for block in found for i in range(block.first, block.last)] == list(range(images))
    assert all((block.last - block.first) % batch == 0 for block in found[:-1])
    assert [(block.number, block.count) for block in found] == [
        (i, len(found)) for i in range(len(found))
    ]
    assert batch <= size <= max(batch, about + batch / 2)


def plan(size: int, precision: str = "fp32", **asked: Any) -> Plan:
    selection = Selection.of(load_suite("quick"), ASKED | asked)
    computing = Computing.of("cpu", precision, batch_size=2, block_size=size)
    return make_plan(selection, discover([TINY]), computing, Sources(weights=("random",)))


def run(folder: Path, plan: Plan, mode: Any = "new") -> Path:
    execute(plan, RunFolder(folder), mode, False, Listener())
    return folder


def tables(folder: Path) -> dict[str, bytes]:
    """All that a run says but for times, and for how it was cut."""
    names = ["scores.csv", "scores.parquet", "curves.parquet"]
    return {name: (folder / name).read_bytes() for name in names} | {
        path.parent.name: path.read_bytes() for path in folder.glob("cells/*/maps.npz")
    }


@pytest.fixture(scope="module", autouse=True)
def without_conclusions() -> Iterator[None]:
    """They follow from the scores, and take longer than these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "conclude", lambda tables: {})
        patch.setattr(leaderboard, "conclude", lambda tables: {})
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("whole") / "run", plan(256))


@pytest.fixture(scope="module")
def in_blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("blocks") / "run", plan(2))


def test_small_blocks_give_the_same_bytes(whole: Path, in_blocks: Path) -> None:
    assert tables(in_blocks) == tables(whole)
    assert not (in_blocks / "blocks").exists()
    records = [
        {
            key: value
            for key, value in json.loads(path.read_text()).items()
            if not key.endswith("seconds") and key != "checksums"
        }
        for folder in (whole, in_blocks)
        for path in sorted(folder.glob("cells/*/cell.json"))
    ]
    assert records[: len(records) // 2] == records[len(records) // 2 :]


def test_the_pixels_hash_is_that_of_all_images(whole: Path, in_blocks: Path) -> None:
    of_whole, of_blocks = (
        json.loads(next(folder.glob("models/*.json")).read_text()) for folder in (whole, in_blocks)
    )
    assert (
        of_whole["pixels_sha256"] == of_blocks["pixels_sha256"] == of_whole["pixels_of_blocks"][0]
    )
    assert len(of_blocks["pixels_of_blocks"]) == 4
    assert runner.shown_pixels(plan(2)) == {"quadrants": of_whole["pixels_sha256"]}


def test_what_a_lower_precision_changes_is_put_together(tmp_path: Path) -> None:
    found = []
    for size in (2, 256):
        folder = run(tmp_path / str(size), plan(size, "bf16", methods=["gradient"], ceiling="none"))
        [path] = folder.glob("cells/*/cell.json")
        found.append(json.loads(path.read_text())["precision_effect"])
    assert found[0] == found[1]
    assert found[0]["deletion:steps=3"]["images"] > 0


class StopAfter(Listener):
    """Ends a run by an error as soon as so many blocks have begun."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks

    def images(self, cell: Cell, count: int) -> None:
        self.left -= count == 0
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [0, 1, 5, 9, 14])
def test_a_run_that_breaks_off_goes_on_at_its_block(
    after: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five cells in four blocks: twenty pieces, of which those that are done are not done again."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        execute(plan(2), RunFolder(folder), "new", False, StopAfter(after))
    begun: list[Cell] = []
    count = Listener()
    monkeypatch.setattr(count, "images", lambda cell, n: begun.append(cell) if n == 0 else None)
    execute(plan(2), RunFolder(folder), "resume", False, count)
    assert len(begun) == 20 - after
    assert tables(folder) == tables(whole)


@pytest.fixture(scope="module")
def broken_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken") / "run"
    with pytest.raises(KeyboardInterrupt):
        execute(plan(2), RunFolder(folder), "new", False, StopAfter(7))
    return folder


@pytest.fixture
def broken_off(broken_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(broken_once, tmp_path / "run")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(_flipped(path.read_bytes())),
        lambda path: shutil.copy(path, path.with_name("000003.block")),
    ],
    ids=["cut off", "empty", "a bit flipped", "under another number"],
)
def test_a_damaged_block_is_computed_again(
    damage: Callable[[Path], object], broken_off: Path, whole: Path
) -> None:
    damage(min((broken_off / "blocks").glob("*/*.block")))
    execute(plan(2), RunFolder(broken_off), "resume", False, Listener())
    assert tables(broken_off) == tables(whole)
    assert "damaged" in " ".join(json.loads((broken_off / "run.json").read_text())["notices"])


def _flipped(content: bytes) -> bytes:
    half = len(content) // 3
    return content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]


def test_blocks_of_a_finished_cell_that_were_left_behind_are_removed(
    broken_off: Path, whole: Path, tmp_path: Path
) -> None:
    """It was killed after the cell was written, and before its blocks were removed."""
    kept = shutil.copytree(broken_off / "blocks", tmp_path / "kept")
    execute(plan(2), RunFolder(broken_off), "resume", False, Listener())
    shutil.copytree(kept, broken_off / "blocks")
    execute(plan(2), RunFolder(broken_off), "resume", False, Listener())
    assert not (broken_off / "blocks").exists()
    assert tables(broken_off) == tables(whole)


def test_blocks_of_other_pixels_are_refused(broken_off: Path) -> None:
    other = plan(2)
    first = other.dataset[other.indices[-1]]

    class Other:
        card, ids, labels = other.dataset.card, other.dataset.ids, other.dataset.labels

        def __len__(self) -> int:
            return len(other.dataset)

        def __getitem__(self, index: int) -> Any:
            sample = other.dataset[index]
            return replace(sample, image=255 - sample.image) if sample.id == first.id else sample

    changed: Any = Other()
    with pytest.raises(RunFolderError, match="not those that 'quadrants' saw"):
        execute(replace(other, dataset=changed), RunFolder(broken_off), "resume", False, Listener())


def test_batch_size_and_compilation_are_those_that_the_run_began_with(
    broken_off: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interpbench.running import prepared_model

    asked = []
    tune = prepared_model.tune

    def noted(*arguments: Any, **wishes: Any) -> Any:
        asked.append(wishes)
        return tune(*arguments, **wishes)

    monkeypatch.setattr(prepared_model, "tune", noted)
    execute(plan(2), RunFolder(broken_off), "resume", False, Listener())
    assert asked == [{"given": 2, "wish": "never"}]


def test_a_cell_that_breaks_down_says_the_same_however_it_is_cut(tmp_path: Path) -> None:
    """Its method fails at the sixth image: what came before counts, what comes later does not."""
    code = (
        "from interpbench import method\n"
        "seen = []\n"
        "@method('late', reference='none')\n"
        "def late(model, x, target):\n"
        "    'Fails at the third batch.'\n"
        "    seen.append(len(x))\n"
        "    if len(seen) % 3 == 0:\n"
        "        raise ValueError('enough')\n"
        "    return x.sum(1)\n"
    )
    (tmp_path / "late.py").write_text(code)
    found = []
    for size in (2, 4, 256):
        selection = Selection.of(
            load_suite("quick"), ASKED | {"methods": ["late", "center"], "ceiling": "none"}
        )
        made = make_plan(
            selection,
            discover([TINY, tmp_path / "late.py"]),
            Computing.of("cpu", batch_size=2, block_size=size),
            Sources(weights=("random",)),
        )
        found.append(tables(run(tmp_path / str(size), made)))
        [record] = (tmp_path / str(size)).glob("cells/*late*/cell.json")
        said = json.loads(record.read_text())
        assert said["status"] == "failed"
        assert "enough" in said["reason"]
        assert said["images"] == 4
    assert found[0] == found[1] == found[2]


@pytest.fixture(scope="module")
def first_cell() -> dict[int, BlockResult]:
    """The blocks of the first cell by their numbers."""
    made = plan(2)
    return {
        it.number: it
        for it in runner.run_blocks(made, runner.Todo(made.cells[:1]), lambda *_: None)
        if isinstance(it, BlockResult)
    }


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_blocks_of_a_cell_that_is_lost_or_breaks_down_make_nothing_of_it_in_whatever_order(
    order: tuple[int, ...], first_cell: dict[int, BlockResult], tmp_path: Path
) -> None:
    made = plan(2)
    cell = made.cells[0]
    blocks_of = first_cell | {1: replace(first_cell[1], failures=("enough",))}
    told: list[str] = []
    folder = RunFolder(tmp_path / "run")
    with folder.writing("new"):
        broken = Gathering(
            made, folder, runner.Todo([cell]), lambda it: told.append(it.record.reason)
        )
        for number in order:
            broken.take(blocks_of[number])
        assert told == ["enough"]
        assert not folder.block_numbers(cell)
        lost = Gathering(
            made, folder, runner.Todo([cell]), lambda it: told.append(it.record.reason)
        )
        lost.take(blocks_of[order[0]])
        lost.take(runner.not_run(made, cell, "lost"))
        lost.take(blocks_of[order[-1]])
        lost.take(runner.Enough("quadrants", 2))
        assert told[-1] == "lost"


class TestBlockFiles:
    @pytest.fixture
    def result(self, first_cell: dict[int, BlockResult]) -> BlockResult:
        return first_cell[0]

    def test_a_block_is_read_as_it_was_written(self, result: BlockResult, tmp_path: Path) -> None:
        files = BlockFiles(tmp_path)
        files.write(result)
        assert files.numbers(result.cell) == [0]
        again = files.read(result.cell, 0)
        for name, value in vars(result).items():
            assert _same(getattr(again, name), value), name

    def test_what_is_not_there_is_damaged(self, result: BlockResult, tmp_path: Path) -> None:
        files = BlockFiles(tmp_path / "nowhere")
        assert files.numbers(result.cell) == []
        with pytest.raises(DamagedError):
            files.read(result.cell, 0)

    def test_nothing_is_left_of_what_is_forgotten(
        self, result: BlockResult, tmp_path: Path
    ) -> None:
        files = BlockFiles(tmp_path / "blocks")
        files.write(result)
        files.forget(result.cell)
        assert not (tmp_path / "blocks").exists()


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(_same(found[k], expected[k]) for k in expected)
    return bool(found == expected)
