"""plan -> what comes of each model, block and cell. Knows nothing of disks or screens.

Model by model, block by block, method by method: so an image is decoded once for all methods, and
what they share of a block is computed once. In a block the maps of a batch are made, ranked and
scored where they lie; one transfer a block brings the numbers back.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from interpbench.core.devices import exact_arithmetic, memory_kept
from interpbench.core.errors import InterpBenchError, in_one_line
from interpbench.core.preparation import Framing
from interpbench.results.block_files import BlockResult
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.run_info import CellRecord
from interpbench.running.blocks import Block, Shard, blocks
from interpbench.running.cell_of_blocks import cell_of_blocks, is_whole
from interpbench.running.image_stream import ImageStream
from interpbench.running.model_at_work import DamagedProcessError, ModelAtWork, Progress
from interpbench.running.plan import Plan
from interpbench.suite.cells import Cell


@dataclass(frozen=True)
class Todo:
    """What of a plan is to be run.

    Attributes:
        cells: that are not finished.
        done: cell -> the numbers of its blocks that are finished already.
        decided: model -> what was measured and decided of it, if it was.
        enough: model -> after how many blocks its run ends, where that is known already.
        shard: the part of the blocks that is run, or None for all.
    """

    cells: Collection[Cell]
    done: Mapping[Cell, Collection[int]] = field(default_factory=dict)
    decided: Mapping[str, ModelResult] = field(default_factory=dict)
    enough: Mapping[str, int] = field(default_factory=dict)
    shard: Shard | None = None

    def of(self, model: str) -> "Todo":
        """That of one model."""
        return replace(self, cells=[cell for cell in self.cells if cell.model == model])

    def without(self, finished: Collection[Cell]) -> "Todo":
        """The same without some cells."""
        return replace(self, cells=[cell for cell in self.cells if cell not in finished])

    def open(self, block: Block) -> list[Cell]:
        """The cells that a block is to be run for."""
        if self.shard is not None and not self.shard.has(block):
            return []
        return [cell for cell in self.cells if block.number not in self.done.get(cell, ())]


@dataclass(frozen=True)
class Enough:
    """A model's run ends after so many blocks, before the last: nobody needs more images."""

    model: str
    blocks: int


# Whether a model's run may end after so many blocks, all of which are done.
IsEnough = Callable[[str, int], bool]
Given = ModelResult | BlockResult | CellResult | Enough


def run_cells(
    plan: Plan, *, progress: Progress = lambda cell, images: None
) -> Iterator[ModelResult | CellResult]:
    """Runs all of a plan in memory, to its last image.

    Before a model's first cell comes what was measured of the model. A method or metric that fails,
    fails its own cell; the others go on. Where one has damaged the process beyond repair, the
    others fail as well and say why.
    """
    gathered: dict[Cell, dict[int, BlockResult]] = {}
    for result in run_blocks(plan, Todo(plan.cells), progress):
        match result:
            case ModelResult() | CellResult():
                yield result
            case BlockResult():
                of_cell = gathered.setdefault(result.cell, {})
                of_cell[result.number] = result
                if is_whole(of_cell):
                    yield cell_of_blocks(plan, gathered.pop(result.cell))


def never(model: str, blocks: int) -> bool:
    """Every image is run."""
    return False


def run_blocks(
    plan: Plan, todo: Todo, progress: Progress, is_enough: IsEnough = never
) -> Iterator[Given]:
    """As `run_until_damaged`; where a process is damaged beyond repair, the other cells fail."""
    left = list(todo.cells)
    try:
        for result in run_until_damaged(plan, todo, progress, is_enough):
            match result:
                case BlockResult() if result.failures or result.is_last:
                    left.remove(result.cell)
                case CellResult():
                    left.remove(result.record.cell)
                case Enough():
                    left = [cell for cell in left if cell.model != result.model]
            yield result
    except DamagedProcessError as damage:
        yield from (not_run(plan, cell, f"not run: {damage}") for cell in left)


def run_until_damaged(
    plan: Plan, todo: Todo, progress: Progress, is_enough: IsEnough
) -> Iterator[Given]:
    """Runs the blocks that are to be run, and gives what comes of each.

    Before a model's first block comes what was measured of the model, here or before. Of a model
    that fails itself, all cells come as failed ones.

    Parameters:
        plan, todo: what is run.
        progress: told of each batch's cell and how many images it had; and of 0 where a block of a
            cell begins.
        is_enough: asked after each of the plan's looks.

    Raises:
        DamagedProcessError: after the block that has damaged the process.
    """
    with exact_arithmetic(), memory_kept(), ImageStream(plan) as stream:
        for label in plan.models:
            of_model = todo.of(label)
            if of_model.cells:
                yield from _run_model(plan, label, stream, of_model, progress, is_enough)


def shown_pixels(plan: Plan) -> dict[str, str]:
    """Model label -> sha256 of the pixels that it is shown of all the plan's images."""
    framings = {label: model.card.preparation.framing for label, (_, model) in plan.models.items()}
    digests: dict[Framing, str] = {}
    with ImageStream(plan) as stream:
        for framing in framings.values():
            if framing not in digests:
                pixels = hashlib.sha256()
                for block in blocks(len(plan.indices), plan.computing.block_size):
                    stream.part(framing, block.first, block.last, pixels)
                digests[framing] = pixels.hexdigest()
    return {label: digests[framing] for label, framing in framings.items()}


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


def model_fails(error: BaseException) -> str:
    """What is said of the cells of a model that fails itself."""
    return f"the model itself fails: {in_one_line(error)}"


def _run_model(
    plan: Plan,
    label: str,
    stream: ImageStream,
    todo: Todo,
    progress: Progress,
    is_enough: IsEnough,
) -> Iterator[Given]:
    try:
        at_work = ModelAtWork(plan, label, stream, todo.decided.get(label))
    except (InterpBenchError, KeyboardInterrupt):
        raise
    except BaseException as error:  # of any kind: a model may call sys.exit
        yield from (not_run(plan, cell, model_fails(error)) for cell in todo.cells)
    else:
        yield at_work.result
        yield from _run_blocks(at_work, todo, progress, is_enough)
        at_work.rest()
    with suppress(Exception):  # of one that failed, which may fail in this as well
        plan.models[label][1].to("cpu")


def _run_blocks(
    at_work: ModelAtWork, todo: Todo, progress: Progress, is_enough: IsEnough
) -> Iterator[BlockResult | Enough]:
    """All blocks of a model, each for all cells that are to be run and have not broken down."""
    broken: set[Cell] = set()
    label, cut = at_work.label, at_work.blocks()
    wanted = cut[: todo.enough.get(label)]
    for block, following in zip(wanted, [*wanted[1:], None], strict=True):
        cells = [cell for cell in todo.open(block) if cell not in broken]
        for result in at_work.run(block, cells, progress, following):
            if result.failures:
                broken.add(result.cell)
            yield result
        done = block.number + 1
        if block.has_look(at_work.plan.looks) and done < block.count and is_enough(label, done):
            yield Enough(label, done)
            return
    if len(wanted) < len(cut):
        yield Enough(label, len(wanted))
