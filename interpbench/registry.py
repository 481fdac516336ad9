"""Names -> plugins, for the four kinds: method, model, dataset, metric.

A decorator registers a function and gives it back unchanged. The function's keyword-only arguments are the
plugin's parameters, their annotations the schema:

    @method("smoothgrad", reference="Smilkov et al., arXiv 1706.03825, 2017")
    def smoothgrad(model, x, target, *, samples: int = 25, noise: float = 0.15): ...

gives `--method smoothgrad:samples=50`. A wrong name or value is refused before anything runs.
"""

import hashlib
import inspect
import json
import re
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar

from interpbench.errors import DuplicatePluginError, InterpBenchError, ParameterError, PluginError, unknown_name

Kind = Literal["method", "model", "dataset", "metric"]
KINDS: tuple[Kind, ...] = ("method", "model", "dataset", "metric")
Function = TypeVar("Function", bound=Callable[..., Any])
REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One keyword-only argument of a plugin: its name, annotation and default (`REQUIRED` if it has none)."""

    name: str
    annotation: Any
    default: Any = REQUIRED

    @property
    def type_name(self) -> str:
        """The annotation as a user reads it: `int`, `zero | blur`, `int | None`."""
        return _type_name(self.annotation)

    def validate(self, value: Any) -> Any:
        """`value` (text from the command line or a suite, or already typed) as the annotated type.

        Raises:
            ParameterError: if it is not of that type.
        """
        import pydantic  # here, so that importing interpbench stays quick

        optional = type(None) in typing.get_args(self.annotation)
        if optional and isinstance(value, str) and value.lower() == "none":
            return None
        if isinstance(value, str):
            value = {str(choice): choice for choice in _literals(self.annotation)}.get(value, value)
        try:
            config = pydantic.ConfigDict(arbitrary_types_allowed=True)
            return pydantic.TypeAdapter(self.annotation, config=config).validate_python(value)
        except pydantic.ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ParameterError(
                f"Parameter {self.name}={value!r} is not valid: expected {self.type_name} ({reason})."
            ) from None


@dataclass(frozen=True)
class Plugin:
    """An immutable record of one registered function."""

    kind: ClassVar[Kind]
    arguments: ClassVar[tuple[str, ...]]  # the positional arguments that a function of this kind takes
    provided: ClassVar[frozenset[str]] = frozenset()  # keyword-only arguments that the runner fills in

    name: str
    call: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    doc: str
    reference: str
    licence: str
    origin: str
    source_hash: str
    takes: frozenset[str]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.doc.strip().partition("\n")[0]

    @property
    def required(self) -> list[str]:
        """The parameters that have no default."""
        return [p.name for p in self.parameters if p.default is REQUIRED]

    def configure(self, values: Mapping[str, Any] | None = None) -> "Configured":
        """This plugin with parameter values, validated.

        Raises:
            UnknownNameError: for a parameter that the plugin does not have.
            ParameterError: for a value of the wrong type, or a required parameter that is missing.
        """
        given = dict(values or {})
        known = {p.name: p for p in self.parameters}
        for name in given:
            if name not in known:
                raise unknown_name(f"parameter of {self.kind} {self.name!r}:", name, known)
        resolved = {}
        for name, parameter in known.items():
            if name in given:
                try:
                    resolved[name] = parameter.validate(given[name])
                except ParameterError as error:
                    raise ParameterError(f"{self.kind} {self.name!r}: {error}") from None
            elif parameter.default is REQUIRED:
                raise ParameterError(
                    f"{self.kind} {self.name!r} needs the parameter {name!r} ({parameter.type_name}): "
                    f"write {self.name}:{name}=VALUE."
                )
            else:
                resolved[name] = parameter.default
        return Configured(self, MappingProxyType(resolved), frozenset(given))


@dataclass(frozen=True)
class MethodPlugin(Plugin):
    """`(model, x[B,C,H,W], target[B], *, parameters) -> saliency[B,H,W]`, higher = more important."""

    kind = "method"
    arguments = ("model", "x", "target")
    provided = frozenset({"generators"})

    gradients: bool = True  # False: black box, the model is only ever called forwards
    coarse: bool = False  # True: the map may be smaller than the image, and is resized bilinearly


@dataclass(frozen=True)
class ModelPlugin(Plugin):
    """`(classes, size, *, parameters) -> torch.nn.Module` that gives logits, untrained."""

    kind = "model"
    arguments = ("classes", "size")

    target_layer: str | None = None  # the submodule that CAM methods look at
    pretrained: Any = None  # a torchvision WeightsEnum member, for data sets whose classes are ImageNet's


@dataclass(frozen=True)
class DatasetPlugin(Plugin):
    """`(*, parameters) -> contracts.Dataset`."""

    kind = "dataset"
    arguments = ()


@dataclass(frozen=True)
class MetricPlugin(Plugin):
    """`(explanation, *, parameters) -> scores[B]`, or a `Perturbation` whose curve the engine scores."""

    kind = "metric"
    arguments = ("explanation",)

    better: Literal["lower", "higher"] = "higher"
    range: tuple[float, float] = (0.0, 1.0)
    unit: str = ""
    needs_mask: bool = False
    curve: bool = False  # True: the function returns a Perturbation


@dataclass(frozen=True)
class Configured:
    """A plugin with its parameter values."""

    plugin: Any  # one of the Plugin classes; Any, since each kind has its own traits
    values: Mapping[str, Any]
    given: frozenset[str] = field(default=frozenset())

    @property
    def name(self) -> str:
        """The plugin's name."""
        return str(self.plugin.name)

    @property
    def label(self) -> str:
        """Name and the values that differ from the defaults, as one would type it: `occlusion:stride=8,window=16`."""
        defaults = {p.name: p.default for p in self.plugin.parameters}
        changed = [f"{k}={v}" for k, v in sorted(self.values.items()) if v != defaults[k]]
        return self.name + (":" + ",".join(changed) if changed else "")

    @property
    def parameters_json(self) -> str:
        """All parameter values as canonical JSON."""
        return json.dumps(dict(self.values), sort_keys=True, default=str, separators=(",", ":"))

    def __call__(self, *arguments: Any, **provided: Any) -> Any:
        """Calls the plugin; of what the runner provides it gets what its signature takes."""
        extra = {k: v for k, v in provided.items() if k in self.plugin.takes}
        return self.plugin.call(*arguments, **self.values, **extra)


@contextmanager
def blaming(choice: Configured) -> Iterator[None]:
    """Whatever the plugin raises within this context becomes an error that names it and the line.

    Raises:
        PluginError: for anything but an InterpBenchError, which passes as it is.
    """
    try:
        yield
    except InterpBenchError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"{choice.plugin.kind} {choice.label!r} failed: {type(error).__name__}: {error} "
            f"({frame.filename}:{frame.lineno})."
        ) from error


class Registry:
    """Plugins by kind and name. Fresh instances share nothing, so tests need no clean-up."""

    def __init__(self) -> None:
        self._plugins: dict[Kind, dict[str, Plugin]] = {kind: {} for kind in KINDS}

    def copy(self) -> "Registry":
        """Another registry with the same plugins."""
        other = Registry()
        other._plugins = {kind: dict(plugins) for kind, plugins in self._plugins.items()}
        return other

    def add(self, plugin: Plugin) -> None:
        """Adds a plugin.

        Raises:
            DuplicatePluginError: if another plugin of its kind has its name.
        """
        plugins = self._plugins[plugin.kind]
        known = plugins.get(plugin.name)
        if known is not None and known.call is not plugin.call:
            raise DuplicatePluginError(
                f"Two {plugin.kind}s are called {plugin.name!r}: {known.origin} and {plugin.origin}. "
                "Rename one of them."
            )
        plugins[plugin.name] = plugin

    def get(self, kind: Kind, name: str) -> Any:
        """The plugin of that kind and name.

        Raises:
            UnknownNameError: if there is none; the message lists the near names.
        """
        if name not in self._plugins[kind]:
            raise unknown_name(kind, name, self._plugins[kind])
        return self._plugins[kind][name]

    def names(self, kind: Kind) -> list[str]:
        """The names of a kind, sorted."""
        return sorted(self._plugins[kind])

    def plugins(self, kind: Kind) -> list[Any]:
        """The plugins of a kind, sorted by name."""
        return [self._plugins[kind][name] for name in self.names(kind)]

    def configure(self, kind: Kind, name: str, values: Mapping[str, Any] | None = None) -> Configured:
        """The plugin `name` with parameter values; raises as `get` and `Plugin.configure` do."""
        return self.get(kind, name).configure(values)

    @contextmanager
    def collecting(self) -> Iterator["Registry"]:
        """Within this context the decorators register here."""
        token = _active.set(self)
        try:
            yield self
        finally:
            _active.reset(token)


default_registry = Registry()
_active: ContextVar[Registry] = ContextVar("active registry", default=default_registry)


def method(
    name: str, *, reference: str = "", licence: str = "", gradients: bool = True, coarse: bool = False
) -> Callable[[Function], Function]:
    """Registers an attribution method: `(model, x[B,C,H,W], target[B], *, parameters) -> saliency[B,H,W]`.

    A keyword-only argument called `generators` is no parameter: the runner fills it with one seeded CPU
    `torch.Generator` an image, so that chance does not depend on the batch.

    Args:
        name: what users type; lower case letters, digits and dashes.
        reference: authors, year and place of the paper.
        licence: of the method's code, where it is not the package's own.
        gradients: False if the method is black box, that is only calls the model forwards.
        coarse: True if the map may be smaller than the image; it is then resized bilinearly.
    """
    return _register(MethodPlugin, name, reference, licence, gradients=gradients, coarse=coarse)


def model(
    name: str,
    *,
    reference: str = "",
    licence: str = "",
    target_layer: str | None = None,
    pretrained: Any = None,
) -> Callable[[Function], Function]:
    """Registers an architecture: `(classes, size, *, parameters) -> torch.nn.Module` that gives logits.

    Args:
        name: what users type.
        reference: authors, year and place of the paper.
        licence: of the pretrained weights.
        target_layer: the submodule (dotted name) that CAM methods look at.
        pretrained: a torchvision `WeightsEnum` member, used for data sets whose classes are ImageNet's.
    """
    return _register(ModelPlugin, name, reference, licence, target_layer=target_layer, pretrained=pretrained)


def dataset(name: str, *, reference: str = "", licence: str = "") -> Callable[[Function], Function]:
    """Registers a data set: `(*, parameters) -> contracts.Dataset`. A parameter `root` takes `--data-root`, a
    parameter `download` takes `--download`."""
    return _register(DatasetPlugin, name, reference, licence)


def metric(
    name: str,
    *,
    better: Literal["lower", "higher"],
    range: tuple[float, float] = (0.0, 1.0),
    unit: str = "",
    reference: str = "",
    licence: str = "",
    needs_mask: bool = False,
    curve: bool = False,
) -> Callable[[Function], Function]:
    """Registers a metric: `(explanation, *, parameters) -> scores[B]`.

    Args:
        name: what users type.
        better: which direction is better.
        range: the least and the greatest possible score.
        unit: of the score.
        reference: authors, year and place of the paper.
        licence: of the metric's code, where it is not the package's own.
        needs_mask: True if it compares with the ground-truth mask.
        curve: True if the function returns a `Perturbation`; the engine then makes the curve [B,S+1] and the score
            is the area under it. A parameter `steps` takes `--steps`.
    """
    return _register(
        MetricPlugin,
        name,
        reference,
        licence,
        better=better,
        range=range,
        unit=unit,
        needs_mask=needs_mask,
        curve=curve,
    )


def parse_specs(texts: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """`["occlusion:window=16,stride=8,saliency"]` -> occlusion with its two parameters, saliency with none.

    A comma starts a new name, unless what follows is `parameter=value`, which belongs to the name before.
    """
    specs: list[tuple[str, dict[str, str]]] = []
    for text in texts:
        for piece in filter(None, (p.strip() for p in text.split(","))):
            name, colon, rest = piece.partition(":")
            if "=" in name:  # parameter=value of the spec before
                if not specs:
                    raise ParameterError(f"{piece!r} belongs to no name: write NAME:{piece}.")
                pair = piece
            else:
                specs.append((name, {}))
                pair = rest if colon else ""
            if pair:
                key, equals, value = pair.partition("=")
                if not equals:
                    raise ParameterError(f"{pair!r} of {specs[-1][0]!r} is no parameter: write NAME=VALUE.")
                if key in specs[-1][1]:
                    raise ParameterError(f"Parameter {key!r} of {specs[-1][0]!r} is given twice.")
                specs[-1][1][key] = value
    return specs


def _register(
    record: type[Plugin], name: str, reference: str, licence: str, **traits: Any
) -> Callable[[Function], Function]:
    """The decorator that all four kinds share."""

    def decorate(function: Function) -> Function:
        origin, source_hash = _origin(function)
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
            raise PluginError(f"{origin}: {name!r} is no plugin name: use lower case letters, digits and dashes.")
        parameters, takes = _parameters(record, name, function, origin)
        plugin = record(
            name, function, parameters, inspect.getdoc(function) or "", reference, licence, origin, source_hash,
            takes, **traits,
        )  # fmt: skip
        _active.get().add(plugin)
        return function

    return decorate


def _parameters(
    record: type[Plugin], name: str, function: Callable[..., Any], origin: str
) -> tuple[tuple[Parameter, ...], frozenset[str]]:
    """A function's parameters, and which of the provided arguments it takes; checks its positional arguments."""
    arguments = inspect.signature(function).parameters.values()
    positional = [
        a for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD) and a.default is a.empty
    ]
    keyword = [a for a in arguments if a.kind is a.KEYWORD_ONLY]
    if len(positional) != len(record.arguments) or len(positional) + len(keyword) != len(arguments):
        signature = ", ".join([*record.arguments, "*", "parameter=default"])
        raise PluginError(
            f"{origin}: {record.kind} {name!r} must have the signature ({signature}), with every parameter "
            f"keyword-only; it has {inspect.signature(function)}."
        )
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = []
    for argument in keyword:
        if argument.name in record.provided:
            continue
        if argument.name not in hints:
            raise PluginError(
                f"{origin}: parameter {argument.name!r} of {record.kind} {name!r} needs a type annotation."
            )
        parameters.append(Parameter(argument.name, hints[argument.name], argument.default))
    takes = record.provided & {a.name for a in keyword}
    return tuple(parameters), takes


def _origin(function: Callable[..., Any]) -> tuple[str, str]:
    """`file:line` of a function, and the sha256 of that file (of the code object where there is no file)."""
    code = inspect.unwrap(function).__code__
    path = Path(code.co_filename)
    origin = f"{path}:{code.co_firstlineno}"
    if path.is_file():
        content = path.read_bytes().replace(b"\r\n", b"\n")
    else:
        content = code.co_code + repr(code.co_consts).encode()
    return origin, hashlib.sha256(content).hexdigest()


def _literals(annotation: Any) -> list[Any]:
    """The values of a `Literal`, also of one inside a union."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return list(arguments)
    return [value for argument in arguments for value in _literals(argument)]


def _type_name(annotation: Any) -> str:
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        bounds = [
            f"{symbol} {getattr(m, attribute)}"
            for m in arguments[1:]
            for attribute, symbol in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
            if getattr(m, attribute, None) is not None
        ]
        return " ".join([_type_name(arguments[0]), *bounds])
    if origin is Literal:
        return " | ".join(str(a) for a in arguments)
    if arguments:
        separator = " | " if type(None) in arguments or origin is not tuple else ", "
        return separator.join(_type_name(a) for a in arguments)
    if annotation is type(None):
        return "none"
    return getattr(annotation, "__name__", str(annotation))
