"""A training as a user asks for it: what is trained, on what, how, and where the weights go."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from interpbench.core.errors import ParameterError, RecipeError
from interpbench.core.types import DatasetCard
from interpbench.loading.model import shipped_card, weights_file, with_parameters
from interpbench.loading.weights import WeightsCard, check_writable
from interpbench.registry.choosing import Sources, choose_one
from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry
from interpbench.training.checkpoint import unfinished
from interpbench.training.find_lr import find_lr
from interpbench.training.loop import TrainingListener
from interpbench.training.plots import draw_lr_search
from interpbench.training.recipe import Recipe, load_recipe, recorded_recipe
from interpbench.training.splits import Splits, open_splits
from interpbench.training.train import check_trainable, train

Setting = int | float | str | None  # of a recipe, as a flag gives it


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained.

    Attributes:
        model: the architecture with its parameters.
        data: to train and to test on.
        recipe: how to train.
        output: the safetensors file.
    """

    model: Configured
    data: Splits
    recipe: Recipe
    output: Path

    def refuse_to_lose(self, *, resume: bool, overwrite: bool) -> None:
        """Finished weights and unfinished trainings are replaced only if the user says so.

        Raises:
            ParameterError: if there are weights already.
            RecipeError: if there is an unfinished training.
        """
        if self.output.exists() and not overwrite:
            raise ParameterError(
                f"{self.output} exists. Replace it with --overwrite, or give another --output."
            )
        if unfinished(self.output).exists() and not (resume or overwrite):
            raise RecipeError(
                f"{unfinished(self.output)} is an unfinished training. Go on with --resume, start "
                "afresh with --overwrite, or give another --output."
            )


@dataclass(frozen=True)
class TrainedModel:
    """What came of a training.

    Attributes:
        model: the architecture, as one would type it.
        weights: the safetensors file.
        record: the table of the epochs; the picture of it lies beside it, and ends in .png.
        card: that of the weights, with their accuracy.
    """

    model: str
    weights: Path
    record: Path
    card: WeightsCard


@dataclass(frozen=True, eq=False)
class LearningRateSearch:
    """What came of the search for a learning rate.

    Attributes:
        table: one row a step: lr, loss, smoothed.
        suggestion: the rate at which the smoothed loss falls fastest.
        record: the table's file; the picture of it lies beside it, and ends in .png.
    """

    table: pd.DataFrame
    suggestion: float
    record: Path


def plan_training(
    registry: Registry,
    model: str,
    dataset: str,
    sources: Sources = Sources(),
    *,
    recipe: str | None = None,
    changes: Mapping[str, Setting] | None = None,
    output: Path | None = None,
) -> TrainingPlan:
    """Finds the plugins, opens the data, and settles how to train.

    Parameters:
        registry: where the plugins are.
        model: one architecture, `resnet18:width=16`.
        dataset: one data set, with a split `train` and one called `test` or `val`.
        sources: of the data.
        recipe: a bundled recipe or a TOML file; None for that of the weights that are shipped for
            this model and data, or else the default.
        changes: what is to be different from the recipe; None stands for what is not.
        output: where the weights go; `<dataset>-<model>.safetensors` by default.

    Raises:
        InterpBenchError: whatever is wrong with the input.
    """
    choice = choose_one(registry, "model", model, "Train")
    check_trainable(choice)
    data = open_splits(registry, dataset, sources)
    choice, settings = _settings(choice, data.train.card, recipe)
    path = output or Path(weights_file(choice, data.train.card.name))
    plan = TrainingPlan(choice, data, settings.changed(changes or {}), path)
    check_writable(path)
    return plan


def train_as_planned(
    plan: TrainingPlan,
    *,
    device: torch.device,
    resume: bool = False,
    overwrite: bool = False,
    progress: TrainingListener = lambda step: None,
) -> TrainedModel:
    """Trains, and writes the weights and their record; Ctrl-C gets a note that says how to go on.

    Parameters:
        plan: what is trained.
        device: where.
        resume: whether to go on with the unfinished training of the same output.
        overwrite: whether weights and unfinished trainings that are there may be replaced.
        progress: called after each batch.

    Raises:
        ParameterError: if the weights are there already.
        RecipeError: if there is an unfinished training, and nothing is said of it.
        InterpBenchError: as `train`.
    """
    plan.refuse_to_lose(resume=resume, overwrite=overwrite)
    try:
        card = train(
            plan.model,
            plan.data,
            recipe=plan.recipe,
            device=device,
            output=plan.output,
            resume=resume,
            progress=progress,
        )
    except KeyboardInterrupt as interrupt:
        saved = unfinished(plan.output)
        go_on = f"Go on with the same command and --resume: {saved}."
        interrupt.add_note(go_on if saved.exists() else "No epoch was finished.")
        raise
    return TrainedModel(
        plan.model.label, plan.output, plan.output.with_suffix(".training.csv"), card
    )


def search_as_planned(
    plan: TrainingPlan, *, device: torch.device, progress: TrainingListener = lambda step: None
) -> LearningRateSearch:
    """Searches for a learning rate; writes its table and plot beside where the weights would be.

    Parameters:
        plan: what would be trained.
        device: where.
        progress: called after each step.

    Raises:
        InterpBenchError: as `find_lr`.
    """
    table, suggestion = find_lr(
        plan.model, plan.data.train, recipe=plan.recipe, device=device, progress=progress
    )
    record = plan.output.with_suffix(".lr.csv")
    table.to_csv(record, index=False, float_format="%.6g", lineterminator="\n")
    title = f"{plan.model.label} on {plan.data.train.card.name}, {plan.recipe.optimiser.name}"
    draw_lr_search(table, suggestion, title, record.with_suffix(".png"))
    return LearningRateSearch(table, suggestion, record)


def _settings(
    choice: Configured, data: DatasetCard, recipe: str | None
) -> tuple[Configured, Recipe]:
    """The model's parameters and the recipe.

    The recipe is the one named, else that of its shipped weights, else the default.
    """
    card = shipped_card(choice, data)
    if recipe is not None or card is None:
        return choice, load_recipe() if recipe is None else load_recipe(recipe)
    return with_parameters(choice, card), recorded_recipe(card.notes["recipe"])
