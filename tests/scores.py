"""One metric on one batch, as a run scores it."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.fast.scoring_copy import Scorer
from interpbench.registry.plugin import Configured
from interpbench.running.cell_tables import Scored
from interpbench.scoring.evaluate import EndPoints, Passes, evaluate
from interpbench.scoring.explanation import Explanation


def reference(shape: Sequence[int]) -> Tensor:
    """Images [8,C,H,W] that stand for the data, of a shape [C,H,W]."""
    return torch.randn(8, *shape, generator=torch.Generator().manual_seed(11))


def scored(metric: Configured, explanation: Explanation, batch: int = 16) -> Scored:
    """The scores; a metric that fails fails the test."""
    scorer = Scorer(explanation.model.network, explanation.model)
    passes = Passes(
        scorer,
        BatchSize(batch),
        EndPoints(),
        nullcontext,
        reference=lambda: reference(explanation.x.shape[1:]),
    )
    found = evaluate({"m": metric}, explanation, passes)
    assert not found.failed, found.failed
    return Scored.of(found.scored["m"].numpy(), np.ones(len(explanation.ids), dtype=bool))
