"""What the shell completes: names of plugins, suites, protocols, recipes and preparations.

Nothing of torch or of the plugins is imported, so that an answer comes while somebody types.
"""

from collections.abc import Callable, Iterable

import typer
from typer.models import ParameterInfo

from interpbench.commands.catalogue import SETTINGS
from interpbench.registry.bundled_names import bundled_names
from interpbench.registry.plugin import KINDS

Names = Callable[[], Iterable[str]]


def _settings(what: str) -> list[str]:
    return sorted(path.stem for path in SETTINGS[what].glob("*.toml"))


def _metrics() -> list[str]:
    return [*bundled_names("metric"), *(f"protocol:{name}" for name in _settings("protocols"))]


def _of_any_kind() -> list[str]:
    plugins = {name for kind in KINDS for name in bundled_names(kind)}
    return sorted(plugins | {name for what in SETTINGS for name in _settings(what)})


def _kinds() -> list[str]:
    return [*(f"{kind}s" for kind in KINDS), *SETTINGS]


# What a flag or an argument may hold: by its name, or by its command's too.
NAMES: dict[str, Names] = {
    "method": lambda: bundled_names("method"),
    "model": lambda: bundled_names("model"),
    "dataset": lambda: bundled_names("dataset"),
    "metric": _metrics,
    "suite": lambda: _settings("suites"),
    "recipe": lambda: _settings("recipes"),
    "preparation": lambda: _settings("preparations"),
    "doctor named": lambda: bundled_names("model"),
    "show name": _of_any_kind,
    "list kind": _kinds,
}


def complete_names(app: typer.Typer) -> None:
    """Lets the shell complete all flags and arguments of `app` that hold names."""
    for command in app.registered_commands:
        function = command.callback
        for parameter, annotation in getattr(function, "__annotations__", {}).items():
            own = f"{getattr(function, '__name__', '').rstrip('_')} {parameter}"
            names = NAMES.get(parameter) or NAMES.get(own)
            for info in getattr(annotation, "__metadata__", ()):
                if names and isinstance(info, ParameterInfo):
                    info.autocompletion = _answer(names)


def _answer(names: Names) -> Callable[[str], list[str]]:
    """What goes on with what was typed so far; after a comma the next name begins."""

    def answer(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(begun)]

    return answer
