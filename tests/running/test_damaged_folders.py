"""Run folders that were damaged: each file by each kind of damage ends in the right table or a clear refusal."""

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import interpbench
from interpbench.core.errors import RunFolderError
from interpbench.files.lock import Holder
from tests.cached_runs import computed_once, run
from tests.command_line import call

__all__ = ["computed_once"]
TABLES = ("scores.csv", "scores.parquet", "curves.parquet", "leaderboard.csv", "shares.csv")
EVERY = 83  # of the damages, in the tests that are not slow
Damage = Callable[[Path], Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, "new")
    return folder


def garbled(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(len(content[middle : middle + 16])) + content[middle + 16 :]


def flipped(content: bytes) -> bytes:
    middle = len(content) * 2 // 3
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "longer": lambda content: content + b"\0\0",
    "garbled": garbled,
    "flipped": flipped,
    "another file": lambda content: b"years of work\n",
    "a list": lambda content: b"[]\n",
    "deep": lambda content: b"[" * 100_000,
}


def with_folder_in_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def with_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def damages_of_files(whole: Path) -> Iterator[tuple[str, Damage]]:
    """Each file by each kind of damage; a byte that is flipped in run.json may be a word of the user's."""
    for path in sorted(path for path in whole.rglob("*") if path.is_file()):
        name = str(path.relative_to(whole))
        yield f"{name} missing", lambda run, name=name: (run / name).unlink()
        yield f"{name} a folder", lambda run, name=name: with_folder_in_place(run / name)
        yield f"{name} a dangling link", lambda run, name=name: with_dangling_link(run / name)
        # To root everything is readable: then nothing is damaged.
        yield f"{name} unreadable", lambda run, name=name: (run / name).chmod(0)
        for kind, change in CONTENTS.items():
            if (name, kind) == ("run.json", "flipped"):
                continue

            def damage(run: Path, name: str = name, change: Any = change) -> None:
                (run / name).write_bytes(change((run / name).read_bytes()))

            yield f"{name} {kind}", damage


VALUES = {
    "null": None,
    "NaN": float("nan"),
    "text": "x",
    "number": -7,
    "list": [[]],
    "mapping": {"a": {}},
}


def damages_of_records(whole: Path) -> Iterator[tuple[str, Damage]]:
    """Each key of each record with each wrong kind of value."""
    for path in sorted(whole.rglob("*.json")):
        name, said = str(path.relative_to(whole)), json.loads(path.read_text())
        for key in said:
            yield f"{name} without {key}", lambda run, n=name, k=key: edit(run / n, k)
            for kind, value in VALUES.items():
                yield (
                    f"{name} {key} {kind}",
                    lambda run, n=name, k=key, v=value: edit(run / n, k, v),
                )


GONE = object()


def edit(path: Path, key: str, value: Any = GONE) -> None:
    said = json.loads(path.read_text())
    said.pop(key)
    path.write_text(json.dumps(said if value is GONE else said | {key: value}))


def swap(first: Path, second: Path) -> None:
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def cells_of(run: Path) -> list[Path]:
    return sorted((run / "cells").iterdir())


def hide_a_half_cell(run: Path) -> None:
    shutil.copytree(cells_of(run)[0], run / "cells" / f".{cells_of(run)[1].name}.x7")


def copy_a_cell(run: Path) -> None:
    shutil.copytree(cells_of(run)[0], run / "cells" / "somebody-else-s")


def leave_lock(run: Path, text: str) -> None:
    (run / "run.lock").write_text(text)


GONE_PROCESS = Holder(pid=2**22 + 5, host=os.uname().nodename, began="1").text()
WHOLE: dict[str, Damage] = {
    f"{file} in {folder}": lambda run, folder=folder, file=file: (run / folder / file).write_bytes(b"\0\1")
    for folder in (".", "cells", "models", "plots")
    for file in (".DS_Store", "Thumbs.db", "._run.json", "._x.json", "notes.txt", ".x.1.partial.json")
} | {
    "cells missing": lambda run: shutil.rmtree(run / "cells"),
    "models missing": lambda run: shutil.rmtree(run / "models"),
    "plots missing": lambda run: shutil.rmtree(run / "plots"),
    "cells a file": lambda run: (shutil.rmtree(run / "cells"), (run / "cells").write_text("")),
    "models a file": lambda run: (shutil.rmtree(run / "models"), (run / "models").write_text("")),
    "plots a file": lambda run: (shutil.rmtree(run / "plots"), (run / "plots").write_text("")),
    "a cell missing": lambda run: shutil.rmtree(cells_of(run)[0]),
    "a cell a file": lambda run: (shutil.rmtree(cells_of(run)[0]), (run / "cells" / "x").write_text("")),
    "cells swapped": lambda run: swap(*cells_of(run)[:2]),
    "records swapped": lambda run: swap(*(cell / "cell.json" for cell in cells_of(run)[:2])),
    "scores swapped": lambda run: swap(*(cell / "scores.parquet" for cell in cells_of(run)[:2])),
    "scores and curves swapped": lambda run: swap(
        cells_of(run)[0] / "scores.parquet", cells_of(run)[0] / "curves.parquet"
    ),
    "maps swapped": lambda run: swap(*(cell / "maps.npz" for cell in cells_of(run)[1:3])),
    "a foreign cell": copy_a_cell,
    "a half cell": hide_a_half_cell,
    "a dead process's lock": lambda run: leave_lock(run, GONE_PROCESS),
    "half a lock": lambda run: leave_lock(run, '{"pid": 1'),
    "a lock of nonsense": lambda run: leave_lock(run, '{"pid": "x", "host": 3}'),
    "nothing": lambda run: (shutil.rmtree(run), run.mkdir()),
}  # fmt: skip


def all_damages(whole: Path) -> list[tuple[str, Damage]]:
    return [*damages_of_files(whole), *damages_of_records(whole), *WHOLE.items()]


def outcomes(run_folder: Path, whole: Path) -> dict[str, str]:
    """What becomes of a folder: `right`, or the refusal. Anything else fails."""
    return {
        "load_run": loaded(run_folder, whole),
        "report": reported(run_folder, whole),
        "resume": resumed(run_folder, whole),
    }


def loaded(folder: Path, whole: Path) -> str:
    try:
        found = interpbench.load_run(folder)
    except RunFolderError as refused:
        return str(refused)
    expected = loaded_once(whole)
    pd.testing.assert_frame_equal(found.leaderboard, expected.leaderboard)
    pd.testing.assert_frame_equal(found.curves, expected.curves)
    for ours, theirs in zip(found.tables.examples, expected.tables.examples, strict=True):
        assert (ours.image == theirs.image).all()
        assert {name: ours.maps[name].tobytes() for name in ours.maps} == {
            name: theirs.maps[name].tobytes() for name in theirs.maps
        }
    return "right"


def reported(folder: Path, whole: Path) -> str:
    code, out, error = call("report", folder)
    assert "Traceback" not in error
    if code:
        assert code == 2
        assert error.startswith("Error: ")
        return error
    assert table(out) == reported_once(whole)
    return "right"


@functools.cache
def loaded_once(whole: Path) -> interpbench.Run:
    """The run that nothing damaged, and below what is reported of it: the same at each damage."""
    return interpbench.load_run(whole)


@functools.cache
def reported_once(whole: Path) -> list[str]:
    return table(call("report", whole)[1])


def table(printed: str) -> list[str]:
    """What a report says but for its notes and the folder."""
    return [line for line in printed.splitlines() if not line.startswith(("Note: ", "Tables and"))]


def resumed(folder: Path, whole: Path) -> str:
    try:
        run(folder, "resume")
    except RunFolderError as refused:
        return str(refused)
    for name in TABLES:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert loaded(folder, whole) == "right"
    return "right"


def try_all(
    whole: Path, tmp_path: Path, every: int, change: Damage = lambda run: None
) -> list[dict[str, str]]:
    found, wrong = [], {}
    for number, (name, damage) in enumerate(all_damages(whole)[::every]):
        folder = shutil.copytree(whole, tmp_path / str(number))
        damage(folder)
        try:
            found.append(outcomes(folder, whole))
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {error}"[:500]
        shutil.rmtree(folder)
    assert not wrong
    return found


def test_damaged_folders_end_in_the_right_table_or_a_clear_refusal(
    whole: Path, tmp_path: Path
) -> None:
    found = try_all(whole, tmp_path, EVERY)
    assert {outcome["resume"] for outcome in found} >= {"right"}
    assert any("is damaged" in outcome["load_run"] for outcome in found)


@pytest.mark.slow
def test_all_damaged_folders_end_in_the_right_table_or_a_clear_refusal(
    whole: Path, tmp_path: Path
) -> None:
    found = try_all(whole, tmp_path, 1)
    mended = sum(outcome["resume"] == "right" for outcome in found)
    print(f"{len(found)} damaged folders, {mended} of them mended by --resume")
    assert len(found) >= 200
    assert mended > len(found) / 2
