"""What a plugin may change of the process that runs it, and putting it back.

The guard looks after the model at each call. What is here costs some milliseconds to look through,
and is looked through once a cell: torch's functions and ours, settings of Python, and files
that are left open.
"""

import builtins
import gc
import inspect
import io
import json
import locale
import logging
import math
import os
import random
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from operator import is_
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn

from interpbench.core.switches import SWITCHES, Switch

MOST_LEFT_OPEN = 32  # files that a cell may leave open; more are closed, since a process has few
MOST_LOOKED_AT = 4096  # descriptors
_ABSENT = object()


@dataclass
class Undone:
    """What was changed and is put back.

    Attributes:
        harmful: what may have falsified numbers, or what others need.
        harmless: settings that were flipped.
    """

    harmful: list[str] = field(default_factory=list)
    harmless: list[str] = field(default_factory=list)


@contextmanager
def staying_alive() -> Iterator[None]:
    """Within this context `os._exit` raises SystemExit, as `sys.exit` does.

    Not in processes that were forked meanwhile, which end by it.
    """
    end, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:
            end(status)
        raise SystemExit(f"os._exit({status}) was called")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = end


class ProcessState:
    """This process as it is now."""

    def __init__(self) -> None:
        self._python = {name: f for name, f in vars(builtins).items() if callable(f)}
        self._names = [_Names(owner) for owner in _owners()]
        self._settings = {name: read() for name, (read, _) in _settings().items()}
        self._open = _open_files()

    def undo(self) -> Undone:
        """Puts back what has changed since."""
        undone = Undone()
        now = builtins.__dict__  # first, since all the rest is done with what is there
        undone.harmful += [
            f"{name} patched" for name, f in self._python.items() if now[name] is not f
        ]
        now.update(self._python)
        for names in self._names:
            undone.harmful += [f"{name} patched" for name in names.undo()]
        for name, (read, write) in _settings().items():
            before = self._settings.get(name)
            if read() != before:
                write(before)
                if name not in _CHANGED_BY_IMPORTS:
                    undone.harmless.append(f"global {name} changed")
        left = _open_files() - self._open
        if len(left) > MOST_LEFT_OPEN:
            _close(left)
            undone.harmful.append(f"{len(left)} files left open")
        return undone


class _Names:
    """The functions, classes and modules that a module holds; the functions of a class."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._is_class = isinstance(owner, type)
        # All, since a copy and its comparison take a tenth of looking at each value.
        self._before = dict(vars(owner))

    def undo(self) -> list[str]:
        """Puts back what was replaced, and takes away what hides what a class inherits."""
        now = vars(self._owner)
        if self._is_untouched(now):
            return []
        replaced = [
            name
            for name, value in self._before.items()
            if now.get(name, _ABSENT) is not value
            and self._is_kept(value)
            and not _of_the_compiler(now.get(name))
        ]
        for name in replaced:
            setattr(self._owner, name, self._before[name])
        added = [
            name
            for name in (now.keys() - self._before.keys() if self._is_class else ())
            if hasattr(super(self._owner, self._owner), name) and not _of_the_compiler(now[name])
        ]
        for name in added:
            delattr(self._owner, name)
        return [f"{self._owner.__name__}.{name}" for name in [*replaced, *added]]

    def _is_untouched(self, now: Mapping[str, Any]) -> bool:
        before = self._before
        return (
            len(now) == len(before)
            and all(map(is_, now, before))
            and all(map(is_, now.values(), before.values()))
        )

    def _is_kept(self, value: Any) -> bool:
        kinds = (property, staticmethod, classmethod) if self._is_class else types.ModuleType
        return callable(value) or isinstance(value, kinds)


_COMPILER = os.path.join("torch", "_dynamo")


def _of_the_compiler(value: Any) -> bool:
    """Whether torch's own compiler has put it there, as it does when it is first imported."""
    code = getattr(value, "__code__", None)
    return _COMPILER in getattr(code, "co_filename", "")


def _owners() -> Iterator[Any]:
    """Whose functions may be patched: modules and classes of torch, numpy, Python and ours."""
    yield from (torch, nn, nn.functional, torch.autograd, torch.linalg, torch.fft, torch.special)
    yield from (np, np.random, os, os.path, Path, math, random, json, shutil, tempfile, time)
    yield from (io, warnings, threading, inspect)
    yield from (torch.Tensor, torch.autograd.Function, nn.Parameter)
    yield from {value for value in vars(nn).values() if isinstance(value, type)}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "interpbench" and module is not None:
            yield module
            yield from (
                value
                for value in vars(module).values()
                if isinstance(value, type) and value.__module__ == name
            )


# What importing a package changes as well: it is put back and not worth a word.
_CHANGED_BY_IMPORTS = {"warning filters", "environment", "search path"}


def _flag(owner: Any, name: str) -> Switch:
    return (lambda: getattr(owner, name)), (lambda value: setattr(owner, name, value))


def _settings() -> Mapping[str, Switch]:
    """The switches of torch, and what Python and the system keep for a process."""
    settings: dict[str, Switch] = {
        **SWITCHES,
        "working folder": (_working_folder, os.chdir),
        "environment": (lambda: dict(os.environ), _set_environment),
        "search path": (lambda: list(sys.path), lambda value: sys.path.__setitem__(_ALL, value)),
        "warning filters": (lambda: list(warnings.filters), _set_filters),
        "showing of warnings": _flag(warnings, "showwarning"),
        "standard output": _flag(sys, "stdout"),
        "standard error": _flag(sys, "stderr"),
        "hook of uncaught errors": _flag(sys, "excepthook"),
        "recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
        "garbage collection": (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        "trace function": (sys.gettrace, sys.settrace),
        "profile function": (sys.getprofile, sys.setprofile),
        "logging": _flag(logging.root.manager, "disable"),
        "numpy's errors": (np.geterr, lambda value: np.seterr(**value)),
        "locale": (
            lambda: locale.setlocale(locale.LC_ALL),
            lambda value: locale.setlocale(locale.LC_ALL, value),
        ),
        "mask of new files": (_mask, os.umask),
    }
    if threading.current_thread() is threading.main_thread():
        settings["signal handlers"] = (_handlers, _set_handlers)
    if hasattr(signal, "setitimer"):
        settings["alarm"] = (_alarm_is_set, _silence_alarm)
    return settings


_ALL = slice(None)


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _set_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # which also makes Python look at them anew
    warnings.filters[:] = filters  # type: ignore[index]  # a list, in all but its stub


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _alarm_is_set() -> bool:
    return signal.getitimer(signal.ITIMER_REAL)[0] > 0


def _silence_alarm(was_set: bool) -> None:
    if not was_set:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _open_files() -> set[int]:
    """Descriptors of files, pipes and sockets."""
    found = set()
    for descriptor in _descriptors():
        with suppress(OSError):
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
                found.add(descriptor)
    return found


def _descriptors() -> Iterable[int]:
    """Of all that is open, and of some that is not."""
    try:
        return [int(name) for name in os.listdir("/dev/fd")]
    except OSError:  # no such folder; or no descriptor is left, with which it could be read
        return range(MOST_LOOKED_AT if os.name == "posix" else 0)


def _close(descriptors: set[int]) -> None:
    """Closes files through the objects that hold them, else themselves."""
    gc.collect()
    for held in gc.get_objects():
        if issubclass(type(held), io.FileIO | socket.socket):  # isinstance would ask proxies
            with suppress(ValueError, OSError):  # of one that is closed
                if held.fileno() in descriptors:
                    descriptors.discard(held.fileno())
                    held.close()
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
