"""Where plugins come from, in this order: the bundled folder, entry points of installed packages, paths the user names.

Code is loaded only from places that the user named or installed. A file that fails to import stops the command and is
named.
"""

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from interpbench.errors import DuplicatePluginError, PluginError
from interpbench.plugin import KINDS, Plugin
from interpbench.registry import Registry, default_registry
from interpbench.seeding import derive

ENTRY_POINT_GROUP = "interpbench.plugins"


def discover(paths: Iterable[str | Path] = ()) -> Registry:
    """A registry with all plugins: bundled, installed, those under `paths`, and those registered in this process.

    Raises:
        PluginError: if a file cannot be read or imported, or a named path holds no plugin.
        DuplicatePluginError: if two plugins of a kind share a name.
    """
    registry = default_registry.copy()
    load_folder(bundled_folder(), registry)
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: (e.name, e.value)):
        _load_entry_point(entry_point, registry)
    for path in paths:
        load_path(Path(path), registry)
    return registry


def bundled_folder() -> Path:
    """The bundled plugins: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "plugins"
    return inside if inside.is_dir() else package.parent / "plugins"


def load_path(path: Path, registry: Registry) -> None:
    """Loads the plugins of a file or folder that the user named.

    Raises:
        PluginError: if it does not exist or registers nothing.
    """
    if not path.exists():
        raise PluginError(f"No plugin file or folder {str(path)!r}. Give --plugin an existing path.")
    found = Registry()
    if path.is_dir():
        load_folder(path, found)
    else:
        load_file(path, found)
    plugins = _plugins(found)
    if not plugins:
        raise PluginError(
            f"{path} registers no plugin. "
            "Decorate a function with @method, @model, @dataset or @metric from interpbench."
        )
    for plugin in plugins:
        registry.add(plugin)


def load_folder(folder: Path, registry: Registry) -> None:
    """Loads every .py file below a folder, except those whose name starts with a dot or underscore."""
    for path in sorted(folder.rglob("*.py")):
        if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts):
            load_file(path, registry)


def load_file(path: Path, registry: Registry) -> None:
    """Executes one plugin file and registers what it decorates.

    A file that this process has loaded is run again only if it has changed since, as in a notebook.

    Raises:
        PluginError: if it cannot be read or imported; the message names file and line.
    """
    path = path.resolve()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PluginError(f"Plugin file {path} cannot be read: {error.strerror}.") from error
    name = f"interpbench_plugins.{path.stem.replace('-', '_')}_{derive(0, path):x}"
    _register_module(registry, f"Plugin file {path}", lambda: _execute(path, name), hashlib.sha256(content).hexdigest())


def _execute(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
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


def _load_entry_point(entry_point: EntryPoint, registry: Registry) -> None:
    _register_module(registry, f"Entry point {entry_point.name} = {entry_point.value}", entry_point.load)


# What each executed module registered, by name and content, so that further registries need not run it again (an
# installed module would not run again: Python imports it once).
_registered: dict[tuple[str, str], list[Plugin]] = {}


def _register_module(registry: Registry, name: str, load: Callable[[], object], content: str = "") -> None:
    if (name, content) not in _registered:
        fresh = Registry()
        try:
            with fresh.collecting():
                load()
        except (PluginError, DuplicatePluginError):
            raise
        except SyntaxError as error:
            raise PluginError(
                f"{error.filename}:{error.lineno}: syntax error in a plugin file: {error.msg}."
            ) from error
        except (Exception, SystemExit) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise PluginError(
                f"{name} failed to import: {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})."
            ) from error
        _registered[name, content] = _plugins(fresh)
    for plugin in _registered[name, content]:
        registry.add(plugin)


def _plugins(registry: Registry) -> list[Plugin]:
    return [plugin for kind in KINDS for plugin in registry.plugins(kind)]
