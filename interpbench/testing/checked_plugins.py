"""Which plugins are checked, and how their contracts came out.

Those of a file, or the ones of a name.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from interpbench.core.errors import ParameterError, PluginError
from interpbench.core.progress import SILENT, Progress
from interpbench.registry.choosing import choose_dataset, choose_plugins
from interpbench.registry.discovery import discover, load_path
from interpbench.registry.plugin import REFERENCES, Configured, Kind
from interpbench.registry.registry import Registry
from interpbench.testing.contracts import (
    Outcome,
    check_dataset,
    check_method,
    check_metric,
    check_model,
)

CHECKED: dict[Kind, Callable[[Configured], list[Outcome]]] = {
    "method": check_method,
    "metric": check_metric,
    "model": check_model,
    "dataset": check_dataset,
}
IN_A_FILE = re.compile(r".+\.py:\w+.*")  # a model that a function builds


@dataclass(frozen=True)
class CheckedPlugin:
    """A plugin whose contracts were tried.

    Attributes:
        kind: `method`, `metric`, `model` or `dataset`.
        label: its name and parameters, as one would type it.
        origin: the file and the line that it comes from.
        outcomes: one for each contract and model, in the order of the contracts.
    """

    kind: Kind
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
    metric: str | Sequence[str] | None = None,
    model: str | Sequence[str] | None = None,
    dataset: str | Sequence[str] | None = None,
    plugin: str | Path | Sequence[str | Path] | None = None,
    progress: Progress = SILENT,
) -> list[CheckedPlugin]:
    """Tries the contracts of the plugins of a file, or of those that are named.

    Parameters:
        what: a plugin file, a folder of them, or plugins of one kind by their names,
            `occlusion:window=8`; where several kinds have one name, `dataset:hf:FOLDER`.
        method, metric, model, dataset: only these of the file; by default all that are in it.
        plugin: further files or folders with plugins.
        progress: told which is tried; it counts them.

    Raises:
        PluginError: if the file is not there or registers none.
        ParameterError: for a wrong parameter, a name together with `method` or another kind, or
            nothing to check.
        UnknownNameError: if there is no plugin of that name.
    """
    named: dict[Kind, list[str]] = {
        "method": _listed(method),
        "metric": _listed(metric),
        "model": _listed(model),
        "dataset": _listed(dataset),
    }
    paths = [plugin] if isinstance(plugin, str | Path) else list(plugin or ())
    chosen = _chosen(what, named, paths)
    progress.begin(len(chosen))
    checked = []
    for choice in chosen:
        progress.advance(f"checking {choice.label}")
        kind = choice.plugin.kind
        outcomes = tuple(CHECKED[kind](choice))
        checked.append(CheckedPlugin(kind, choice.label, choice.plugin.origin, outcomes))
        progress.advance(f"checking {choice.label}", 1)
    return checked


def _listed(names: str | Sequence[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _chosen(
    what: str | Path, named: dict[Kind, list[str]], paths: Sequence[str | Path]
) -> list[Configured]:
    """The plugins to try: of a file, or by their names."""
    text = str(what)
    if not text.strip(" ,"):
        raise ParameterError(
            "There is nothing to check: give a plugin file, a folder of them, or the name of a "
            "method, metric, model or data set."
        )
    in_a_file = IN_A_FILE.fullmatch(text) is not None
    is_file = Path(text).suffix == ".py" or os.sep in text.partition(":")[0] or Path(text).is_dir()
    if isinstance(what, Path) or (is_file and not in_a_file):
        own, registry = _of_file(Path(what), paths)
        if not any(named.values()):
            named = {kind: own.names(kind) for kind in CHECKED}
        chosen = [_configured(own, kind, named[kind]) for kind in CHECKED if kind != "dataset"]
        # Which may be made of others' images.
        chosen.append(_configured(registry, "dataset", named["dataset"]))
        return [choice for of_kind in chosen for choice in of_kind]
    for kind, names in named.items():
        if names:
            raise ParameterError(
                f"--{kind} chooses among the {kind}s of a file, and {text!r} is a name: leave it "
                "away."
            )
    registry = discover(paths)
    if in_a_file:
        return _configured(registry, "model", [text])
    kind, text = _kind_of(text, registry)
    return _configured(registry, kind, [text])


def _kind_of(text: str, registry: Registry) -> tuple[Kind, str]:
    """What is meant by `resnet18`, or by `dataset:hf:FOLDER`; and its name.

    Raises:
        PluginError: for the name of a file that is there.
        ParameterError: for a name that several kinds have.
    """
    first, _, rest = text.partition(":")
    for kind in CHECKED:
        if first == kind and rest:
            return kind, rest
    _refuse_name_of_file(first, registry)
    kinds = [kind for kind in CHECKED if first in registry.names(kind)]
    if len(kinds) > 1:
        ways = " or ".join(f"check {kind}:{text}" for kind in kinds)
        raise ParameterError(f"{first!r} is a {' and a '.join(kinds)}: say which, {ways}.")
    return kinds[0] if kinds else "method", text


def _configured(registry: Registry, kind: Kind, names: Sequence[str]) -> list[Configured]:
    if kind == "dataset":
        return [choose_dataset(registry, name) for name in names]
    return list(choose_plugins(registry, kind, names).plugins.values()) if names else []


def _refuse_name_of_file(name: str, registry: Registry) -> None:
    """A plugin that `new` has just written is known by its file alone."""
    file = Path(f"{name.replace('-', '_')}.py")
    if all(name not in registry.names(kind) for kind in CHECKED) and file.is_file():
        raise PluginError(
            f"No plugin {name!r} is bundled or installed. To check the "
            f"one in a file, write: check {file}"
        )


def _of_file(path: Path, paths: Sequence[str | Path]) -> tuple[Registry, Registry]:
    """The plugins of a file or folder alone, and beside all others."""
    if not path.exists():
        raise PluginError(
            f"There is no {path}. Give a plugin file, a folder of them, or the name of a method, "
            "metric, model or data set."
        )
    registry = discover([*paths, path])
    own = Registry()
    load_path(path, own)
    if not any(own.names(kind) for kind in CHECKED):
        others = [f"{kind} {name!r}" for kind in REFERENCES for name in own.names(kind)]
        raise PluginError(
            f"{path} registers no method, metric, model or data set, only {', '.join(others)}; "
            "`check` tries these alone, and `conformance` what they are compared with."
        )
    return own, registry
