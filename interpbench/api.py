"""The whole job as one call: `run(...)` plans, runs, writes and returns the run; `load_run(folder)` opens one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from interpbench.core.errors import ParameterError, RunFolderError
from interpbench.results.finished_run import Run, load_run
from interpbench.results.run_folder import PAGE, Mode, RunFolder
from interpbench.running.execute import Listener, execute

if TYPE_CHECKING:
    from interpbench.suite.suite import Suite

RUNS = Path("results/runs")
Names = str | Sequence[str] | None


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
    from interpbench.core.devices import resolve_compile, resolve_device, resolve_precision
    from interpbench.registry.discovery import discover
    from interpbench.running.plan import make_plan

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
    finished = execute(plan, folder, mode, profile, listener or Listener())
    if plots:
        redraw(finished)
        write_page(finished)
    return finished


def redraw(found: Run) -> list[Path]:
    """Draws a run's plots again; the files."""
    from interpbench.report.plots import draw

    return draw(found.tables, found.leaderboard, found.folder / "plots")


def write_page(source: Run | str | Path, output: str | Path | None = None) -> Path:
    """Writes a run, or a leaderboard's CSV, as one HTML page that needs no network; the file.

    Args:
        source: a run, its folder, or a leaderboard: a run's leaderboard.csv, or a published one.
        output: the page; report.html in the run's folder, or beside the CSV and called after it, by default.

    Raises:
        RunFolderError: if there is no run or leaderboard, or the page cannot be written.
    """
    from interpbench.report.page.evidence import of_csv, of_run
    from interpbench.report.page.render import write_page

    if not isinstance(source, Run) and Path(source).is_file():
        return write_page(of_csv(Path(source)), Path(output or Path(source).with_suffix(".html")))
    found = source if isinstance(source, Run) else load_run(source)
    evidence = of_run(found.info, found.tables, found.conclusions)
    return write_page(evidence, Path(output or found.folder / PAGE))


def _suite(name: str | None, resumed: Path | None) -> "Suite":
    """The suite to start from: the one named, else the one that the resumed run recorded, else the default."""
    from interpbench.suite.suite import DEFAULT, Suite, load_suite

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
