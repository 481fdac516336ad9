"""`doctor`: what makes methods go wrong on a model, and what can be repaired."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench.commands.shared import (
    DataRoot,
    DatasetName,
    Device,
    Download,
    Mean,
    OutputsName,
    Overwrite,
    Plugins,
    PreparationName,
    Resize,
    Seed,
    Size,
    Std,
    Weights,
    first_and_more,
    interruptible,
    open_console,
    plain,
    say,
)
from interpbench.core.errors import ParameterError

if TYPE_CHECKING:
    from rich.table import Table

    from interpbench.diagnosis.examination import Diagnosis
    from interpbench.diagnosis.layer_statistics import LayerStatistics
    from interpbench.diagnosis.repair import Repair
    from interpbench.diagnosis.study import DoctorsReport

SHOWN = 3  # places of a finding that are listed
ROWS = 40  # layers of the table
WIDE = 100  # letters of a line
_ROOM = 24  # letters of a layer's name that a narrow terminal has room for


def doctor(
    named: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="E.g. resnet18:width=16, or FILE.py:FUNCTION."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="M", help="The same, as other commands have it.")
    ] = None,
    dataset: DatasetName = "planted",
    weights: Weights = None,
    outputs: OutputsName = None,
    preparation: PreparationName = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    resize: Resize = None,
    data_root: DataRoot = None,
    download: Download = False,
    seed: Seed = 0,
    device: Device = "auto",
    plugin: Plugins = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder for the table of layers and its picture."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Find what makes methods go wrong on a model, and what can be repaired on a copy with the same
    answers; and how large activations and gradients are, layer by layer.

    Exit code 0: healthy, or all that rules methods out can be repaired; 1: something rules methods
    out for good.
    """
    from interpbench import api

    if (named is None) == (model is None):
        raise ParameterError("Name one model: doctor MODEL, or doctor --model MODEL.")
    with interruptible():
        report = api.doctor(
            named or model or "",
            dataset=dataset,
            weights=weights,
            outputs=outputs,
            preparation=preparation,
            mean=mean,
            std=std,
            size=size,
            resize=resize,
            data_root=data_root,
            download=download,
            seed=seed,
            device=device,
            plugin=plugin,
            output=output,
            overwrite=overwrite,
        )
    say(f"{report.model} ({report.weights}), two images of {report.dataset}{_pixels(report)}")
    for notice in report.notices:
        say(notice)
    if report.candidates:
        open_console().print(_candidates(report))
    if report.diagnosis.findings:
        open_console().print(_table(report.diagnosis))
    for repair in report.repairs:
        say(_repair_text(repair))
    _show_layers(report, output)
    _show_verdict(report)
    raise typer.Exit(0 if report.healthy else 1)


def _pixels(report: "DoctorsReport") -> str:
    """How large the images are and how they became so; nothing if the model was not loaded."""
    made = report.preparation
    if report.image_size is None or made is None:
        return ""
    return f", {list(report.image_size)} pixels: {made.text}, as stated by {made.stated_by}"


def _candidates(report: "DoctorsReport") -> "Table":
    """How accurate the model is with the usual preparations."""
    from rich.table import Table

    count = report.candidates[0].images
    table = Table(f"accuracy on {count} images", "preparation", "in full")
    nobody = "preparation" in report.diagnosis.kinds
    stated = report.preparation.text if report.preparation and not nobody else ""
    for candidate in report.candidates:
        here = " (as stated)" if candidate.preparation.text == stated else ""
        accuracy = candidate.failure or f"{candidate.accuracy:.1%}"
        cells = (accuracy, candidate.name + here, candidate.preparation.text)
        table.add_row(*map(plain, cells))
    return table


def _table(diagnosis: "Diagnosis") -> "Table":
    from rich.table import Table

    table = Table("finding", "where", "what", "rules out", "repaired", show_lines=True)
    for finding in diagnosis.findings:
        state = "yes" if finding.repaired else "no" if finding.rules_out else ""
        what = finding.what if finding.repaired else f"{finding.what}. {finding.advice}"
        cells = (
            finding.kind,
            first_and_more(list(finding.where), SHOWN),
            what,
            finding.rules_out,
            state,
        )
        table.add_row(*map(plain, cells))
    return table


def _show_layers(report: "DoctorsReport", output: Path | None) -> None:
    """A row a layer; of very many, those at equal distances, and all that findings name."""
    layers = report.layers
    if not layers:
        return
    named = {place for finding in report.diagnosis.findings for place in finding.where}
    every = -(-len(layers) // ROWS)
    kept = [each for i, each in enumerate(layers) if i % every == 0 or each.layer in named]
    console = open_console()
    console.print(_layer_table(kept, report.images, wide=console.width >= WIDE))
    more = len(layers) - len(kept)
    if more and output is None:
        say(f"{more} more layers: --output DIR writes all.")
    if output is not None:
        say(f"Table and picture of {len(layers)} layers: {output}")


def _layer_table(layers: "Sequence[LayerStatistics]", images: int, *, wide: bool) -> "Table":
    """A row a layer; what kind it is, only where the terminal has room for all numbers too."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"Activations and gradients of the greatest logit, {images} images",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", overflow="fold", min_width=_longest(layers))
    if wide:
        table.add_column("kind", overflow="fold")
    for heading in ("mean", "std", "gradient mean", "gradient std", "dead", "saturated"):
        table.add_column(heading, justify="right", max_width=9)
    for each in layers:
        numbers = (each.mean, each.std, each.gradient_mean, each.gradient_std)
        shares = (each.dead, each.saturated)
        names = (each.layer, each.kind) if wide else (each.layer,)
        cells = (*names, *map(_number, numbers), *map(_share, shares))
        table.add_row(*map(plain, cells))
    return table


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2g}"


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0%}"


def _repair_text(repair: "Repair") -> str:
    where = first_and_more(list(repair.where), SHOWN)
    if repair.discarded:
        return f"Discarded: {repair.what} ({where}): {repair.discarded}."
    proof = f"on these images and on noise the logits differ by at most {repair.difference:.2g}"
    return f"Repaired on a copy: {repair.what} ({where}); {proof}."


def _longest(layers: "Sequence[LayerStatistics]") -> int:
    """Letters of the longest name, as far as a narrow terminal has room for."""
    return min(_ROOM, max(len(each.layer) for each in layers))


def _show_verdict(report: "DoctorsReport") -> None:
    if report.healthy:
        repaired = any(finding.repaired for finding in report.diagnosis.findings)
        say("Healthy once repaired." if repaired else "Healthy.")
    for scope, names in report.ruled_out.items():
        some = f", such as {', '.join(names)}" if names else ""
        say(f"Ruled out: {scope}{'' if scope == 'all methods' else some}.")
