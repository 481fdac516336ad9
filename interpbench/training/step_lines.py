"""A training in plain text, a line now and then."""

import sys

from interpbench.core.progress_lines import Lines
from interpbench.training.loop import TrainingStep


class StepLines:
    """Told of each step; says now and then how far a stage is, and its scores.

    Parameters:
        lines: where to; stderr by default.
    """

    def __init__(self, lines: Lines | None = None) -> None:
        self._lines = lines or Lines(sys.stderr, unit="steps")
        self._stage, self._done = "", 0

    def __call__(self, step: TrainingStep) -> None:
        """One step more; notes are the result's."""
        if step.note:
            return
        if step.stage != self._stage:
            self._lines.begin(step.total)
            self._stage, self._done = step.stage, 0
        what = f"{step.stage}  {scores_of(step)}".strip()
        self._lines.advance(what, step.done - self._done)
        self._done = step.done


def scores_of(step: TrainingStep) -> str:
    """This epoch's loss and accuracy; "" in a stage without."""
    if step.epoch is None:
        return ""
    epochs = "" if step.epochs is None else f" of {step.epochs}"
    return f"epoch {step.epoch}{epochs}  loss {step.loss:.3f}  accuracy {step.accuracy:.1%}"
