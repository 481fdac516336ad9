"""What comes of blocks goes into a run folder; a cell is put together as soon as it is whole."""

from collections import defaultdict
from collections.abc import Callable

import pandas as pd

from interpbench.results.block_files import BlockResult
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.looks import level_of, undecided
from interpbench.results.run_folder import RunFolder
from interpbench.results.tables import RunTables
from interpbench.running.cell_of_blocks import cell_of_blocks
from interpbench.running.plan import Plan
from interpbench.running.record import metrics
from interpbench.running.runner import Enough, Given, Todo
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
        self._todo = todo
        written = {cell: set(numbers) for cell, numbers in todo.done.items()}
        self._written = defaultdict(set, written)
        self._needed: dict[Cell, int] = {}
        self._finished: set[Cell] = set()

    def begin(self) -> Todo:
        """Puts together what is whole already, and was not when the run broke off.

        And removes blocks of cells that are finished, where it broke off between the two.

        Returns:
            What is left to be run.
        """
        for cell in set(self._plan.cells).difference(self._todo.cells):
            self._folder.forget_blocks(cell)
        whole = [
            cell
            for cell, written in [*self._written.items()]
            if cell.model in self._todo.decided
            and written.issuperset(range(self._todo.decided[cell.model].blocks))
        ]
        for cell in whole:
            self._finish(self._so_far(cell, len(self._written[cell])))
        return self._todo.without(whole)

    def take(self, result: Given) -> None:
        """Writes it, and the cell that it makes whole.

        Raises:
            RunFolderError: if the disk is full or not writable, or a block was damaged meanwhile.
        """
        match result:
            case ModelResult() if result.record.model not in self._todo.decided:
                self._folder.write_model(result)
            case CellResult():
                self._finish(result)
            case BlockResult():
                self._take(result)
            case Enough():
                for cell in self._open(result.model):
                    self._finish(self._so_far(cell, result.blocks))

    def is_enough(self, model: str, blocks: int) -> bool:
        """Whether a model's best methods are told apart from the others by the blocks so far.

        Parameters:
            model: whose blocks are all written.
            blocks: how many.
        """
        cells = [self._so_far(cell, blocks) for cell in self._open(model) if not cell.ceiling_of]
        scores = [cell.scores for cell in cells if cell.record.status == "ok"]
        return bool(scores) and not undecided(
            RunTables.of_scores(
                pd.concat(scores, ignore_index=True),
                metrics(self._plan),
                self._plan.suite.seed,
                level_of(self._plan.looks),
            )
        )

    def _open(self, model: str) -> list[Cell]:
        """A model's cells that have blocks and are not finished."""
        return [cell for cell, written in self._written.items() if cell.model == model and written]

    def _so_far(self, cell: Cell, blocks: int) -> CellResult:
        """A cell of its first blocks."""
        numbers = range(min(blocks, len(self._written[cell])))
        return cell_of_blocks(
            self._plan, {number: self._folder.block(cell, number) for number in numbers}
        )

    def _take(self, result: BlockResult) -> None:
        if (
            result.cell in self._finished
        ):  # it has failed meanwhile, at an earlier block or altogether
            return
        cell, before = result.cell, self._needed.get(result.cell, result.count)
        needed = min(before, result.number + 1) if result.failures else before
        self._needed[cell] = needed
        if needed == 1:  # it need not wait on the disk
            if result.number == 0:
                self._finish(cell_of_blocks(self._plan, {0: result}))
            return
        self._folder.write_block(result)
        self._written[cell].add(result.number)
        if self._written[cell].issuperset(range(needed)):
            self._finish(self._so_far(cell, needed))

    def _finish(self, result: CellResult) -> None:
        cell = result.record.cell
        self._finished.add(cell)
        self._written.pop(cell, None)
        self._folder.write_cell(result)
        if result.record.images:  # of one that was not run, what blocks there are may be used yet
            self._folder.forget_blocks(cell)
        self._told(result)
