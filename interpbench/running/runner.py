"""plan -> finished cells, one after the other. Knows nothing of disks or screens.

Images are decoded once for each input size. For each method the maps of a batch are made, ranked
and scored where they lie; one transfer a cell brings the numbers back.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

from interpbench.core.devices import exact_arithmetic, memory_kept
from interpbench.core.errors import InterpBenchError, in_one_line
from interpbench.core.preparation import Framing
from interpbench.loading.images import ImageSet, load_images
from interpbench.registry.plugin import blaming, described
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.run_info import CellRecord
from interpbench.running.cell_in_progress import CeilingInProgress, CellInProgress
from interpbench.running.plan import Plan
from interpbench.running.prepared_model import PreparedModel
from interpbench.suite.cells import Cell

Progress = Callable[[Cell, int], None]


def run_cells(
    plan: Plan, *, done: Collection[Cell] = (), progress: Progress = lambda cell, images: None
) -> Iterator[ModelResult | CellResult]:
    """Runs the plan's cells that are not done.

    Before a model's first cell comes what was measured of the model. A method or metric that fails,
    fails its own cell; the others go on.
    """
    decoded: dict[Framing, ImageSet] = {}
    with exact_arithmetic(), memory_kept():
        for label, (_, model) in plan.models.items():
            todo = [cell for cell in plan.cells if cell.model == label and cell not in done]
            if todo:
                framing = model.card.preparation.framing
                if framing not in decoded:
                    with blaming(plan.dataset_choice):
                        decoded = {framing: load_images(plan.dataset, plan.indices, framing)}
                yield from _run_model(plan, label, decoded[framing], todo, progress)


def shown_pixels(plan: Plan) -> dict[str, str]:
    """Model label -> sha256 of the pixels that it is shown of all the plan's images."""
    framings = {label: model.card.preparation.framing for label, (_, model) in plan.models.items()}
    digests: dict[Framing, str] = {}
    with blaming(plan.dataset_choice):
        for framing in framings.values():
            if framing not in digests:
                digests[framing] = load_images(plan.dataset, plan.indices, framing).sha256
    return {label: digests[framing] for label, framing in framings.items()}


def _run_model(
    plan: Plan, label: str, images: ImageSet, todo: list[Cell], progress: Progress
) -> Iterator[ModelResult | CellResult]:
    try:
        prepared = PreparedModel(plan, label, images)
        measured = prepared.measure(todo)
    except (Exception, SystemExit) as error:  # a model may call sys.exit
        if isinstance(error, InterpBenchError):
            raise
        reason = f"the model itself fails: {in_one_line(error)}"
        yield from (_without_model(plan, cell, reason) for cell in todo)
    else:
        yield measured
        for cell in todo:
            yield _run_cell(prepared, cell, progress)
        prepared.model.to("cpu")  # the next model needs the room
    with suppress(Exception):  # of one that failed, which may fail in this as well
        plan.models[label][1].to("cpu")


def _without_model(plan: Plan, cell: Cell, reason: str) -> CellResult:
    """A cell that cannot be run."""
    method = plan.method(cell)
    record = CellRecord.complete(
        **cell.as_dict(),
        parameters=method.parameters_json,
        method_hash=method.plugin.source_hash,
        role=plan.role(cell),
        status="failed",
        reason=reason,
    )
    return CellResult(record)


def _run_cell(prepared: PreparedModel, cell: Cell, progress: Progress) -> CellResult:
    """Explains and scores every image with one method, or searches the best map for one metric."""
    work = CeilingInProgress(prepared, cell) if cell.ceiling_of else CellInProgress(prepared, cell)
    guard = prepared.examined.guard
    try:
        for rows in prepared.batches(prepared.batch_size):
            work.add(rows)
            progress(cell, rows.stop - rows.start)
        work.finish(guard.changed_weights())
    except InterpBenchError as error:
        work.failures.append(str(error))
    except (Exception, SystemExit) as error:  # a plugin may call sys.exit; it fails alone as well
        work.failures.append(described(error, prepared.plan.method(cell)))
    if work.failures and guard.changed_weights():
        prepared.model.shared.forget()
    return work.result()
