"""plan -> finished cells, one after the other. Knows nothing of disks or screens.

Images are decoded once for each input size. For each method the maps of a batch are made, ranked
and scored where they lie; one transfer a cell brings the numbers back.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

from interpbench.core.devices import exact_arithmetic, memory_kept
from interpbench.core.errors import InterpBenchError, in_one_line, said
from interpbench.core.preparation import Framing
from interpbench.core.process_state import ProcessState, staying_alive
from interpbench.loading.images import ImageSet, load_images
from interpbench.registry.plugin import blaming, described
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.run_info import CellRecord
from interpbench.running.canary import Canary
from interpbench.running.cell_in_progress import CeilingInProgress, CellInProgress
from interpbench.running.plan import Plan
from interpbench.running.prepared_model import PreparedModel
from interpbench.suite.cells import Cell

Progress = Callable[[Cell, int], None]


class DamagedProcessError(Exception):
    """A cell has changed this process so that no other can be run in it; it says what.

    Whatever that cell gave has been handed on before.
    """


def run_cells(
    plan: Plan, *, done: Collection[Cell] = (), progress: Progress = lambda cell, images: None
) -> Iterator[ModelResult | CellResult]:
    """Runs the plan's cells that are not done.

    Before a model's first cell comes what was measured of the model. A method or metric that fails,
    fails its own cell; the others go on. Where one has damaged the process beyond repair, the
    others fail as well and say why.
    """
    todo = [cell for cell in plan.cells if cell not in done]
    try:
        for result in run_until_damaged(plan, todo, progress):
            if isinstance(result, CellResult):
                todo.remove(result.record.cell)
            yield result
    except DamagedProcessError as damage:
        yield from (not_run(plan, cell, f"not run: {damage}") for cell in todo)


def run_until_damaged(
    plan: Plan, todo: Collection[Cell], progress: Progress
) -> Iterator[ModelResult | CellResult]:
    """As `run_cells`, of the cells that are to be run.

    Raises:
        DamagedProcessError: after the cell that has damaged the process.
    """
    decoded: dict[Framing, ImageSet] = {}
    with exact_arithmetic(), memory_kept():
        for label, (_, model) in plan.models.items():
            of_model = [cell for cell in todo if cell.model == label]
            if of_model:
                framing = model.card.preparation.framing
                if framing not in decoded:
                    with blaming(plan.dataset_choice):
                        decoded = {framing: load_images(plan.dataset, plan.indices, framing)}
                yield from _run_model(plan, label, decoded[framing], of_model, progress)


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
        measured = prepared.measure()
        canary = Canary(prepared)
    except (InterpBenchError, KeyboardInterrupt):
        raise
    except BaseException as error:  # of any kind: a model may call sys.exit
        reason = f"the model itself fails: {in_one_line(error)}"
        yield from (not_run(plan, cell, reason) for cell in todo)
    else:
        yield measured
        for cell in todo:
            result, damage = _run_cell(prepared, canary, cell, progress)
            yield result
            if damage:
                raise DamagedProcessError(damage)
        prepared.model.to("cpu")  # the next model needs the room
    with suppress(Exception):  # of one that failed, which may fail in this as well
        plan.models[label][1].to("cpu")


def not_run(plan: Plan, cell: Cell, reason: str) -> CellResult:
    """A cell that failed before it gave anything."""
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


def _run_cell(
    prepared: PreparedModel, canary: Canary, cell: Cell, progress: Progress
) -> tuple[CellResult, str]:
    """Explains and scores every image with one method, or searches the best map for one metric.

    Returns:
        The finished cell; and what it has done to the process that cannot be undone, or nothing.
    """
    work = CeilingInProgress(prepared, cell) if cell.ceiling_of else CellInProgress(prepared, cell)
    guard = prepared.examined.guard
    error: BaseException | None = None
    with staying_alive():
        process = ProcessState()
        try:
            for rows in prepared.batches(prepared.batch_size):
                work.add(rows)
                progress(cell, rows.stop - rows.start)
            work.finish(guard.changed_weights())
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # of any kind, as a plugin fails alone
            error = raised
        wrong = canary.wrong()
        undone = process.undo()
    if isinstance(error, InterpBenchError):
        work.failures.append(said(error))
    elif error is not None:
        work.failures.append(described(error, prepared.plan.method(cell)))
    if work.failures and guard.changed_weights():
        prepared.model.shared.forget()
    work.note_left_behind(undone.harmless)
    if not wrong and not undone.harmful:
        return work.result(), ""
    left = ", ".join([*undone.harmful, *undone.harmless]) or "nobody knows what"
    what = f"changed how everything is computed ({left})"
    guard.changed_weights()
    prepared.forget()
    still_wrong = canary.wrong()
    if still_wrong:
        work.discard(f"{what}: the {still_wrong} of an image cannot be brought back")
        return work.result(), (
            f"{cell.method} on {cell.model} has {what}, which cannot be undone in this process: "
            f"the {still_wrong} of an image stays wrong. Leave it out and --resume."
        )
    work.discard(f"{what}, which is undone")
    return work.result(), ""
