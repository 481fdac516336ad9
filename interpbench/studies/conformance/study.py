"""The study: what is compared, and the folder that says what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from interpbench.core.errors import ParameterError
from interpbench.core.progress import SILENT, Progress
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import Destination, OutputFolder
from interpbench.files.records import Record
from interpbench.registry.choosing import choose_plugins
from interpbench.registry.plugin import Kind
from interpbench.registry.registry import Registry
from interpbench.studies.conformance import tables
from interpbench.studies.conformance.comparing import (
    DIFFERS,
    Case,
    Library,
    compare,
    libraries,
    references_of,
)
from interpbench.studies.conformance.heatmap import draw_heatmap
from interpbench.studies.conformance.methods import MethodCase
from interpbench.studies.conformance.metrics import cases_on
from interpbench.studies.conformance.models_on_noise import (
    CLASSES,
    ModelOnNoise,
    build_linear_on_noise,
    build_model_on_noise,
    default_models,
)


class ConformanceRecord(Record):
    """conformance.json."""

    models: tuple[str, ...]
    images: int
    seed: int


@dataclass(frozen=True, eq=False)
class Conformance:
    """How far methods or metrics are from the implementations of other libraries.

    Attributes:
        folder: where it lies: deviations.csv and .png, conformance.json.
        deviations: one row for each method, library and model, or for each metric, library, model
            and kind of maps, with the columns of `compare`.
        libraries: those that have such implementations; one that is not installed has no version,
            and no row.
    """

    folder: Path
    deviations: pd.DataFrame
    libraries: tuple[Library, ...]

    @property
    def differing(self) -> pd.DataFrame:
        """The rows that are beyond their tolerance."""
        return self.deviations[self.deviations["status"] == DIFFERS]

    @property
    def holds(self) -> bool:
        """Whether all that can be compared is within its tolerance."""
        return self.differing.empty


@dataclass(frozen=True)
class Asked:
    """What is compared on what.

    Attributes:
        names: methods or metrics as on the command line, without parameters; None for all that
            have a reference.
        models: architectures as on the command line; None for small ones of each kind.
        images: how many, 1 to 10, each with another target.
        seed: of weights, images and all chance.
    """

    names: Sequence[str] | None = None
    models: Sequence[str] | None = None
    images: int = 3
    seed: int = 0


def compare_methods(
    registry: Registry,
    asked: Asked,
    to: Destination = Destination(),
    progress: Progress = SILENT,
) -> Conformance:
    """Compares methods with their references on untrained models, and writes what came of it.

    Parameters:
        registry: where the plugins are.
        asked: which methods, on what.
        to: where tables and pictures go.
        progress: told which method is compared, and for how many images it has been.

    Raises:
        UnknownNameError: if there is no such method or model.
        ParameterError: if there is nothing to compare with, for a model that is not an untrained
            network, or for another number of images.
        RunFolderError: if the folder holds something else, or cannot be written.
    """
    return _compare(
        registry, asked, "reference",
        lambda: [MethodCase(registry, subject) for subject in _subjects(registry, asked)],
        to, progress,
    )  # fmt: skip


def compare_metrics(
    registry: Registry,
    asked: Asked,
    to: Destination = Destination(),
    progress: Progress = SILENT,
) -> Conformance:
    """Compares metrics with their references on maps of untrained models, as `compare_methods`.

    Where no models are named, a linear one is among them.
    """

    def cases() -> list[Case]:
        linear = [] if asked.models else [build_linear_on_noise(asked.images, asked.seed)]
        subjects = [*linear, *_subjects(registry, asked, "metrics")]
        return [case for subject in subjects for case in cases_on(registry, subject)]

    return _compare(registry, asked, "metric-reference", cases, to, progress)


def _subjects(registry: Registry, asked: Asked, of: str = "methods") -> list[ModelOnNoise]:
    choices = choose_plugins(registry, "model", asked.models or default_models(of))
    return [
        build_model_on_noise(choice, asked.images, asked.seed)
        for choice in choices.plugins.values()
    ]


def _compare(
    registry: Registry,
    asked: Asked,
    kind: Kind,
    build: Callable[[], Sequence[Case]],
    to: Destination,
    progress: Progress,
) -> Conformance:
    """Compares references of a kind on cases that are built once it is known that there are any."""
    if not 1 <= asked.images <= CLASSES:
        raise ParameterError(
            f"Comparisons are made on 1 to {CLASSES} images, each "
            f"with another target, not {asked.images}."
        )
    references = references_of(registry, kind, _names(registry, kind, asked.names))
    needed = libraries(references)
    if all(library.version is None for library in needed):
        raise ParameterError("There is nothing to compare with. " + " ".join(tables.absent(needed)))
    cases = build()
    labels = tuple(dict.fromkeys(case.columns["model"] for case in cases))
    record = ConformanceRecord(models=labels, images=asked.images, seed=asked.seed)
    folder = to.open("conformance", "deviations", record)
    installed = {library.name for library in needed if library.version is not None}
    progress.begin(
        asked.images * len(cases) * sum(reference.library in installed for reference in references)
    )
    with folder:
        frames = [compare(references, case, progress) for case in cases]
        deviations = _write(pd.concat(frames, ignore_index=True), folder)
    return Conformance(folder.path, deviations, tuple(needed))


def _names(registry: Registry, kind: Kind, texts: Sequence[str] | None) -> list[str]:
    """The plugins that the user names, or all that have a reference of that kind.

    Raises:
        UnknownNameError: if there is no such plugin.
        ParameterError: for one with parameters, which are the reference's, or without a reference.
    """
    references = registry.plugins(kind)
    referenced = {reference.ours for reference in references}
    if texts is None:
        return sorted(referenced)
    of = references[0].of
    chosen = choose_plugins(registry, of, texts)
    for choice in chosen.plugins.values():
        if choice.given:
            raise ParameterError(
                f"Both get the parameters that the reference declares: write --{of} "
                f"{choice.name} alone."
            )
        if choice.name in chosen.named - referenced:
            raise ParameterError(
                f"No library's implementation is declared for {choice.name!r}. "
                f"{of.capitalize()}s that have one: {', '.join(sorted(referenced))}."
            )
    # `all` brings others, too.
    return [choice.name for choice in chosen.plugins.values() if choice.name in referenced]


def _write(together: pd.DataFrame, folder: OutputFolder) -> pd.DataFrame:
    """The deviations, sorted, and in the folder as CSV and picture."""
    subject = str(together.columns[0])
    deviations = together.sort_values([subject, "library"], kind="stable", ignore_index=True)
    folder.write("deviations.csv", lambda path: write_csv(deviations, path))
    folder.write("deviations.png", lambda path: draw_heatmap(deviations, path))
    return deviations
