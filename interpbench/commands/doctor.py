"""`doctor`: what makes methods go wrong on a model, and what can be repaired."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.commands.shared import (
    DataRoot,
    Device,
    Download,
    Plugins,
    data_flags,
    open_console,
    open_registry,
    plain,
)
from interpbench.core.errors import ParameterError
from interpbench.registry.registry import Registry

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from interpbench.core.types import Dataset, Model
    from interpbench.diagnosis.examination import Diagnosis, Finding
    from interpbench.diagnosis.repair import Repair

SHOWN = 3  # places of a finding that are listed


def doctor(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="E.g. resnet18:width=16, or FILE.py:FUNCTION.")],
    dataset: Annotated[str, typer.Option(metavar="D", help="Data set whose first images are used.")] = "planted",
    weights: Annotated[
        str | None, typer.Option(metavar="W", help="FILE or `random`; by default what is shipped, or torchvision's.")
    ] = None,
    data_root: DataRoot = None,
    download: Download = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of random weights, and of all chance.")] = 0,
    device: Device = "auto",
    plugin: Plugins = None,
) -> None:
    """Find what makes methods go wrong on a model, and what can be repaired on a copy with the same answers.

    Exit code 0: healthy, or all that rules methods out can be repaired; 1: something rules methods out for good.
    """
    from interpbench.core.devices import exact_arithmetic, resolve_device
    from interpbench.diagnosis.examination import examine
    from interpbench.diagnosis.repair import repair

    registry = open_registry(plugin)
    data, loaded = _load(registry, model, dataset, data_flags(data_root, download), weights, seed)
    loaded.to(resolve_device(device))
    with exact_arithmetic():
        x = _first_images(data, loaded).to(resolve_device(device))
        found = examine(loaded, x, seed)
        _, after, repairs = repair(loaded, found, x, seed)
    console = open_console()
    console.print(plain(f"{model} ({loaded.card.weights}), two images of {data.card.name}, {list(x.shape[2:])} pixels"))
    if after.findings:
        console.print(_table(after))
    _show_repairs(repairs, console)
    _show_verdict(after, registry, console)
    raise typer.Exit(0 if after.healthy else 1)


def _load(
    registry: Registry, model: str, dataset: str, flags: dict[str, Any], weights: str | None, seed: int
) -> "tuple[Dataset, Model]":
    from interpbench.loading.model import load_model
    from interpbench.registry.choosing import configure_dataset
    from interpbench.registry.plugin import blaming
    from interpbench.registry.spec import parse_specs

    specs = parse_specs([model])
    if len(specs) != 1:
        raise ParameterError(f"The doctor sees one model at a time, not {model!r}.")
    choice = registry.configure("model", *specs[0])
    data_choice = configure_dataset(registry, dataset, flags)
    with blaming(data_choice):
        data = data_choice()
    return data, load_model(choice, data.card, weights=weights, seed=seed)


def _first_images(data: "Dataset", model: "Model") -> "Tensor":
    """Two images, normalised: [2,3,S,S], or [1,3,S,S] where there is but one."""
    from interpbench.core.types import normalise
    from interpbench.loading.images import choose, load_images

    indices = choose(data, None, 0)[:2]
    images = load_images(data, indices, model.card).images
    return normalise(images, model.card).contiguous()  # in the memory order that every network takes


def _table(diagnosis: "Diagnosis") -> Any:
    from rich.table import Table

    table = Table("finding", "where", "what", "rules out", "repaired", show_lines=True)
    for finding in diagnosis.findings:
        state = "yes" if finding.repaired else "no" if finding.rules_out else ""
        what = finding.what if finding.repaired else f"{finding.what}. {finding.advice}"
        cells = (finding.kind, _places(finding.where), what, finding.rules_out, state)
        table.add_row(*map(plain, cells))
    return table


def _show_repairs(repairs: "list[Repair]", console: "Console") -> None:
    for repair in repairs:
        where = _places(repair.where)
        if repair.discarded:
            console.print(plain(f"Discarded: {repair.what} ({where}): {repair.discarded}."), soft_wrap=True)
        else:
            proof = f"on these images and on noise the logits differ by at most {repair.difference:.2g}"
            console.print(plain(f"Repaired on a copy: {repair.what} ({where}); {proof}."), soft_wrap=True)


def _show_verdict(diagnosis: "Diagnosis", registry: Registry, console: "Console") -> None:
    if diagnosis.healthy:
        console.print("Healthy." if not any(f.repaired for f in diagnosis.findings) else "Healthy once repaired.")
    for scope in diagnosis.ruled_out:
        findings = [finding for finding in diagnosis.findings if finding.rules_out == scope and not finding.repaired]
        names = _concerned(findings, registry)
        console.print(plain(f"Ruled out: {scope}" + (f", such as {', '.join(names)}." if names else ".")))


def _concerned(findings: "list[Finding]", registry: Registry) -> list[str]:
    """The methods that findings rule out, as far as their traits tell."""
    methods = [plugin.configure() for plugin in registry.plugins("method") if not plugin.required]
    return [method.name for method in methods if any(finding.concerns(method) for finding in findings)]


def _places(where: tuple[str, ...]) -> str:
    more = f" and {len(where) - SHOWN} more" if len(where) > SHOWN else ""
    return ", ".join(where[:SHOWN]) + more
