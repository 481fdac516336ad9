"""The public face: each job as one call, named as on the command line.

What is done stands in the rooms.
"""

import ast
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from numbers import Integral
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from interpbench.core.calls import checked, job
from interpbench.core.errors import DataError, ParameterError, RunFolderError
from interpbench.core.progress import SILENT, Progress
from interpbench.core.progress_lines import lines_of_a_call
from interpbench.files.output_folder import Destination
from interpbench.report.run import Run, load_run
from interpbench.results import finished_run
from interpbench.results.run_folder import PAGE, Mode, RunFolder
from interpbench.running.execute import Listener, Listeners, Reporter, execute
from interpbench.suite.selection import Selection
from interpbench.suite.suite import DEFAULT, Suite, load_suite

if TYPE_CHECKING:
    from interpbench.core.preparation import Preparation, Size
    from interpbench.core.types import Dataset
    from interpbench.diagnosis.study import DoctorsReport
    from interpbench.loading.in_memory import Handed, Images, Methods, Metrics, Models
    from interpbench.loading.stated import Numbers
    from interpbench.registry.choosing import Sources
    from interpbench.running.forecast import Forecast
    from interpbench.running.merging import Merged
    from interpbench.running.plan import Plan
    from interpbench.studies.advise.study import Advice
    from interpbench.studies.conformance.study import Conformance
    from interpbench.studies.judging.study import Judging
    from interpbench.studies.occlusion.study import Occluded
    from interpbench.studies.pictures.explain import Explained
    from interpbench.studies.pictures.gallery import Gallery
    from interpbench.studies.sanity.study import Sanity
    from interpbench.studies.stability.study import Stability
    from interpbench.studies.visualisation.study import Visualised
    from interpbench.testing import CheckedPlugin
    from interpbench.training.loop import TrainingStep
    from interpbench.training.plan import LearningRateSearch, TrainedModel, TrainingPlan

RUNS = Path("results/runs")
Names = str | Sequence[str] | None
Paths = str | Path | Sequence[str | Path] | None
Shown = Progress | bool | None


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
    with _shown(progress, "maps") as shown:
        told = Listeners(Reporter(shown), *_each(listener))
        finished = Run.of(execute(plan, folder, mode, profile, told, elsewhere))
    if plan.shard is not None:
        return finished
    if plots:
        redraw(finished)
        write_page(finished)
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
            ceiling, seed, device, precision, batch_size, compile, block_size, data_root, download,
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
    with _shown(progress) as shown:
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
    handed = _hand(
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
    ).beside(others, mix_devices=asked.mix_devices)
    listed = None if asked.samples is None else Path(asked.samples)
    maps = tuple(map(str, _paths(asked.maps)))
    in_domain = _names(asked.in_domain) or ()
    sources = replace(handed.sources, samples=listed, maps=maps, in_domain=tuple(in_domain))
    plan = make_plan(selection, handed.registry, computing, sources)
    return plan if asked.shard is None else plan.part(asked.shard)


SHARED_BLOCK = 64  # images of a block where several workers share a model's


@job
def explain(
    images: "str | Path | Sequence[str | Path] | Images",
    *,
    model: "Models | None" = None,
    method: "Methods | None" = None,
    target: str | int = "predicted",
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    dataset: str | None = None,
    range: float | None = None,
    classes: Sequence[str] | None = None,
    alpha: float | str | Sequence[float] = 0.8,
    cmap: str | None = None,
    signed: bool | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Explained":
    """Explains images of one's own.

    Writes a panel an image, with predictions and each method's map, and the maps as .npy.

    Parameters:
        images: image files, or folders of them; or images in memory, as for `run`. Where no file is
            called so, `astronaut`, `cat`, `coffee` and `rocket` stand for photographs that are
            shipped.
        model, method: as on the command line, or in memory, as for `run`; methods may be several,
            and `all`. By default `efficientnet_lite0`, a network of ImageNet's 1000 classes, and
            five methods.
        target: the class to explain: `predicted`, a class name, or a logit's index.
        weights: a file, `random`, or None for those that are shipped, or torchvision's.
        outputs, preparation, mean, std, size, resize: as for `run`.
        dataset: names the data set whose weights are meant.
        range: the value that is white in images of more than 8 bits, such as 4095 for 12 bits in
            16; None for the greatest that their type can hold.
        classes: names of the model's logits, where it does not know them itself.
        alpha: opacity of the maps where they are strongest, 0..1. Several, `"0.3,0.6,0.9"` or a
            list, are drawn side by side, a row a method.
        cmap: a colour map of matplotlib's.
        signed: True for colours that diverge from 0, False for |s|, None for each map by its own
            signs.
        seed: of every random choice.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        data_root, download: for data sets that lie on disk.
        plugin: files or folders with plugins.
        output: the folder; results/explain/<model>-N by default. `overwrite` replaces what the same
            call wrote there.
        progress: told how it gets on; or whether a line shows it, None shows it in IPython.

    Raises:
        InterpBenchError: if the input is wrong. A method that fails is named in `outcome.failures`.

    Example:
        >>> import interpbench
        >>> import numpy as np
        >>> from PIL import Image
        >>> Image.new("RGB", (80, 60), "red").save("red.png")
        >>> explained = interpbench.explain(
        ...     "red.png", model="resnet18", dataset="planted", method="saliency", device="cpu",
        ...     output="explained",
        ... )
        >>> explained.complete
        True
        >>> sorted(file.name for file in explained.folder.iterdir())
        ['explain.json', 'maps', 'red.png']
        >>> np.load(explained.folder / "maps" / "red" / "saliency.npy").shape
        (64, 64)
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.drawing.overlay import looks_of
    from interpbench.studies.pictures.explain import METHODS, MODEL, explain_files

    looks = looks_of(alpha, cmap, signed)
    handed = _hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    files = _pictures(handed, images, dataset, range)
    name, methods = (
        handed.model(MODEL if model is None else model),
        handed.names("method", method) or METHODS,
    )
    data = handed.data_of(name, dataset, classes)
    explainer = Explainer.load(
        handed.registry, name, methods, data, handed.sources, Computing.of(device), seed
    )
    to = _destination(output, overwrite)
    with _shown(progress) as shown:
        return explain_files(
            files, explainer, target=str(target), looks=looks, to=to, progress=shown
        )


@job
def gallery(
    dataset: "str | Images",
    *,
    model: "Models",
    method: "Methods",
    only: str = "misclassified",
    count: int = 20,
    images: int | None = None,
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    alpha: float = 0.8,
    cmap: str | None = None,
    signed: bool | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Gallery":
    """Draws a data set's samples with maps for the predicted and the true class.

    Writes the confusion matrix as well.

    Parameters:
        dataset, model, method: as on the command line, or in memory, as for `run`: a data set, or a
            pair of images and labels; methods may be several, and `all`.
        only: `misclassified` samples, with those first of which the model is most certain;
            `correct` ones, or `all`, as a seeded, class-balanced choice.
        count: how many samples are drawn, at most.
        images: how many samples are classified, class-balanced; None for all.
        weights, outputs, preparation, mean, std, size, resize, alpha, cmap, signed, seed, device,
            data_root, download, plugin, output, overwrite, progress: as for `explain`.

    Raises:
        InterpBenchError: if the input is wrong. A method that fails is named in `outcome.failures`.

    Example:
        >>> import interpbench
        >>> drawn = interpbench.gallery(
        ...     "planted", model="resnet18", method="saliency", only="all", count=2, images=4,
        ...     device="cpu", output="two-samples",
        ... )
        >>> drawn.summary.classified, drawn.summary.drawn
        (4, 2)
        >>> (drawn.folder / "gallery-01.png").is_file()
        True
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.drawing.overlay import look_of
    from interpbench.loading.dataset import open_dataset
    from interpbench.registry.choosing import choose_dataset
    from interpbench.studies.pictures.gallery import SampleChoice, draw_gallery
    from interpbench.studies.pictures.predictions import check_only

    check_only(only)
    look = look_of(alpha, cmap, signed)
    handed = _hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    text = handed.dataset(dataset) or ""
    data = open_dataset(choose_dataset(handed.registry, text, handed.sources))
    name, methods = handed.model(model), handed.names("method", method) or ()
    explainer = Explainer.load(
        handed.registry, name, methods, data.card, handed.sources, Computing.of(device), seed
    )
    with _shown(progress) as shown:
        return draw_gallery(
            data,
            explainer,
            SampleChoice(only, count, images),
            dataset=text,
            look=look,
            to=_destination(output, overwrite),
            progress=shown,
        )


@job
def occlude(
    images: "str | Path | Sequence[str | Path] | Images",
    *,
    model: "Models | None" = None,
    window: int | None = None,
    stride: int | None = None,
    fill: str = "zero",
    target: str | int = "predicted",
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    dataset: str | None = None,
    range: float | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Occluded":
    """Moves a window over images, and watches what the model says.

    The experiment of Zeiler and Fergus (Visualizing and Understanding Convolutional Networks, ECCV
    2014, figure 7): the probability of a class as a function of where the window is, and the class
    that is then the most probable. Writes a strip, a film (GIF) and a table for each image.

    Parameters:
        images, model, target, weights, outputs, preparation, mean, std, size, resize, dataset,
            range, classes, seed, device, data_root, download, plugin, output, overwrite, progress:
            as for `explain`.
        window: side of the window in pixels of the model's input; a fifth of it by default.
        stride: how far it moves at a time; half a window by default.
        fill: what stands in it: `zero` (the colour that the model is normalised by), `black`,
            `white`, `mean` (the image's mean colour), `blur` or `gaussian-blur`.

    Raises:
        InterpBenchError: if the input is wrong.

    Example:
        >>> import interpbench
        >>> from PIL import Image
        >>> Image.new("RGB", (80, 60), "red").save("red.png")
        >>> found = interpbench.occlude(
        ...     "red.png", model="resnet18", dataset="planted", window=32, stride=16, device="cpu",
        ...     output="occluded",
        ... )
        >>> sorted(file.name for file in found.folder.iterdir())
        ['occlude.json', 'red.csv', 'red.gif', 'red.png']
        >>> found.probabilities().shape  # windows at 0, 16 and 32, of 64 pixels
        (3, 3)
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.studies.occlusion.study import occlude_files
    from interpbench.studies.occlusion.sweep import known_fill
    from interpbench.studies.pictures.explain import MODEL

    moves = window, stride, known_fill(fill)
    handed = _hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    files = _pictures(handed, images, dataset, range)
    name = handed.model(MODEL if model is None else model)
    data = handed.data_of(name, dataset, classes)
    explainer = Explainer.load(
        handed.registry, name, (), data, handed.sources, Computing.of(device), seed
    )
    to = _destination(output, overwrite)
    with _shown(progress) as shown:
        return occlude_files(files, explainer, moves, target=str(target), to=to, progress=shown)


@job
def visualise(
    model: "Models | None" = None,
    *,
    layer: str | None = None,
    channel: int | str | Sequence[int | str] | None = None,
    target: int | str | Sequence[int | str] | None = None,
    objective: str = "channel",
    steps: int = 256,
    size: "Size | str | None" = None,
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    dataset: str | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Visualised":
    """Makes images that channels, neurons or classes of a model answer to most.

    Gradient ascent on the Fourier coefficients of an image in decorrelated colours, under random
    shifts, scales and turns (Olah, Mordvintsev, Schubert, Feature Visualization, Distill 2017). The
    pictures show what raises a unit, not what it is for: data may never hold such a thing, and one
    picture shows one of many.

    Parameters:
        model: as on the command line, or in memory, as for `run`; `efficientnet_lite0` by default.
        layer: dotted name of a layer; by default the one that CAM methods look at.
        channel: of the layer, one or several, `3` or `"3,7"`.
        target: classes, by name or by their logit's index, one or several.
        objective: of a channel, `channel`: its mean over all positions; `neuron`: its position in
            the middle. Of a class it is the logit.
        steps: of the ascent.
        size: side of the images in pixels, or (height, width); the model's own by default. Of a
            module in memory it is its input's size.
        weights, outputs, preparation, mean, std, dataset, classes, device, data_root, download,
            plugin, overwrite, progress: as for `explain`.
        seed: of the noise that the images begin with, and of the transformations. On a CPU the same
            call writes the same bytes.
        output: the folder; results/visualise/<model>-N by default.

    Raises:
        InterpBenchError: if the input is wrong.

    Example:
        A channel that answers to red, and to nothing else:

        >>> import interpbench
        >>> network = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 2, 1, bias=False), torch.nn.AvgPool2d(8), torch.nn.Flatten())
        >>> _ = torch.nn.init.zeros_(network[0].weight)
        >>> network[0].weight.data[1, 0] = 1.0
        >>> found = interpbench.visualise(
        ...     network, layer="0", channel=1, size=8, mean=0.5, std=0.25, steps=200, device="cpu",
        ...     output="red",
        ... )
        >>> [unit.name for unit in found.units], found.image().shape
        (['channel 1'], (8, 8, 3))
        >>> found.units[0].reached > 1 > abs(found.units[0].start)  # of at most (1 - 0.5) / 0.25
        True
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.loading.stated import stated_by_user
    from interpbench.studies.visualisation.study import MODEL, Asked, planned, visualise_units

    in_memory = not isinstance(model, str | None)
    handed = _hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std,
        size if in_memory else None, None,
    )  # fmt: skip
    name = handed.model(MODEL if model is None else model)
    data = handed.data_of(name, dataset, classes)
    explainer = Explainer.load(
        handed.registry, name, (), data, handed.sources, Computing.of(device), seed
    )
    asked = Asked(layer, _texts(channel), _texts(target), objective)
    ascent = planned(explainer, steps, stated_by_user(size=size).size)
    with _shown(progress) as shown:
        return visualise_units(explainer, asked, ascent, _destination(output, overwrite), shown)


@job
def sanity(
    dataset: "str | Images" = "planted",
    *,
    model: "Models" = "resnet18",
    method: "Methods | None" = None,
    images: int | None = None,
    test: Names = None,
    samples: int = 50,
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Sanity":
    """Tests whether maps depend on what the model has learnt, and on the class.

    The first by parameter randomisation, the second by a random logit.

    Parameters:
        dataset, model, method: as on the command line, or in memory, as for `run`: a data set, or a
            pair of images and labels; methods may be several, and `all`.
        images: how many, class-balanced; two at least. 16 by default, or all where there are fewer.
        test: cascading, independent, complete, efficient, random-logit, smooth, or `all`; else all
            but complete and smooth.
        samples: noisy images a map in the test smooth.
        weights, outputs, preparation, mean, std, size, resize, seed, device, data_root, download,
            plugin, output, overwrite, progress: as for `explain`.

    Raises:
        InterpBenchError: if the input is wrong. A method that fails has rows that say why.

    Example:
        >>> import interpbench
        >>> checked = interpbench.sanity(
        ...     "planted", model="resnet18", method="saliency", images=2, test="random-logit",
        ...     device="cpu", output="saliency-checked",
        ... )
        >>> checked.failed
        False
        >>> sorted(checked.table["measure"])
        ['spearman', 'ssim']
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.loading.dataset import open_dataset
    from interpbench.registry.choosing import choose_dataset
    from interpbench.studies.chosen_tests import choose_tests
    from interpbench.studies.sanity.checks import DEFAULT, TESTS
    from interpbench.studies.sanity.methods import METHODS
    from interpbench.studies.sanity.study import SanityPlan, check_sanity

    tests = choose_tests(_names(test) or DEFAULT, TESTS)
    handed = _hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    text = handed.dataset(dataset) or ""
    data = open_dataset(choose_dataset(handed.registry, text, handed.sources))
    name, methods = handed.model(model), handed.names("method", method) or METHODS
    explainer = Explainer.load(
        handed.registry, name, methods, data.card, handed.sources, Computing.of(device), seed
    )
    plan, to = SanityPlan(images, tests, samples), _destination(output, overwrite)
    with _shown(progress) as shown:
        return check_sanity(data, explainer, plan, dataset=text, to=to, progress=shown)


@job
def advise(
    dataset: "str | Images" = "planted",
    *,
    model: "Models" = "resnet18",
    method: "Methods" = "all",
    budget: str | float = "10m",
    images: int | None = None,
    target: str = "predicted",
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Shown = None,
) -> "Advice":
    """Which method for a model and its images, how sure is that, and what would change it?

    Within the budget, methods race: a few images for all, then ever more images for ever fewer of
    them. Who is shown to be worse than the leader is out, and where time runs short the worse half;
    controls stay. The finalists are scored under other settings too, and go through the sanity
    checks. The rules are in `studies/advise/advise.toml`.

    Parameters:
        dataset, model, method: as on the command line, or in memory, as for `run`: a data set, or a
            pair of images and labels; methods may be several, and `all` that apply. All controls
            take part, whoever is named.
        budget: seconds, or `90s`, `10m`, `1.5h`: of the clock, for everything but the
            start of Python.
        images: how many may be used at most, class-balanced; None for all.
        target: the class that is explained, `predicted` or `label`.
        resume: goes on with what lies in `output`: rounds that are finished count as they are.
        weights, outputs, preparation, mean, std, size, resize, seed, device, batch_size, data_root,
            download, plugin, output, overwrite, progress: as for `run` and `explain`.

    Raises:
        InterpBenchError: if the input is wrong, or the budget ends before any method is scored. A
            method that fails is out, and said so.

    Example:
        >>> import interpbench
        >>> advice = interpbench.advise(
        ...     "planted", model="resnet18", method="saliency", budget="1h", images=2,
        ...     device="cpu", output="advice",
        ... )
        >>> len(advice.lines) <= 10
        True
        >>> advice.page.name
        'advice.html'
    """
    started = time.monotonic()
    from interpbench.core.devices import Computing
    from interpbench.studies.advise.bench import Bench
    from interpbench.studies.advise.rules import bundled_rules
    from interpbench.studies.advise.study import advise as advise_on
    from interpbench.studies.advise.study import seconds_of

    seconds = seconds_of(str(budget))
    handed = _hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    text, name = handed.dataset(dataset) or "", handed.model(model)
    methods = handed.names("method", method) or ()
    computing = Computing.of(device, batch_size=batch_size)
    to = _destination(output, overwrite)
    with _shown(progress, "maps") as shown:
        bench = Bench(
            handed.registry, handed.sources, computing, text, name, methods, target, seed, shown
        )
        return advise_on(
            bench, bundled_rules(), seconds, images=images, to=to, resume=resume, started=started
        )


@job
def judge(
    dataset: "str | Images" = "planted",
    *,
    model: "Models" = "resnet18",
    metric: "Metrics | None" = None,
    method: "Methods | None" = None,
    images: int = 16,
    test: Names = None,
    steps: int = 3,
    perturbations: int = 1,
    weights: str | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Judging":
    """Judges metrics where the truth is known: which of them can be believed?

    Whether they put the exact mask and its degradations in order; keep their scores under minor
    noise and give them up under disruption (MetaQuantus); rank methods as localisation does; and
    prefer the right map of networks whose truth is known by construction.

    Parameters:
        dataset, model, metric, method: as on the command line, or in memory, as for `run`; the data
            need masks. All metrics and seven methods by default; of these, the first three explain
            each perturbation anew.
        images: how many, class-balanced; those that the model gets wrong are left out.
        test: orders, consistency, agreement, scenarios, or `all`, which is the default.
        steps: of each degradation, besides the exact mask.
        perturbations: of images and of weights, minor and disruptive, each.
        weights, seed, device, data_root, download, plugin, output, overwrite, progress: as for
            `explain`.

    Returns:
        the folder and the table, a row a metric; a metric that needs a method, which a mask is not,
        is `not asked`, with the reason.

    Raises:
        InterpBenchError: if the input is wrong.

    Example:
        >>> import interpbench
        >>> judged = interpbench.judge(
        ...     metric="roc-auc,entropy", images=10, test="orders", device="cpu", output="judged",
        ... )
        >>> judged.table[["metric", "orders"]].values.tolist()
        [['roc-auc', 5], ['entropy', 3]]
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.loading.dataset import open_dataset
    from interpbench.registry.choosing import choose_dataset, choose_plugins
    from interpbench.studies.chosen_tests import choose_tests
    from interpbench.studies.judging import study

    for name, count in {"images": images, "steps": steps, "perturbations": perturbations}.items():
        if count < 1:
            raise ParameterError(f"{name}={count}: expected 1 or more.")
    tests = choose_tests(_names(test) or study.TESTS, study.TESTS)
    handed = _hand(plugin, (data_root, download), (weights, None), *[None] * 5)
    text = handed.dataset(dataset) or ""
    data = open_dataset(choose_dataset(handed.registry, text, handed.sources))
    name = handed.model(model)
    methods = handed.names("method", method) or study.METHODS
    chosen, localisation = (
        choose_plugins(handed.registry, "metric", names).plugins
        for names in (handed.names("metric", metric) or ["all"], study.LOCALISATION)
    )
    explainer = Explainer.load(
        handed.registry, name, methods, data.card, handed.sources, Computing.of(device), seed
    )
    plan = study.JudgingPlan(images, tests, steps, perturbations, localisation)
    to = _destination(output, overwrite)
    with _shown(progress) as shown:
        return study.judge_metrics(
            data, explainer, chosen, plan, dataset=text, to=to, progress=shown
        )


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

    names = [name for text in _names(formats) or ("png",) for name in text.split(",")]
    to = found.folder / "plots"
    return draw(found.tables, found.leaderboard, to, names, Page(columns))


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


@job
def conformance(
    *,
    method: Names = None,
    metric: Names = None,
    metrics: bool = False,
    model: Names = None,
    images: int = 3,
    seed: int = 0,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Conformance":
    """Compares methods, or metrics, with the implementations of other libraries.

    On untrained models and images of noise; metrics on three kinds of maps of these. Writes the
    comparison, and returns it.

    Parameters:
        method: methods, without parameters; all that other libraries have by default.
        metric: metrics, likewise, which are then compared instead.
        metrics: whether metrics are compared instead; all where none is named.
        model: architectures; small ones of each kind by default, for metrics a linear one too.
        images: of noise, 1 to 10, each with another target.
        seed: of weights, images and all chance.
        plugin: files or folders with plugins.
        output: the folder; results/conformance/deviations-N by default.
        overwrite: whether what `conformance` wrote there is replaced.
        progress: told how it gets on.

    Returns:
        the folder, the table of deviations, and whether all are within their tolerance: `holds`,
        `differing`.

    Raises:
        InterpBenchError: if the input is wrong, or none of the libraries is installed.

    Example:
        >>> import interpbench
        >>> compared = interpbench.conformance(
        ...     method="saliency", model="resnet18:width=8", images=1, output="saliency-compared"
        ... )
        >>> compared.holds
        True
        >>> "captum" in set(compared.deviations["library"])
        True
        >>> compared = interpbench.conformance(
        ...     metric="infidelity", model="resnet18:width=8", images=1, output="metrics-compared"
        ... )
        >>> set(compared.deviations["maps"])  == {"gradient-x-input", "ties", "random"}
        True
    """
    from interpbench.core.errors import ParameterError
    from interpbench.registry.discovery import discover
    from interpbench.studies.conformance.study import Asked, compare_methods, compare_metrics

    if method is not None and (metrics or metric is not None):
        raise ParameterError("Methods or metrics are compared, one at a time: name either alone.")
    of_metrics = metrics or metric is not None
    asked = Asked(_names(metric if of_metrics else method), _names(model), images, seed)
    compare = compare_metrics if of_metrics else compare_methods
    with _shown(progress) as shown:
        return compare(discover(_paths(plugin)), asked, _destination(output, overwrite), shown)


@checked
def stability(
    dataset: "str | Images" = "planted",
    *,
    model: "Models" = "resnet18",
    method: "Methods | None" = None,
    metric: Names = None,
    vary: Names = None,
    images: int | None = None,
    target: str | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    weights: Names = None,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> "Stability":
    """Ranks methods under many settings, and says which conclusions survive all of them.

    What differs in scoring alone shares its maps; another target or seed is a run of its own, in
    the folder too.

    Parameters:
        dataset, model, method: as for `run`; one model.
        metric: names as on the command line; deletion and insertion by default.
        vary: what is chosen otherwise: baseline, steps, output, sign, first, target, seed, images;
            all by default, of what a metric has.
        images: how many; those of the suite `quick` by default.
        target: `predicted` or `label`; the other one is the alternative.
        seed: of chance; seed + 1 is the alternative.
        device, data_root, download, weights, plugin, overwrite, progress: as for `run`.
        output: a folder in results/ by default.

    Raises:
        InterpBenchError: if the input is wrong.

    Example:
        >>> import interpbench
        >>> studied = interpbench.stability(
        ...     "planted", method="saliency,gradcam,random", metric="deletion:steps=4",
        ...     vary="sign,images", images=6, device="cpu", output="stable", progress=False,
        ... )
        >>> studied.survey.settings["factor"].tolist()
        ['', 'sign', 'images', 'images']
        >>> sorted(studied.factors["factor"])
        ['images', 'sign']
    """
    from interpbench.files.versions import git_state
    from interpbench.registry.discovery import discover
    from interpbench.studies.stability.settings import SEED, TARGET, alternatives, settings_of
    from interpbench.studies.stability.study import StabilityRecord, study_stability

    known = alternatives()
    factors = None if vary is None else ",".join(_names(vary) or ()).split(",")
    metrics = _names(metric) or known.metrics
    settings, wanted = settings_of(discover(_paths(plugin)), metrics, factors, known)
    record = StabilityRecord(
        command=tuple(sys.argv),
        git=git_state(),
        seed=seed,
        settings=tuple(each.name for each in settings),
        runs={name: name or "base" for name in wanted},
    )
    folder = _destination(output, overwrite).open("stability", "stability", record)
    usual = target or "predicted"
    targets = {TARGET: "label" if usual == "predicted" else "predicted"}
    runs = {}
    with folder:
        for name, labels in wanted.items():
            runs[name] = run(
                dataset=dataset, model=model, method=method, metric=labels, images=images,
                target=targets.get(name, usual), seed=seed + (name == SEED), ceiling="none",
                device=device, data_root=data_root, download=download, weights=weights,
                plugin=plugin, output=folder.path / (name or "base"), overwrite=overwrite,
                plots=False, progress=progress,
            )  # fmt: skip
        return study_stability(settings, runs, folder, seed)


@job
def doctor(
    model: "Models",
    *,
    dataset: "str | Images | None" = None,
    images: "Images | None" = None,
    weights: str | Path | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    seed: int = 0,
    device: str = "auto",
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> "DoctorsReport":
    """Finds what makes methods go wrong on a model.

    And what of it can be repaired, on a copy with the same answers.

    Parameters:
        model: one model, such as `resnet18:width=16`, or `FILE.py:FUNCTION`; or a module, of which
            a copy is examined.
        dataset: whose first images are used; `planted` by default.
        images: in memory, as for `run`, instead of a data set.
        weights: a file or `random`; what is shipped, or torchvision's, by default.
        outputs, preparation, mean, std, size, resize: as for `run`.
        data_root, download: for data sets that lie on disk.
        seed: of random weights, and of all chance.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        plugin: files or folders with plugins.
        output: a folder for layers.csv, layers.png and doctor.json; nothing is written by default.
            `overwrite` replaces what the same call wrote there.

    Returns:
        the diagnosis, the repairs, and which methods are ruled out for good; `healthy` if none is.
        `layers` has the mean and the spread of activations and of gradients of each layer, the
        share of units that never fire and of saturated ones, over up to 32 images.

    Raises:
        InterpBenchError: if the input is wrong. What is wrong with the model is found instead.

    Example:
        >>> import interpbench
        >>> report = interpbench.doctor("resnet18", dataset="planted", device="cpu")
        >>> report.healthy, report.image_size
        (True, (64, 64))
        >>> [finding.kind for finding in report.diagnosis.findings]
        ['in-place activation', 'reused activation']
        >>> [layer.layer for layer in report.layers][:3], report.layers[2].dead
        (['conv1', 'bn1', 'relu'], 0.0)
    """
    from interpbench.core.devices import resolve_device
    from interpbench.diagnosis.study import examine_and_repair

    handed = _hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    name, text = handed.model(model), handed.dataset(dataset, images)
    if text is None and not isinstance(model, str):
        raise DataError(
            f"On which images is {name!r} to be examined? Give a few, images=x[:2], or a data set."
        )
    where = resolve_device(device)
    report = examine_and_repair(
        handed.registry, name, text or "planted", handed.sources, device=where, seed=seed
    )
    if output is not None:
        from interpbench.studies.layers.report import write_layers

        write_layers(report, _destination(output, overwrite))
    return report


@job
def check(
    what: str | Path,
    *,
    method: Names = None,
    metric: Names = None,
    model: Names = None,
    dataset: Names = None,
    plugin: Paths = None,
    progress: Shown = None,
) -> "list[CheckedPlugin]":
    """Tries what every method, metric, model or data set promises.

    Methods and metrics on three small models, models on noise, data sets on some of their samples.

    Parameters:
        what: a plugin file, a folder of them, or plugins of one kind by their names,
            `occlusion:window=8`.
        method, metric, model, dataset: only these of the file, `mine:samples=5`.
        plugin: further files or folders with plugins.
        progress: told how it gets on; it counts plugins.

    Returns:
        for each how its contracts came out: `outcomes`, and those that it breaks: `broken`.

    Raises:
        InterpBenchError: if there is no such file or plugin. What one does wrong is found instead.

    Example:
        >>> import interpbench
        >>> [checked] = interpbench.check("occlusion:window=8,stride=8")
        >>> checked.label, checked.broken
        ('occlusion:stride=8,window=8', ())
    """
    from interpbench.testing import check

    with _shown(progress) as shown:
        return check(
            what,
            method=_names(method),
            metric=_names(metric),
            model=_names(model),
            dataset=_names(dataset),
            plugin=_paths(plugin),
            progress=shown,
        )


@job
def train(
    model: str,
    *,
    dataset: str = "planted",
    data_root: str | Path | None = None,
    download: bool = False,
    samples: str | Path | None = None,
    weights: str | Path | None = None,
    split: float | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    recipe: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    size: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    device: str = "auto",
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    plugin: Paths = None,
    progress: "Callable[[TrainingStep], None] | bool | None" = None,
) -> "TrainedModel":
    """Trains a model on a data set's train split, and writes its weights.

    The weights' card states the test accuracy.

    Parameters:
        model: one architecture, such as `resnet18:width=16`.
        dataset: with a train and a test split, or to be cut by `split`.
        data_root, download: for data sets that lie on disk.
        samples: as for `run`, of the images to train on; those to test on stay. With `split`, of
            all.
        weights: to start from: a file, or `imagenet` for those that come with the architecture. The
            last layer starts anew where they have another number of classes; images get the size
            and the normalisation of their input.
        preparation, mean, std: how images are normalised, as for `run`; by default as the weights
            or the data set say.
        split: the share of each class that is held out to test on, in 0..1, where the data are one
            folder of class folders.
        recipe: a bundled recipe or a TOML file; by default `fine-tune` with `weights`, else that of
            the shipped weights, if there are any. `in-domain` starts from `weights`, or else from
            those that a run would take.
        epochs, batch_size, lr, size, seed, precision: instead of the recipe's.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        output: the safetensors file; `<dataset>-<model>.safetensors` by default.
        resume: whether to go on with the unfinished training of `output`.
        overwrite: whether `output` may be replaced.
        plugin: files or folders with plugins.
        progress: called after each batch, and with notes on what you should know; or whether a line
            shows how it gets on, None shows it in IPython.

    Returns:
        the weights' file, its card with the accuracies, the record of the training, and notices.

    Raises:
        InterpBenchError: if the input is wrong, or the training breaks down.

    Example:
        >>> import interpbench
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> for split in ("train", "test"):
        ...     for colour in ("red", "blue"):
        ...         folder = Path("colours", split, colour)
        ...         folder.mkdir(parents=True)
        ...         for side in range(32, 36):
        ...             Image.new("RGB", (side, side), colour).save(folder / f"{side}.png")
        >>> trained = interpbench.train(
        ...     "resnet18:width=4", dataset="imagefolder:root=colours", epochs=1, batch_size=4,
        ...     size=32, device="cpu", output="colours.safetensors",
        ... )
        >>> trained.card.classes
        ('blue', 'red')
        >>> trained.card.notes["tested_on"]
        '8 images'
    """
    from interpbench.core.devices import resolve_device
    from interpbench.loading.stated import stated_by_user
    from interpbench.registry.choosing import Sources
    from interpbench.training.plan import train_as_planned

    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "size": size,
        "seed": seed,
        "precision": precision,
    }
    sources = Sources(
        data_root,
        download,
        _names(None if weights is None else str(weights)) or (),
        stated_by_user(preparation, mean=mean, std=std),
        samples=None if samples is None else Path(samples),
    )
    plan = _plan_training(model, (dataset, split), sources, recipe, changes, output, plugin)
    with _shown_steps(progress) as shown:
        return train_as_planned(
            plan, device=resolve_device(device), resume=resume, overwrite=overwrite, progress=shown
        )


@job
def find_lr(
    model: str,
    *,
    dataset: str = "planted",
    data_root: str | Path | None = None,
    download: bool = False,
    samples: str | Path | None = None,
    weights: str | Path | None = None,
    split: float | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    recipe: str | Path | None = None,
    batch_size: int | None = None,
    size: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    device: str = "auto",
    output: str | Path | None = None,
    plugin: Paths = None,
    progress: "Callable[[TrainingStep], None] | bool | None" = None,
) -> "LearningRateSearch":
    """Searches for a learning rate; writes the search beside where `train` would put the weights.

    Parameters:
        model, dataset, data_root, download, samples, weights, split, preparation, mean, std,
            recipe, batch_size, size, seed, precision, device, plugin: as for `train`.
        output: the weights' file; NAME.lr.csv and .png lie beside it.
        progress: called after each step; or as for `train`.

    Returns:
        the suggested learning rate, and the table of the search.

    Raises:
        InterpBenchError: if the input is wrong, or the loss never falls.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> import interpbench
        >>> for split in ("train", "test"):
        ...     for colour in ("red", "blue"):
        ...         folder = Path("colours", split, colour)
        ...         folder.mkdir(parents=True)
        ...         for side in range(32, 36):
        ...             Image.new("RGB", (side, side), colour).save(folder / f"{side}.png")
        >>> search = interpbench.find_lr(
        ...     "vgg11:width=2", dataset="imagefolder:root=colours", batch_size=4, size=32,
        ...     device="cpu", output="colours.safetensors",
        ... )
        >>> list(search.table.columns), search.record.name
        (['lr', 'loss', 'smoothed'], 'colours.lr.csv')
    """
    from interpbench.core.devices import resolve_device
    from interpbench.loading.stated import stated_by_user
    from interpbench.registry.choosing import Sources
    from interpbench.training.plan import search_as_planned

    changes = {"batch_size": batch_size, "size": size, "seed": seed, "precision": precision}
    sources = Sources(
        data_root,
        download,
        _names(None if weights is None else str(weights)) or (),
        stated_by_user(preparation, mean=mean, std=std),
        samples=None if samples is None else Path(samples),
    )
    plan = _plan_training(model, (dataset, split), sources, recipe, changes, output, plugin)
    with _shown_steps(progress) as shown:
        return search_as_planned(plan, device=resolve_device(device), progress=shown)


def _plan_training(
    model: str,
    data: tuple[str, float | None],
    sources: "Sources",
    recipe: str | Path | None,
    changes: Mapping[str, int | float | str | None],
    output: str | Path | None,
    plugin: Paths,
) -> "TrainingPlan":
    from interpbench.registry.discovery import discover
    from interpbench.training.plan import plan_training

    dataset, split = data
    named = None if recipe is None else str(recipe)
    where = None if output is None else Path(output)
    return plan_training(
        discover(_paths(plugin)),
        model,
        dataset,
        sources,
        recipe=named,
        changes=changes,
        output=where,
        split=split,
    )


def _hand(
    plugin: Paths,
    data: tuple[str | Path | None, bool],
    network: "tuple[Names | Path, str | None]",
    preparation: "str | Path | Preparation | None",
    mean: "Numbers | None",
    std: "Numbers | None",
    size: "Size | str | None",
    resize: int | None,
) -> "Handed":
    """All plugins, and what is said of data, weights and preparation; ready for what is in memory.

    Parameters:
        data: root, and whether it may be downloaded.
        network: its weights, and what its outputs are.
    """
    from interpbench.loading.in_memory import Handed
    from interpbench.loading.stated import stated_by_user
    from interpbench.registry.choosing import Sources
    from interpbench.registry.discovery import discover

    stated = stated_by_user(preparation, mean=mean, std=std, size=size, resize=resize)
    weights, outputs = network
    names = _names(str(weights) if isinstance(weights, Path) else weights) or ()
    sized = size is not None or resize is not None
    return Handed(discover(_paths(plugin)), Sources(*data, names, stated, outputs), resized=sized)


@contextmanager
def _shown(progress: Shown, unit: str = "") -> Iterator[Progress]:
    """What is told how a call gets on."""
    if isinstance(progress, Progress):
        yield progress
        return
    lines = lines_of_a_call(progress, unit)
    if lines is None:
        yield SILENT
    else:
        with lines:
            yield lines


@contextmanager
def _shown_steps(
    progress: "Callable[[TrainingStep], None] | bool | None",
) -> "Iterator[Callable[[TrainingStep], None]]":
    """What is told how a training gets on."""
    from interpbench.training.step_lines import StepLines

    if progress is not None and not isinstance(progress, bool):
        yield progress
        return
    lines = lines_of_a_call(progress, "steps")
    if lines is None:
        yield lambda step: None
    else:
        with lines:
            yield StepLines(lines)


def _pictures(
    handed: "Handed",
    images: "str | Path | Sequence[str | Path] | Images",
    dataset: str | None,
    white: float | None,
) -> "Dataset":
    """Images that are named, or in memory, whatever their classes.

    Parameters:
        handed: takes those in memory.
        images: see `explain`.
        dataset: as which images are read, if one is named.
        white: the value that is white; None for what is said of the data set's files.
    """
    from interpbench.studies.pictures.images import Files, find_files

    if not _are_paths(images):
        return handed.images(images)
    paths = find_files([Path(path) for path in _paths(images)])
    if white is None and isinstance(dataset, str):
        white = handed.range_of(dataset)
    return Files(paths, range=white)


def _are_paths(images: object) -> bool:
    """Whether images are named rather than given."""
    several = images if isinstance(images, list | tuple) else [images]
    return all(isinstance(image, str | Path) for image in several)


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


def _names(value: Names) -> tuple[str, ...] | None:
    names = None if value is None else (value,) if isinstance(value, str) else tuple(value)
    if names is not None and not all(isinstance(name, str) for name in names):
        raise ParameterError(
            f"Plugins are given by their names, not as {names!r}. Register yours with a decorator."
        )
    return names


def _texts(value: int | str | Sequence[int | str] | None) -> tuple[str, ...]:
    """One or several names or numbers, as one would type them."""
    if value is None:
        return ()
    return tuple(map(str, [value] if isinstance(value, str | int) else value))


def _paths(value: Paths) -> list[str | Path]:
    return [] if value is None else [value] if isinstance(value, str | Path) else list(value)


def _each(listener: Listener | Sequence[Listener] | None) -> Sequence[Listener]:
    """The listeners that a call was given."""
    return [] if listener is None else [listener] if isinstance(listener, Listener) else listener


def _destination(output: str | Path | None, overwrite: bool) -> Destination:
    return Destination(None if output is None else Path(output), overwrite)


def _fresh_folder(suite: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = RUNS / f"{suite}-{stamp}"
    number = 2
    while folder.exists():
        folder = RUNS / f"{suite}-{stamp}-{number}"
        number += 1
    return folder
