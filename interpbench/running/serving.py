"""A worker's side: jobs of a plan done one after the other, with one model at hand."""

from collections.abc import Iterator, Sequence

from interpbench.core.errors import InterpBenchError
from interpbench.results.block_files import BlockResult
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.running.image_stream import ImageStream
from interpbench.running.model_at_work import ModelAtWork, Progress
from interpbench.running.plan import Plan
from interpbench.running.runner import model_fails, not_run
from interpbench.suite.cells import Cell


class Server:
    """Does jobs.

    Parameters:
        plan: rebuilt from what the run was asked for.
        stream: the plan's images.
    """

    def __init__(self, plan: Plan, stream: ImageStream) -> None:
        self._plan, self._stream = plan, stream
        self._at_hand: ModelAtWork | None = None

    def do(
        self,
        model: str,
        number: int | None,
        cells: Sequence[Cell],
        decided: ModelResult | None,
        progress: Progress,
    ) -> Iterator[ModelResult | BlockResult | CellResult]:
        """What comes of a job: the model, if it is to be measured, or a block's cells.

        Where the model itself fails, its cells, all of them where it is to be measured.

        Parameters:
            model: which.
            number: of the block; None measures the model.
            cells: that the block is run for.
            decided: what was measured of the model, where it is not at hand.
            progress: told how the cells get on.

        Raises:
            RunFolderError: if the images are not those that the model was measured on.
            DamagedProcessError: after the cell that has damaged the process.
        """
        if self._at_hand is None or self._at_hand.label != model:
            if self._at_hand is not None:
                self._at_hand.rest()
                self._at_hand = None
            try:
                self._at_hand = ModelAtWork(self._plan, model, self._stream, decided)
            except (InterpBenchError, KeyboardInterrupt):
                raise
            except BaseException as error:  # of any kind: a model may call sys.exit
                failed = cells or [cell for cell in self._plan.cells if cell.model == model]
                yield from (not_run(self._plan, cell, model_fails(error)) for cell in failed)
                return
        if number is None:
            yield self._at_hand.result
        else:
            yield from self._at_hand.run(self._at_hand.blocks()[number], cells, progress)
