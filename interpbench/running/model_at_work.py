"""A model of a run at work: one block of images after the other, each cell of it guarded."""

from collections.abc import Callable, Iterator, Sequence

from interpbench.core.errors import InterpBenchError, said
from interpbench.core.process_state import ProcessState, staying_alive
from interpbench.registry.plugin import described
from interpbench.results.block_files import BlockResult
from interpbench.results.cell_results import ModelResult
from interpbench.running.block_in_progress import BlockInProgress, CeilingInProgress
from interpbench.running.blocks import Block
from interpbench.running.canary import Canary
from interpbench.running.image_block import ImageBlock
from interpbench.running.image_stream import ImageStream
from interpbench.running.plan import Plan
from interpbench.running.prepared_model import PreparedModel
from interpbench.suite.cells import Cell

# Told of each batch's cell and how many images it had; and of 0 where a block of a cell begins.
Progress = Callable[[Cell, int], None]


class DamagedProcessError(Exception):
    """A cell has changed this process so that no other can be run in it; it says what.

    Whatever that cell gave has been handed on before.
    """


class ModelAtWork:
    """A model on its device, and a fixed question that it must always answer alike.

    Attributes:
        plan, label: what is run, and which of its models.
        result: what was measured of it.
    """

    def __init__(
        self, plan: Plan, label: str, stream: ImageStream, decided: ModelResult | None = None
    ) -> None:
        """Prepares it; see `PreparedModel`. Raises whatever the model raises."""
        self.plan, self.label = plan, label
        self._prepared = PreparedModel(plan, label, stream, decided)
        self._canary = Canary(self._prepared)
        self.result = self._prepared.result

    def blocks(self) -> list[Block]:
        """The plan's images cut into blocks."""
        return self._prepared.blocks()

    def run(
        self,
        block: Block,
        cells: Sequence[Cell],
        progress: Progress,
        following: Block | None = None,
    ) -> Iterator[BlockResult]:
        """What comes of each cell on a block.

        Parameters:
            block: which images.
            cells: whose maps are made and scored, one after the other.
            progress: told how they get on.
            following: the block whose images are decoded meanwhile.

        Raises:
            RunFolderError: if the images are not those that the model was measured on.
            DamagedProcessError: after the cell that has damaged the process.
        """
        if not cells:
            return
        images = self._prepared.open(block, following)
        for cell in cells:
            result, damage = self._run(images, cell, progress)
            yield result
            if damage:
                raise DamagedProcessError(damage)

    def rest(self) -> None:
        """Leaves the device, where the next model needs the room."""
        self._prepared.model.to("cpu")

    def _run(self, images: ImageBlock, cell: Cell, progress: Progress) -> tuple[BlockResult, str]:
        """Explains and scores images with one method, or searches the best map for one metric.

        Returns:
            The finished block; and what it has done to the process that cannot be undone, or
            nothing.
        """
        prepared = self._prepared
        kind = CeilingInProgress if cell.ceiling_of else BlockInProgress
        work = kind(prepared, images, cell)
        guard = prepared.examined.guard
        progress(cell, 0)
        error: BaseException | None = None
        with staying_alive():
            process = ProcessState()
            try:
                for rows in images.batches(prepared.batch_size):
                    work.add(rows)
                    progress(cell, rows.stop - rows.start)
                work.finish(guard.changed_weights())
            except KeyboardInterrupt:
                raise
            except BaseException as raised:  # of any kind, as a plugin fails alone
                error = raised
            wrong = self._canary.wrong()
            undone = process.undo()
        if isinstance(error, InterpBenchError):
            work.failures.append(said(error))
        elif error is not None:
            work.failures.append(described(error, prepared.plan.method(cell)))
        if work.failures and guard.changed_weights():
            prepared.forget()
        work.note_left_behind(undone.harmless)
        if not wrong and not undone.harmful:
            return work.result(), ""
        left = ", ".join([*undone.harmful, *undone.harmless]) or "nobody knows what"
        return self._after(work, cell, f"changed how everything is computed ({left})")

    def _after(self, work: BlockInProgress, cell: Cell, what: str) -> tuple[BlockResult, str]:
        """The block of a cell that has changed the process, which is mended if it can be."""
        self._prepared.examined.guard.changed_weights()
        self._prepared.forget()
        still_wrong = self._canary.wrong()
        if not still_wrong:
            work.discard(f"{what}, which is undone")
            return work.result(), ""
        work.discard(f"{what}: the {still_wrong} of an image cannot be brought back")
        return work.result(), (
            f"{cell.method} on {cell.model} has {what}, which cannot be undone in this process: "
            f"the {still_wrong} of an image stays wrong. Leave it out and --resume."
        )
