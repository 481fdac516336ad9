"""One metric on one batch, as a run scores it."""

from contextlib import nullcontext

import numpy as np

from interpbench.core.batch_size import BatchSize
from interpbench.fast.scoring_copy import Scorer
from interpbench.registry.plugin import Configured
from interpbench.running.cell_tables import Scored
from interpbench.scoring.evaluate import EndPoints, Passes, evaluate
from interpbench.scoring.explanation import Explanation


def scored(metric: Configured, explanation: Explanation, batch: int = 16) -> Scored:
    """The scores; a metric that fails fails the test."""
    scorer = Scorer(explanation.model.network, explanation.model)
    found = evaluate(
        {"m": metric}, explanation, Passes(scorer, BatchSize(batch), EndPoints(), nullcontext)
    )
    assert not found.failed, found.failed
    return Scored.of(found.scored["m"].numpy(), np.ones(len(explanation.ids), dtype=bool))
