"""Methods beside their references, for the same model and images.

What each gives, and how far apart they are.
"""

import copy
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import pandas as pd
import torch
from torch import Tensor, nn

from interpbench.core.errors import MethodError
from interpbench.core.progress import SILENT, Progress
from interpbench.core.seeding import derive
from interpbench.core.types import Model
from interpbench.diagnosis.examination import examine
from interpbench.diagnosis.repair import repair
from interpbench.registry.plugin import Configured, ReferencePlugin
from interpbench.registry.registry import Registry
from interpbench.studies.conformance.models_on_noise import ModelOnNoise, one_thread

COLUMNS = [
    "method",
    "library",
    "library_version",
    "model",
    "images",
    "deviation",
    "tolerance",
    "status",
    "why",
]
_PARAMETERS = re.compile(r"[:,](?=\w+=)")  # where those of a label begin
OK, DIFFERS, NOT_COMPARABLE = "ok", "differs", "not comparable"


@dataclass(frozen=True)
class Library:
    """A library that references are in: its name for pip, its version, their methods.

    The version is None if it is not installed.
    """

    name: str
    version: str | None
    methods: tuple[str, ...]


def libraries(references: Sequence[ReferencePlugin]) -> list[Library]:
    """The libraries of references, sorted by name."""
    methods: dict[str, list[str]] = {}
    for reference in references:
        methods.setdefault(reference.library, []).append(reference.method)
    return [
        Library(name, _version(name), tuple(sorted(names)))
        for name, names in sorted(methods.items())
    ]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def references_of(registry: Registry, methods: Sequence[str]) -> list[ReferencePlugin]:
    """The references of methods, sorted by method and library."""
    references = [r for r in registry.plugins("reference") if r.method in methods]
    return sorted(references, key=lambda r: (r.method, r.library))


def compare(
    registry: Registry,
    references: Sequence[ReferencePlugin],
    case: ModelOnNoise,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """One row for each reference whose library is installed, with the columns of `COLUMNS`.

    The deviation is the greatest difference as a share of the reference's greatest value, for each
    image, and then the greatest of the images, to two digits; NaN where there is none. `status` is
    `ok` up to the tolerance, else `differs`; `not comparable` where one of the two refuses the
    model, the reference fails, or both are known to be different methods. `why` says it in words.

    Parameters:
        registry: knows the methods.
        references: of them.
        case: what is explained.
        progress: told of each reference for how many images it was compared.

    Raises:
        UnknownNameError: if there is no such method, or it lacks a parameter of the reference.
    """
    installed = {
        library.name: library.version
        for library in libraries(references)
        if library.version is not None
    }
    rows = []
    for reference in (reference for reference in references if reference.library in installed):
        what = f"{reference.method} from {reference.library} on {case.label}"
        progress.advance(what)
        with one_thread():
            deviation, status, why = _measure(registry, reference, case)
        progress.advance(what, len(case.x))
        rows.append(
            (
                reference.method,
                reference.library,
                installed[reference.library],
                case.label,
                len(case.x),
                deviation,
                reference.tolerance if reference.comparable else math.nan,
                status,
                why,
            )
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _measure(
    registry: Registry, reference: ReferencePlugin, case: ModelOnNoise
) -> tuple[float, str, str]:
    """Deviation, status and why."""
    theirs_alone = reference.configure()
    ours_alone = registry.configure("method", reference.method, theirs_alone.values)
    model = copy.deepcopy(case.model)
    model = model if reference.on is None else reference.on(model)
    try:
        theirs = _maps(theirs_alone, _model_for(reference, model, case.x), case)
    except MethodError as error:
        return math.nan, NOT_COMPARABLE, str(error)
    except Exception as error:
        return (
            math.nan,
            NOT_COMPARABLE,
            f"{reference.library} failed: {type(error).__name__}: {error}",
        )
    try:
        difference = deviation(_maps(ours_alone, model, case), theirs)
    except MethodError as error:
        return math.nan, NOT_COMPARABLE, f"{reference.method}: {error}"
    except Exception as error:
        return math.nan, DIFFERS, f"{reference.method} failed: {type(error).__name__}: {error}"
    if not reference.comparable:
        return difference, NOT_COMPARABLE, reference.why
    return difference, OK if difference <= reference.tolerance else DIFFERS, reference.why


def _maps(method: Configured, model: Model, case: ModelOnNoise) -> Tensor:
    """What a method or a reference gives, with the same chance for both, float64 [B,h,w]."""
    name = getattr(method.plugin, "method", method.name)
    seeds = [derive(case.seed, "conformance", name, image) for image in range(len(case.x))]
    provided = {
        "generators": [torch.Generator().manual_seed(seed) for seed in seeds],
        "ids": tuple(map(str, range(len(case.x)))),
    }
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(seeds[0])
        warnings.simplefilter("ignore")  # of hooks that are set, and of what a library will change
        maps: Tensor = method(model, case.x.clone(), case.target.clone(), **provided)
    return maps.detach().double()


def _model_for(reference: ReferencePlugin, model: Model, x: Tensor) -> Model:
    """A copy of the model, as the library needs it.

    Raises:
        MethodError: if the library knows nothing of an activation that the model has.
    """
    if reference.relu_alone and any(isinstance(module, nn.Hardtanh) for module in model.modules()):
        raise MethodError(
            f"{reference.library} has a rule for nn.ReLU alone, and this model has ReLU6"
        )
    if not reference.own_activations:
        return copy.deepcopy(model)
    single = copy.deepcopy(model).float()
    mended, _, _ = repair(single, examine(single, x.float()), x.float())
    return copy.deepcopy(mended).double()


def deviation(ours: Tensor, theirs: Tensor) -> float:
    """The greatest |ours - theirs| / greatest |theirs| of the images of [B,h,w], to two digits.

    Infinite where a map of theirs is zero and ours is not; NaN where one is not finite.

    Raises:
        ValueError: if the two have different shapes.
    """
    if ours.shape != theirs.shape:
        raise ValueError(
            f"its maps are {list(ours.shape)}, those of the reference {list(theirs.shape)}"
        )
    scale = theirs.abs().flatten(1).amax(1)
    difference = (ours - theirs).abs().flatten(1).amax(1)
    shares = torch.where((scale == 0) & (difference == 0), 0.0, difference / scale)
    return float(f"{float(shares.max()):.1e}")


def short_names(labels: Iterable[str]) -> dict[str, str]:
    """For each model's label, each once, its name without parameters.

    Only where no other model has that name.
    """
    different = list(dict.fromkeys(labels))
    names = [_PARAMETERS.split(label)[0] for label in different]
    return {
        label: name if names.count(name) == 1 else label
        for label, name in zip(different, names, strict=True)
    }
