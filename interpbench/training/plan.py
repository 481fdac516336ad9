"""A training as a user asks for it: what is trained, on what, how, and where the weights go."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from interpbench.core.errors import ParameterError, RecipeError
from interpbench.core.types import DatasetCard
from interpbench.loading.chosen_weights import RANDOM, shipped_card, weights_file, with_parameters
from interpbench.loading.weights import HELD_OUT, WeightsCard, check_writable
from interpbench.registry.choosing import Sources, choose_one
from interpbench.registry.registry import Registry
from interpbench.training.checkpoint import unfinished
from interpbench.training.find_lr import find_lr
from interpbench.training.loop import TrainingListener, TrainingStep
from interpbench.training.plots import draw_lr_search
from interpbench.training.recipe import FINE_TUNE, Recipe, load_recipe, recorded_recipe
from interpbench.training.splits import Splits, open_data
from interpbench.training.start import Start, find_start, find_trained
from interpbench.training.train import check_trainable, train

Setting = int | float | str | None  # of a recipe, as a flag gives it


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained.

    Attributes:
        start: the architecture with its parameters, and the weights it starts from, if any.
        data: to train and to test on.
        recipe: how to train.
        output: the safetensors file.
    """

    start: Start
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
        notices: what the user should know of the training.
    """

    model: str
    weights: Path
    record: Path
    card: WeightsCard
    notices: tuple[str, ...] = ()

    @property
    def held_out(self) -> Path | None:
        """The file that lists the samples that were held out, of data without parts."""
        return self.weights.with_suffix(HELD_OUT) if "held_out" in self.card.notes else None


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
    split: float | None = None,
) -> TrainingPlan:
    """Finds the plugins, opens the data, and settles how to train.

    Parameters:
        registry: where the plugins are.
        model: one architecture, `resnet18:width=16`.
        dataset: one data set, with a split `train` and one called `test` or `val`, or without any.
        sources: of the data, and of the weights to start from: a file, `imagenet` or none.
        recipe: a bundled recipe or a TOML file; None for that of the weights that are shipped for
            this model and data, or else the default; where it starts from weights, `fine-tune`. One
            that is `from_trained` starts from weights even where none are given.
        changes: what is to be different from the recipe; None stands for what is not.
        output: where the weights go; `<dataset>-<model>.safetensors` by default.
        split: the share of each class that is held out to test on, of data without splits.

    Raises:
        InterpBenchError: whatever is wrong with the input.
    """
    choice = choose_one(registry, "model", model, "Train")
    check_trainable(choice)
    data = open_data(registry, dataset, sources, split)
    weights = _starting_weights(sources)
    start = find_start(choice, weights, sources.preparation)
    start, settings = _settings(start, data.card, recipe)
    settings = settings.changed(changes or {})
    if settings.from_trained and start.weights is None:
        _refuse_untrained(weights, recipe)
        start = find_trained(start.model, data.card, sources.preparation)
    path = output or Path(weights_file(start.model, data.card.name))
    plan = TrainingPlan(start, data.parts(settings.seed), settings, path)
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
        progress: called after each batch, and with notes on what the user should know.

    Raises:
        ParameterError: if the weights are there already.
        RecipeError: if there is an unfinished training, and nothing is said of it.
        InterpBenchError: as `train`.
    """
    plan.refuse_to_lose(resume=resume, overwrite=overwrite)
    notices: list[str] = []

    def listen(step: TrainingStep) -> None:
        if step.note:
            notices.append(step.note)
        progress(step)

    try:
        card = train(
            plan.start,
            plan.data,
            recipe=plan.recipe,
            device=device,
            output=plan.output,
            resume=resume,
            progress=listen,
        )
    except KeyboardInterrupt as interrupt:
        saved = unfinished(plan.output)
        go_on = f"Go on with the same command and --resume: {saved}."
        interrupt.add_note(go_on if saved.exists() else "No epoch was finished.")
        raise
    record = plan.output.with_suffix(".training.csv")
    return TrainedModel(plan.start.model.label, plan.output, record, card, tuple(notices))


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
        plan.start, plan.data.train, recipe=plan.recipe, device=device, progress=progress
    )
    record = plan.output.with_suffix(".lr.csv")
    table.to_csv(record, index=False, float_format="%.6g", lineterminator="\n")
    title = f"{plan.start.model.label} on {plan.data.train.card.name}, {plan.recipe.optimiser.name}"
    draw_lr_search(table, suggestion, title, record.with_suffix(".png"))
    return LearningRateSearch(table, suggestion, record)


def _starting_weights(sources: Sources) -> str | None:
    """What the user says of the weights to start from.

    Raises:
        ParameterError: if that is more than one thing.
    """
    if len(sources.weights) > 1:
        raise ParameterError(
            f"A training starts from one file of weights, not {len(sources.weights)}."
        )
    return sources.weights[0] if sources.weights else None


def _refuse_untrained(weights: str | None, recipe: str | None) -> None:
    if weights == RANDOM:
        raise ParameterError(
            f"Recipe {recipe!r} is for weights that are trained: leave --weights {RANDOM} out to "
            "start from those that a run would take, or give --weights FILE."
        )


def _settings(start: Start, data: DatasetCard, recipe: str | None) -> tuple[Start, Recipe]:
    """The model's parameters and the recipe.

    The recipe is the one named; else the one for weights to start from, or that of the model's
    shipped weights, or the default.
    """
    if recipe is not None:
        return start, load_recipe(recipe)
    if start.weights is not None:
        return start, load_recipe(FINE_TUNE)
    card = shipped_card(start.model, data)
    if card is None:
        return start, load_recipe()
    return Start(with_parameters(start.model, card)), recorded_recipe(card.notes["recipe"])
