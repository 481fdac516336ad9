"""The plugins that a user or a suite names, with their parameters."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from interpbench.core.errors import (
    ParameterError,
)
from interpbench.core.types import Dataset
from interpbench.registry.plugin import Configured, Kind, blaming
from interpbench.registry.registry import Registry
from interpbench.registry.spec import parse_specs

ALL = "all"


def configure_dataset(registry: Registry, text: str, flags: Mapping[str, Any]) -> Configured:
    """The data set that `text` names, with the parameters that flags such as --data-root give.

    Raises:
        ParameterError: if the data set has no such parameter, or `text` names several.
    """
    specs = parse_specs([text])
    if len(specs) != 1:
        hint = ' A value that holds a comma is written in double quotes: NAME:PARAMETER="a,b".' if specs else ""
        raise ParameterError(f"A run has one data set, not {len(specs)}: {text!r}.{hint}")
    name, values = specs[0]
    known = {p.name for p in registry.get("dataset", name).parameters}
    for flag, value in flags.items():
        if flag not in known:
            raise ParameterError(f"Data set {name!r} takes no --{'data-root' if flag == 'root' else flag}.")
        values[flag] = value
    return registry.configure("dataset", name, values)


def choose_plugins(registry: Registry, kind: Kind, texts: Sequence[str]) -> dict[str, Configured]:
    """The plugins that a user or a suite names, label -> plugin with parameters.

    `all` stands for every plugin that can do without parameters.

    Raises:
        UnknownNameError: for a name or parameter that does not exist.
        ParameterError: for a value of the wrong type, or if nothing is chosen.
    """
    choices: dict[str, Configured] = {}
    for name, values in parse_specs(texts):
        if name == ALL:
            if values:
                raise ParameterError("`all` takes no parameters. Add a configuration to it: all,NAME:PARAMETER=VALUE.")
            everything = [p.configure() for p in registry.plugins(kind) if not p.required]
            choices.update({c.label: c for c in everything})
            continue
        choice = registry.configure(kind, name, values)
        choices[choice.label] = choice
    if not choices:
        raise ParameterError(f"No {kind} is chosen. Name one with --{kind}, or `all`.")
    return choices


def can_explain(method: Configured, model: Configured) -> bool:
    """Whether a method finds in a model what it needs: gradients, unless it only calls the model forwards."""
    return bool(model.plugin.gradients or not method.plugin.gradients)


def left_out_without_gradients(
    models: Mapping[str, Configured], methods: Mapping[str, Configured], named: Collection[str]
) -> list[str]:
    """A notice for each model through which no gradients flow, if methods are left out for it.

    Args:
        models, methods: label -> plugin with parameters.
        named: the names of the methods that the user asked for, and that are therefore refused rather than left out.

    Raises:
        ParameterError: if one of these methods is named, or no method is left.
    """
    notices = []
    for label, model in models.items():
        left_out = [method for method in methods.values() if not can_explain(method, model)]
        asked = [method.label for method in left_out if method.name in named]
        if asked or len(left_out) == len(methods):
            raise ParameterError(
                f"Method {(asked or list(methods))[0]!r} needs gradients, and none flow through model {label!r}. "
                "Choose methods that only call the model, or another model."
            )
        if left_out:
            names = ", ".join(method.label for method in left_out)
            notices.append(f"Left out for {label}, through which no gradients flow: {names}.")
    return notices


def open_dataset(registry: Registry, text: str, flags: Mapping[str, Any]) -> Dataset:
    """The data set that `text` names, with parameters from flags (`root`, `download`).

    Raises:
        InterpBenchError: if there is no such data set, or it cannot be opened.
    """
    choice = configure_dataset(registry, text, flags)
    with blaming(choice):
        dataset: Dataset = choice()
    return dataset
