"""What comes of blocks goes into a run folder; a cell is put together as soon as it is whole."""

from collections import defaultdict
from collections.abc import Callable

from interpbench.results.block_files import BlockResult
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.run_folder import RunFolder
from interpbench.running.cell_of_blocks import cell_of_blocks
from interpbench.running.plan import Plan
from interpbench.running.runner import Todo
from interpbench.suite.cells import Cell

# Told of each cell that is finished and written.
Told = Callable[[CellResult], None]


class Gathering:
    """Writes what a runner gives.

    Parameters:
        plan: that is run.
        folder: where it is written.
        todo: what was to be run; the rest is in the folder.
        told: of each cell that is finished.
    """

    def __init__(self, plan: Plan, folder: RunFolder, todo: Todo, told: Told) -> None:
        self._plan, self._folder, self._told = plan, folder, told
        self._decided = todo.decided
        written = {cell: set(numbers) for cell, numbers in todo.done.items()}
        self._written = defaultdict(set, written)
        self._needed: dict[Cell, int] = {}

    def take(self, result: ModelResult | BlockResult | CellResult) -> None:
        """Writes it, and the cell that it makes whole.

        Raises:
            RunFolderError: if the disk is full or not writable, or a block was damaged meanwhile.
        """
        match result:
            case ModelResult() if result.record.model not in self._decided:
                self._folder.write_model(result)
            case CellResult():
                self._finish(result)
            case BlockResult():
                self._take(result)

    def _take(self, result: BlockResult) -> None:
        cell, before = result.cell, self._needed.get(result.cell, result.count)
        needed = min(before, result.number + 1) if result.failures else before
        self._needed[cell] = needed
        if needed == 1:  # it need not wait on the disk
            if result.number == 0:
                self._finish(cell_of_blocks(self._plan, {0: result}))
                self._folder.forget_blocks(cell)
            return
        self._folder.write_block(result)
        self._written[cell].add(result.number)
        if self._written[cell].issuperset(range(needed)):
            blocks = {number: self._folder.block(cell, number) for number in range(needed)}
            self._finish(cell_of_blocks(self._plan, blocks))
            self._folder.forget_blocks(cell)

    def _finish(self, result: CellResult) -> None:
        self._folder.write_cell(result)
        self._told(result)
