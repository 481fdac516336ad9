"""`sanity`: does a method's map depend on what the model has learnt, and on the class that it explains?"""

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpbench.commands.pictures import DatasetName, ModelName, Output, Overwrite, Seed, Weights
from interpbench.commands.shared import (
    DataRoot,
    Device,
    Download,
    Names,
    Plugins,
    data_flags,
    open_console,
    open_registry,
    plain,
    progress_bar,
    result_folder,
    writing,
)

if TYPE_CHECKING:
    import pandas as pd

    from interpbench.attribution.explainer import Explainer
    from interpbench.files.output_folder import PictureFolder
    from interpbench.loading.images import ImageSet
    from interpbench.studies.sanity.checks import Checks

# Those that the literature disputes, those that it trusts, and a control that must fail.
METHODS = ("gradcam", "gradient-x-input", "guided-backprop", "lrp-z-plus", "saliency", "sobel")
COLUMNS = {
    "upper_half": "upper half new",
    "all_layers": "all new",
    "independent": "one new",
    "smooth": "smooth",
    "entropy_rise": "rise in entropy",
    "random_logit": "other class",
}


def sanity(
    dataset: DatasetName = "planted",
    model: ModelName = "resnet18",
    method: Annotated[
        Names, typer.Option(metavar="M", help=f"Methods; repeatable, commas, or `all`. Default: {', '.join(METHODS)}.")
    ] = None,
    images: Annotated[int, typer.Option(metavar="N", min=2, help="How many images, class-balanced.")] = 16,
    test: Annotated[
        Names,
        typer.Option(
            metavar="T", help="cascading, independent, efficient, random-logit, smooth, or `all`; else all but smooth."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="Noisy images a map in the test smooth.")] = 50,
    weights: Weights = None,
    seed: Seed = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    download: Download = False,
    plugin: Plugins = None,
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Test whether maps depend on the model's weights (parameter randomisation) and on the class (random logit).

    Exit code 0: all tests done, whatever their verdict; 1: some method failed.
    """
    from interpbench.attribution.explainer import Explainer, outcome
    from interpbench.attribution.model_and_methods import load_subject
    from interpbench.core.devices import resolve_device
    from interpbench.files.csv_files import write_csv
    from interpbench.loading.images import choose, load_images
    from interpbench.registry.choosing import open_dataset
    from interpbench.studies.sanity.checks import DEFAULT, Checks, choose_tests
    from interpbench.studies.sanity.verdict import verdicts

    tests = choose_tests(test or DEFAULT)
    where = resolve_device(device)
    registry = open_registry(plugin)
    data = open_dataset(registry, dataset, data_flags(data_root, download))
    subject = load_subject(registry, model, method or METHODS, data.card, weights=weights, device=where, seed=seed)
    chosen = load_images(data, choose(data, images, seed), subject.model.card)
    explainer = Explainer(subject, where, seed)
    checks = Checks(explainer, chosen, data.card.name, tests, samples)
    info = {
        "dataset": dataset, "revision": data.card.revision, "tests": list(tests), "samples": samples,
        **_record(checks, explainer, chosen),
    }  # fmt: skip
    folder = result_folder("sanity", f"{data.card.name}-{subject.choice.slug}", output, info)
    folder.start(overwrite=overwrite)
    with writing(folder):
        with progress_bar(checks.total) as advance:
            table = checks.run(advance)
        found = verdicts(table)
        folder.write("sanity.csv", lambda path: write_csv(table, path))
        folder.write("verdicts.csv", lambda path: write_csv(found, path))
        _draw(table, f"{subject.choice.label} on {data.card.name}, {len(chosen.ids)} images", folder)
        folder.info |= {"copies": checks.copies, **outcome(explainer)}
    _show(found, checks, explainer, folder)
    raise typer.Exit(1 if (table["status"] == "failed").any() else 0)


def _record(checks: "Checks", explainer: "Explainer", images: "ImageSet") -> dict[str, Any]:
    """What sanity.json says of how the table is made."""
    from interpbench.attribution.explainer import provenance
    from interpbench.files.versions import git_state
    from interpbench.studies.sanity.verdict import RULE

    return {
        **provenance(explainer),
        "git": git_state(),
        "sample_ids": list(images.ids),
        "pixels_sha256": images.sha256,
        "skipped": images.skipped,
        "rule": RULE,
        "layers_left_out": checks.left_out,
    }


def _draw(table: "pd.DataFrame", title: str, folder: "PictureFolder") -> None:
    from interpbench.studies.sanity.plots import bar_tests, draw_bars, draw_layers, layer_kinds

    for kind in layer_kinds(table):
        folder.write(f"layers-{kind}.png", partial(draw_layers, table, kind, title))
    for test in bar_tests(table):
        folder.write(f"{test}.png", partial(draw_bars, table, test, title))


def _show(found: "pd.DataFrame", checks: "Checks", explainer: "Explainer", folder: "PictureFolder") -> None:
    """The table of verdicts, the rule, and what the user should know."""
    from interpbench.studies.sanity.verdict import RULE

    console = open_console()
    console.print(_table(found))
    if _judged(found):
        console.print(plain(RULE), soft_wrap=True)
    notes = list(explainer.notices)
    notes += [f"skipped an image that cannot be read: {why}" for why in list(folder.info["skipped"].values())[:5]]
    notes += [f"{row.method}: {row.problem}" for row in found.itertuples() if row.problem]
    for label, asked in explainer.asked.items():
        if asked.left_behind:
            notes.append(f"{label} left behind: {', '.join(list(asked.left_behind)[:3])}; it was undone.")
    for what in sorted({copy["logits"] for copy in checks.copies} - {""}):
        layers = [f"{copy['test']} {copy['layer']}" for copy in checks.copies if copy["logits"] == what]
        more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
        notes.append(f"{what} after new weights: {', '.join(layers[:3])}{more}; sanity.csv marks the rows.")
    if checks.left_out:
        notes.append(f"layers that cannot initialise themselves keep their weights: {', '.join(checks.left_out)}.")
    for note in notes:
        console.print(plain(f"Note: {note}"), soft_wrap=True)
    console.print(plain(f"Tables and plots: {folder.path}"), soft_wrap=True)


def _table(found: "pd.DataFrame") -> Any:
    """Mean rank correlation of absolute maps with the trained model's, and the verdicts."""
    from rich import box
    from rich.table import Table

    shown = {column: title for column, title in COLUMNS.items() if found[column].notna().any()}
    if "upper_half" in shown:
        shown.pop("independent", None)  # is in verdicts.csv, and a terminal is narrow
    title = "Rank correlation of absolute maps with those of the trained model, and verdicts"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", min_width=min(24, max(map(len, found["method"]))), overflow="fold")
    for heading in shown.values():
        table.add_column(heading, justify="right", max_width=7)
    judged = _judged(found)
    for what in judged:
        table.add_column(f"to {what}", no_wrap=True)
    for row in found.to_dict("records"):
        numbers = [
            "" if math.isnan(row[c]) else f"{row[c]:+.1%}" if c == "entropy_rise" else f"{row[c]:.2f}" for c in shown
        ]
        table.add_row(*map(plain, [row["method"], *numbers, *(row[what] for what in judged)]))
    return table


def _judged(found: "pd.DataFrame") -> list[str]:
    """The columns in which there is a verdict on some method."""
    from interpbench.studies.sanity.verdict import UNKNOWN

    return [what for what in ("model", "class") if (found[what] != UNKNOWN).any()]
