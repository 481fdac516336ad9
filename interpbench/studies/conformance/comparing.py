"""Ours beside what other libraries compute of the same: how far apart they are, and why."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import pandas as pd
from torch import Tensor

from interpbench.core.errors import MethodError
from interpbench.core.progress import SILENT, Progress
from interpbench.registry.plugin import Kind, ReferencePlugin
from interpbench.registry.registry import Registry
from interpbench.studies.conformance.models_on_noise import one_thread

_PARAMETERS = re.compile(r"[:,](?=\w+=)")  # where those of a label begin
OK, DIFFERS, NOT_COMPARABLE = "ok", "differs", "not comparable"


@dataclass(frozen=True)
class Library:
    """A library that references are in: its name for pip, its version, what of ours it has.

    The version is None if it is not installed, and "" of a rule that is written out.
    """

    name: str
    version: str | None
    ours: tuple[str, ...]


def libraries(references: Sequence[ReferencePlugin]) -> list[Library]:
    """The libraries of references, sorted by name."""
    names: dict[str, set[str]] = {}
    for reference in references:
        names.setdefault(reference.library, set()).add(reference.ours)
    written_out = {reference.library for reference in references if reference.written_out}
    return [
        Library(name, "" if name in written_out else _version(name), tuple(sorted(ours)))
        for name, ours in sorted(names.items())
    ]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def references_of(registry: Registry, kind: Kind, names: Sequence[str]) -> list[ReferencePlugin]:
    """The references of plugins of a kind, sorted by subject and library."""
    references = [r for r in registry.plugins(kind) if r.ours in names]
    return sorted(references, key=lambda r: (r.subject, r.library))


class Case(ABC):
    """A model and images of which both are asked.

    Attributes:
        label: in words, for progress.
        columns: what a row says of it.
        images: how many.
    """

    label: str
    columns: Mapping[str, str]
    images: int

    @abstractmethod
    def theirs(self, reference: ReferencePlugin) -> Tensor:
        """What the reference gives.

        Raises:
            MethodError: if its library has nothing for this case.
        """

    @abstractmethod
    def ours(self, reference: ReferencePlugin) -> Tensor:
        """What ours gives, with the parameters of the reference.

        Raises:
            MethodError: if it does not apply to this case.
        """

    @abstractmethod
    def deviation(self, reference: ReferencePlugin, ours: Tensor, theirs: Tensor) -> float:
        """How far the two are apart, as a share of what is a great deal."""

    def subject(self, reference: ReferencePlugin) -> str:
        """What a row calls that which is compared."""
        return reference.subject

    def unless(self, reference: ReferencePlugin) -> str:
        """Why the two cannot be compared here, or ""."""
        return "" if reference.tolerance is not None else reference.why


def compare(
    references: Sequence[ReferencePlugin], case: Case, progress: Progress = SILENT
) -> pd.DataFrame:
    """One row for each reference whose library is installed.

    Its columns are the kind of ours, `library`, `library_version`, the case's own, `images`,
    `deviation`, `tolerance`, `status`, `why`. The deviation is the case's, to two digits; NaN where
    there is none. `status` is `ok` up to the tolerance, else `differs`; `not comparable` where one
    of the two refuses, the reference fails, or both are known to be different. `why` says it in
    words.

    Parameters:
        references: of ours, all of one kind.
        case: what both are asked of.
        progress: told of each reference for how many images it was compared.

    Raises:
        UnknownNameError: if there is none of that name, or it lacks a parameter of the reference.
    """
    installed = {
        library.name: library.version
        for library in libraries(references)
        if library.version is not None
    }
    rows = []
    for reference in (reference for reference in references if reference.library in installed):
        what = f"{reference.subject} from {reference.library} on {case.label}"
        progress.advance(what)
        with one_thread():
            deviation, status, why = _measure(reference, case)
        progress.advance(what, case.images)
        rows.append(
            {
                reference.of: case.subject(reference),
                "library": reference.library,
                "library_version": installed[reference.library],
                **case.columns,
                "images": case.images,
                "deviation": deviation,
                "tolerance": math.nan if reference.tolerance is None else reference.tolerance,
                "status": status,
                "why": why,
            }
        )
    return pd.DataFrame(rows)


def _measure(reference: ReferencePlugin, case: Case) -> tuple[float, str, str]:
    """Deviation, status and why."""
    unless = case.unless(reference)
    try:
        theirs = case.theirs(reference)
    except MethodError as error:
        return math.nan, NOT_COMPARABLE, str(error)
    except Exception as error:
        failed = f"{reference.library} failed: {type(error).__name__}: {error}"
        known = f"{reference.library} fails ({type(error).__name__}): {reference.why}"
        return math.nan, NOT_COMPARABLE, failed if reference.tolerance is not None else known
    try:
        ours = case.ours(reference)
        deviation = float(f"{case.deviation(reference, ours, theirs):.1e}")
    except MethodError as error:
        return math.nan, NOT_COMPARABLE, f"{reference.ours}: {error}"
    except Exception as error:
        return math.nan, DIFFERS, f"{reference.ours} failed: {type(error).__name__}: {error}"
    if unless or reference.tolerance is None:
        return deviation, NOT_COMPARABLE, unless
    return deviation, OK if deviation <= reference.tolerance else DIFFERS, reference.why


def labelled(deviations: pd.DataFrame) -> pd.DataFrame:
    """The rows of `compare` of either kind with the same columns, for tables and pictures.

    `subject` is what is compared; `case` what it is compared on, in short, `where` the same in
    full, and `column` what of it has a column of its own where there is little room.
    """
    subject, model = deviations.columns[0], deviations["model"]
    short = model.map(short_names(model))
    found = deviations.rename(columns={subject: "subject"})
    if "maps" not in deviations:
        return found.assign(case=short, where=model, column=short)
    maps = deviations["maps"]
    return found.assign(case=short + ", " + maps, where=model + ", " + maps, column=maps)


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
