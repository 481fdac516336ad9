"""`conformance`: do methods equal the implementations that people use?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench.commands.shared import Interrupted, Names, Plugins, open_console, open_registry, plain
from interpbench.core.errors import ParameterError
from interpbench.registry.registry import Registry
from interpbench.registry.spec import parse_specs

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from interpbench.files.output_folder import PictureFolder


def conformance(
    method: Annotated[Names, typer.Option(metavar="M", help="Methods; repeatable, commas; else all.")] = None,
    model: Annotated[
        Names, typer.Option(metavar="M", help="Architectures, small ones of each kind by default.")
    ] = None,
    images: Annotated[int, typer.Option(metavar="N", min=1, max=10, help="Images, each with another target.")] = 3,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of weights, images and all chance.")] = 0,
    compact: Annotated[bool, typer.Option("--compact", help="A line for each method instead of the table.")] = False,
    plugin: Plugins = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="results/conformance/deviations-N by default.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in --output.")] = False,
) -> None:
    """Compare methods with the implementations of other libraries, and tabulate the greatest differences.

    Untrained models in double precision, noise for images. Exit code 0: all within tolerance; 1: one is not.
    """
    from interpbench.files.output_folder import PictureFolder, fresh_folder
    from interpbench.registry.choosing import choose_plugins
    from interpbench.studies.conformance import tables
    from interpbench.studies.conformance.comparing import compare, libraries, references_of
    from interpbench.studies.conformance.models_on_noise import build_subject, default_models

    registry = open_registry(plugin)
    references = references_of(registry, _methods(registry, method))
    found = libraries(references)
    if all(library.version is None for library in found):
        raise ParameterError("There is nothing to compare with. " + " ".join(tables.absent(found)))
    choices = choose_plugins(registry, "model", model or default_models())
    subjects = [build_subject(choice, images, seed) for choice in choices.values()]
    settings = {"models": list(choices), "images": images, "seed": seed}
    folder = PictureFolder(output or fresh_folder("conformance", "deviations"), "conformance", settings)
    folder.start(overwrite=overwrite)
    console = open_console()
    try:
        with folder:
            frames = []
            for subject in subjects:
                with console.status(plain(f"comparing {len(references)} pairs on {subject.label}")):
                    frames.append(compare(registry, references, subject))
            deviations = _write(frames, folder)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted. Start afresh with the same command, --output {folder.path} and --overwrite."
        ) from None
    _show(deviations, compact, console)
    for line in tables.absent(found):
        console.print(plain(line), soft_wrap=True)
    console.print(plain(f"Table and heatmap: {folder.path}"), soft_wrap=True)
    raise typer.Exit(1 if (deviations["status"] == "differs").any() else 0)


def _methods(registry: Registry, names: list[str] | None) -> list[str]:
    """The methods that the user names, or all that have a reference.

    Raises:
        UnknownNameError: if there is no such method.
        ParameterError: for one with parameters, which are the reference's, or without a reference.
    """
    known = {reference.method for reference in registry.plugins("reference")}
    if names is None:
        return sorted(known)
    chosen = parse_specs(names)
    for name, values in chosen:
        registry.get("method", name)
        if values:
            raise ParameterError(f"Both get the parameters that the reference declares: write --method {name} alone.")
        if name not in known:
            raise ParameterError(
                f"No library's implementation is declared for {name!r}. Methods that have one: "
                f"{', '.join(sorted(known))}."
            )
    return [name for name, _ in chosen]


def _write(frames: "list[pd.DataFrame]", folder: "PictureFolder") -> "pd.DataFrame":
    """The deviations on all models, sorted, and in the folder as CSV and picture."""
    import pandas as pd

    from interpbench.files.csv_files import write_csv
    from interpbench.studies.conformance.heatmap import draw_heatmap

    together = pd.concat(frames, ignore_index=True)
    deviations = together.sort_values(["method", "library"], kind="stable", ignore_index=True)
    folder.write("deviations.csv", lambda path: write_csv(deviations, path))
    folder.write("deviations.png", lambda path: draw_heatmap(deviations, path))
    return deviations


def _show(deviations: "pd.DataFrame", compact: bool, console: "Console") -> None:
    from interpbench.studies.conformance import tables

    if compact:
        for line in tables.as_lines(deviations):
            console.print(plain(line), soft_wrap=True)
        return
    console.print(tables.as_table(deviations))
    for line in tables.reasons(deviations):
        console.print(plain(line), soft_wrap=True)
