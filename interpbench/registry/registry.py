"""Names -> plugins: methods, models, data sets, metrics, and references that these should equal.

A decorator registers a function and gives it back unchanged. The function's keyword-only arguments
are the plugin's parameters, their annotations the schema:

    @method("smoothgrad", reference="Smilkov et al., arXiv 1706.03825, 2017")
    def smoothgrad(model, x, target, *, samples: int = 25, noise: float = 0.15): ...

gives `--method smoothgrad:samples=50`. A wrong name or value is refused before anything runs.
"""

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from interpbench.core.calls import checked
from interpbench.core.errors import DuplicatePluginError, PluginError, unknown_name
from interpbench.core.text import shown
from interpbench.registry.plugin import (
    REGISTERED,
    Aspect,
    Better,
    Configured,
    DatasetPlugin,
    Kind,
    MethodPlugin,
    MethodReference,
    MetricPlugin,
    MetricReference,
    ModelPlugin,
    Parameter,
    Plugin,
    aspect_of,
)
from interpbench.registry.scale import Range, as_range
from interpbench.registry.source_hash import origin_of

Function = TypeVar("Function", bound=Callable[..., Any])


Finder = Callable[[Kind, str], Plugin | None]


class Registry:
    """Plugins by kind and name. Fresh instances share nothing, so tests need no clean-up.

    Parameters:
        find: makes a plugin of a name that is not registered, such as that of a function in a file;
            or gives None.
    """

    def __init__(self, find: Finder = lambda kind, name: None) -> None:
        self._plugins: dict[Kind, dict[str, Plugin]] = {kind: {} for kind in REGISTERED}
        self._find = find
        self._aliases: dict[tuple[Kind, str], Configured] = {}

    @property
    def aspects(self) -> dict[str, str]:
        """Name of each metric -> the aspect of maps that it asks about."""
        return {plugin.name: plugin.aspect for plugin in self.plugins("metric")}

    def copy(self, find: Finder | None = None) -> "Registry":
        """Another registry with the same plugins, and with another finder if one is given."""
        copied = Registry(find or self._find)
        copied._plugins = {kind: dict(plugins) for kind, plugins in self._plugins.items()}
        copied._aliases = dict(self._aliases)
        return copied

    def add(self, plugin: Plugin) -> None:
        """Adds a plugin.

        Raises:
            DuplicatePluginError: if another plugin of its kind has its name.
        """
        plugins = self._plugins[plugin.kind]
        namesake = plugins.get(plugin.name)
        if namesake is not None and namesake.call is not plugin.call:
            raise DuplicatePluginError(
                f"Two {plugin.kind}s are called {plugin.name!r}: {namesake.origin} and "
                f"{plugin.origin}. Rename one of them."
            )
        plugins[plugin.name] = plugin

    def get(self, kind: Kind, name: str) -> Any:
        """The plugin of that kind and name.

        Raises:
            UnknownNameError: if there is none; the message lists the near names.
        """
        plugin = self._plugins[kind].get(name) or self._find(kind, name)
        if plugin is None:
            error = unknown_name(kind, name, self._plugins[kind])
            raise type(error)(f"{error} {_where_to_look(kind, name)}")
        return plugin

    def names(self, kind: Kind) -> list[str]:
        """The names of a kind, sorted."""
        return sorted(self._plugins[kind])

    def plugins(self, kind: Kind) -> list[Any]:
        """The plugins of a kind, sorted by name."""
        return [self._plugins[kind][name] for name in self.names(kind)]

    def configure(
        self, kind: Kind, name: str, values: Mapping[str, Any] | None = None
    ) -> Configured:
        """The plugin `name` with parameter values; raises as `get` and `Plugin.configure` do."""
        if not values and (kind, name) in self._aliases:
            return self._aliases[kind, name]
        configured: Configured = self.get(kind, name).configure(values)
        return configured

    def call(self, choice: Configured, alias: str) -> None:
        """Gives a plugin with its parameters a name of the user's.

        Raises:
            DuplicatePluginError: if another plugin of its kind has that name.
        """
        kind = choice.plugin.kind
        if alias in self._plugins[kind] or (kind, alias) in self._aliases:
            raise DuplicatePluginError(f"Two {kind}s are called {alias!r}. Rename one of them.")
        self._aliases[kind, alias] = replace(choice, alias=alias)

    @contextmanager
    def collecting(self) -> Iterator["Registry"]:
        """Within this context the decorators register here."""
        token = _active.set(self)
        try:
            yield self
        finally:
            _active.reset(token)


def _where_to_look(kind: Kind, name: str) -> str:
    """What a user may have meant by a name that no plugin has."""
    path = Path(name)
    if kind == "model" and path.is_file():
        return f"That is a file: an architecture and its weights are --model NAME --weights {name}."
    if kind == "dataset" and path.is_dir():
        return f"That is a folder: a data set of images is --dataset imagefolder:{name}."
    also = "; maps that you have in files, --maps DIR" if kind == "method" else ""
    return (
        f"See `python -m interpbench list {kind}s`; one in a file of yours needs --plugin "
        f"FILE{also}."
    )


default_registry = Registry()
_active: ContextVar[Registry] = ContextVar("active registry", default=default_registry)


@checked
def method(
    name: str,
    *,
    reference: str = "",
    licence: str = "",
    gradients: bool = True,
    coarse: bool = False,
    control: bool = False,
    rectifiers: bool = False,
    class_agnostic: bool = False,
) -> Callable[[Function], Function]:
    """Registers an attribution method.

    The function is `(model, x[B,C,H,W], target[B], *, parameters) -> saliency[B,H,W]`, higher =
    more important for the target.

    Keyword-only arguments of these names are no parameters, the runner fills them: `generators`
    with one seeded CPU `torch.Generator` an image, so that chance does not depend on the batch;
    `ids` with the id of each image, for what is known of it elsewhere.

    Parameters:
        name: what users type; lower case letters, digits, dashes and underscores.
        reference: authors, year and place of the paper.
        licence: of the method's code, where it is not the package's own.
        gradients: False if the method is black box, that is only calls the model forwards.
        coarse: True if the map may be smaller than the image; it is then resized bilinearly.
        control: True if the map knows nothing of the model. The best control of a run is the floor
            that the others' share of the achievable is measured from.
        rectifiers: True if the method gives ReLUs a rule of its own, and means nothing for a model
            without any.
        class_agnostic: True if the map is meant to be the same whatever the target.

    Example:
        >>> @interpbench.method("brightness", gradients=False)
        ... def brightness(model, x, target, *, power: float = 1.0):
        ...     "How bright a pixel is; asks the model for nothing."
        ...     return x.mean(dim=1) ** power
        >>> brightness(None, torch.full((2, 3, 8, 8), 0.5), None, power=2.0)[0, 0, 0]
        tensor(0.2500)

        In a file, it is `--plugin FILE --method brightness:power=2` on the command line.
    """
    return _register(
        MethodPlugin, name, reference, licence, gradients=gradients, coarse=coarse, control=control,
        rectifiers=rectifiers, class_agnostic=class_agnostic,
    )  # fmt: skip


@checked
def model(
    name: str,
    *,
    reference: str = "",
    licence: str = "",
    target_layer: str | None = None,
    pretrained: Any = None,
    gradients: bool = True,
) -> Callable[[Function], Function]:
    """Registers an architecture.

    The function is `(classes, size, *, parameters) -> torch.nn.Module`, which gives logits
    [B,classes] for x [B,C,H,W]. `size` is the shorter side of the input; most have H = W and C = 3.

    Parameters:
        name: what users type.
        reference: authors, year and place of the paper.
        licence: of the pretrained weights.
        target_layer: the submodule that CAM methods look at, by its dotted name, in which a
            negative number counts from the last child. None: the last layer at which more than one
            position matters, found by trying.
        pretrained: weights that come with it: a torchvision `WeightsEnum` member, used for data
            sets whose classes are ImageNet's; or a function of the parameters that gives such a
            member, a `Pretrained` or None.
        gradients: False if gradients do not flow through it: only black-box methods can explain it.

    Example:
        >>> @interpbench.model("linear")
        ... def linear(classes, size, *, bias: bool = True):
        ...     "Logits that are linear in the pixels."
        ...     layer = torch.nn.Linear(3 * size * size, classes, bias)
        ...     return torch.nn.Sequential(torch.nn.Flatten(), layer)
        >>> linear(10, 16)(torch.zeros(4, 3, 16, 16)).shape
        torch.Size([4, 10])
    """
    return _register(
        ModelPlugin,
        name,
        reference,
        licence,
        target_layer=target_layer,
        pretrained=pretrained,
        gradients=gradients,
    )


@checked
def dataset(name: str, *, reference: str = "", licence: str = "") -> Callable[[Function], Function]:
    """Registers a data set.

    The function is `(*, parameters) -> Dataset`. A parameter `root` takes `--data-root`, a
    parameter `download` takes `--download`.

    A keyword-only argument `open_data` is no parameter, the runner fills it: with a function that
    opens another data set, `open_data("imagenette:variant=160px")`, to be made of its images. It
    gets the flags that were given, `--data-root` and `--download`, and a second argument may name
    a file of the samples that are used, as `--samples` does. The card's `made_of` then says whose
    weights models take.

    Parameters:
        name: what users type.
        reference: authors, year and place of the paper.
        licence: of the data.

    Example:
        >>> @interpbench.dataset("pets")
        ... def pets(*, root: str = "photos"):
        ...     "The images below a folder, a subfolder for each kind of animal."
        ...     classes = interpbench.class_folders(Path(root))
        ...     card = interpbench.DatasetCard("pets", classes, revision="by files")
        ...     return interpbench.ImageFolder(Path(root), card)

        It is called when a run needs it:

        >>> from pathlib import Path
        >>> from PIL import Image
        >>> Path("photos/cat").mkdir(parents=True)
        >>> Image.new("RGB", (32, 24), "white").save("photos/cat/1.png")
        >>> pets()[0].image.shape
        (24, 32, 3)
    """
    return _register(DatasetPlugin, name, reference, licence)


@checked
def metric(
    name: str,
    *,
    better: Better | Callable[..., Better],
    range: Range | Callable[..., Range] = (0.0, 1.0),
    unit: str | Callable[..., str] = "",
    reference: str = "",
    licence: str = "",
    needs_mask: bool = False,
    curve: bool = False,
    aspect: Aspect | None = None,
) -> Callable[[Function], Function]:
    """Registers a metric: `(explanation, *, parameters) -> scores[B]`.

    Parameters:
        name: what users type.
        better: which direction is better; or a function of parameters, as for `range`.
        range: the least and the greatest possible score; the metric fails where it gives another,
            but for NaN, which says that it means nothing for an image. Where it depends on
            parameters, a function of these: `range=lambda scaled: (0, 1) if scaled else (0, 9)`.
        unit: of the score, or likewise a function of parameters.
        reference: authors, year and place of the paper.
        licence: of the metric's code, where it is not the package's own.
        needs_mask: True if it compares with the ground-truth mask.
        curve: True if the function returns a `Perturbation`; the engine then makes the curve
            [B,S+1] and the score is the area under it. A parameter `steps` takes `--steps`; a
            parameter `output` says what is read, and with it the unit and the range.
        aspect: of maps, that it asks about. By faithfulness (the default) and localisation (of what
            needs a mask) a method can be the best; the others stand beside these, since a map may
            do well by them that is right about nothing.

    Example:
        >>> @interpbench.metric("positive-share", better="higher")
        ... def positive_share(explanation):
        ...     "The share of pixels whose saliency is positive."
        ...     return (explanation.saliency > 0).float().mean(dim=(1, 2))

        It is called with an `Explanation`; here is something that has what it reads of one:

        >>> from types import SimpleNamespace
        >>> maps = torch.tensor([[[3.0, -1.0, 2.0, 1.0]], [[0.0, 0.0, 0.0, 5.0]]])
        >>> positive_share(SimpleNamespace(saliency=maps))
        tensor([0.7500, 0.2500])
    """
    return _register(
        MetricPlugin,
        name,
        reference,
        licence,
        better=better,
        range=range if callable(range) else as_range(name, range),
        unit=unit,
        needs_mask=needs_mask,
        curve=curve,
        aspect=aspect_of(aspect, needs_mask),
    )


@checked
def reference(
    method: str,
    *,
    library: str,
    tolerance: float | None,
    why: str = "",
    on: Callable[[Any], Any] | None = None,
    own_activations: bool = False,
    relu_alone: bool = False,
) -> Callable[[Function], Function]:
    """Registers a method as another library computes it.

    `conformance` compares it with the method of that name. The function has a method's signature,
    `(model, x[B,C,H,W], target[B], *, parameters) -> saliency`, and gives maps of the size of the
    method's own. Its parameters are among the method's, and both are called with its defaults. It
    gets a copy of the model in double precision; generators are seeded as the method's, so that
    chance is the same for both. It imports the library when it is called, and raises MethodError
    for a model that the library cannot explain.

    Parameters:
        method: the name of the method that it should equal.
        library: the distribution that it is in, as `pip install` takes it.
        tolerance: of the greatest difference, as a share of the greatest value; None if they are
            known to be different methods, by how much is only noted.
        why: what the two do differently, how that was allowed for, and which of them the method
            follows.
        on: a function that changes a copy of the model, which then both explain.
        own_activations: True if the library needs a model in which each activation is a module that
            is called once.
        relu_alone: True if the library's rule finds nn.ReLU modules and not ReLU6.

    Example:
        The greatest absolute gradient over the channels, as `torch.func` computes it:

        >>> @interpbench.reference("saliency", library="torch", tolerance=1e-9)
        ... def saliency_by_torch_func(model, x, target):
        ...     def score(x):
        ...         return model(x).gather(1, target[:, None]).sum()
        ...     return torch.func.grad(score)(x).abs().amax(dim=1)
        >>> def model(x):  # logits: twice the first pixel's red, green and blue
        ...     return 2 * x[:, :, 0, 0]
        >>> saliency_by_torch_func(model, torch.zeros(1, 3, 2, 2), torch.tensor([1]))
        tensor([[[2., 0.],
                 [0., 0.]]])
    """
    return _register(
        MethodReference, f"{method}.{library}", "", "", ours=method, library=library,
        tolerance=tolerance, why=why, on=on, own_activations=own_activations,
        relu_alone=relu_alone,
    )  # fmt: skip


@checked
def metric_reference(
    metric: str,
    *,
    library: str,
    tolerance: float | None,
    why: str = "",
    variant: str = "",
    on: Callable[[Any], Any] | None = None,
    unless: Callable[[Any], str] | None = None,
    written_out: bool = False,
) -> Callable[[Function], Function]:
    """Registers a metric as another library computes it.

    `conformance --metrics` compares it with the metric of that name. The function has a metric's
    signature, `(explanation, *, parameters) -> scores[B]`. Its parameters are among the metric's,
    and both are called with its defaults, on the same images, maps and model, which computes in
    double precision. It draws what the metric draws, from `explanation.generators`, and imports the
    library when it is called.

    Parameters:
        metric: the name of the metric that it should equal.
        library: the distribution that it is in, as `pip install` takes it.
        tolerance: of the greatest difference, as a share of what scores can be; None if they are
            known to be different, by how much is only noted.
        why: what the two do differently, how that was allowed for, and which of them is right.
        variant: tells several of one metric and library apart, such as `weighted`.
        on: a function that changes the explanation, which both then score.
        unless: a function that says why an explanation cannot be compared, or "" if it can.
        written_out: True if `library` names a published rule that is no distribution.

    Example:
        The share of the saliency that lies on the evidence, by numpy:

        >>> @interpbench.metric_reference("relevance-mass", library="numpy", tolerance=1e-6)
        ... def mass_by_numpy(explanation):
        ...     "Where magnitudes lie."
        ...     magnitudes, mask = abs(explanation.saliency.numpy()), explanation.mask.numpy()
        ...     return torch.from_numpy((magnitudes * mask).sum((1, 2)) / magnitudes.sum((1, 2)))
        >>> from types import SimpleNamespace
        >>> maps, mask = torch.tensor([[[3.0, -1.0]]]), torch.tensor([[[True, False]]])
        >>> mass_by_numpy(SimpleNamespace(saliency=maps, mask=mask))
        tensor([0.7500])
    """
    name = ".".join([metric, library.lower(), *([variant.replace(" ", "-")] if variant else [])])
    return _register(
        MetricReference, name, "", "", ours=metric, library=library, tolerance=tolerance, why=why,
        variant=variant, on=on, unless=unless, written_out=written_out,
    )  # fmt: skip


def _register(
    record: type[Plugin], name: str, reference: str, licence: str, **traits: Any
) -> Callable[[Function], Function]:
    """The decorator that all kinds share."""

    def decorate(function: Function) -> Function:
        origin, source_hash = origin_of(function)
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name):
            raise PluginError(
                f"{origin}: {shown(name)} is no plugin name: "
                "use up to 100 lower case letters, digits, dashes and underscores."
            )
        parameters, takes = parameters_of(record, name, function, origin)
        doc = inspect.getdoc(function) or ""
        plugin = record(
            name, function, parameters, doc, reference, licence, origin, source_hash, takes,
            **traits,
        )  # fmt: skip
        _active.get().add(plugin)
        return function

    return decorate


def parameters_of(
    record: type[Plugin], name: str, function: Callable[..., Any], origin: str
) -> tuple[tuple[Parameter, ...], frozenset[str]]:
    """A function's parameters, and which of the provided arguments it takes.

    Raises:
        PluginError: if its positional arguments are not those of its kind, or a parameter has no
            annotation.
    """
    arguments = inspect.signature(function).parameters.values()
    positional = [argument for argument in arguments if _is_positional(argument)]
    keyword = [argument for argument in arguments if argument.kind is argument.KEYWORD_ONLY]
    if len(positional) != len(record.arguments) or len(positional) + len(keyword) != len(arguments):
        signature = ", ".join([*record.arguments, "*", "parameter=default"])
        raise PluginError(
            f"{origin}: {record.kind} {name!r} must have the signature ({signature}), with every "
            f"parameter keyword-only; it has {inspect.signature(function)}."
        )
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = []
    for argument in keyword:
        if argument.name in record.provided:
            continue
        if argument.name not in hints:
            raise PluginError(
                f"{origin}: parameter {argument.name!r} of {record.kind} {name!r} needs a type "
                "annotation."
            )
        parameters.append(Parameter(argument.name, hints[argument.name], argument.default))
    takes = record.provided & {argument.name for argument in keyword}
    return tuple(parameters), takes


def _is_positional(argument: inspect.Parameter) -> bool:
    by_position = (argument.POSITIONAL_ONLY, argument.POSITIONAL_OR_KEYWORD)
    return argument.kind in by_position and argument.default is argument.empty
