"""The command line. Nothing heavy is imported before a command needs it, so that --help answers at once.

Exit codes: 0 all done, 1 some cell failed, 2 wrong usage or input, 130 interrupted.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench import __version__
from interpbench.errors import InterpBenchError, ParameterError, unknown_name
from interpbench.plugin import KINDS, REQUIRED, Configured, Kind, Plugin
from interpbench.registry import Registry

if TYPE_CHECKING:
    from rich.console import Console

    from interpbench.api import Run
    from interpbench.contracts import DatasetCard

app = typer.Typer(
    name="interpbench",
    help="Benchmarks interpretability methods for image classifiers: attribution, scores, tables, plots.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="PATH", help="File or folder with plugins; repeatable.")
]
Names = list[str] | None


def main() -> None:
    """Runs the program; what is the user's to mend is one message on stderr."""
    try:
        app()
    except InterpBenchError as error:
        _console(stderr=True).print("[bold red]Error:[/]", _plain(error), soft_wrap=True)
        sys.exit(2)
    except _Interrupted as interrupted:
        _console(stderr=True).print(_plain(interrupted), soft_wrap=True)
        sys.exit(130)


class _Interrupted(Exception):  # typer would turn a KeyboardInterrupt into exit code 1, which means a failed cell
    """The user pressed Ctrl-C during a run."""


@app.callback(invoke_without_command=True)
def program(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"interpbench {__version__}")
        raise typer.Exit


@app.command()
def run(
    suite: Annotated[str | None, typer.Option(metavar="NAME|FILE", help="What to run; `quick` by default.")] = None,
    dataset: Annotated[str | None, typer.Option(metavar="D", help="Data set, e.g. imagefolder:root=DIR.")] = None,
    model: Annotated[Names, typer.Option(metavar="M", help="Models; repeatable, commas, or `all`.")] = None,
    method: Annotated[Names, typer.Option(metavar="M", help="Methods, e.g. occlusion:window=16,stride=8.")] = None,
    metric: Annotated[Names, typer.Option(metavar="M", help="Metrics, e.g. deletion:baseline=black.")] = None,
    images: Annotated[int | None, typer.Option(metavar="N", help="How many images, class-balanced.")] = None,
    steps: Annotated[int | None, typer.Option(metavar="S", help="Steps of every curve; by default the width.")] = None,
    target: Annotated[
        str | None, typer.Option(metavar="T", help="Class to explain: `predicted` (default) or `label`.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of every random choice.")] = None,
    device: Annotated[str, typer.Option(metavar="D", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="P", help="Of the scores' forward passes: fp32, bf16, fp16 or auto.")
    ] = "fp32",
    batch_size: Annotated[str, typer.Option(metavar="N|auto", help="Images a forward pass.")] = "auto",
    data_root: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download the data set if it is absent.")] = False,
    weights: Annotated[
        Names, typer.Option(metavar="W", help="FILE or `random`; MODEL=FILE where there are several models.")
    ] = None,
    plugin: Plugins = None,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="results/runs/<suite>-<time> by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --output.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --output.")] = False,
) -> None:
    """Explain images with each method, score the maps, write tables and plots."""
    from interpbench import api
    from interpbench.progress import ProgressBar

    console = _console()
    try:
        with ProgressBar(console) as progress:
            finished = api.run(
                suite, dataset=dataset, model=model, method=method, metric=metric, images=images, steps=steps,
                target=target, seed=seed, device=device, precision=precision, batch_size=_batch_size(batch_size),
                data_root=data_root, download=download, weights=weights, plugin=plugin, output=output, resume=resume,
                overwrite=overwrite, listener=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        raise _Interrupted(
            "Interrupted. The cells that are finished are on disk: continue with the same command, "
            f"--output {progress.folder or 'DIR'} and --resume."
        ) from None
    _show(finished, console)
    raise typer.Exit(1 if len(finished.failed) else 0)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
) -> None:
    """Show a finished run's tables again and redraw its plots; needs neither torch nor the plugins."""
    from interpbench import api

    found = api.load_run(run)
    api.redraw(found)
    _show(found, _console())


@app.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="methods, models, datasets, metrics, suites.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """List what there is."""
    from rich.table import Table

    kinds = [f"{k}s" for k in KINDS]
    if kind is not None and kind.removesuffix("s") + "s" not in [*kinds, "suites"]:
        raise unknown_name("kind", kind, [*kinds, "suites"])
    wanted = [kind.removesuffix("s") + "s"] if kind else [*kinds, "suites"]
    registry = _registry(plugin) if wanted != ["suites"] else Registry()
    console = _console()
    for name in wanted:
        table = Table(title=name, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
        for item, what in _items(name, registry):
            table.add_row(_plain(item), _plain(what))
        console.print(table)
        console.print()


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin or suite.")],
    plugin: Plugins = None,
) -> None:
    """Show a plugin's documentation, parameters, reference and origin, or a suite's content."""
    from interpbench.suite import FOLDER, suite_names

    registry = _registry(plugin)
    found = [registry.get(kind, name) for kind in KINDS if name in registry.names(kind)]
    suites = [name] if name in suite_names() else []
    if not found and not suites:
        raise unknown_name("name", name, [n for kind in KINDS for n in registry.names(kind)] + suite_names())
    console = _console()
    for item in found:
        _show_plugin(item, console)
    for suite in suites:
        console.print(f"[bold]suite {suite}[/]\n")
        console.print(_plain((FOLDER / f"{suite}.toml").read_text(encoding="utf-8")))


@app.command()
def train(
    model: Annotated[str, typer.Option(metavar="M", help="Architecture, e.g. resnet18:width=16.")],
    dataset: Annotated[str, typer.Option(metavar="D", help="Data set with a train and a test split.")] = "planted",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="<dataset>-<model>.safetensors.")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    lr: Annotated[float | None, typer.Option(metavar="R", help="The highest learning rate.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0)] = 0,
    precision: Annotated[str | None, typer.Option(metavar="P", help="Of the forward passes: fp32 or bf16.")] = None,
    device: Annotated[str, typer.Option(metavar="D", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    data_root: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download the data set if it is absent.")] = False,
    plugin: Plugins = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --output.")] = False,
) -> None:
    """Train a model on a data set's train split; write its weights with a card that states its test accuracy.

    Where weights are shipped, as for planted, what is left out is as it was for them: the command repeats their making.
    """
    from interpbench.devices import resolve_device
    from interpbench.plan import configure_dataset
    from interpbench.plugin import parse_specs
    from interpbench.training import bar
    from interpbench.training import train as train_model
    from interpbench.weights import check_writable

    registry = _registry(plugin)
    [(name, values), *more] = parse_specs([model]) or [("", {})]
    if more:
        raise ParameterError(f"Train one model at a time, not {model!r}.")
    choice = registry.configure("model", name, values)
    flags: dict[str, Any] = {}
    if data_root is not None:
        flags["root"] = data_root
    if download:
        flags["download"] = True
    splits = [configure_dataset(registry, dataset, {**flags, "split": split})() for split in ("train", "test")]
    path = output or Path(f"{splits[0].card.name}-{choice.name}.safetensors")
    check_writable(path)
    if path.exists() and not overwrite:
        raise ParameterError(f"{path} exists. Replace it with --overwrite, or give another --output.")
    if precision not in (None, "fp32", "bf16"):
        raise unknown_name("training precision", str(precision), ["fp32", "bf16"])
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision}
    choice, recipe = _as_shipped(choice, splits[0].card)
    recipe |= {name: value for name, value in given.items() if value is not None}
    with bar() as progress:
        card = train_model(
            choice, *splits, seed=seed, device=resolve_device(device), output=path, progress=progress, **recipe
        )
    console = _console()
    scores = f"accuracy {card.notes['accuracy']} on {card.notes['tested_on']}, trained on {card.notes['trained_on']}"
    console.print(_plain(f"{choice.label} on {splits[0].card.name}: {scores}"), soft_wrap=True)
    if card.notes["unreadable"] != "0 images":
        console.print(f"Note: {card.notes['unreadable']} cannot be read and were left out.")
    console.print(_plain(f"Use it with --weights {path}"), soft_wrap=True)


def _as_shipped(choice: Configured, data: "DatasetCard") -> tuple[Configured, dict[str, Any]]:
    """The model's parameters and the recipe with which its shipped weights were made, if there are any."""
    from interpbench.modelling import shipped_card, with_parameters

    card = shipped_card(choice, data)
    if card is None:
        return choice, {}
    recipe = json.loads(card.notes["recipe"])
    return with_parameters(choice, card), {key: recipe[key] for key in ("epochs", "batch_size", "lr", "precision")}


def _show(finished: "Run", console: "Console") -> None:
    from interpbench.report import print_report

    print_report(finished.tables, finished.leaderboard, console)
    for notice in finished.info.get("notices", []):
        console.print("Note:", _plain(notice))
    for left in finished.info.get("left_behind", []):
        what = ", ".join(left["what"][:3])
        console.print(_plain(f"Note: {left['method']} left behind on {left['model']}: {what}; it was undone."))
    for why in list(finished.info.get("skipped", {}).values())[:5]:
        console.print(_plain(f"Note: skipped an image that cannot be read: {why}"))
    console.print(_plain(f"Tables and plots: {finished.folder}"))


def _show_plugin(plugin: Plugin, console: "Console") -> None:
    from rich.table import Table

    console.print(_plain(f"{plugin.kind} {plugin.name}"), style="bold")
    console.print()
    console.print(_plain(plugin.doc or "(no documentation)"))
    console.print()
    if plugin.parameters:
        table = Table("parameter", "type", "default", box=None, pad_edge=False)
        for parameter in plugin.parameters:
            default = "required" if parameter.default is REQUIRED else str(parameter.default).lower()
            table.add_row(parameter.name, _plain(parameter.type_name), _plain(default))
        console.print(table)
        console.print()
    for what in ("reference", "licence", "origin"):
        if getattr(plugin, what):
            console.print(_plain(f"{what}: {getattr(plugin, what)}"), soft_wrap=True)
    console.print()


def _items(name: str, registry: Registry) -> list[tuple[str, str]]:
    from interpbench.suite import load_suite, suite_names

    if name == "suites":
        return [(s, load_suite(s).description) for s in suite_names()]
    kind: Kind = next(k for k in KINDS if name == f"{k}s")
    return [(p.name, p.summary) for p in registry.plugins(kind)]


def _registry(paths: list[Path] | None) -> Registry:
    from interpbench.discovery import discover

    return discover(paths or ())


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) == 0:
        raise ParameterError(f"--batch-size {text!r}: expected a positive number or `auto`.")
    return int(text)


def _console(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr)


def _plain(text: object) -> Any:
    """Text that is shown as it is: names from plugins and files are no markup."""
    from rich.text import Text

    return Text(str(text))
