"""suite x registry -> plan: every plugin found, every parameter checked, every file opened, before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from interpbench.core.devices import Compile, default_batch_size
from interpbench.core.errors import DataError, NoWeightsError, ParameterError, WeightsError, unknown_name
from interpbench.core.types import Dataset, Model
from interpbench.loading import images
from interpbench.loading.model import RANDOM, load_model
from interpbench.registry.choosing import can_explain, choose_plugins, configure_dataset, left_out_without_gradients
from interpbench.registry.plugin import Configured, blaming
from interpbench.registry.registry import Registry
from interpbench.registry.spec import parse_specs
from interpbench.scoring.ceiling import ceiling
from interpbench.suite.cells import Cell, Role
from interpbench.suite.protocol import Protocol, protocol_of
from interpbench.suite.suite import Suite


@dataclass(frozen=True)
class Plan:
    """All that a run will do.

    Attributes:
        suite: the selection.
        dataset: the data, its plugin, and the indices of the images that are used.
        models: label -> the plugin and the loaded model, on the CPU.
        methods, metrics: label -> the plugin with its parameters.
        ceiling: the search for the ceilings of curve metrics, or None.
        protocols: metric label -> its protocol.
        device, precision: where and how scores are computed.
        batch_size: images a forward pass, or None where that is to be found out.
        compile: whether the scoring copy of a model is compiled: `auto`, `always` or `never`.
        notices: what the user should know before it starts.
        changed: whether the selection differs from the suite's own.
    """

    suite: Suite
    dataset: Dataset
    dataset_choice: Configured
    indices: list[int]
    models: dict[str, tuple[Configured, Model]]
    methods: dict[str, Configured]
    metrics: dict[str, Configured]
    ceiling: Configured | None
    protocols: dict[str, Protocol]
    device: torch.device
    precision: str
    notices: tuple[str, ...]
    changed: bool = False
    batch_size: int | None = None
    compile: Compile = "auto"

    @property
    def cells(self) -> list[Cell]:
        """One a model and method that can explain it, and one a model and ceiling, in the order in which they run."""
        dataset = self.dataset.card.name
        curves = [label for label, metric in self.metrics.items() if metric.plugin.curve and self.ceiling is not None]
        cells = []
        for model, (choice, _) in self.models.items():
            able = [label for label, method in self.methods.items() if can_explain(method, choice)]
            cells += [Cell(dataset, model, label) for label in able]
            cells += [Cell.ceiling(dataset, model, label) for label in curves]
        return cells

    def method(self, cell: Cell) -> Configured:
        """What makes the maps of a cell.

        Raises:
            KeyError: if the plan has no such method.
        """
        return self.ceiling if self.ceiling is not None and cell.ceiling_of else self.methods[cell.method]

    def role(self, cell: Cell) -> Role:
        """What a cell's method is to the others."""
        if cell.ceiling_of:
            return "ceiling"
        return "control" if self.methods[cell.method].plugin.control else "method"


def make_plan(
    suite: Suite,
    registry: Registry,
    *,
    device: torch.device,
    precision: str = "fp32",
    batch_size: int | None = None,
    compile: Compile = "auto",
    weights: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    asked_metrics: bool = False,
    asked_methods: bool = False,
    changed: bool = False,
) -> Plan:
    """Resolves a suite.

    Args:
        suite: what to run.
        registry: where the plugins are.
        device, precision: of the scores' forward passes.
        batch_size: images a forward pass; None chooses it from the input's size, or measures it in long runs.
        compile: whether torch.compile makes the scoring copies: `auto` where it pays.
        weights: `FILE` or `random` for every model, or `MODEL=FILE` for one.
        data: parameters for the data set from flags (`root`, `download`).
        asked_metrics: whether the user named the metrics. Those that a suite names are left out, with a notice, where
            the data have no masks; those that a user names are refused.
        asked_methods: whether the user named the methods. Those that a suite names are left out, with a notice, for
            models through which no gradients flow; those that a user names are refused.
        changed: whether flags have changed the suite.

    Raises:
        InterpBenchError: whatever is wrong with the input.
    """
    dataset_choice = configure_dataset(registry, suite.dataset, data or {})
    with blaming(dataset_choice):
        dataset: Dataset = dataset_choice()
    metrics, notices = _metrics(registry, suite, dataset, asked_metrics)
    model_choices = choose_plugins(registry, "model", suite.models)
    methods = choose_plugins(registry, "method", suite.methods)
    named_methods = {name for name, _ in parse_specs(suite.methods)} if asked_methods else set()
    notices += left_out_without_gradients(model_choices, methods, named_methods)
    files = _weights(weights, list(model_choices))
    size = partial(_batch_size, batch_size, device)
    named = {name for name, _ in parse_specs(suite.models)}
    models = {}
    for label, choice in model_choices.items():
        try:
            model = load_model(choice, dataset.card, weights=files.get(label), batch_size=size, seed=suite.seed)
        except NoWeightsError as error:
            if choice.name in named:
                raise
            notices.append(f"Left out: {error}")  # `all` means all that apply
            continue
        models[label] = (choice, model)
    if not models:
        raise NoWeightsError(f"No model has weights on {dataset.card.name!r}. " + " ".join(notices))
    return Plan(
        suite=suite,
        dataset=dataset,
        dataset_choice=dataset_choice,
        indices=images.choose(dataset, suite.images, suite.seed),
        models=models,
        methods=methods,
        metrics=metrics,
        ceiling=_ceiling(suite, methods, [model for _, model in models.values()]),
        protocols={label: protocol_of(metric, suite.target) for label, metric in metrics.items()},
        device=device,
        precision=precision,
        notices=tuple(notices),
        changed=changed,
        batch_size=batch_size,
        compile=compile,
    )


def _metrics(
    registry: Registry, suite: Suite, dataset: Dataset, asked: bool
) -> tuple[dict[str, Configured], list[str]]:
    """The metrics that apply to the data, with the suite's steps; and notices of those left out."""
    chosen: dict[str, Configured] = {}
    notices = []
    named = {name for name, _ in parse_specs(suite.metrics)}
    for choice in choose_plugins(registry, "metric", suite.metrics).values():
        if choice.plugin.needs_mask and not dataset.card.has_masks:
            what = f"{choice.name} needs ground-truth masks, which {dataset.card.name!r} does not have"
            if asked and choice.name in named:
                raise DataError(f"Metric {what}. Choose another metric or data set.")
            notices.append(f"Left out: {what}.")
            continue
        if suite.steps is not None and choice.values.get("steps", 0) is None:
            choice = choice.plugin.configure({**choice.values, "steps": suite.steps})
        chosen[choice.label] = choice
    if not chosen:
        raise DataError(f"No metric of the suite applies to {dataset.card.name!r}: {' '.join(notices)}")
    return chosen, notices


def _ceiling(suite: Suite, methods: Mapping[str, Configured], models: Sequence[Model]) -> Configured | None:
    """The search for ceilings; none without a control, for a share of the achievable needs a floor as well.

    Raises:
        ParameterError: if the grid is finer than an image.
    """
    if suite.ceiling == "none" or not any(method.plugin.control for method in methods.values()):
        return None
    size = min(model.card.size for model in models)
    if suite.ceiling > size:
        raise ParameterError(
            f"ceiling={suite.ceiling}: so many patches do not fit on {size} pixels. Give a smaller number, or `none`."
        )
    return ceiling(suite.ceiling)


def _weights(texts: Sequence[str], models: list[str]) -> dict[str, str]:
    """model label -> file, from `FILE`, `random` or `MODEL=FILE`."""
    files: dict[str, str] = {}
    for piece in (piece for text in texts for piece in _pieces(text, models)):
        for model, file in _named_weights(piece, models).items():
            if model in files:
                raise WeightsError(f"Model {model!r} is given two weights, {files[model]} and {file}.")
            files[model] = file
    return files


def _pieces(text: str, models: list[str]) -> list[str]:
    """A list with commas, if each piece says which model it is for (a path may hold a comma)."""
    pieces = text.split(",")
    each_named = all(any(piece.startswith(f"{model}=") for model in models) for piece in pieces)
    return pieces if each_named else [text]


def _named_weights(text: str, models: list[str]) -> dict[str, str]:
    for model in models:  # whose label may hold an equals sign itself
        if text.startswith(f"{model}="):
            return {model: text.removeprefix(f"{model}=")}
    name, equals, _ = text.partition("=")
    if equals and not Path(text).exists():
        raise unknown_name("model in --weights:", name, models)
    if len(models) > 1 and text != RANDOM:
        raise WeightsError(f"{len(models)} models are chosen: say which the weights are for, MODEL={text}.")
    return dict.fromkeys(models, text)


def _batch_size(chosen: int | None, device: torch.device, size: int) -> int:
    return chosen if chosen is not None else default_batch_size(size, device)
