"""How a public function is called: wrong arguments get a sentence, and jobs take turns."""

import difflib
import functools
import inspect
import numbers
import os
import threading
import typing
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, ParamSpec, TypeVar

from interpbench.core.errors import ArgumentError

P = ParamSpec("P")
R = TypeVar("R")

_turn = threading.RLock()
_forked = False


def _begin_in_child() -> None:
    """In a forked process none of its parent's threads lets go of the lock, and none computes."""
    global _turn, _forked
    _turn, _forked = threading.RLock(), True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which refuses unknown arguments with the near ones, and wrong types.

    Its signature and docstring stay. Annotations in quotes are not looked at.

    Raises:
        ArgumentError: when it is called so.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        _check_arguments(function.__name__, signature, args, kwargs)
        return function(*args, **kwargs)

    return call


def job(function: Callable[P, R]) -> Callable[P, R]:
    """As `checked`; and while it runs, torch is as it comes, whatever the caller has set.

    Jobs of several threads take turns, since torch's random state and switches are the process's:
    each gives what it gives alone. In a forked process torch computes in one thread: it would wait
    for threads of the parent's.
    """

    @checked
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        from interpbench.core.surroundings import as_torch_comes

        with _turn, as_torch_comes(one_thread=_forked):
            return function(*args, **kwargs)

    return call


def _check_arguments(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Whether a function could be called so.

    Raises:
        ArgumentError: if there is no such argument, one is missing, or of another type.
    """
    known = list(signature.parameters)
    for given in kwargs:
        if given not in known:
            near = difflib.get_close_matches(given, known, cutoff=0.6)
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise ArgumentError(
                f"{name}() got an unexpected argument {given!r}. "
                f"{hint or 'It takes ' + ', '.join(known) + '.'}"
            )
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        wanted = ", ".join(
            p.name for p in signature.parameters.values() if p.default is inspect.Parameter.empty
        )
        raise ArgumentError(
            f"{name}(): {error}. It needs {wanted or 'no argument'}; see help(interpbench.{name})."
        ) from None
    for argument, value in bound.arguments.items():
        annotation = signature.parameters[argument].annotation
        if not fits(value, annotation):
            is_module = hasattr(value, "named_parameters") and "model" in known
            hint = " Did you mean model=?" if is_module and argument != "model" else ""
            raise ArgumentError(
                f"{name}(): {argument}={_shown(value)} is of type {type(value).__name__}; expected "
                f"{type_text(annotation)}.{hint}"
            )


def fits(value: object, annotation: Any) -> bool:
    """Whether a value is of a type; True where the annotation does not tell."""
    arguments = typing.get_args(annotation)
    kind = typing.get_origin(annotation) or annotation
    if kind in (typing.Union, UnionType):
        return any(fits(value, argument) for argument in arguments)
    if kind is Literal:
        return value in arguments
    if kind is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    if kind is Sequence:
        several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return several and all(fits(item, arguments[0]) for item in typing.cast(Any, value))
    if kind is Callable:
        return callable(value)
    if kind is None:
        return value is None
    if kind is Any:
        return True
    return isinstance(value, kind) if isinstance(kind, type) else True


def type_text(annotation: Any) -> str:
    """A type in words: `str, Path, a sequence of str or None`."""
    arguments = typing.get_args(annotation)
    kind = typing.get_origin(annotation) or annotation
    if kind in (typing.Union, UnionType):
        *most, last = [type_text(argument) for argument in arguments]
        return f"{', '.join(most)} or {last}" if most else last
    if kind is Literal:
        return " or ".join(map(repr, arguments))
    if kind is Sequence:
        return f"a sequence of {type_text(arguments[0])}"
    if kind is Callable:
        return "a function"
    return "None" if kind in (None, type(None)) else str(getattr(kind, "__name__", kind))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"{text.splitlines()[0][:57]}..."
