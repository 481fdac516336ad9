"""Every error a user can meet.

Each message says what was wrong, what was expected and what to do next.
"""

import difflib
from collections.abc import Iterable

LISTED = 100  # names in a message


class InterpBenchError(Exception):
    """Base of all errors that are the input's fault.

    The command line prints its message without a traceback and ends with exit code 2.
    """


class UnknownNameError(InterpBenchError):
    """A plugin, parameter, suite or column that does not exist; the message lists near names."""


class ParameterError(InterpBenchError):
    """A parameter's value is missing, or not of the type that the plugin declares."""


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


def in_one_line(error: BaseException) -> str:
    """An exception's kind and what it says, without line breaks.

    Of TorchScript's report, which quotes the code with a traceback of its own, the reason alone.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("TorchScript" in line for line in lines[:2]):
        return lines[-1]
    return f"{type(error).__name__}: {' '.join(lines)}"


def first_line(error: BaseException) -> str:
    """An exception's kind and the first line of what it says."""
    line, _, _ = str(error).partition("\n")
    return f"{type(error).__name__}: {line}"


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error for `name`, with the nearest of the `known` names first.

    Of very many names not all are listed.

    Example:
        >>> str(interpbench.unknown_name("colour", "gren", ["red", "green", "blue"]))
        "Unknown colour 'gren'. Did you mean 'green'? Known: blue, green, red."
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    listing = ", ".join(names[:LISTED]) + more if names else "none"
    return UnknownNameError(f"Unknown {what} {name!r}. {hint}Known: {listing}.")
