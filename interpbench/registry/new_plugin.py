"""A file for a new plugin, which works as it is written, and one that tests it."""

import keyword
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from string import Template

from interpbench.core.errors import DuplicatePluginError, ParameterError, PluginError
from interpbench.registry.plugin import Kind
from interpbench.registry.registry import Registry

TEMPLATES = Path(__file__).parent / "templates"
# What the written files import.
TAKEN = {"torch", "method", "metric", "Tensor", "Model", "Explanation", "Inputs", "Output", "Sign"}
TAKEN |= {"PositiveInt", "drops", "each_part", "pearson", "nn", "model", "np", "dataset"}


@dataclass(frozen=True)
class Written:
    """The files that were written."""

    plugin: Path
    test: Path


def write_plugin(kind: Kind, name: str, registry: Registry, output: Path | None = None) -> Written:
    """Writes a plugin's file and, beside it, its test.

    Parameters:
        kind: of plugin; there is a template for each.
        name: what users will type.
        registry: with the names that are taken.
        output: the file, or a folder for it; None for NAME.py in the current folder. Dashes become
            underscores.

    Raises:
        ParameterError: if the name cannot be that of a plugin and of a Python file.
        DuplicatePluginError: if one of its kind is called so already.
        PluginError: if a file is there already, or cannot be written.
    """
    _check_name(kind, name, registry)
    function = re.sub(r"\W", "_", name)
    path = _path(output or Path(), f"{function}.py")
    test = path.with_name(f"test_{path.name}")
    for taken in filter(Path.exists, (path, test)):
        raise PluginError(
            f"{taken} is there already: give --output another file, or move that one away."
        )
    is_taken = keyword.iskeyword(function) or function in TAKEN
    values = {
        "name": name,
        "title": re.sub(r"\W|_", " ", name).capitalize(),
        "function": f"{function}_" if is_taken else function,
        "file": path.name,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for template, file in ((f"{kind}.py.txt", path), (f"test_{kind}.py.txt", test)):
            text = (TEMPLATES / template).read_text(encoding="utf-8")
            file.write_text(Template(text).substitute(values), encoding="utf-8")
    except OSError as error:
        raise PluginError(
            f"Cannot write {path}: {error.strerror}. Give --output a file that can be written."
        ) from error
    return Written(path, test)


def _check_name(kind: Kind, name: str, registry: Registry) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9._-]*", name):
        near = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")
        near = f"my-{near}" if near[:1].isdigit() else near
        hint = f" Did you mean {near!r}?" if near else ""
        raise ParameterError(
            f"{name!r} is no name for a {kind}: use lower case letters, digits, dashes and "
            f"underscores, a letter first.{hint}"
        )
    if name in registry.names(kind):
        origin = registry.get(kind, name).origin
        raise DuplicatePluginError(
            f"A {kind} is called {name!r} already ({origin}). "
            f"Choose another name, such as {_free(name, registry.names(kind))!r}."
        )


def _free(name: str, taken: Sequence[str]) -> str:
    """A name like it that is not taken."""
    names = [f"my-{name}", *(f"{name}-{number}" for number in range(2, 100))]
    return next(free for free in names if free not in taken)


def _path(output: Path, file: str) -> Path:
    path = output / file if output.is_dir() else output
    if path.suffix != ".py":
        raise ParameterError(
            f"--output {output} is no Python file: give one that ends in .py, or a folder."
        )
    if path.name.startswith("test_"):
        raise ParameterError(f"{path.name} would be taken for a test: give --output another file.")
    if _is_module(path.stem):
        raise ParameterError(
            f"A file {path.name} would hide the module {path.stem!r} from Python: "
            "give --output another file."
        )
    return path


def _is_module(name: str) -> bool:
    """Whether Python or an installed package has a module of that name.

    The current folder does not count.
    """
    elsewhere = [entry for entry in sys.path if entry and Path(entry).resolve() != Path.cwd()]
    return name in sys.stdlib_module_names or PathFinder.find_spec(name, elsewhere) is not None
