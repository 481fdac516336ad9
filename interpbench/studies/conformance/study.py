"""The study: what is compared, and the folder that says what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from interpbench.core.errors import ParameterError
from interpbench.core.progress import SILENT, Progress
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import Destination, OutputFolder
from interpbench.files.records import Record
from interpbench.registry.choosing import choose_plugins
from interpbench.registry.registry import Registry
from interpbench.studies.conformance import tables
from interpbench.studies.conformance.comparing import (
    DIFFERS,
    Library,
    compare,
    libraries,
    references_of,
)
from interpbench.studies.conformance.heatmap import draw_heatmap
from interpbench.studies.conformance.models_on_noise import (
    CLASSES,
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
    """How far methods are from the implementations of other libraries.

    Attributes:
        folder: where it lies: deviations.csv and .png, conformance.json.
        deviations: one row for each method, library and model, with the columns of `compare`.
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


def compare_methods(
    registry: Registry,
    methods: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    *,
    images: int = 3,
    seed: int = 0,
    to: Destination = Destination(),
    progress: Progress = SILENT,
) -> Conformance:
    """Compares methods with their references on untrained models, and writes what came of it.

    Parameters:
        registry: where the plugins are.
        methods: as on the command line, without parameters; None for all that have a reference.
        models: architectures as on the command line; None for small ones of each kind.
        images: how many, 1 to 10, each with another target.
        seed: of weights, images and all chance.
        to: where tables and pictures go.
        progress: told which method is compared, and for how many images it has been.

    Raises:
        UnknownNameError: if there is no such method or model.
        ParameterError: if there is nothing to compare with, for a model that is not an untrained
            network, or for another number of images.
        RunFolderError: if the folder holds something else, or cannot be written.
    """
    if not 1 <= images <= CLASSES:
        raise ParameterError(
            f"Methods are compared on 1 to {CLASSES} images, each "
            f"with another target, not {images}."
        )
    references = references_of(registry, _methods(registry, methods))
    needed = libraries(references)
    if all(library.version is None for library in needed):
        raise ParameterError("There is nothing to compare with. " + " ".join(tables.absent(needed)))
    choices = choose_plugins(registry, "model", models or default_models())
    cases = [build_model_on_noise(choice, images, seed) for choice in choices.plugins.values()]
    record = ConformanceRecord(models=tuple(choices.plugins), images=images, seed=seed)
    folder = to.open("conformance", "deviations", record)
    installed = {library.name for library in needed if library.version is not None}
    progress.begin(
        images * len(cases) * sum(reference.library in installed for reference in references)
    )
    with folder:
        frames = [compare(registry, references, case, progress) for case in cases]
        deviations = _write(pd.concat(frames, ignore_index=True), folder)
    return Conformance(folder.path, deviations, tuple(needed))


def _methods(registry: Registry, texts: Sequence[str] | None) -> list[str]:
    """The methods that the user names, or all that have a reference.

    Raises:
        UnknownNameError: if there is no such method.
        ParameterError: for one with parameters, which are the reference's, or without a reference.
    """
    referenced = {reference.method for reference in registry.plugins("reference")}
    if texts is None:
        return sorted(referenced)
    chosen = choose_plugins(registry, "method", texts)
    for choice in chosen.plugins.values():
        if choice.given:
            raise ParameterError(
                "Both get the parameters that the reference declares: write --method "
                f"{choice.name} alone."
            )
        if choice.name in chosen.named - referenced:
            raise ParameterError(
                f"No library's implementation is declared for {choice.name!r}. Methods that have "
                f"one: {', '.join(sorted(referenced))}."
            )
    # `all` brings others, too.
    return [choice.name for choice in chosen.plugins.values() if choice.name in referenced]


def _write(together: pd.DataFrame, folder: OutputFolder) -> pd.DataFrame:
    """The deviations, sorted, and in the folder as CSV and picture."""
    deviations = together.sort_values(["method", "library"], kind="stable", ignore_index=True)
    folder.write("deviations.csv", lambda path: write_csv(deviations, path))
    folder.write("deviations.png", lambda path: draw_heatmap(deviations, path))
    return deviations
