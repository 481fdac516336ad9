"""The learning-rate range finder.

Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017.
"""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from interpbench.core.errors import TrainingError
from interpbench.core.types import Dataset
from interpbench.training.data import decode
from interpbench.training.loop import Training, TrainingListener, TrainingStep, report_stage
from interpbench.training.recipe import Recipe
from interpbench.training.start import Start
from interpbench.training.train import build, check_trainable

LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHING = 0.95  # share of the running mean that stays at each step
DIVERGED = 3.0  # times the lowest smoothed loss: the search ends


def find_lr(
    start: Start,
    dataset: Dataset,
    *,
    recipe: Recipe | None = None,
    device: str | torch.device = "cpu",
    steps: int = 200,
    progress: TrainingListener = lambda step: None,
) -> tuple[pd.DataFrame, float]:
    """Raises the learning rate from 1e-6 to 10, by the same factor a step, until the loss diverges.

    Parameters:
        start: the architecture and its weights; what is trained is thrown away.
        dataset: to train on.
        recipe: everything but the learning rate and its schedule.
        device: where to train.
        steps: from the lowest rate to the highest.
        progress: called after each step.

    Returns:
        One row a step (lr, loss, smoothed), and the rate at which the smoothed loss falls fastest,
        a good peak for AdamW with one cycle; SGD often bears three times as much.

    Raises:
        ParameterError: if no gradients flow through the model.
        TrainingError: if the loss diverges before it has fallen.
    """
    check_trainable(start.model)
    recipe, device = start.sized(recipe or Recipe()), torch.device(device)
    # Each step sets its own rate: the schedule has nothing to say.
    flat = recipe.changed({"schedule": {"name": "constant"}, "validation": 0.0})
    data = decode(dataset, flat.kept_at, report_stage("reading train images", progress))
    data = replace(data, card=start.normalised(data.card))
    with torch.random.fork_rng():
        training = Training(build(start, data, flat)[0], data, flat, device)
        rates = np.geomspace(LOWEST, HIGHEST, steps)
        rows: list[dict[str, float]] = []
        running = 0.0
        for number, (rate, loss) in enumerate(training.ramp(rates)):
            running = SMOOTHING * running + (1 - SMOOTHING) * loss
            # As if the mean had not begun at 0.
            smoothed = running / (1 - SMOOTHING ** (number + 1))
            least = min((row["smoothed"] for row in rows), default=math.inf)
            if not math.isfinite(loss) or smoothed > DIVERGED * least:
                break
            rows.append({"lr": rate, "loss": loss, "smoothed": smoothed})
            progress(TrainingStep("raising the learning rate", number + 1, steps, 1, loss))
    table = pd.DataFrame(rows, columns=["lr", "loss", "smoothed"])
    return table, suggest(table)


def suggest(table: pd.DataFrame) -> float:
    """The learning rate at which the smoothed loss falls fastest per decade.

    Raises:
        TrainingError: if it never falls.
    """
    if len(table) < 3:
        raise TrainingError(
            "The loss is no number from the start: no learning rate "
            "can be suggested. Check the model."
        )
    slope = np.gradient(table["smoothed"].to_numpy(), np.log10(table["lr"].to_numpy()))
    if slope.min() >= 0:
        raise TrainingError(
            "The loss rises at every learning rate: none can be suggested. "
            "Check the model and data."
        )
    return float(table["lr"].iloc[int(slope.argmin())])
