"""Where a plugin's code stands, and a hash of it.

Of the function, and of all in its file that it is made of.

So a plugin keeps its hash when another is added to its file, and loses it when a helper or a
constant that it uses changes. What it imports is not looked into; a run records the versions of the
packages that numbers depend on.
"""

import ast
import hashlib
import inspect
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any


def origin_of(function: Callable[..., Any]) -> tuple[str, str]:
    """`file:line` of a function, and the sha256 of its source.

    Of the code object where there is no file.
    """
    code = inspect.unwrap(function).__code__
    path = Path(code.co_filename)
    origin = f"{path}:{code.co_firstlineno}"
    if not path.is_file():
        return origin, hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()
    text = path.read_text(encoding="utf-8")  # line ends of any system come out as \n
    if "<locals>" not in code.co_qualname:  # else it is what callers of the outer function make it
        text = _made_of(text, code.co_firstlineno)
    return origin, hashlib.sha256(text.encode()).hexdigest()


def _made_of(text: str, line: int) -> str:
    """The top-level statement at `line`, and those that bind or change a name which these use.

    In the file's order.
    """
    statements = _statements(text)
    start = next((s for s in statements if s.first <= line <= s.last), None)
    if start is None:
        return text
    needed, waiting = {start}, deque([start])
    while waiting:
        used = waiting.popleft().uses
        new = [s for s in statements if s not in needed and not s.binds.isdisjoint(used)]
        needed.update(new)
        waiting.extend(new)
    return "".join(s.text for s in statements if s in needed)


class _Statement:
    """A top-level statement with its decorators.

    Attributes:
        first, last: its lines.
        text: its source.
        uses, binds: the module's names that it reads, and those that it defines or changes.
    """

    def __init__(self, node: ast.stmt, text: str) -> None:
        self.first, self.last = _first_line(node), node.end_lineno or node.lineno
        self.text = text
        self.uses = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        self.binds = set(_bound(node))


@lru_cache(maxsize=64)  # each plugin of a file that offers many asks for them
def _statements(text: str) -> list[_Statement]:
    lines = text.splitlines(keepends=True)
    statements = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            statements += [
                _Statement(single, ast.unparse(single) + "\n") for single in _apart(node)
            ]
        else:
            own_lines = lines[_first_line(node) - 1 : node.end_lineno]
            statements.append(_Statement(node, "".join(own_lines)))
    return statements


def _apart(node: ast.Import | ast.ImportFrom) -> Iterator[ast.Import | ast.ImportFrom]:
    """An import statement for each name: a further name is no change for what does not use it."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield ast.copy_location(ast.Import([alias]), node)
        else:
            yield ast.copy_location(ast.ImportFrom(node.module, [alias], node.level), node)


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement defines or changes, as `TABLE["key"] = value` does."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield part.name
        elif isinstance(part, ast.alias):
            yield (part.asname or part.name).partition(".")[0]
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, ast.Attribute | ast.Subscript) and isinstance(part.ctx, ast.Store):
            yield from _root(part)
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            yield from _root(part.func)  # NAMES.append(...)


def _root(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
