"""What a plugin is: an immutable record of a function and its parameters.

And what it becomes when a user gives the parameters values.
"""

import inspect
import json
import math
import re
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from interpbench.core.errors import (
    InterpBenchError,
    ParameterError,
    PluginError,
    in_one_line,
    unknown_name,
)
from interpbench.core.text import shown
from interpbench.registry.scale import AREAS, Range, Scale, as_range
from interpbench.registry.spec import PAIR, POSITIONAL, quoted

Kind = Literal["method", "model", "dataset", "metric", "reference", "metric-reference"]
KINDS: tuple[Kind, ...] = ("method", "model", "dataset", "metric")  # what a run is made of
REFERENCES: tuple[Kind, ...] = ("reference", "metric-reference")  # what these are compared with
REGISTERED: tuple[Kind, ...] = (*KINDS, *REFERENCES)
Better = Literal["lower", "higher"]
Aspect = Literal[
    "faithfulness", "localisation", "robustness", "complexity", "randomisation", "axiom", "cost"
]


def aspect_of(declared: Aspect | None, needs_mask: bool) -> Aspect:
    """What a metric asks about: what it declares, else what its need of a mask says."""
    return declared or ("localisation" if needs_mask else "faithfulness")


TRAITS = {"better": "the direction", "range": "the range", "unit": "the unit"}
REQUIRED = inspect.Parameter.empty
LONGEST_SLUG = 120  # characters: with a data set's name before it, one file name
MEMORY = "memory: "  # begins the origin of what is in no file that others could run
MADE_ELSEWHERE = "maps: "  # begins the origin of maps that no code here has made


@dataclass(frozen=True)
class Parameter:
    """One keyword-only argument of a plugin.

    Attributes:
        name: of the argument.
        annotation: its type.
        default: its default, `REQUIRED` if it has none.
    """

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
            literals = {str(literal): literal for literal in _literals(self.annotation)}
            value = literals.get(value, value)
        try:
            config = pydantic.ConfigDict(arbitrary_types_allowed=True)
            found = pydantic.TypeAdapter(self.annotation, config=config).validate_python(value)
        except pydantic.ValidationError as error:
            reason = error.errors()[0]["msg"]
        else:
            if not isinstance(found, float) or math.isfinite(found):
                return found
            reason = "a finite number is expected"
        raise ParameterError(
            f"Parameter {self.name}={shown(value)} is not valid: "
            f"expected {self.type_name} ({reason})."
        )


@dataclass(frozen=True)
class Plugin:
    """An immutable record of one registered function."""

    kind: ClassVar[Kind]
    # The positional arguments that a function of this kind takes.
    arguments: ClassVar[tuple[str, ...]]
    # Keyword-only arguments that the runner fills in.
    provided: ClassVar[frozenset[str]] = frozenset()

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
        return [parameter.name for parameter in self.parameters if parameter.default is REQUIRED]

    def configure(self, values: Mapping[str, Any] | None = None) -> "Configured":
        """This plugin with parameter values, validated.

        Raises:
            UnknownNameError: for a parameter that the plugin does not have.
            ParameterError: for a value of the wrong type, or a required parameter that is missing.
        """
        given = self._named(values or {})
        parameters = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in parameters:
                raise unknown_name(f"parameter of {self.kind} {self.name!r}:", name, parameters)
        resolved = {}
        for name, parameter in parameters.items():
            if name in given:
                try:
                    resolved[name] = parameter.validate(given[name])
                except ParameterError as error:
                    raise ParameterError(f"{self.kind} {self.name!r}: {error}") from None
            elif parameter.default is REQUIRED:
                raise ParameterError(
                    f"{self.kind} {self.name!r} needs the parameter {name!r} "
                    f"({parameter.type_name}): write {self.name}:{name}=VALUE."
                )
            else:
                resolved[name] = parameter.default
        return Configured(self, MappingProxyType(resolved), frozenset(given))

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values, each with a name: one without belongs to the only required parameter.

        Raises:
            ParameterError: if there is not exactly one, or it is given already.
        """
        named = {name: value for name, value in values.items() if name != POSITIONAL}
        if POSITIONAL not in values:
            return named
        value = values[POSITIONAL]
        if len(self.required) != 1:
            names = ", ".join(parameter.name for parameter in self.parameters) or "none"
            raise ParameterError(
                f"{value!r} of {self.kind} {self.name!r} is no parameter: write "
                f"{self.name}:PARAMETER=VALUE. Parameters: {names}."
            )
        if self.required[0] in named:
            raise ParameterError(f"Parameter {self.required[0]!r} of {self.name!r} is given twice.")
        return {self.required[0]: value, **named}


@dataclass(frozen=True)
class MethodPlugin(Plugin):
    """`(model, x[B,C,H,W], target[B], *, parameters) -> saliency[B,H,W]`.

    Higher = more important.
    """

    kind = "method"
    arguments = ("model", "x", "target")
    provided = frozenset({"generators", "ids"})
    # Whether it explains other inputs than a run's images as well, for metrics that change them.
    can_be_asked_again: ClassVar[bool] = True

    gradients: bool = True  # False: black box, the model is only ever called forwards
    coarse: bool = False  # True: the map may be smaller than the image, and is resized bilinearly
    control: bool = False  # True: the map knows nothing of the model
    rectifiers: bool = False  # True: gives ReLUs a rule, and means nothing where there are none
    class_agnostic: bool = False  # True: the map is meant to be the same whatever the target


@dataclass(frozen=True)
class ModelPlugin(Plugin):
    """`(classes, size, *, parameters) -> torch.nn.Module` that gives logits, untrained."""

    kind = "model"
    arguments: ClassVar[tuple[str, ...]] = ("classes", "size")

    target_layer: str | None = None  # the submodule that CAM methods look at; None: found by trying
    pretrained: Any = None  # weights that come with it: see `loading/pretrained.py`
    gradients: bool = True  # False: black box, gradients do not flow through it


@dataclass(frozen=True)
class DatasetPlugin(Plugin):
    """`(*, parameters) -> Dataset`."""

    kind = "dataset"
    arguments = ()
    provided = frozenset({"open_data"})


@dataclass(frozen=True)
class MetricPlugin(Plugin):
    """`(explanation, *, parameters) -> scores[B]`, or a `Perturbation` whose curve is scored."""

    kind = "metric"
    arguments = ("explanation",)

    better: Better | Callable[..., Better] = "higher"  # or a function of the parameters it names
    range: Range | Callable[..., Range] = (0.0, 1.0)  # likewise
    unit: str | Callable[..., str] = ""  # likewise
    needs_mask: bool = False
    curve: bool = False  # True: the function returns a Perturbation
    aspect: Aspect = "faithfulness"  # of maps, that it asks about

    def __post_init__(self) -> None:
        """Refuses a direction, range or unit by parameters that there are not."""
        known = [parameter.name for parameter in self.parameters]
        for trait in ("better", "range", "unit"):
            for name in _named_by(getattr(self, trait)):
                if name not in known:
                    raise PluginError(
                        f"{self.origin}: {TRAITS[trait]} of metric {self.name!r} depends on "
                        f"{name!r}, which is none of its parameters "
                        f"({', '.join(known) or 'it has none'})."
                    )

    def direction(self, values: Mapping[str, Any]) -> Better:
        """Which scores are better with these parameters.

        Raises:
            PluginError: if the function of them says neither.
        """
        better = _of(values, self.better)
        if better not in ("lower", "higher"):
            raise PluginError(
                f"{self.origin}: metric {self.name!r} says that {shown(better)} is better. "
                "Expected 'lower' or 'higher'."
            )
        return "lower" if better == "lower" else "higher"

    def scale(self, values: Mapping[str, Any]) -> Scale:
        """What its scores can be with these parameters.

        An area under a curve is the engine's, and so is its scale, where a parameter `output` says
        what is read off the model.
        """
        if self.curve and values.get("output") in AREAS:
            return AREAS[values["output"]]
        unit, limits = _of(values, self.unit), _of(values, self.range)
        return Scale(str(unit), as_range(self.name, limits))


@dataclass(frozen=True)
class ReferencePlugin(Plugin):
    """What another library computes, which one of ours should equal."""

    of: ClassVar[Kind]  # the kind of ours

    ours: str = ""  # the name of ours
    library: str = ""  # the distribution that it is in, as `pip install` takes it
    tolerance: float | None = None  # None: known to be different, by how much is noted
    why: str = ""  # what the two do differently, and which of them ours follows
    variant: str = ""  # tells references of one library apart
    written_out: bool = False  # True: a published rule that is no distribution, written anew

    @property
    def subject(self) -> str:
        """The name of ours and which of its references it is."""
        return self.ours + (f", {self.variant}" if self.variant else "")


@dataclass(frozen=True)
class MethodReference(ReferencePlugin):
    """`(model, x[B,C,H,W], target[B], *, parameters) -> saliency`.

    A method as another library computes it.
    """

    kind = "reference"
    of = "method"
    arguments = ("model", "x", "target")
    provided = frozenset({"generators"})

    on: Callable[[Any], Any] | None = None  # changes the model that both explain
    own_activations: bool = False  # True: gets a model in which each activation is a module
    relu_alone: bool = False  # True: the library finds nn.ReLU, and not ReLU6


@dataclass(frozen=True)
class MetricReference(ReferencePlugin):
    """`(explanation, *, parameters) -> scores[B]`: a metric as another library computes it."""

    kind = "metric-reference"
    of = "metric"
    arguments = ("explanation",)

    on: Callable[[Any], Any] | None = None  # changes the explanation that both score
    unless: Callable[[Any], str] | None = None  # why an explanation is not comparable; "" if it is


@dataclass(frozen=True)
class Configured:
    """A plugin with its parameter values."""

    plugin: Any  # one of the Plugin classes; Any, since each kind has its own traits
    values: Mapping[str, Any]
    given: frozenset[str] = field(default=frozenset())
    alias: str = ""  # what the user calls it, where that is not what one would type
    # Chooses another data set with the same flags, for one that is made of its images.
    another: Callable[[str], "Configured"] | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The plugin's name."""
        return str(self.plugin.name)

    @property
    def origin(self) -> str:
        """Where it comes from; begins with MEMORY if others cannot have it by its label."""
        origin = str(self.plugin.origin)
        return MEMORY + origin if self.alias and not origin.startswith(MEMORY) else origin

    @property
    def label(self) -> str:
        """Name and the values that differ from the defaults, as one would type it.

        Such as `occlusion:stride=8,window=16`.

        The value of an only required parameter comes first, without its name:
        `imagefolder:photos,split=test`.
        """
        if self.alias:
            return self.alias
        defaults = {parameter.name: parameter.default for parameter in self.plugin.parameters}
        changed = {
            name: quoted(str(value))
            for name, value in sorted(self.values.items())
            if value != defaults[name]
        }
        unnamed = [changed.pop(name) for name in self._first if not PAIR.match(changed[name])]
        pairs = [f"{name}={value}" for name, value in changed.items()]
        return self.name + (":" + ",".join(unnamed + pairs) if changed or unnamed else "")

    @property
    def slug(self) -> str:
        """Name and the value of an only required parameter, fit for a file's name."""
        parts = [self.name, *(str(self.values[name]) for name in self._first)]
        return re.sub(r"[^\w.-]+", "-", "-".join(parts)).strip("-")[:LONGEST_SLUG]

    @property
    def _first(self) -> list[str]:
        """The only required parameter, if there is one alone."""
        required = self.plugin.required
        return required if len(required) == 1 else []

    @property
    def parameters_json(self) -> str:
        """All parameter values as canonical JSON."""
        return json.dumps(dict(self.values), sort_keys=True, default=str, separators=(",", ":"))

    def without_gradients(self) -> "Configured":
        """The same model plugin as a black box, which is what its network turned out to be."""
        return replace(self, plugin=replace(self.plugin, gradients=False))

    def __call__(self, *arguments: Any, **provided: Any) -> Any:
        """Calls the plugin; of what the runner provides it gets what its signature takes."""
        taken = {name: value for name, value in provided.items() if name in self.plugin.takes}
        return self.plugin.call(*arguments, **self.values, **taken)


def described(error: BaseException, choice: "Configured") -> str:
    """An exception with the line of the plugin's file that it came through, as far as it did."""
    text = in_one_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    file = choice.plugin.origin.removeprefix(MEMORY).rpartition(":")[0]
    frame = next((frame for frame in reversed(frames) if frame.filename == file), None)
    return text if frame is None else f"{text} ({Path(frame.filename).name}:{frame.lineno})"


@contextmanager
def blaming(choice: Configured) -> Iterator[None]:
    """Whatever the plugin raises within this context becomes an error that names it and the line.

    Raises:
        PluginError: for anything but an InterpBenchError, which passes as it is.
    """
    try:
        yield
    except (InterpBenchError, KeyboardInterrupt):
        raise
    except BaseException as error:  # of any kind: a plugin may call sys.exit
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"{choice.plugin.kind} {choice.label!r} failed: {in_one_line(error)} "
            f"({frame.filename}:{frame.lineno})."
        ) from error


def _of(values: Mapping[str, Any], stated: Any) -> Any:
    """What a plugin states, or what its function gives for those of the values that it names."""
    return stated(**{n: values[n] for n in _named_by(stated)}) if callable(stated) else stated


def _named_by(stated: Any) -> tuple[str, ...]:
    """The arguments of a function; none of what is no function."""
    return tuple(inspect.signature(stated).parameters) if callable(stated) else ()


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
            f"{symbol} {getattr(bound, attribute)}"
            for bound in arguments[1:]
            for attribute, symbol in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
            if getattr(bound, attribute, None) is not None
        ]
        return " ".join([_type_name(arguments[0]), *bounds])
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if arguments:
        separator = " | " if type(None) in arguments or origin is not tuple else ", "
        return separator.join(_type_name(inner) for inner in arguments)
    if annotation is type(None):
        return "none"
    return getattr(annotation, "__name__", str(annotation))
