"""How far scores move when all that a network computes ends in other last bits.

Processors add in different orders. Where positions of a map are nearly equal, or lie at the edge of
a ReLU, this decides their order or whether they are tied at all, and the score with it. Such maps
are honest and rare, and no fixed tolerance fits them: how far each may move is measured.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace

import pandas as pd
import torch

from interpbench.core.seeding import derive
from interpbench.core.types import Model
from interpbench.results.cell_results import CellResult
from interpbench.running.plan import Plan
from interpbench.running.runner import run_cells

DRAWS = 8
ROUNDING = 2.0**-21  # relative, of a sum of a few hundred products in float32


def moved_by_last_bits(plan: Plan, rows: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """How far scores of some rows, and their shares of ties, move from those that were found.

    Every weight of the network is changed by a random part of `ROUNDING`, `DRAWS` times, and maps
    and scores are made anew: of all of a model's methods among the rows on all of its images among
    them.

    Parameters:
        plan: that gave the rows.
        rows: with the columns `key`, found and tied_found.
        key: what a row is of: model, method, metric and sample_id.

    Returns:
        The greatest distances, columns score and ties; the index is that of `rows`.
    """
    drawn = pd.concat([*_drawn(plan, rows)], ignore_index=True)
    columns = [*key, "found", "tied_found"]
    merged = rows[columns].reset_index().merge(drawn[[*key, "value", "tied"]], on=key)
    distances = pd.DataFrame(
        {
            "index": merged["index"],
            "score": (merged["value"] - merged["found"]).abs(),
            "ties": (merged["tied"] - merged["tied_found"]).abs(),
        }
    )
    return distances.groupby("index").max().reindex(rows.index).fillna(0.0)


def _drawn(plan: Plan, rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    ids = plan.dataset.ids
    for label, of_model in rows.groupby("model", observed=True):
        choice, model = plan.models[label]
        images, methods = set(of_model["sample_id"]), set(of_model["method"])
        part = replace(
            plan,
            indices=[i for i in plan.indices if ids[i] in images],
            methods={name: plan.methods[name] for name in plan.methods if name in methods},
            ceiling=plan.ceiling if methods - set(plan.methods) else None,
        )
        for draw in range(DRAWS):
            other = _other_last_bits(model, derive(plan.suite.seed, "last bits", label, draw))
            for result in run_cells(replace(part, models={label: (choice, other)})):
                if isinstance(result, CellResult):
                    yield result.scores


@torch.no_grad()
def _other_last_bits(model: Model, seed: int) -> Model:
    generator = torch.Generator().manual_seed(seed)
    other = deepcopy(model).cpu()
    for weights in other.parameters():
        if weights.is_floating_point():
            part = 2 * torch.rand(weights.shape, generator=generator) - 1
            weights.mul_((1 + ROUNDING * part).to(weights.dtype))
    return other
