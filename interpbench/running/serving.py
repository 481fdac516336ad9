"""A worker's side: jobs of a plan done one after the other, with one model at hand."""

from collections.abc import Callable, Iterator, Sequence

from interpbench.core.devices import exact_arithmetic, memory_kept
from interpbench.core.errors import InterpBenchError, RunFolderError
from interpbench.results.block_files import BlockResult
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.run_info import Identity
from interpbench.running.image_stream import ImageStream
from interpbench.running.model_at_work import DamagedProcessError, ModelAtWork, Progress
from interpbench.running.plan import Plan
from interpbench.running.record import differing_from
from interpbench.running.runner import model_fails, not_run
from interpbench.running.scheduler import Answer, At, Done, Job, Made, Ready
from interpbench.suite.cells import Cell


def serve(
    plan: Plan, identity: Identity, next_job: Callable[[], Job], say: Callable[[Answer], None]
) -> None:
    """Does one job after the other, without an end.

    Parameters:
        plan: rebuilt from what the run was asked for.
        identity: of the run.
        next_job: waits for a job.
        say: is told what comes of it.

    Raises:
        InterpBenchError: if the plan is another than that of the run, or the images have changed.
    """
    differing = differing_from(plan, identity)
    if differing:
        raise RunFolderError(
            f"What is run has changed since the run began, or is another where a worker runs: "
            f"{', '.join(differing)}. Start afresh, or bring the workers to the same state."
        )
    with exact_arithmetic(), memory_kept(), ImageStream(plan) as stream:
        server = _Server(plan, stream)
        say(Ready())
        while True:
            damaged = ""
            try:
                for result in server.do(next_job(), lambda cell, n: say(At(cell, n))):
                    say(Made(result))
            except DamagedProcessError as damage:
                damaged = str(damage)
            say(Done(damaged))


class _Server:
    """Has one model at hand."""

    def __init__(self, plan: Plan, stream: ImageStream) -> None:
        self._plan, self._stream = plan, stream
        self._at_hand: ModelAtWork | None = None

    def do(self, job: Job, progress: Progress) -> Iterator[ModelResult | BlockResult | CellResult]:
        """What comes of a job: the model, if it is to be measured, or a block's cells.

        Where the model itself fails, its cells, all of them where it is to be measured.
        """
        if self._at_hand is None or self._at_hand.label != job.model:
            if self._at_hand is not None:
                self._at_hand.rest()
                self._at_hand = None
            try:
                self._at_hand = ModelAtWork(self._plan, job.model, self._stream, job.decided)
            except (InterpBenchError, KeyboardInterrupt):
                raise
            except BaseException as error:  # of any kind: a model may call sys.exit
                yield from self._failed(job, error)
                return
        if job.block is None:
            yield self._at_hand.result
        else:
            yield from self._at_hand.run(job.block, job.cells, progress)

    def _failed(self, job: Job, error: BaseException) -> Iterator[CellResult]:
        cells: Sequence[Cell] = job.cells
        if job.block is None:
            cells = self._plan.cells_of(job.model)
        for cell in cells:
            yield not_run(self._plan, cell, model_fails(error))
