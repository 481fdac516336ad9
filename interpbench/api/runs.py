"""Runs, what they would cost, and what is drawn of them."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from numbers import Integral
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from interpbench.api.arguments import Names, Paths, Shown, hand, names_of, paths_of, showing
from interpbench.core.calls import checked, job
from interpbench.core.errors import RunFolderError
from interpbench.report.run import Run, load_run
from interpbench.results import finished_run
from interpbench.results.run_folder import PAGE, Mode, RunFolder
from interpbench.running.execute import Listener, Listeners, Reporter, execute
from interpbench.suite.selection import Selection
from interpbench.suite.suite import DEFAULT, Suite, load_suite

if TYPE_CHECKING:
    from interpbench.core.preparation import Preparation, Size
    from interpbench.loading.in_memory import Images, Methods, Metrics, Models
    from interpbench.loading.stated import Numbers
    from interpbench.running.forecast import Forecast
    from interpbench.running.merging import Merged
    from interpbench.running.plan import Plan


RUNS = Path("results/runs")
SHARED_BLOCK = 64  # images of a block where several workers share a model's


@job
def run(
    suite: str | None = None,
    *,
    dataset: "str | Images | None" = None,
    model: "Models | None" = None,
    method: "Methods | None" = None,
    maps: Paths = None,
    metric: "Metrics | None" = None,
    images: "int | Images | None" = None,
    labels: "Sequence[int] | None" = None,
    classes: Sequence[str] | None = None,
    steps: int | None = None,
    target: str | None = None,
    ceiling: int | str | None = None,
    seed: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    map_precision: str = "fp32",
    batch_size: int | None = None,
    compile: str = "auto",
    block_size: int | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    samples: str | Path | None = None,
    weights: Names = None,
    in_domain: Names = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    plugin: Paths = None,
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    plots: bool = True,
    profile: bool = False,
    listener: Listener | Sequence[Listener] | None = None,
    progress: bool | None = None,
    until: str | None = None,
    shard: str | None = None,
    executor: str | None = None,
    isolation: str | None = None,
    workers: int | None = None,
    per_device: float = 1,
    timeout: float | None = None,
    mix_devices: bool = False,
) -> Run:
    """Explains and scores; writes the run folder; returns the run.

    The arguments are the command line's options.

    Parameters:
        suite: name of a bundled suite or path of a TOML file; `quick` by default. When resuming,
            what was recorded.
        dataset, model, method, metric: plugins as on the command line
            (`occlusion:window=16,stride=8`), instead of the suite's. Or what is in memory: a model
            is a torch.nn.Module, of which a copy is explained; a method a function (model, x,
            target) -> saliency[B,H,W]; a metric a function (explanation) -> scores[B], or a pair of
            it and `lower` or `higher`; a dict gives them names, a list may hold all kinds; a data
            set as for `images`. `protocol:latec` stands for the metrics of a protocol.
        maps: folders or archives of maps that were made elsewhere, files that are called after the
            samples' ids (`cat/1.png.npy`), each a method besides the others; a folder of folders is
            a method each. `hf:ORG/NAME` and `hf:FOLDER` are data sets of the library `datasets`.
            They must be of the class that is explained.
        images: how many. A suite's number becomes less where the data set has fewer; one that is
            given here is refused. Or the images themselves: a tensor or an array [N,C,H,W], uint8,
            or float in 0..1, or else normalised by `mean` and `std`; a torch Dataset of (image,
            label); a data set of ours. They keep their size.
        labels: of images in memory, as indices of logits; without any the accuracy is unknown.
        classes: their names, in the order of the labels.
        steps, target, ceiling, seed: instead of the suite's.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; several with commas between them,
            `cuda:0,cuda:1`, make a worker for each.
        precision: of the scores' forward passes: `fp32`, `bf16`, `fp16` or `auto`.
        map_precision: of the passes of methods that do no more than call the model, or ask for
            gradients at the image: as `precision`. Others, as those that look at layers, stay in
            float32. What it changes of scores and ranks is measured and said.
        batch_size: images a forward pass; None chooses it from the input's size, or measures it in
            long runs.
        compile: torch.compile for the scores' forward passes: `auto` (where it pays), `always` or
            `never`.
        block_size: about so many images are decoded, explained and kept before the next: what a run
            that is killed loses, and what memory holds.
        data_root, download: for data sets that lie on disk.
        samples: a text file with the ids of the samples that are used, one a line; or, each with a
            `!` before it, of those that are left out.
        weights: `FILE`, `random`, or `MODEL=FILE`.
        in_domain: `FILE` or `MODEL=FILE`, of weights that were tuned on images that lack parts, as
            `train` makes them by the recipe `in-domain`: metrics with `network=in-domain` ask them.
            Those that are shipped, by default.
        preparation: how images become the model's input, where its weights do not say it:
            `imagenet`, `clip`, `inception`, a TOML file, or a `Preparation`.
        mean, std: of pixels in 0..1, one number or one a channel; they win over `preparation`.
        size, resize: side of the input in pixels, or (height, width); the shorter side before the
            central crop, 0 to bring the whole image to the size. They win over `preparation`.
        outputs: what the model's answers are: `softmax` (logits), `sigmoid` (logits), `binary` (one
            logit), `log-softmax`, `probabilities` or `sigmoid-probabilities`; by default what its
            weights or plugin say, or what is found.
        plugin: files or folders with plugins.
        output: the run folder; results/runs/<suite>-<time> by default.
        resume, overwrite: what to do with a folder that holds a run.
        plots: whether to draw them, and to write the page.
        profile: whether to write profile.csv, what the time goes into, and trace.json, of the first
            batches.
        listener: told how it gets on, as cells are finished and at the end; or several.
        progress: whether a line shows how it gets on; None shows it in IPython and notebooks.
        until: `decided` adds images only until the best method by each metric is told apart from
            all others, on each model for itself; `images` are then the most, 1000 by default.
        isolation: `none` runs all cells in this process (the default); `cell` in a process of their
            own, so that one that crashes or hangs is lost alone. What is in memory cannot go there.
        shard: `2/8` runs the second of eight parts of all blocks, which `merge` puts together.
        executor: `ray` or `ray:ADDRESS` runs cells on a Ray cluster (`interpbench[ray]`).
        workers: how many such processes at once, which share the machine's threads; brings
            `isolation="cell"`.
        timeout: seconds that a block of a cell, or getting a model ready, may take; brings
            `isolation="cell"`.
        per_device: workers that share a GPU of a Ray cluster.
        mix_devices: whether workers, or what a run was begun on, may be devices of other kinds,
            whose last digits differ. Each cell's record says what it ran on.

    Raises:
        InterpBenchError: if the input is wrong. A method that fails only fails its own cells: see
            `Run.failed`.

    Example:
        >>> import interpbench
        >>> finished = interpbench.run(
        ...     dataset="planted", model="resnet18", method="saliency,random",
        ...     metric="pointing-game", images=2, ceiling="none", device="cpu", plots=False,
        ...     output="saliency-or-chance",
        ... )
        >>> sorted(finished.leaderboard["method"])
        ['random', 'saliency']
        >>> len(finished.scores), finished.failed.empty
        (4, True)
    """
    arguments = dict(locals())
    if resume and (overwrite or output is None):
        raise RunFolderError("To resume, name the run with --output, and leave --overwrite out.")
    mode: Mode = "resume" if resume else "overwrite" if overwrite else "new"
    from interpbench.running.executors import Whereabouts, executor_of

    where = Whereabouts.of(
        device, executor=executor, isolation=isolation, workers=workers, per_device=per_device,
        timeout=timeout,
    )  # fmt: skip
    arguments["workers"] = where.processes
    elsewhere = executor_of(where, arguments, rebuilt, profile=profile)
    plan = _planned(arguments)
    folder = RunFolder(Path(output) if output is not None else _fresh_folder(plan.suite.name))
    with showing(progress, "maps") as shown:
        told = Listeners(Reporter(shown), *_each(listener))
        finished = Run.of(execute(plan, folder, mode, profile, told, elsewhere))
    if plan.shard is not None:
        return finished
    if plots:
        illustrate(finished)
    told.finished(finished)
    return finished


@job
def forecast(
    suite: str | None = None,
    *,
    dataset: "str | Images | None" = None,
    model: "Models | None" = None,
    method: "Methods | None" = None,
    maps: Paths = None,
    metric: "Metrics | None" = None,
    images: "int | Images | None" = None,
    labels: "Sequence[int] | None" = None,
    classes: Sequence[str] | None = None,
    steps: int | None = None,
    target: str | None = None,
    ceiling: int | str | None = None,
    seed: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    map_precision: str = "fp32",
    batch_size: int | None = None,
    compile: str = "auto",
    block_size: int | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    samples: str | Path | None = None,
    weights: Names = None,
    in_domain: Names = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    plugin: Paths = None,
    until: str | None = None,
    shard: str | None = None,
    executor: str | None = None,
    workers: int | None = None,
    mix_devices: bool = False,
    progress: Shown = None,
) -> "Forecast":
    """What a run would cost: blocks, passes, time, memory and disk. Nothing of it is kept.

    Each method, metric and search for a ceiling is tried on a few of the images, up to a batch, as
    the run would do it on this device: half a minute for the default run, more where a long run's
    passes are compiled. What is found fastest here, the images a pass and whether to compile, is
    remembered, as by a run, and the run goes by it.

    Parameters:
        suite, dataset, model, method, maps, metric, images, labels, classes, steps, target,
            ceiling, seed, device, precision, map_precision, batch_size, compile, block_size,
            data_root, download,
            samples, weights, in_domain, outputs, preparation, mean, std, size, resize, plugin,
            until, shard, executor, workers, mix_devices: as for `run`. Of a run `until` decided it
            is what all `images` would cost.
        progress: told how it gets on; or whether a line shows it, None shows it in IPython.

    Returns:
        the forecast; a method or metric that fails is named in the `failure` of its cost.

    Raises:
        InterpBenchError: if the input is wrong.

    Example:
        >>> import interpbench
        >>> forecast = interpbench.forecast(
        ...     dataset="planted", model="resnet18", method="saliency,random", metric="deletion",
        ...     images=500, batch_size=2, steps=10, ceiling="none", device="cpu",
        ... )
        >>> forecast.blocks, forecast.models[0].block_size
        (2, 256)
        >>> {cost.label: (cost.forwards, cost.backwards) for cost in forecast.costs}
        {'decoding': (0, 0), 'predictions': (500, 0), 'end points': (1000, 0),
         'saliency': (500, 500), 'random': (0, 0), 'deletion:steps=10': (9000, 0)}
    """
    arguments = dict(locals()) | {"resume": False, "output": None}
    from interpbench.running.executors import Whereabouts
    from interpbench.running.forecast import forecast as forecast_of

    where = Whereabouts.of(device, executor=executor, workers=workers)
    where.refuse_what_cannot_be()
    arguments["workers"] = where.processes
    plan = _planned(arguments)
    with showing(progress) as shown:
        return forecast_of(plan, where.processes or 1, shown)


@checked
def merge(shards: Sequence[str | Path], output: str | Path) -> "Merged":
    """Puts the shards of a run together in one folder.

    It is then a run in progress, which `run` ends with the arguments of the shards, but for
    `shard`, and with `resume`: nothing is computed again.

    Parameters:
        shards: the folders that `run` with `shard` wrote.
        output: the run's folder; it must not be there, or be empty.

    Raises:
        RunFolderError: if they are not shards of one run, or are damaged.

    Example:
        >>> import interpbench
        >>> job = dict(
        ...     dataset="planted", model="resnet18", method="saliency,random",
        ...     metric="pointing-game", images=4, ceiling="none", device="cpu", plots=False,
        ...     batch_size=2, block_size=2,
        ... )
        >>> for number in ("1", "2"):
        ...     part = interpbench.run(**job, shard=f"{number}/2", output=f"part{number}")
        >>> interpbench.merge(["part1", "part2"], "together").files
        4
        >>> interpbench.run(**job, output="together", resume=True).info.is_finished
        True
    """
    from interpbench.running.merging import merge as merge_shards

    return merge_shards([Path(shard) for shard in shards], Path(output))


def rebuilt(arguments: str) -> "Plan":
    """The plan of a `run` in another process.

    Parameters:
        arguments: all that decide on its plan, as a Python literal.

    Raises:
        InterpBenchError: whatever is wrong with the input.
    """
    return _planned(ast.literal_eval(arguments))


def _planned(arguments: Mapping[str, Any]) -> "Plan":
    from interpbench.core.devices import Computing, listed_devices
    from interpbench.running.plan import make_plan

    asked = SimpleNamespace(**arguments)
    handed = hand(
        asked.plugin,
        (asked.data_root, asked.download),
        (asked.weights, asked.outputs),
        *(asked.preparation, asked.mean, asked.std, asked.size, asked.resize),
    )
    count = int(asked.images) if isinstance(asked.images, Integral) else None
    flags = {
        "dataset": handed.dataset(asked.dataset, asked.images, asked.labels, asked.classes),
        "models": handed.names("model", asked.model),
        "methods": handed.names("method", asked.method),
        "metrics": handed.names("metric", asked.metric),
        "images": handed.count if count is None else count,
        "steps": asked.steps,
        "target": asked.target,
        "ceiling": asked.ceiling,
        "seed": asked.seed,
    }
    resumed = Path(asked.output) if asked.resume and asked.output else None
    selection = Selection.of(_suite(asked.suite, resumed), flags, asked.until)
    shared = SHARED_BLOCK if asked.executor or (asked.workers or 1) > 1 else None
    device, *others = listed_devices(asked.device)
    computing = Computing.of(
        *(device, asked.precision, asked.batch_size, asked.compile),
        block_size=shared if asked.block_size is None else asked.block_size,
        map_precision=asked.map_precision,
    ).beside(others, mix_devices=asked.mix_devices)
    listed = None if asked.samples is None else Path(asked.samples)
    maps = tuple(map(str, paths_of(asked.maps)))
    in_domain = names_of(asked.in_domain) or ()
    sources = replace(handed.sources, samples=listed, maps=maps, in_domain=tuple(in_domain))
    plan = make_plan(selection, handed.registry, computing, sources)
    return plan if asked.shard is None else plan.part(asked.shard)


@checked
def redraw(
    found: finished_run.Run, formats: Names = None, columns: int | None = None
) -> list[Path]:
    """Draws a run's plots again; the files.

    Parameters:
        found: the run.
        formats: `png` (default), `pdf`, `svg`, or several.
        columns: of a paper, which the plots are as wide as: 1 for 3.25 inches, 2 for 6.75, with
            letters of 7 to 8 points; None for a screen.

    Raises:
        UnknownNameError: if there is no such format.
        ParameterError: for another number of columns.
        RunFolderError: if they cannot be written.
    """
    from interpbench.drawing.style import Page
    from interpbench.report.plots import draw

    names = [name for text in names_of(formats) or ("png",) for name in text.split(",")]
    to = found.folder / "plots"
    return draw(found.tables, found.leaderboard, to, names, Page(columns))


def illustrate(found: finished_run.Run) -> None:
    """Draws a run's plots and writes its page.

    Raises:
        RunFolderError: if they cannot be written.
    """
    redraw(found)
    write_page(found)


def draw_for_readme(found: finished_run.Run) -> dict[str, list[Path]]:
    """Draws a run's means as SVG for a README; data set -> the light file and the dark one.

    Raises:
        RunFolderError: if they cannot be written.
    """
    from interpbench.report.plots import draw_for_readme

    return draw_for_readme(found.tables, found.leaderboard, found.folder / "plots")


@checked
def write_page(source: finished_run.Run | str | Path, output: str | Path | None = None) -> Path:
    """Writes a run, or a leaderboard's CSV, as one HTML page that needs no network; the file.

    Parameters:
        source: a run, its folder, or a leaderboard: a run's leaderboard.csv, or a published one.
        output: the page; report.html in the run's folder, or beside the CSV and called after it, by
            default.

    Raises:
        RunFolderError: if there is no run or leaderboard, or the page cannot be written.
    """
    from interpbench.report.page.render import write_page
    from interpbench.report.verdict.evidence import of_run

    if not isinstance(source, finished_run.Run) and Path(source).is_file():
        from interpbench.registry.declared import Aspects
        from interpbench.report.page.leaderboard_csv import of_csv

        page = Path(output or Path(source).with_suffix(".html"))
        return write_page(of_csv(Path(source), Aspects()), page)
    finished = source if isinstance(source, finished_run.Run) else load_run(source)
    return write_page(of_run(finished), Path(output or finished.folder / PAGE))


def _suite(name: str | None, resumed: Path | None) -> Suite:
    """The suite that is named, else the one that the resumed run recorded, else the default."""
    if name is not None or resumed is None:
        return load_suite(name or DEFAULT)
    settings = RunFolder(resumed).info().settings
    if not isinstance(settings, Suite):
        raise RunFolderError(
            f"{resumed} was begun by another version of InterpBench, which has to finish it."
        )
    return settings


def _fresh_folder(suite: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = RUNS / f"{suite}-{stamp}"
    number = 2
    while folder.exists():
        folder = RUNS / f"{suite}-{stamp}-{number}"
        number += 1
    return folder


def _each(listener: Listener | Sequence[Listener] | None) -> Sequence[Listener]:
    """The listeners that a call was given."""
    return [] if listener is None else [listener] if isinstance(listener, Listener) else listener
