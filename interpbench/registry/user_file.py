"""Runs Python files of the user: plugin files, and functions in them that build a model."""

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import ClassVar

from interpbench.core.errors import DuplicatePluginError, PluginError, unknown_name
from interpbench.core.safe_path import allow_current_folder
from interpbench.core.seeding import derive
from interpbench.core.types import Pretrained
from interpbench.registry.plugin import Kind, ModelPlugin, Plugin
from interpbench.registry.registry import Registry, parameters_of
from interpbench.registry.source_hash import origin_of


class _FromSource(SourceFileLoader):
    """Compiles the file each time: its bytecode, if it was saved, may be that of a moment ago.

    Python compares sizes and seconds, and a file that is being written changes faster.
    """

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def run_file(path: Path, version: str = "") -> ModuleType:
    """Executes a file as a module of a name of its own (and of that version).

    Raises:
        PluginError: if it is no Python file; and whatever the file raises.
    """
    name = f"interpbench_plugins.{path.stem.replace('-', '_')}_{derive(0, path):x}{version}"
    loader = _FromSource(name, str(path)) if path.suffix == ".py" else None
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is no Python file. A plugin is a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickling and typing.get_type_hints look modules up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def naming_failures(what: str) -> Iterator[None]:
    """Whatever the user's code raises within this context becomes an error that names the line.

    Parameters:
        what: is run, such as `Plugin file PATH`.

    Raises:
        PluginError: for anything but a PluginError or DuplicatePluginError, which pass as they are.
    """
    try:
        yield
    except (PluginError, DuplicatePluginError):
        raise
    except SyntaxError as error:
        raise PluginError(
            f"{error.filename}:{error.lineno}: syntax error in a plugin file: {error.msg}."
        ) from error
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"{what} failed to import: {type(error).__name__}: {error} "
            f"({frame.filename}:{frame.lineno})."
        ) from error


def function_in_file(kind: Kind, name: str) -> Plugin | None:
    """The model called `FILE.py:FUNCTION`, or None for any other name.

    The function is `build(classes, size)` or `build()`; it gives a module that has its weights.
    Keyword-only arguments are parameters. The file is run once, and again if it has changed. Its
    variable `pretrained`, or a TOML file of its name beside it, says how images become the input
    and what the classes are called.

    Raises:
        PluginError: if there is no such file, it cannot be run, or the function has another
            signature.
        UnknownNameError: if the file has no such function.
    """
    file, _, function_name = name.rpartition(":") if not name.endswith(".py") else (name, "", "")
    if kind != "model" or not file.endswith(".py"):
        return None
    path = Path(file).resolve()
    if not path.is_file():
        raise PluginError(
            f"Model {name!r}: there is no file {path}. "
            "Give the path of a Python file, FILE.py:FUNCTION."
        )
    allow_current_folder()
    module = _run(path, hashlib.sha256(path.read_bytes()).hexdigest())
    functions = {
        key: value for key, value in vars(module).items() if isinstance(value, FunctionType)
    }
    if function_name not in functions:
        raise unknown_name(
            f"function in {file} (write FILE.py:FUNCTION):", function_name, functions
        )
    own = getattr(module, "pretrained", None)
    if own is not None and not isinstance(own, Pretrained):
        raise PluginError(
            f"Model file {path}: `pretrained` is a {type(own).__name__}, expected "
            "interpbench.Pretrained(source=..., size=..., mean=..., std=..., classes=...)."
        )
    pretrained = replace(own or Pretrained(source=name), beside=path.with_suffix(".toml"))
    return _as_model(name, functions[function_name], pretrained)


@lru_cache
def _run(path: Path, content: str) -> ModuleType:
    """The module of a file with content of that hash; what it registers is left aside."""
    with naming_failures(f"Model file {path}"), Registry().collecting():
        return run_file(path, f"_{content[:12]}")


class _WithoutArguments(ModelPlugin):
    """A function that needs to know neither classes nor size."""

    arguments: ClassVar[tuple[str, ...]] = ()


def _as_model(name: str, function: FunctionType, pretrained: Pretrained) -> ModelPlugin:
    origin, source_hash = origin_of(function)
    arguments = inspect.signature(function).parameters.values()
    no_arguments = all(argument.kind is argument.KEYWORD_ONLY for argument in arguments)
    record = _WithoutArguments if no_arguments else ModelPlugin
    parameters, takes = parameters_of(record, name, function, origin)
    doc = inspect.getdoc(function) or ""
    return ModelPlugin(
        name=name,
        call=(lambda classes, size, **values: function(**values)) if no_arguments else function,
        parameters=parameters,
        doc=doc,
        reference="",
        licence="",
        origin=origin,
        source_hash=source_hash,
        takes=takes,
        pretrained=lambda **values: pretrained,
    )
