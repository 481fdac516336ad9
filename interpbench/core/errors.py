"""Every error a user can meet.

Each message says what was wrong, what was expected and what to do next.
"""

import difflib
import re
from collections.abc import Iterable, Sequence

from interpbench.core.text import LONGEST, shown

NEAR = 5  # near names in a message
WORD = 3  # letters of a name at least that words of others may begin with
FEW = 8  # so many names are all listed, whether some are near or not
LISTED = 40  # names in a message where none is near
MOST_SAID = 2000  # characters of what an exception says


class InterpBenchError(Exception):
    """Base of all errors that are the input's fault.

    The command line prints its message without a traceback and ends with exit code 2.
    """


class UnknownNameError(InterpBenchError):
    """A plugin, parameter, suite or column that does not exist; the message lists near names."""


class ParameterError(InterpBenchError):
    """A parameter's value is missing, or not of the type that the plugin declares."""


class ArgumentError(ParameterError, TypeError):
    """A public function is called with an argument that it does not have, or one of another type.

    It is a TypeError too, as Python's own would be.
    """


class DuplicatePluginError(InterpBenchError):
    """Two plugins of one kind want the same name; the message gives both origins."""


class PluginError(InterpBenchError):
    """A plugin file that cannot be loaded, or a plugin that does not keep to its contract."""


class SuiteError(InterpBenchError):
    """A suite file with a wrong key, type or value; the message names the key."""


class RecipeError(InterpBenchError):
    """A recipe for training with a wrong key, type or value; the message names the key."""


class TrainingError(InterpBenchError):
    """A training that broke down, or that cannot be continued; the message says what to change."""


class DataError(InterpBenchError):
    """A data folder or sample that is missing, empty or not what it should be."""


class UnreadableImageError(DataError):
    """One image that cannot be decoded. A run skips it, counts it and names it."""


class WeightsError(InterpBenchError):
    """Weights that are missing, corrupt or of another architecture.

    The message names the first mismatch.
    """


class NoWeightsError(WeightsError):
    """A model for which there are no weights on the data set at hand, shipped or elsewhere."""


class PreparationError(InterpBenchError):
    """It is not known how images become a model's input, or what is said of it does not fit."""


class OutputsError(InterpBenchError):
    """It is not known what a model's answers are, or they are not what is said of them."""


class DeviceError(InterpBenchError):
    """A device or precision that does not exist or that this machine lacks."""


class RunFolderError(InterpBenchError):
    """A run folder that cannot be written, is not empty, or holds another run."""


class SubmissionError(InterpBenchError):
    """A published run that is not what it should be, or a run that cannot be published."""


class MethodError(InterpBenchError):
    """A method returned something that is not a saliency map.

    The method's own cell fails and the run goes on.
    """


def said(error: BaseException) -> str:
    """What an exception says, as text that can be written down.

    A `__str__` of a plugin may raise itself, or give what no file can hold: lone surrogates are
    written as `\\udc80`.
    """
    try:
        text = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as another:
        text = f"(what it says cannot be read: its __str__ raises {type(another).__name__})"
    return text[:MOST_SAID].encode("utf-8", "backslashreplace").decode()


def in_one_line(error: BaseException) -> str:
    """An exception's kind and what it says, without line breaks.

    Of TorchScript's report, which quotes the code with a traceback of its own, the reason alone.
    """
    lines = [line.strip() for line in said(error).splitlines() if line.strip()]
    if any("TorchScript" in line for line in lines[:2]):
        return lines[-1]
    return f"{type(error).__name__}: {' '.join(lines)}"


def first_line(error: BaseException) -> str:
    """An exception's kind and the first line of what it says."""
    line, _, _ = said(error).partition("\n")
    return f"{type(error).__name__}: {line}"


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error for `name` with the nearest of the `known` names, in any case of their letters.

    All are listed where there are few; some, where none is near.

    Example:
        >>> str(interpbench.unknown_name("colour", "gren", ["red", "green", "blue"]))
        "Unknown colour 'gren'. Did you mean 'green'? Known: blue, green, red."
        >>> str(interpbench.unknown_name("page", "pag-7", [f"page-{i}" for i in range(40)]))
        "Unknown page 'pag-7'. Did you mean 'page-7', 'page-37', 'page-27', 'page-17' or 'page-9'?"
    """
    names = sorted(known)
    near = _near(name, names)
    if near and len(names) > FEW:
        return UnknownNameError(f"Unknown {what} {shown(name)}. Did you mean {_either(near)}?")
    hint = f"Did you mean {_either(near)}? " if near else ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    listing = ", ".join(names[:LISTED]) + more if names else "none"
    return UnknownNameError(f"Unknown {what} {shown(name)}. {hint}Known: {listing}.")


def _near(name: str, names: Sequence[str]) -> list[str]:
    """The nearest names, best first, or the one that differs in the case of its letters alone.

    Those that have a word which begins with it come first, the shortest before the others.
    """
    name = name[:LONGEST]  # difflib takes long over long names
    by_lower = {known.lower(): known for known in reversed(names)}
    if name.lower() in by_lower:
        return [by_lower[name.lower()]]
    begun = re.compile(rf"\b{re.escape(name.lower())}") if len(name) >= WORD else None
    words = [lower for lower in by_lower if begun and begun.search(lower)]
    words = sorted(words, key=len)[:NEAR]
    for least in (0.6, 0.5):  # short names are similar to few
        near = difflib.get_close_matches(name.lower(), by_lower, n=NEAR, cutoff=least)
        if near or words:
            both = [*words, *(lower for lower in near if lower not in words)]
            return [by_lower[lower] for lower in both[:NEAR]]
    return []


def _either(names: Sequence[str]) -> str:
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last
