"""One metric on one batch, as a run scores it."""

from contextlib import nullcontext

import torch

from interpbench.core.batch_size import BatchSize
from interpbench.core.types import Explanation
from interpbench.fast.scoring_copy import Scorer
from interpbench.registry.plugin import Configured
from interpbench.scoring.evaluate import Ends, Scored, evaluate


def scored(metric: Configured, explanation: Explanation, batch: int = 16) -> Scored:
    """The scores; a metric that fails fails the test."""
    scorer = Scorer(explanation.model.network, explanation.model)
    found = evaluate({"m": metric}, explanation, scorer, BatchSize(batch), Ends(), nullcontext)
    assert not found.failed, found.failed
    return Scored.of([found.found["m"]], torch.ones(len(explanation.ids), dtype=torch.bool))
