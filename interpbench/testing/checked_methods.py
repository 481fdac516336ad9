"""Which methods are checked, and how their contracts came out.

Those of a file, or the ones of a name.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interpbench.core.errors import ParameterError, PluginError
from interpbench.core.progress import SILENT, Progress
from interpbench.registry.choosing import Choices, choose_plugins
from interpbench.registry.discovery import discover, load_path
from interpbench.registry.plugin import KINDS
from interpbench.registry.registry import Registry
from interpbench.testing.contracts import Outcome, check_method


@dataclass(frozen=True)
class CheckedMethod:
    """A method whose contracts were tried.

    Attributes:
        label: its name and parameters, as one would type it.
        origin: the file and the line that it comes from.
        outcomes: one for each contract and model, in the order of the contracts.
    """

    label: str
    origin: str
    outcomes: tuple[Outcome, ...]

    @property
    def broken(self) -> tuple[Outcome, ...]:
        """The outcomes of the contracts that it breaks."""
        return tuple(outcome for outcome in self.outcomes if outcome.failed)


def check(
    what: str | Path,
    *,
    method: str | Sequence[str] | None = None,
    plugin: str | Path | Sequence[str | Path] | None = None,
    progress: Progress = SILENT,
) -> list[CheckedMethod]:
    """Tries the contracts of the methods of a file, or of those that are named.

    Parameters:
        what: a plugin file, a folder of them, or methods by their names, `occlusion:window=8`.
        method: only these of the file's methods; by default all of them.
        plugin: further files or folders with plugins.
        progress: told which method is tried; it counts methods.

    Raises:
        PluginError: if the file is not there or registers no method.
        ParameterError: for a wrong parameter, a name together with `method`, or nothing to check.
        UnknownNameError: if there is no method of that name.
    """
    methods = [method] if isinstance(method, str) else method
    paths = [plugin] if isinstance(plugin, str | Path) else list(plugin or ())
    chosen = list(_chosen(what, methods, paths).plugins.values())
    progress.begin(len(chosen))
    checked = []
    for choice in chosen:
        progress.advance(f"checking {choice.label}")
        checked.append(
            CheckedMethod(choice.label, choice.plugin.origin, tuple(check_method(choice)))
        )
        progress.advance(f"checking {choice.label}", 1)
    return checked


def _chosen(
    what: str | Path, methods: Sequence[str] | None, paths: Sequence[str | Path]
) -> Choices:
    """The methods to try: of a file, or by their names."""
    text = str(what)
    if not text.strip(" ,"):
        raise ParameterError(
            "There is nothing to check: give a plugin file, a folder of them, or a method's name."
        )
    if (
        isinstance(what, Path)
        or Path(text).suffix == ".py"
        or os.sep in text
        or Path(text).is_dir()
    ):
        own = _of_file(Path(what), paths)
        return choose_plugins(own, "method", methods or own.names("method"))
    if methods:
        raise ParameterError(
            f"--method chooses among the methods of a file, and {text!r} is a name: leave it away."
        )
    registry = discover(paths)
    _refuse_name_of_file(text.partition(":")[0], registry)
    return choose_plugins(registry, "method", [text])


def _refuse_name_of_file(name: str, registry: Registry) -> None:
    """A method that `new` has just written is known by its file alone."""
    file = Path(f"{name.replace('-', '_')}.py")
    if name not in registry.names("method") and file.is_file():
        raise PluginError(
            f"No method {name!r} is bundled or installed. To check the "
            f"one in a file, write: check {file}"
        )


def _of_file(path: Path, paths: Sequence[str | Path]) -> Registry:
    """The plugins of a file or folder alone.

    Once it is certain that they can stand beside all others.
    """
    if not path.exists():
        raise PluginError(
            f"There is no {path}. Give a plugin file, a folder of them, or the name of a method."
        )
    discover([*paths, path])
    own = Registry()
    load_path(path, own)
    if not own.names("method"):
        others = [f"{kind} {name!r}" for kind in KINDS for name in own.names(kind)]
        raise PluginError(
            f"{path} registers no method, only {', '.join(others)}; `check` tries methods alone."
        )
    return own
