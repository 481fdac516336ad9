"""A plugin's hash covers what the plugin is made of, and nothing else."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from interpbench.registry.source_hash import origin_of

FILE = '''"""Plugins."""

import math
from os import path, sep

LIMIT = 3
TABLE = {}
TABLE["a"] = 1
NAMES: list[str] = []
NAMES.append("b")


def decorate(function):
    return function


@decorate
def first(x):
    """Of the first."""
    return helper(x) + LIMIT


def helper(x):
    return math.floor(x) + deeper(x)


def deeper(x):
    return TABLE["a"]


class Other:
    side = 4


def second(x):
    return Other.side + len(NAMES)


def _make(power):
    def made(x):
        return x**power

    return made


made = _make(LIMIT)
'''


@pytest.fixture
def hash_of(tmp_path: Path) -> Callable[..., str]:
    """The hash of a function in the file, with one text replaced by another."""

    def hashed(name: str, old: str = "", new: str = "", newline: str = "\n") -> str:
        assert old in FILE
        file = tmp_path / "plugins.py"
        file.write_text(FILE.replace(old, new) if old else FILE, encoding="utf-8", newline=newline)
        origin, found = origin_of(runpy.run_path(str(file))[name])
        assert origin.startswith(f"{file}:")
        return found

    return hashed


MADE_OF_FIRST = [
    ("+ LIMIT", "- LIMIT"),
    ("LIMIT = 3", "LIMIT = 4"),
    ("import math", "import cmath as math"),
    ("math.floor(x)", "math.ceil(x)"),
    ('TABLE["a"] = 1', 'TABLE["a"] = 2'),
    ("return function", "return function or 1"),
    ("Of the first.", "Of the third."),
]
NOT_OF_FIRST = [
    ("side = 4", "side = 5"),
    ('NAMES.append("b")', 'NAMES.append("c")'),
    ("from os import path, sep", "from os import path"),
    ("import math", "import math, cmath"),
    ('"""Plugins."""', '"""More plugins."""'),
    ("def second(x):", "def between(x):\n    return 1\n\n\ndef second(x):"),
]


@pytest.mark.parametrize(("old", "new"), MADE_OF_FIRST)
def test_what_a_plugin_is_made_of_changes_its_hash(
    hash_of: Callable[..., str], old: str, new: str
) -> None:
    assert hash_of("first", old, new) != hash_of("first")


@pytest.mark.parametrize(("old", "new"), NOT_OF_FIRST)
def test_what_else_is_in_its_file_does_not(hash_of: Callable[..., str], old: str, new: str) -> None:
    assert hash_of("first", old, new) == hash_of("first")


@pytest.mark.parametrize(("old", "new"), NOT_OF_FIRST[:2])
def test_the_other_plugin_knows_what_it_is_made_of(
    hash_of: Callable[..., str], old: str, new: str
) -> None:
    assert hash_of("second", old, new) != hash_of("second")


def test_of_a_function_that_another_made_the_whole_file_counts(hash_of: Callable[..., str]) -> None:
    assert hash_of("made", "_make(LIMIT)", "_make(2)") != hash_of("made")


def test_line_ends_do_not_count(hash_of: Callable[..., str]) -> None:
    assert hash_of("first", newline="\r\n") == hash_of("first")


def test_a_function_without_a_file_has_a_hash_too() -> None:
    space: dict[str, Callable[[], int]] = {}
    exec(compile("def one(): return 1\ndef two(): return 2", "<typed>", "exec"), space)
    assert origin_of(space["one"])[0] == "<typed>:1"
    assert origin_of(space["one"])[1] != origin_of(space["two"])[1]
