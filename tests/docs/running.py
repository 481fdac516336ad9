"""Blocks carried out as a reader does, page by page, in small, in a folder with a few photographs."""

import contextlib
import functools
import glob
import io
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from interpbench import api
from interpbench.api import runs
from interpbench.registry.registry import Registry
from tests.command_line import call
from tests.docs.commands import check_command, commands_of, is_script
from tests.docs.pages import Block, blocks_of

# What is added to commands, but to runs that are published; of an option that is given twice the last counts.
SMALL: dict[str, list[str]] = {
    "run": ["--images", "3", "--ceiling", "none", "--device", "cpu", "--batch-size", "3"],
    "sanity": ["--images", "2", "--device", "cpu"],
    "stability": ["--images", "4", "--device", "cpu"],
    "judge": ["--images", "2", "--device", "cpu"],
    "advise": ["--budget", "20s", "--device", "cpu"],
    "gallery": ["--count", "1", "--images", "3", "--device", "cpu"],
    "explain": ["--device", "cpu"],
    "train": ["--epochs", "1", "--device", "cpu"],
}  # fmt: skip
IN_BLOCKS = [
    "--images",
    "4",
    "--block-size",
    "2",
    "--batch-size",
    "2",
]  # of runs whose blocks are the point
CLASSES = ("bird", "cat", "dog")
CIFAR_CLASSES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]
WNIDS = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413",
         "n03445777", "n03888257")  # fmt: skip


def furnish(folder: Path) -> None:
    """What pages suppose that a reader has: photographs of three classes, and data sets as they are unpacked."""
    rng = np.random.default_rng(0)

    def picture(path: Path, side: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        colours = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((side, side), Image.Resampling.BICUBIC).save(path)

    picture(folder / "cat.jpg", 80)
    for name in ("beach", "boat", "dune"):
        picture(folder / "holiday" / f"{name}.png", 80)
    for name in CLASSES:
        for number in range(1, 6):
            picture(folder / "photos" / name / f"{number}.png", 64)
    for split in ("train", "test"):
        for name in CIFAR_CLASSES:
            for number in range(4):
                picture(folder / "data" / split / name / f"{number}.png", 32)
    for split in ("train", "val"):
        for wnid in WNIDS:
            for number in range(3):
                picture(folder / "data" / "imagenette2-320" / split / wnid / f"{number}.JPEG", 64)


class Reader:
    """Somebody who goes through a page from its beginning to its end, in one folder.

    Attributes:
        slowly: whether what is slow runs too.
        done: how many blocks ran, were held against the program alone, or cannot run here.
    """

    def __init__(self, *, slowly: bool = False) -> None:
        self.slowly = slowly
        self.done = {"run": 0, "checked": 0, "not run here": 0, "files": 0, "shown": 0}
        self._names: dict[str, Any] = {"__name__": "page"}

    def read(self, page: str) -> None:
        for block in blocks_of(page):
            self.do(block)

    def do(self, block: Block) -> None:
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
            if block.language == "python":
                compile(block.text, str(block), "exec")
            self.done["files"] += 1
        elif block.language == "python":
            self._python(block)
        elif block.language == "bash":
            self._commands(block)
        else:
            self.done["shown"] += 1

    def _runs(self, block: Block) -> bool:
        if block.cannot_run:
            self.done["not run here"] += 1
            return False
        runs = self.slowly or not block.is_slow
        self.done["run" if runs else "checked"] += 1
        return runs

    def _python(self, block: Block) -> None:
        code = compile("\n" * (block.line - 1) + block.text, str(block), "exec")
        if self._runs(block):
            with in_small(block), contextlib.redirect_stdout(io.StringIO()):
                exec(code, self._names)

    def _commands(self, block: Block) -> None:
        runs = self._runs(block)
        for words in commands_of(block.text):
            try:
                check_command(words)
            except BaseException as error:
                raise AssertionError(f"{block}: {' '.join(words)}: {error!r}") from error
            if runs and words[0] == "interpbench":
                self._ours(block, words[1:])
            elif runs and is_script(words):
                with in_small(block), contextlib.redirect_stdout(io.StringIO()):
                    runpy.run_path(words[1], run_name="__main__")

    def _ours(self, block: Block, arguments: list[str]) -> None:
        whole = [found for each in arguments for found in (sorted(glob.glob(each)) or [each])]
        if " publish " not in block.text:  # only runs of a suite as it is can be
            whole += SMALL.get(arguments[0], [])
            whole += IN_BLOCKS if "--block-size" in arguments else []
        with in_small(block):
            code, out, error = call(*whole)
        assert code == 0, (
            f"{block}: interpbench {' '.join(whole)}: exit code {code}\n{out}\n{error}"
        )


@contextlib.contextmanager
def in_small(block: Block) -> Iterator[None]:
    """Runs from Python search for no ceiling, and none writes plots and a page, but in blocks that are slow."""
    with pytest.MonkeyPatch.context() as patch, Registry().collecting():
        if not block.is_slow:
            patch.setattr(runs, "redraw", lambda *_, **__: [])
            patch.setattr(runs, "write_page", lambda *_, **__: None)
            patch.setattr(api, "run", functools.partial(api.run, ceiling="none", device="cpu"))
        patch.setattr(sys, "path", [*sys.path, str(Path.cwd())])
        yield
