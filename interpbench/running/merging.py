"""Shards of a run put together in one folder, in which the run then goes on and ends."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interpbench.core.errors import RunFolderError
from interpbench.results.cell_results import ModelResult
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import RunInfo


@dataclass(frozen=True)
class Merged:
    """What was put together.

    Attributes:
        folder: where it lies.
        files: blocks and finished cells that are there.
    """

    folder: Path
    files: int


def merge(shards: Sequence[Path], output: Path) -> Merged:
    """Copies what several shards have finished into a new run folder.

    It is a run in progress; the command that ran the shards, with `--resume` and without `--shard`,
    puts its cells together and ends it.

    Parameters:
        shards: run folders.
        output: the new one; it must not be there, or be empty.

    Raises:
        RunFolderError: if they are not shards of one run, or are damaged.
    """
    if not shards:
        raise RunFolderError("Name the shards to be merged: the folders that --shard wrote.")
    first, infos = RunFolder(shards[0]), [RunFolder(path).info() for path in shards]
    for path, info in zip(shards, infos, strict=True):
        differing = info.identity.differences(infos[0].identity)
        if differing:
            raise RunFolderError(
                f"{path} is a shard of another run than {shards[0]}: {', '.join(differing)} differ."
            )
    models = _models(shards)
    folder = RunFolder(output)
    with folder.writing("new"):
        folder.write_info(_running(first.info()))
        for model in models:
            folder.write_model(model)
        files = sum(_copied(path / room, output / room) for path in shards for room in _ROOMS)
    return Merged(output, files)


_ROOMS = ("cells", "blocks")


def _running(info: RunInfo) -> RunInfo:
    notices = tuple(notice for notice in info.notices if not notice.startswith("This is shard"))
    return info.model_copy(update={"status": "running", "notices": notices})


def _models(shards: Sequence[Path]) -> list[ModelResult]:
    """What was measured of each model, which must be the same in all shards.

    Raises:
        RunFolderError: if it is not: images were cut, batched or compiled otherwise.
    """
    found: dict[str, tuple[Path, ModelResult]] = {}
    for path in shards:
        for model in RunFolder(path).models():
            record = model.record
            where, other = found.setdefault(record.model, (path, model))
            if record.decisions != other.record.decisions:
                raise RunFolderError(
                    f"{record.model!r} was cut into other blocks, or saw other images, or was "
                    f"compiled otherwise, in {path} than in {where}: run the shards with the same "
                    "--batch-size, --block-size and --compile."
                )
    return [model for _, model in found.values()]


def _copied(source: Path, target: Path) -> int:
    """Copies what is not there yet; how many files and folders there were."""
    if not source.is_dir():
        return 0
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    return sum(1 for _ in source.glob("*/*"))
