"""One metric on one batch, as a run scores it."""

from contextlib import nullcontext

import torch

from interpbench.contracts import Explanation
from interpbench.perturb import BatchSize
from interpbench.plugin import Configured
from interpbench.scorer import Scorer
from interpbench.scoring import Ends, Scored, evaluate


def scored(metric: Configured, explanation: Explanation, batch: int = 16) -> Scored:
    """The scores; a metric that fails fails the test."""
    scorer = Scorer(explanation.model.network, explanation.model)
    found = evaluate({"m": metric}, explanation, scorer, BatchSize(batch), Ends(), nullcontext)
    assert not found.failed, found.failed
    return Scored.of([found.found["m"]], torch.ones(len(explanation.ids), dtype=torch.bool))
