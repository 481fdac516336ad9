"""What metrics ask about, read from the source of bundled plugins: so tables need no torch."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache, cached_property

from interpbench.registry.bundled_folder import bundled_folder
from interpbench.registry.plugin import aspect_of


class Aspects(Mapping[str, str]):
    """Name of each metric -> the aspect of maps that it asks about.

    That of a bundled metric stands in its decorator. For others plugins are loaded, and torch.
    """

    @cached_property
    def _loaded(self) -> dict[str, str]:
        from interpbench.registry.discovery import discover

        return discover().aspects

    def __getitem__(self, name: str) -> str:
        declared = declared_aspects()
        return declared[name] if name in declared else self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)


@cache
def declared_aspects() -> dict[str, str]:
    """Those of the bundled metrics, as their decorators state them; nothing is imported."""
    found: dict[str, str] = {}
    for path in sorted(bundled_folder().rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "@metric(" in source:
            found |= _of_source(source)
    return found


def _of_source(source: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        for call in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "metric":
                given = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
                name = getattr(call.args[0], "value", None) if call.args else None
                if isinstance(name, str):
                    found[name] = aspect_of(given.get("aspect"), bool(given.get("needs_mask")))
    return found
