"""Plugins made of what a user holds in memory: functions, modules, data sets.

They behave as registered ones do, and their origin says that nobody else can have them.
"""

import copy
import functools
import hashlib
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from interpbench.core.errors import DuplicatePluginError, ParameterError, PluginError
from interpbench.core.types import Dataset, Pretrained
from interpbench.registry.choosing import ALL, choose_one
from interpbench.registry.plugin import (
    MEMORY,
    DatasetPlugin,
    Kind,
    MethodPlugin,
    MetricPlugin,
    ModelPlugin,
    Parameter,
    Plugin,
)
from interpbench.registry.registry import Registry

Better = Literal["lower", "higher"]
SOURCE = "in memory"  # where the weights of a module came from
DATASET = "in-memory"  # what the plugin of a data set is called; the data set has its own name
EXPECTED = {
    "model": "a torch.nn.Module",
    "method": "a function (model, x, target) -> saliency[B,H,W]",
    "metric": "a function (explanation) -> scores[B], a pair of it and 'lower' or 'higher'",
}
Made = TypeVar("Made", bound=Plugin)


def register(registry: Registry, kind: Kind, given: object) -> tuple[tuple[str, ...], list[str]]:
    """Registers what a user gives where plugins are named.

    Parameters:
        registry: gets the plugins.
        kind: `model`, `method` or `metric`.
        given: the name of a plugin, or what EXPECTED says; a dict of these by name; or a list.

    Returns:
        what the plugins are called, as one would type it; and notices of what was assumed.

    Raises:
        ParameterError: if it is anything else.
        DuplicatePluginError: if two have one name.
    """
    texts: list[str] = []
    notices: list[str] = []
    for name, value in _named(kind, given):
        if isinstance(value, str):
            if name:
                registry.call(choose_one(registry, kind, value, "Name"), name)
            texts.append(name or value)
            continue
        known = _registered(registry, kind, value)
        if known is not None and not name:
            texts.append(known.name)
            continue
        plugin, notice = _plugin(kind, name, value)
        if plugin.name in texts:
            raise DuplicatePluginError(
                f"Two {kind}s are called {plugin.name!r}. Give them names: "
                f"{kind}={{'one': ..., 'other': ...}}."
            )
        try:
            registry.add(plugin)
        except DuplicatePluginError as error:
            raise DuplicatePluginError(
                f"{error} Or give yours another name: {kind}={{'mine': ...}}."
            ) from None
        texts.append(plugin.name)
        notices += notice
    return tuple(texts), notices


def register_dataset(registry: Registry, dataset: Dataset) -> str:
    """Registers a data set; what its plugin is called."""
    digest = hashlib.sha256(dataset.card.revision.encode()).hexdigest()
    registry.add(
        DatasetPlugin(
            name=DATASET,
            call=lambda: dataset,
            parameters=(),
            doc=f"The data set {dataset.card.name}, as it is in memory.",
            reference=dataset.card.reference,
            licence=dataset.card.licence,
            origin=_origin(type(dataset)),
            source_hash=digest,
            takes=frozenset(),
        )
    )
    return DATASET


def _named(kind: Kind, given: object) -> Iterator[tuple[str, object]]:
    """Each plugin with its name, or "" where it has none of the user's."""
    if isinstance(given, Mapping):
        if kind == "model" and given and all(isinstance(v, Tensor) for v in given.values()):
            raise ParameterError(
                "model= is a state dict: give the module, after module.load_state_dict(...)."
            )
        for name, value in given.items():
            if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+ -]*", name) or name == ALL:
                raise ParameterError(
                    f"{kind}={{{name!r}: ...}}: a name has letters, digits, dots, dashes and "
                    f"underscores, and is not {ALL!r}."
                )
            yield re.sub(r"\s+", "-", name.strip()), value
    elif isinstance(given, list | tuple) and not _is_scored(kind, given):
        for value in given:
            if isinstance(value, list | tuple) and not _is_scored(kind, value):
                raise _refused(kind, value)
            yield from _named(kind, value)
    else:
        yield "", given


def _is_scored(kind: Kind, given: object) -> bool:
    """Whether it is a metric's function with what is better."""
    pair = isinstance(given, tuple) and len(given) == 2 and callable(given[0])
    return kind == "metric" and pair and typing.cast(Any, given)[1] in get_args(Better)


def _registered(registry: Registry, kind: Kind, value: object) -> Plugin | None:
    """The plugin whose function it is."""
    return next((p for p in registry.plugins(kind) if p.call is value), None)


def _plugin(kind: Kind, name: str, value: object) -> tuple[Plugin, list[str]]:
    if kind == "model" and isinstance(value, nn.Module):
        return _of_module(name or _name_of_module(value), value), []
    if kind == "method" and callable(value):
        traits: dict[str, Any] = {"coarse": True}
        return _of_function(MethodPlugin, name, value, traits), []
    if kind == "metric" and (callable(value) or _is_scored(kind, value)):
        function, better = value if isinstance(value, tuple) else (value, "higher")
        traits = {"better": better, "range": (-float("inf"), float("inf"))}
        plugin = _of_function(MetricPlugin, name, function, traits)
        assumed = f"Of {plugin.name}, more is taken to be better: if not, ({plugin.name}, 'lower')."
        return plugin, [] if isinstance(value, tuple) else [assumed]
    raise _refused(kind, value)


def _refused(kind: Kind, value: object) -> ParameterError:
    hint = ""
    if kind == "model" and isinstance(value, type) and issubclass(value, nn.Module):
        hint = f" This is a class: make one, {value.__name__}(...)."
    elif kind == "model" and callable(value):
        hint = " This is a function: give what it returns."
    shown = repr(value)
    shown = shown if len(shown) < 60 else f"a {type(value).__name__}"
    return ParameterError(
        f"{kind}={shown}: expected the name of a plugin, {EXPECTED[kind]}, a dict of these by "
        f"name, or a list of these.{hint}"
    )


def _of_function(
    record: type[Made], name: str, function: Callable[..., Any], traits: dict[str, Any]
) -> Made:
    """A plugin of a function, whose further arguments keep their defaults."""
    parameters, takes = _parameters(record, function)
    innermost = _innermost(function)
    return record(
        name=name or _name_of(innermost),
        call=function,
        parameters=parameters,
        doc=inspect.getdoc(innermost) or "",
        reference="",
        licence="",
        origin=_origin(innermost),
        source_hash=_source_hash(innermost),
        takes=takes,
        **traits,
    )


def _parameters(
    record: type[Plugin], function: Callable[..., Any]
) -> tuple[tuple[Parameter, ...], frozenset[str]]:
    """The arguments after those of its kind, which all have defaults.

    Raises:
        ParameterError: if it takes fewer, or needs more.
    """
    try:
        arguments = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some that are written in C do not say
        return (), frozenset()
    expected = ", ".join(record.arguments)
    given = record.provided
    try:
        needed = {a.name: None for a in arguments if a.name in given and a.default is a.empty}
        inspect.signature(function).bind(*record.arguments, **needed)
    except TypeError as error:
        raise ParameterError(
            f"{record.kind} {_name_of(_innermost(function))!r} must take ({expected}); it is "
            f"{inspect.signature(function)}: {error}. Further arguments need defaults."
        ) from None
    further = [
        a for a in arguments[len(record.arguments) :]
        if a.kind in (a.KEYWORD_ONLY, a.POSITIONAL_OR_KEYWORD)
    ]  # fmt: skip
    parameters = tuple(
        Parameter(a.name, type(a.default), a.default) for a in further if a.name not in given
    )
    return parameters, frozenset(a.name for a in further if a.name in given)


def _of_module(name: str, module: nn.Module) -> ModelPlugin:
    """A plugin that gives a copy of a module, which stays as it is."""
    parts = sorted({_source(type(part)) for part in module.modules() if not _is_torchs(part)})
    digest = hashlib.sha256("\n".join([repr(module), *parts]).encode()).hexdigest()
    return ModelPlugin(
        name=name,
        call=lambda classes, size: _copied(name, module),
        parameters=(),
        doc=f"A {type(module).__name__}, as it is in memory.",
        reference="",
        licence="",
        origin=_origin(type(module)),
        source_hash=digest,
        takes=frozenset(),
        pretrained=lambda: Pretrained(source=SOURCE),
    )


def _copied(name: str, module: nn.Module) -> nn.Module:
    """A copy on the CPU.

    Raises:
        PluginError: if it cannot be made.
    """
    tensors = [*module.named_parameters(), *module.named_buffers()]
    empty = [key for key, tensor in tensors if tensor.is_meta]
    if empty:
        raise PluginError(
            f"Model {name!r} has no weights: {empty[0]!r} is on the meta device. Load them first."
        )
    computed = {  # such as a normalised weight; torch copies none that it could differentiate
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        with torch.no_grad():
            return copy.deepcopy(module, computed).to("cpu")
    except Exception as error:
        raise PluginError(
            f"Model {name!r} cannot be copied ({type(error).__name__}: {error}), and yours must "
            "stay as it is. Give the function that builds it as a file, FILE.py:FUNCTION."
        ) from error


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is behind partials and wrappers; of an object that can be called its class."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    is_function = inspect.isroutine(function) or isinstance(function, type)
    return function if is_function else type(function)


def _name_of(what: Callable[..., Any]) -> str:
    """As a plugin is called: `<lambda>` becomes `lambda`."""
    return re.sub(r"[^\w.-]+", "", getattr(what, "__name__", type(what).__name__)) or "unnamed"


def _name_of_module(module: nn.Module) -> str:
    """Its class's name, without what wraps it."""
    while True:
        wrapped = getattr(module, "_orig_mod", None)
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            wrapped = module.module
        if not isinstance(wrapped, nn.Module):
            return str(getattr(module, "original_name", None) or _name_of(type(module)))
        module = wrapped


def _origin(what: Any) -> str:
    try:
        file, line = inspect.getsourcefile(what), inspect.getsourcelines(what)[1]
    except (TypeError, OSError):
        file, line = getattr(what, "__module__", "?"), 0
    return f"{MEMORY}{file}:{line}"


def _source(what: Any) -> str:
    """Its source where Python knows it, else what it is called."""
    try:
        return inspect.getsource(what)
    except (TypeError, OSError):
        return f"{getattr(what, '__module__', '?')}.{getattr(what, '__qualname__', what)}"


def _source_hash(function: Any) -> str:
    code = getattr(function, "__code__", None)
    text = _source(function)
    if code is not None and "\n" not in text:  # typed at a prompt: its source is not kept
        text += code.co_code.hex()
    return hashlib.sha256(text.encode()).hexdigest()
