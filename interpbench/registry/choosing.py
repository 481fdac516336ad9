"""The plugins that a user or a suite names, with their parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from interpbench.core.errors import ParameterError
from interpbench.core.preparation import Stated
from interpbench.registry.metric_protocol import without_protocols
from interpbench.registry.plugin import Configured, Kind
from interpbench.registry.registry import Registry
from interpbench.registry.spec import parse_specs

ALL = "all"


@dataclass(frozen=True)
class Sources:
    """Where data and weights come from, as flags say it.

    Attributes:
        root: the folder of a data set that lies on disk.
        download: whether the data set may be fetched.
        weights: `FILE`, `random`, or `MODEL=FILE` where there are several models.
        preparation: what flags say of how images become a model's input.
        outputs: what flags say of a model's answers, see `core.outputs`.
        notices: what was assumed of what the user gave, a sentence each.
        samples: a file that lists those that are used, or left out, see `loading.part`.
        maps: folders, archives and data sets (`hf:...`) of maps that were made elsewhere, each a
            method or several.
        in_domain: weights of the networks that metrics ask instead of the explained ones, as
            `weights`, see `loading.in_domain`.
    """

    root: str | Path | None = None
    download: bool = False
    weights: tuple[str, ...] = ()
    preparation: Stated = Stated()
    outputs: str | None = None
    notices: tuple[str, ...] = ()
    samples: Path | None = None
    maps: tuple[str, ...] = ()
    in_domain: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choices:
    """The plugins of one kind that were chosen.

    Attributes:
        plugins: label -> plugin with parameters.
        named: the names that were written, rather than meant by `all`.
    """

    plugins: Mapping[str, Configured]
    named: frozenset[str] = field(default=frozenset())

    def only(self, labels: Sequence[str]) -> "Choices":
        """The plugins with these labels."""
        return Choices({label: self.plugins[label] for label in labels}, self.named)


def choose_plugins(registry: Registry, kind: Kind, texts: Sequence[str]) -> Choices:
    """The plugins that a user or a suite names.

    `all` stands for every plugin that can do without parameters, and `protocol:NAME` for the
    metrics of a protocol.

    Raises:
        UnknownNameError: for a name or parameter that does not exist.
        ParameterError: for a value of the wrong type, or if nothing is chosen.
    """
    plugins: dict[str, Configured] = {}
    named = set()
    specs = parse_specs(texts)
    for name, values in without_protocols(specs) if kind == "metric" else specs:
        if name == ALL:
            if values:
                raise ParameterError(
                    "`all` takes no parameters. Add a configuration to it: "
                    "all,NAME:PARAMETER=VALUE."
                )
            every = [plugin.configure() for plugin in registry.plugins(kind) if not plugin.required]
            plugins.update({choice.label: choice for choice in every})
            continue
        choice = registry.configure(kind, name, values)
        plugins[choice.label] = choice
        named.add(name)
    if not plugins:
        raise ParameterError(f"No {kind} is chosen. Name one with --{kind}, or `all`.")
    return Choices(MappingProxyType(plugins), frozenset(named))


def choose_one(registry: Registry, kind: Kind, text: str, doing: str) -> Configured:
    """The only plugin that a user names.

    Parameters:
        registry: where it is.
        kind: of the plugin.
        text: `resnet18:width=16`.
        doing: what it is chosen for, such as `Explain`.

    Raises:
        ParameterError: if none or several are named, or a value is of the wrong type.
        UnknownNameError: for a name or parameter that does not exist.
    """
    specs = parse_specs([text])
    if len(specs) != 1:
        raise ParameterError(f"{doing} one {kind} at a time, not {text!r}.")
    return registry.configure(kind, *specs[0])


def choose_dataset(
    registry: Registry, text: str, sources: Sources = Sources(), *, split: str | None = None
) -> Configured:
    """The data set that a user or a suite names, with what flags such as --data-root say of it.

    Parameters:
        registry: where it is.
        text: `imagefolder:photos`.
        sources: what flags say.
        split: another than `text` names; None for that.

    Raises:
        ParameterError: if the data set has no such parameter, or `text` names several. One that
            is made of another's images leaves flags to that.
    """
    specs = parse_specs([text])
    if len(specs) != 1:
        hint = ' A value that holds a comma is written in double quotes: NAME:PARAMETER="a,b".'
        raise ParameterError(
            f"A run has one data set, not {len(specs)}: {text!r}.{hint if specs else ''}"
        )
    name, written = specs[0]
    plugin = registry.get("dataset", name)
    parameters = {parameter.name for parameter in plugin.parameters}
    is_made_of_another = "open_data" in plugin.takes
    values: dict[str, object] = dict(written)
    flags = {"root": sources.root, "download": sources.download or None, "split": split}
    for parameter, value in flags.items():
        if value is None:
            continue
        if parameter not in parameters:
            if is_made_of_another:
                continue
            flag = "data-root" if parameter == "root" else parameter
            raise ParameterError(f"Data set {name!r} takes no --{flag}.")
        values[parameter] = value
    choice = registry.configure("dataset", name, values)
    if not is_made_of_another:
        return choice
    return replace(choice, another=partial(choose_dataset, registry, sources=sources, split=split))


def can_explain(method: Configured, model: Configured) -> bool:
    """Whether gradients flow through a model, or a method needs none."""
    return bool(model.plugin.gradients or not method.plugin.gradients)


def left_out_without_gradients(
    models: Choices, methods: Choices, *, asked: bool = True
) -> list[str]:
    """A notice for each model through which no gradients flow, if methods are left out for it.

    Parameters:
        models, methods: what was chosen.
        asked: whether the user chose the methods; those that are named are then refused rather than
            left out.

    Raises:
        ParameterError: if one of these methods is refused, or no method is left.
    """
    notices = []
    for label, model in models.plugins.items():
        left_out = [method for method in methods.plugins.values() if not can_explain(method, model)]
        if not left_out:
            continue
        refused = [method.label for method in left_out if asked and method.name in methods.named]
        if refused or len(left_out) == len(methods.plugins):
            raise ParameterError(
                f"Method {(refused or list(methods.plugins))[0]!r} needs gradients, and none flow "
                f"through model {label!r}. Choose methods that only call the model, or another "
                "model."
            )
        names = ", ".join(method.label for method in left_out)
        notices.append(f"Left out for {label}, through which no gradients flow: {names}.")
    return notices
