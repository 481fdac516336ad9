"""The examples in the docstrings of what the package offers: they run, and there is one for each name."""

import doctest
import inspect
import io
from pathlib import Path

import pytest
import torch

import interpbench
from interpbench.registry.registry import Registry
from tests.slow_cases import with_slow

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def needs_an_example(name: str) -> bool:
    """Whether a name stands for a function, or a class that is no exception; not for a constant or an alias."""
    thing = getattr(interpbench, name)
    is_exception = inspect.isclass(thing) and issubclass(thing, BaseException)
    return (inspect.isfunction(thing) or inspect.isclass(thing)) and not is_exception


LONG = ["advise", "conformance", "judge", "merge", "stability"]
NAMES = [name for name in interpbench.__all__ if needs_an_example(name)]


def example_of(name: str) -> doctest.DocTest:
    """The example in a name's own docstring, in which `interpbench` and `torch` are known."""
    thing = getattr(interpbench, name)
    finder = doctest.DocTestFinder(recurse=False, exclude_empty=False)
    [example] = finder.find(
        thing, name, module=False, globs={"interpbench": interpbench, "torch": torch}
    )
    return example


@pytest.mark.parametrize("name", with_slow(NAMES, LONG))
def test_example_gives_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    differences = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
    with Registry().collecting():  # what it registers, others need not see
        runner.run(example_of(name), out=differences.write)
    assert runner.failures == 0, differences.getvalue()


def test_every_function_and_class_has_an_example() -> None:
    without = {name for name in NAMES if not example_of(name).examples}
    assert sorted(without) == [], "give these an Example: section"
