"""`run --plan`: what a run would cost, before anything of it is run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interpbench.commands.shared import (
    interruptible,
    open_console,
    plain,
    progress_bar,
    say,
)
from interpbench.core.progress_lines import duration

if TYPE_CHECKING:
    from rich.table import Table

    from interpbench.running.forecast import Cost, Forecast

PARTS = {
    "maps": "maps",
    "search": "search for ceilings",
    "scores": "scores of all maps",
    "images": "once for all methods",
}


def show_forecast(suite: str | None, asked: Mapping[str, Any], quiet: bool) -> None:
    """Tries what is asked for on a few images, and says what all of it would cost.

    Parameters:
        suite: by its name or file; None for the default.
        asked: other arguments of `interpbench.forecast`.
        quiet: whether to show no progress.
    """
    from interpbench import api

    if not quiet:
        say(
            "Each method and metric is tried on a few images: half a minute for the default run, "
            "more where a long run's passes are compiled."
        )
    with interruptible(), progress_bar(quiet) as progress:
        found = api.forecast(suite, **asked, progress=progress)
    open_console().print(_table(found))
    for line in [*_blocks(found), _time(found), *_memory(found), _disk(found)]:
        say(line)
    for note in [*found.notices, *_failures(found)]:
        say(f"Note: {note}")


def _table(found: "Forecast") -> "Table":
    """Passes and time of each method and metric, those first that take longest."""
    from rich import box
    from rich.table import Table

    title = f"What {found.images:,} images would cost, as a few of them tell; an estimate"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    for heading in ("forward\npasses", "backward\npasses", "windows", "time", "share", "tried\non"):
        table.add_column(heading, justify="right", no_wrap=True)
    whole = found.seconds - found.preparation_seconds
    for part, heading in PARTS.items():
        labels = dict.fromkeys(cost.label for cost in found.costs if cost.part == part)
        groups = [
            [cost for cost in found.costs if (cost.part, cost.label) == (part, label)]
            for label in labels
        ]
        groups.sort(key=lambda costs: -sum(cost.seconds for cost in costs))
        if groups:
            table.add_row(plain(heading), style="bold")
        for costs in groups:
            table.add_row(*map(plain, _row(costs, whole)))
    total = [f"{found.forwards:,}", f"{found.backwards:,}", f"{found.windows:,}", duration(whole)]
    table.add_row("all", *total, style="bold")
    return table


def _row(costs: "list[Cost]", whole: float) -> list[str]:
    """One method or metric, on all models."""
    if all(cost.failure for cost in costs):
        return [f"  {costs[0].label}", *["–"] * 3, "fails"]
    counts = [sum(counts) for counts in zip(*map(_counts, costs), strict=True)]
    seconds = sum(cost.seconds for cost in costs)
    tried = [cost.measured_on for cost in costs if not cost.failure]
    return [
        f"  {costs[0].label}",
        *(f"{count:,}" if count else "" for count in counts),
        duration(seconds) if seconds >= 1 else "< 1 s",
        f"{seconds / whole:.0%}" if whole else "",
        "–".join(map(str, sorted({min(tried), max(tried)}))),
    ]


def _counts(cost: "Cost") -> tuple[int, int, int]:
    return cost.forwards, cost.backwards, cost.windows


def _blocks(found: "Forecast") -> list[str]:
    """Of each model; models that are cut alike on one line."""
    alike: dict[str, list[str]] = {}
    for model in found.models:
        if not model.failure:
            cut = f"{_some(model.blocks, 'block')} of {model.block_size:,} images"
            text = f"{cut} at most, {model.batch_size:,} a pass"
            alike.setdefault(text, []).append(model.label)
    return [f"Blocks: {', '.join(labels)}: {text}." for text, labels in alike.items()]


def _time(found: "Forecast") -> str:
    text = (
        f"Time: about {duration(found.seconds)} by one worker on {found.device}, "
        f"{duration(found.preparation_seconds)} of it to prepare the models; tables, plots and the "
        "page not counted."
    )
    if found.workers > 1:
        text += (
            f" By {found.workers} workers that share nothing, each as fast as this process: about "
            f"{duration(found.seconds_with(found.workers))}."
        )
    return f"{text} More than {_some(found.blocks, 'worker')} would have nothing to do."


def _memory(found: "Forecast") -> list[str]:
    memory = found.memory
    held = [] if memory.process is None else [f"{_bytes(memory.process)} were held by the trial"]
    if memory.device is not None:
        held.append(f"{_bytes(memory.device)} of the GPU")
    return [
        f"Memory: {', '.join(held) or 'what is held is not known here'} (a model, a batch's work "
        f"and all that is imported); besides, images of two blocks of {_bytes(memory.block)}, and "
        f"where the run ends, {_bytes(memory.tables)} of scores and a cell's curves, and copies."
    ]


def _disk(found: "Forecast") -> str:
    disk = found.disk
    return (
        f"Disk: about {_bytes(disk.scores + disk.curves)} of scores and curves, up to "
        f"{_bytes(disk.maps)} of maps of example images; until the cells are whole, "
        f"{_bytes(disk.waiting)} of blocks. Plots and the page come on top."
    )


def _failures(found: "Forecast") -> list[str]:
    failing = [
        f"{cost.label} fails on {cost.model} and counts for nothing: {cost.failure}"
        for cost in found.costs
        if cost.failure
    ]
    return [f"{model.label}: {model.failure}" for model in found.models if model.failure] + failing


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _bytes(count: int) -> str:
    """In the unit that leaves two digits or three: `640 kB`, `1.2 GB`."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.1f} {units[0]}" if 0 < size < 10 and count >= 1000 else f"{size:.0f} {units[0]}"
