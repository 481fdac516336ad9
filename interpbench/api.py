"""The whole job as one call: `run(...)` plans, runs, writes and returns the run; `load_run(folder)` opens one."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from interpbench import precision as precisions
from interpbench.cells import Cell, CellResult, ModelResult
from interpbench.csv_files import write_csv
from interpbench.errors import ParameterError, RunFolderError
from interpbench.leaderboard import conclude
from interpbench.results import PAGE, PROFILE, Mode, RunFolder
from interpbench.tables import RunTables

if TYPE_CHECKING:
    from interpbench.plan import Plan
    from interpbench.suite import Suite

RUNS = Path("results/runs")
MODEL_INFO = ("card", "accuracy", "accuracy_images", "pixels_sha256", "findings", "repairs", "scoring")  # in run.json
Names = str | Sequence[str] | None


@dataclass(frozen=True, eq=False)
class Run:
    """A run and its tables.

    Attributes:
        folder: where it lies.
        info: run.json.
        tables: scores, curves, cells, timings, examples.
        conclusions: what follows from the scores, by the name of its file: see `leaderboard.conclude`.
    """

    folder: Path
    info: Mapping[str, Any] = field(repr=False)
    tables: RunTables = field(repr=False)
    conclusions: Mapping[str, pd.DataFrame] = field(repr=False)

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row per data set, model, metric and method, with intervals, ranks and shares of the achievable."""
        return self.conclusions["leaderboard"]

    @property
    def comparisons(self) -> pd.DataFrame:
        """One row per pair of methods, data set, model and metric: can they be told apart?"""
        return self.conclusions["comparisons"]

    @property
    def scores(self) -> pd.DataFrame:
        """One row per image, method, model and metric."""
        return self.tables.scores

    @property
    def curves(self) -> pd.DataFrame:
        """One row per point of a curve."""
        return self.tables.curves

    @property
    def failed(self) -> pd.DataFrame:
        """The cells that failed, with the reason."""
        return self.tables.cells[self.tables.cells["status"] != "ok"]


class Listener:
    """Told how a run gets on. The command line's draws a progress bar; this one is silent."""

    def planned(self, plan: "Plan", folder: Path, done: int) -> None:
        """The run starts; `done` cells are finished already."""

    def images(self, cell: Cell, count: int) -> None:
        """So many images more of a cell are explained and scored."""

    def cell(self, result: CellResult) -> None:
        """A cell is finished and written."""


def run(
    suite: str | None = None,
    *,
    dataset: str | None = None,
    model: Names = None,
    method: Names = None,
    metric: Names = None,
    images: int | None = None,
    steps: int | None = None,
    target: str | None = None,
    ceiling: int | str | None = None,
    seed: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
    compile: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    weights: Names = None,
    plugin: str | Path | Sequence[str | Path] | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    plots: bool = True,
    profile: bool = False,
    listener: Listener | None = None,
) -> Run:
    """Explains and scores; writes the run folder; returns the run. The arguments are the command line's options.

    Args:
        suite: name of a bundled suite or path of a TOML file; `quick` by default. When resuming, what was recorded.
        dataset, model, method, metric: plugins as on the command line (`occlusion:window=16,stride=8`), instead of
            the suite's.
        images, steps, target, ceiling, seed: instead of the suite's.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: of the scores' forward passes: `fp32`, `bf16`, `fp16` or `auto`.
        batch_size: images a forward pass; None chooses it from the input's size, or measures it in long runs.
        compile: torch.compile for the scores' forward passes: `auto` (where it pays), `always` or `never`.
        data_root, download: for data sets that lie on disk.
        weights: `FILE`, `random`, or `MODEL=FILE`.
        plugin: files or folders with plugins.
        output: the run folder; results/runs/<suite>-<time> by default.
        resume, overwrite: what to do with a folder that holds a run.
        plots: whether to draw them, and to write the page.
        profile: whether to write profile.csv, what the time goes into, and trace.json, of the first batches.
        listener: told how it gets on.

    Raises:
        InterpBenchError: if the input is wrong. A method that fails only fails its own cells: see `Run.failed`.
    """
    from interpbench.devices import resolve_compile, resolve_device, resolve_precision
    from interpbench.discovery import discover
    from interpbench.plan import make_plan

    if resume and (overwrite or output is None):
        raise RunFolderError("To resume, name the run with --output, and leave --overwrite out.")
    mode: Mode = "resume" if resume else "overwrite" if overwrite else "new"
    flags = {
        "dataset": dataset, "models": _names(model), "methods": _names(method), "metrics": _names(metric),
        "images": images, "steps": steps, "target": target, "ceiling": ceiling, "seed": seed,
    }  # fmt: skip
    base = _suite(suite, Path(output) if resume and output else None)
    chosen = base.changed(flags)
    torch_device = resolve_device(device)
    registry = discover(_paths(plugin))
    plan = make_plan(
        chosen,
        registry,
        device=torch_device,
        precision=resolve_precision(precision, torch_device),
        batch_size=batch_size,
        compile=resolve_compile(compile),
        weights=_names(weights) or (),
        data={k: v for k, v in {"root": data_root, "download": download or None}.items() if v is not None},
        asked_metrics=metric is not None,
        asked_methods=method is not None,
        changed=chosen != base,
    )
    folder = RunFolder(Path(output) if output is not None else _fresh_folder(chosen.name))
    return _execute(plan, folder, mode, plots, profile, listener or Listener())


def load_run(folder: str | Path) -> Run:
    """Opens a run; neither torch nor plugins are needed.

    Raises:
        RunFolderError: if there is none.
    """
    run_folder = RunFolder(Path(folder))
    tables = run_folder.tables()
    return Run(run_folder.path, run_folder.info(), tables, conclude(tables))


def redraw(found: Run) -> list[Path]:
    """Draws a run's plots again; the files."""
    from interpbench.plots import draw

    return draw(found.tables, found.leaderboard, found.folder / "plots")


def write_page(source: Run | str | Path, output: str | Path | None = None) -> Path:
    """Writes a run, or a leaderboard's CSV, as one HTML page that needs no network; the file.

    Args:
        source: a run, its folder, or a leaderboard: a run's leaderboard.csv, or a published one.
        output: the page; report.html in the run's folder, or beside the CSV and called after it, by default.

    Raises:
        RunFolderError: if there is no run or leaderboard, or the page cannot be written.
    """
    from interpbench.page.evidence import of_csv, of_run
    from interpbench.page.render import write_page

    if not isinstance(source, Run) and Path(source).is_file():
        return write_page(of_csv(Path(source)), Path(output or Path(source).with_suffix(".html")))
    found = source if isinstance(source, Run) else load_run(source)
    evidence = of_run(found.info, found.tables, found.conclusions)
    return write_page(evidence, Path(output or found.folder / PAGE))


def _execute(plan: "Plan", folder: RunFolder, mode: Mode, plots: bool, profile: bool, listener: Listener) -> Run:
    identity = _identity(plan)
    folder.start(mode)
    done = _finished(folder, plan, identity) if mode == "resume" else set()
    info = {**_info(plan), "identity": identity, "status": "running"}
    folder.write_info(info)
    listener.planned(plan, folder.path, len(done))
    if profile:
        _run_profiled(plan, folder, done, listener)
    else:
        _run_cells(plan, folder, done, listener, listener.images)
    tables = folder.assemble()
    conclusions = conclude(tables)
    for name, frame in conclusions.items():
        folder.write(f"{name}.csv", partial(write_csv, frame))
    info |= {"status": "finished", "finished": _now(), **_outcome(folder)}
    info["notices"] += [notice for model in folder.model_records() for notice in model.get("notices", [])]
    info["notices"] += precisions.notices(info["precision_effect"], plan.precision)
    folder.write_info(info)
    finished = Run(folder.path, folder.info(), tables, conclusions)
    if plots:
        redraw(finished)
        write_page(finished)
    return finished


def _run_cells(
    plan: "Plan", folder: RunFolder, done: set[Cell], listener: Listener, progress: Callable[[Cell, int], None]
) -> None:
    """Runs what is not done, and writes each cell as it is finished."""
    from interpbench.runner import run_cells

    for result in run_cells(plan, done=done, progress=progress):
        if isinstance(result, ModelResult):
            folder.write_model(result)
        else:
            folder.write_cell(result)
            listener.cell(result)


def _run_profiled(plan: "Plan", folder: RunFolder, done: set[Cell], listener: Listener) -> None:
    """As `_run_cells`, and writes where the time went."""
    from interpbench.profiling import Profile

    taken = Profile(plan.device)

    def progress(cell: Cell, images: int) -> None:
        listener.images(cell, images)
        taken.step()

    with taken.taken():
        _run_cells(plan, folder, done, listener, progress)
    table, trace = PROFILE
    folder.write(table, partial(write_csv, taken.table))
    folder.write(trace, taken.write_trace)


def _outcome(folder: RunFolder) -> dict[str, Any]:
    """What run.json says of a finished run: the models, what failed, what was left behind, what could not be read."""
    cells, models = folder.cell_records(), folder.model_records()
    return {
        "models": {f"{m['dataset']} {m['model']}": {k: m[k] for k in MODEL_INFO if k in m} for m in models},
        "failures": [cell for cell in cells if cell["status"] != "ok"],
        "windows": [
            {"model": cell["model"], "method": cell["method"], **choice}
            for cell in cells
            for choice in cell.get("windows", ())
        ],
        "precision_effect": precisions.effects(cells),
        "forward_passes_of_ceilings": sum(cell.get("forward_passes", 0) for cell in cells),
        "left_behind": [
            {"method": cell["method"], "model": cell["model"], "what": cell["left_behind"]}
            for cell in cells
            if cell["left_behind"]
        ],
        "skipped": {sample: why for model in models for sample, why in model["skipped"].items()},
    }


def _finished(folder: RunFolder, plan: "Plan", identity: Mapping[str, Any]) -> set[Cell]:
    """The cells that need not run again; failed ones do, in case their plugin was mended.

    Raises:
        RunFolderError: if the folder's run is another one, or a finished method's plugin has changed since.
    """
    recorded = folder.info()["identity"]
    differing = sorted(key for key in identity if recorded.get(key) != identity[key])
    if differing:
        raise RunFolderError(
            f"{folder.path} holds another run: {', '.join(differing)} differ. Resume with the command that began it, "
            "or start afresh with --overwrite or another --output."
        )
    finished, planned = set(), set(plan.cells)
    for record in folder.cell_records():
        cell = Cell(record["dataset"], record["model"], record["method"])
        if record["status"] != "ok" or cell not in planned:
            continue
        if record["method_hash"] != plan.method(cell).plugin.source_hash:
            raise RunFolderError(
                f"Method {cell.method!r} has changed since its cells in {folder.path} were finished. Start afresh with "
                "--overwrite or another --output."
            )
        finished.add(cell)
    return finished


def _identity(plan: "Plan") -> dict[str, Any]:
    """Everything that must be the same for two runs to write the same tables."""
    from interpbench.provenance import versions

    return {
        "suite": plan.suite.model_dump(mode="json"),
        "data": {"revision": plan.dataset.card.revision, "samples": [plan.dataset.ids[i] for i in plan.indices]},
        "weights": {label: model.card.weights_sha256 for label, (_, model) in plan.models.items()},
        "plugins": {
            label: choice.plugin.source_hash
            for label, choice in {
                plan.dataset_choice.name: plan.dataset_choice,
                **{label: choice for label, (choice, _) in plan.models.items()},
                **plan.metrics,
            }.items()
        },
        "device": plan.device.type,
        "precision": plan.precision,
        "batch_size": {label: model.batch_size for label, (_, model) in plan.models.items()},
        "versions": {k: v for k, v in versions().items() if k in ("interpbench", "torch", "captum")},
    }


def _info(plan: "Plan") -> dict[str, Any]:
    """The first version of run.json."""
    from interpbench.devices import describe
    from interpbench.provenance import git_state, versions

    choices = [plan.dataset_choice, *(c for c, _ in plan.models.values()), *plan.methods.values()]
    # A model's weights may have decided on parameters that the user left out.
    parameters = {label: model.card.parameters for label, (_, model) in plan.models.items()}
    return {
        "suite": {
            "name": plan.suite.name,
            "version": plan.suite.version,
            "hash": plan.suite.hash,
            "changed": plan.changed,
        },
        "settings": plan.suite.model_dump(mode="json"),
        "command": sys.argv,
        "started": _now(),
        "seed": plan.suite.seed,
        "device": describe(plan.device),
        "precision": plan.precision,
        "versions": versions(),
        "git": git_state(),
        "notices": list(plan.notices),
        "metrics": {label: _metric_info(plan, label) for label in plan.metrics},
        "plugins": {
            f"{c.plugin.kind} {c.label}": {
                "origin": c.plugin.origin,
                "source_hash": c.plugin.source_hash,
                "reference": c.plugin.reference,
                "parameters": parameters.get(c.label, dict(c.values)) if c.plugin.kind == "model" else dict(c.values),
            }
            for c in [*choices, *plan.metrics.values(), *([plan.ceiling] if plan.ceiling else [])]
        },
    }


def _metric_info(plan: "Plan", label: str) -> dict[str, Any]:
    plugin = plan.metrics[label].plugin
    protocol = plan.protocols[label]
    return {
        "summary": plugin.summary,
        "better": plugin.better,
        "range": list(plugin.range),
        "unit": plugin.unit,
        "curve": plugin.curve,
        "protocol": protocol.hash,
        "protocol_text": protocol.text,
    }


def _suite(name: str | None, resumed: Path | None) -> "Suite":
    """The suite to start from: the one named, else the one that the resumed run recorded, else the default."""
    from interpbench.suite import DEFAULT, Suite, load_suite

    if name is None and resumed is not None:
        return Suite.model_validate(RunFolder(resumed).info()["settings"])
    return load_suite(name or DEFAULT)


def _names(value: Names) -> tuple[str, ...] | None:
    names = None if value is None else (value,) if isinstance(value, str) else tuple(value)
    if names is not None and not all(isinstance(name, str) for name in names):
        raise ParameterError(f"Plugins are given by their names, not as {names!r}. Register yours with a decorator.")
    return names


def _paths(value: str | Path | Sequence[str | Path] | None) -> list[str | Path]:
    return [] if value is None else [value] if isinstance(value, str | Path) else list(value)


def _fresh_folder(suite: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = RUNS / f"{suite}-{stamp}"
    number = 2
    while folder.exists():
        folder = RUNS / f"{suite}-{stamp}-{number}"
        number += 1
    return folder


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
