"""Where plugins come from.

In this order: the bundled folder, entry points of installed packages, paths that the user names.

Code is loaded only from places that the user named or installed. A file that fails to import stops
the command and is named.
"""

import hashlib
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from interpbench.core.errors import PluginError
from interpbench.core.safe_path import allow_current_folder
from interpbench.registry.bundled_folder import bundled_folder
from interpbench.registry.maps_plugin import MAPS, maps_plugin
from interpbench.registry.plugin import REGISTERED, Kind, Plugin
from interpbench.registry.registry import Registry, default_registry
from interpbench.registry.user_file import function_in_file, naming_failures, run_file

ENTRY_POINT_GROUP = "interpbench.plugins"


def discover(paths: Iterable[str | Path] = ()) -> Registry:
    """A registry with all plugins.

    Those bundled, installed, under `paths`, and registered in this process. It also knows models by
    FILE.py:FUNCTION, and maps that were made elsewhere as the method maps:DIR.

    Raises:
        PluginError: if a file cannot be read or imported, or a named path holds no plugin.
        DuplicatePluginError: if two plugins of a kind share a name.
    """
    registry = default_registry.copy(find=_by_its_name)
    load_folder(bundled_folder(), registry)
    installed = entry_points(group=ENTRY_POINT_GROUP)
    for entry_point in sorted(installed, key=lambda point: (point.name, point.value)):
        _load_entry_point(entry_point, registry)
    for path in paths:
        load_path(Path(path), registry)
    return registry


def _by_its_name(kind: Kind, name: str) -> Plugin | None:
    """A plugin that is not registered anywhere."""
    if (kind, name) == ("method", MAPS):
        return maps_plugin()
    return function_in_file(kind, name)


def load_path(path: Path, registry: Registry) -> None:
    """Loads the plugins of a file or folder that the user named.

    Raises:
        PluginError: if it does not exist or registers nothing.
    """
    if not path.exists():
        raise PluginError(
            f"No plugin file or folder {str(path)!r}. Give --plugin an existing path."
        )
    allow_current_folder()
    there = Registry()
    if path.is_dir():
        load_folder(path, there)
    else:
        load_file(path, there)
    plugins = _plugins(there)
    if not plugins:
        raise PluginError(
            f"{path} registers no plugin. "
            "Decorate a function with @method, @model, @dataset or @metric from interpbench."
        )
    for plugin in plugins:
        registry.add(plugin)


def load_folder(folder: Path, registry: Registry) -> None:
    """Loads every .py file below a folder.

    Except tests (`test_*.py`) and what starts with a dot or an underscore.
    """
    for path in sorted(folder.rglob("*.py")):
        hidden = any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
        if not hidden and not path.name.startswith("test_"):
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
    digest = hashlib.sha256(content).hexdigest()
    _register_module(registry, f"Plugin file {path}", lambda: run_file(path), digest)


def _load_entry_point(entry_point: EntryPoint, registry: Registry) -> None:
    name = f"Entry point {entry_point.name} = {entry_point.value}"
    _register_module(registry, name, entry_point.load)


# What each executed module registered, by name and content, so that further registries need not run
# it again (an installed module would not run again: Python imports it once).
_registered: dict[tuple[str, str], list[Plugin]] = {}


def _register_module(
    registry: Registry, name: str, load: Callable[[], object], digest: str = ""
) -> None:
    """Adds what a module registers; it is loaded once for each digest of its content."""
    if (name, digest) not in _registered:
        own = Registry()
        with naming_failures(name), own.collecting():
            load()
        _registered[name, digest] = _plugins(own)
    for plugin in _registered[name, digest]:
        registry.add(plugin)


def _plugins(registry: Registry) -> list[Plugin]:
    return [plugin for kind in REGISTERED for plugin in registry.plugins(kind)]
