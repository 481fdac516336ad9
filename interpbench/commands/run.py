"""`run` and `report`: compare methods, and show what a run found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.commands.shared import (
    DataRoot,
    Download,
    Mean,
    Names,
    OutputsName,
    Plugins,
    PreparationName,
    Quiet,
    Resize,
    Samples,
    Size,
    Std,
    interruptible,
    open_console,
    plain,
    say,
)
from interpbench.core.errors import ParameterError
from interpbench.core.text import shown, whole_number

if TYPE_CHECKING:
    from rich.console import Console

    from interpbench.results.finished_run import Run


WITHOUT_PICTURES = (
    "Scores and tables are complete; `report` draws the plots, `report --html` the page."
)
ADVICE = (
    "The cells that are finished are on disk: continue with the same "
    "command, --output DIR and --resume."
)


def run(
    suite: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="What to run; `quick` by default.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="D", help="Data set, e.g. imagefolder:root=DIR.")
    ] = None,
    model: Annotated[
        Names, typer.Option(metavar="M", help="Models; repeatable, commas, or `all`.")
    ] = None,
    method: Annotated[
        Names, typer.Option(metavar="M", help="Methods, e.g. occlusion:window=16,stride=8.")
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            help="Maps made elsewhere, files by id, or hf:ORG/NAME: more methods; repeatable.",
        ),
    ] = None,
    metric: Annotated[
        Names,
        typer.Option(metavar="M", help="Metrics, e.g. deletion:baseline=black, protocol:latec."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(metavar="N", help="How many images, class-balanced.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="decided",
            help="Add images only until the best are told apart; --images is then the most.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="S", help="Steps of every curve; by default the width.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="T", help="Class to explain: `predicted` (default) or `label`."),
    ] = None,
    ceiling: Annotated[
        str | None,
        typer.Option(
            metavar="G|none", help="Patches a side in the search for the best scores, or none."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of every random choice.")] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="D,...",
            help="auto, cpu, cuda, cuda:N or mps; cuda:0,cuda:1: a worker for each.",
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(metavar="P", help="Of the scores' forward passes: fp32, bf16, fp16 or auto."),
    ] = "fp32",
    map_precision: Annotated[
        str,
        typer.Option(metavar="P", help="Of the maps' passes, where a method only calls the model."),
    ] = "fp32",
    batch_size: Annotated[
        str, typer.Option(metavar="N|auto", help="Images a forward pass.")
    ] = "auto",
    block_size: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="About so many images are computed and kept at once; 256 by default."
        ),
    ] = None,
    compile: Annotated[
        str,
        typer.Option(
            metavar="C", help="torch.compile for the scores' passes: auto, always or never."
        ),
    ] = "auto",
    data_root: DataRoot = None,
    download: Download = False,
    samples: Samples = None,
    weights: Annotated[
        Names,
        typer.Option(
            metavar="W", help="FILE or `random`; MODEL=FILE where there are several models."
        ),
    ] = None,
    in_domain: Annotated[
        Names,
        typer.Option(
            metavar="W",
            help="FILE or MODEL=FILE: weights that metrics with network=in-domain ask.",
        ),
    ] = None,
    outputs: OutputsName = None,
    preparation: PreparationName = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    resize: Resize = None,
    plugin: Plugins = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="results/runs/<suite>-<time> by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --output.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --output.")
    ] = False,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Write what the time goes into, and a trace of the first batches."
        ),
    ] = False,
    isolation: Annotated[
        str | None,
        typer.Option(
            metavar="I",
            help="Where cells run: `none`, this process (default), or `cell`, one of their own.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Run a part of the blocks, to be put together by `merge`."
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(metavar="ray[:ADDRESS]", help="Run the cells on a Ray cluster."),
    ] = None,
    per_device: Annotated[
        float, typer.Option(metavar="N", help="Workers that share a GPU of a Ray cluster.")
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Processes that cells run in at once; brings --isolation cell."
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="A cell whose block takes longer is lost; brings --isolation cell.",
        ),
    ] = None,
    mix_devices: Annotated[
        bool,
        typer.Option("--mix-devices", help="Let devices of other kinds have a part in the run."),
    ] = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Run nothing: say what it would cost in passes, time, memory and disk."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Explain images with each method, score the maps, write tables and plots."""
    from interpbench import api
    from interpbench.commands.forecast import show_forecast
    from interpbench.commands.run_progress import ProgressBar
    from interpbench.results.run_folder import PAGE

    asked: dict[str, Any] = {
        "dataset": dataset,
        "model": model,
        "method": method,
        "maps": maps,
        "metric": metric,
        "images": images,
        "until": until,
        "steps": steps,
        "target": target,
        "ceiling": _ceiling(ceiling),
        "seed": seed,
        "device": device,
        "precision": precision,
        "map_precision": map_precision,
        "batch_size": _batch_size(batch_size),
        "compile": compile,
        "block_size": block_size,
        "data_root": data_root,
        "download": download,
        "samples": samples,
        "weights": weights,
        "in_domain": in_domain,
        "outputs": outputs,
        "preparation": preparation,
        "mean": mean,
        "std": std,
        "size": size,
        "resize": resize,
        "plugin": plugin,
        "shard": shard,
        "executor": executor,
        "workers": workers,
        "mix_devices": mix_devices,
    }
    if plan:
        if resume:
            raise ParameterError("--plan is of a whole run: leave --resume out.")
        show_forecast(suite, asked, quiet)
        return
    console = open_console()
    with interruptible(ADVICE), ProgressBar(console, quiet=quiet) as progress:
        finished = api.run(
            suite,
            **asked,
            output=output,
            resume=resume,
            overwrite=overwrite,
            profile=profile,
            isolation=isolation,
            per_device=per_device,
            timeout=timeout,
            listener=progress,
            progress=False,
            plots=False,  # the table is shown before
        )
    if shard is not None:
        say(f"Shard {shard.replace('/', ' of ')}: {finished.folder}. Next: interpbench merge")
        raise typer.Exit(1 if len(finished.failed) else 0)
    _show(finished, console)
    if profile:
        _show_profile(finished, console)
    with interruptible(WITHOUT_PICTURES):
        api.illustrate(finished)
    say(f"Tables, plots and page: {finished.folder / PAGE}")
    raise typer.Exit(0 if finished.info.is_finished and not len(finished.failed) else 1)


def merge(
    shards: Annotated[
        list[Path], typer.Argument(metavar="SHARD...", help="The folders that `run --shard` wrote.")
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="The run's folder; a new one.")],
) -> None:
    """Put the shards of a run together in one folder; `run --resume` then ends it."""
    from interpbench import api

    merged = api.merge(shards, output)
    say(
        f"{merged.files} blocks and cells of {len(shards)} shards: {merged.folder}. End the run "
        "with the command that ran the shards, without --shard, and with --resume --output DIR."
    )


def report(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN|CSV", help="A run folder; with --html also a leaderboard.csv."),
    ],
    html: Annotated[
        bool, typer.Option("--html", help="Write one HTML page that needs no network.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The page; RUN/report.html or beside the CSV by default."
        ),
    ] = None,
    format: Annotated[
        Names,
        typer.Option(
            metavar="F", help="Of the plots: png (default), pdf, svg; repeatable, commas."
        ),
    ] = None,
    columns: Annotated[
        int | None,
        typer.Option(
            metavar="1|2", help="Plots for a paper, one or two columns wide; else for a screen."
        ),
    ] = None,
    readme: Annotated[
        bool,
        typer.Option(
            "--readme", help="Draw the means as SVG for a README, light and dark; print its lines."
        ),
    ] = False,
) -> None:
    """Show a finished run's tables again and redraw its plots, or write its page; needs no torch
    and no plugins.
    """
    from interpbench import api

    if (html or readme) and (format or columns or (html and readme)):
        raise ParameterError(
            "--format and --columns are of plots, --html and --readme two things: leave them "
            "out, or call `report` once for each."
        )
    if html:
        page = api.write_page(run, output)
        say(f"Page: {page}")
        return
    if output is not None:
        raise ParameterError("--output names the page: give --html with it.")
    if run.is_file():
        raise ParameterError(
            f"{run} is a file. Give a run folder, or --html for a page of a leaderboard.csv."
        )
    finished = api.load_run(run)
    if readme:
        for dataset, (light, dark) in api.draw_for_readme(finished).items():
            say(_in_a_readme(dataset, light, dark))
        return
    api.redraw(finished, format, columns)
    _show(finished, open_console())
    say(f"Tables and plots: {finished.folder}")


def _in_a_readme(dataset: str, light: Path, dark: Path) -> str:
    """The lines that show a picture in a README, on a light and on a dark page."""
    return (
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="{dark}">\n'
        f'  <img alt="{dataset}: means and intervals of each method" src="{light}">\n</picture>'
    )


def _show(finished: "Run", console: "Console") -> None:
    from interpbench.report.terminal import print_report

    print_report(finished, console)
    if not finished.info.is_finished:
        console.print(plain(_unfinished(finished)))


def _unfinished(run: "Run") -> str:
    """Who goes on with a run that is not finished."""
    from interpbench.results.run_folder import RunFolder

    writer = RunFolder(run.folder).writer()
    return f"It goes on in {writer}." if writer else "Continue it with --resume."


def _show_profile(finished: "Run", console: "Console") -> None:
    import pandas as pd

    from interpbench.report.terminal import print_profile
    from interpbench.results.run_folder import PROFILE

    table, trace = (finished.folder / name for name in PROFILE)
    print_profile(pd.read_csv(table), console)
    console.print(
        plain(f"Trace of the first batches, for chrome://tracing or ui.perfetto.dev: {trace}")
    )


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    number = whole_number(text)
    if not number:
        raise ParameterError(f"--batch-size {shown(text)}: expected a positive number or `auto`.")
    return number


def _ceiling(text: str | None) -> int | str | None:
    """A number if it is one; whether it is allowed the suite knows."""
    number = None if text is None else whole_number(text)
    return text if number is None else number
