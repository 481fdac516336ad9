"""suite x registry -> plan.

Every plugin is found, every parameter checked and every file opened before anything runs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from interpbench.core.devices import Computing
from interpbench.core.errors import (
    DataError,
    NoWeightsError,
    ParameterError,
    WeightsError,
    unknown_name,
)
from interpbench.core.types import UNKNOWN, Dataset, Model
from interpbench.loading import images
from interpbench.loading.candidates import in_words, try_candidates
from interpbench.loading.chosen_weights import RANDOM
from interpbench.loading.dataset import open_dataset
from interpbench.loading.in_domain import load_in_domain
from interpbench.loading.maps_as_methods import open_maps, register_maps
from interpbench.loading.model import load_model
from interpbench.loading.model_card import UnstatedPreparationError
from interpbench.registry.choosing import (
    Choices,
    Sources,
    can_explain,
    choose_dataset,
    choose_plugins,
    left_out_without_gradients,
)
from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry
from interpbench.results.looks import FIRST, looks
from interpbench.running.blocks import Shard
from interpbench.running.examples import spread
from interpbench.scoring.ceiling import ceiling
from interpbench.suite.cells import Cell, Role
from interpbench.suite.protocol import Protocol, protocol_of
from interpbench.suite.selection import Selection
from interpbench.suite.suite import Suite

UNTIL_DECIDED = 1000  # images at most, where the user does not say how many


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
        computing: where and how.
        notices: what the user should know before it starts.
        changed: whether the selection differs from the suite's own.
        looks: after how many images it is asked whether more are needed; empty where all are run.
        shard: the part of the blocks that is run, or None for all.
        excerpt_of: how many images the run has of which these are an excerpt; None where they are
            all.
        in_domain: model label -> its twin that was tuned on images that lack parts, on the CPU; for
            metrics that ask it, none where none does.
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
    computing: Computing
    notices: tuple[str, ...]
    changed: bool = False
    looks: tuple[int, ...] = ()
    shard: Shard | None = None
    excerpt_of: int | None = None
    in_domain: Mapping[str, Model] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many images the run has, by which is decided what is worth its while."""
        return len(self.indices) if self.excerpt_of is None else self.excerpt_of

    def excerpt(self, images: int) -> "Plan":
        """The plan of at most so many of its images, evenly spread; what is decided stays."""
        return replace(self, indices=spread(self.indices, images), excerpt_of=self.size)

    @property
    def cells(self) -> list[Cell]:
        """The cells in the order in which they run.

        One a model and method that can explain it, and one a model and ceiling.
        """
        dataset = self.dataset.card.name
        curves = [
            label
            for label, metric in self.metrics.items()
            if metric.plugin.curve and self.ceiling is not None
        ]
        cells = []
        for model, (choice, _) in self.models.items():
            able = [label for label, method in self.methods.items() if can_explain(method, choice)]
            cells += [Cell(dataset, model, label) for label in able]
            cells += [Cell.ceiling(dataset, model, label) for label in curves]
        return cells

    def cells_of(self, model: str) -> list[Cell]:
        """Those of one model."""
        return [cell for cell in self.cells if cell.model == model]

    def part(self, shard: str) -> "Plan":
        """The plan of one of several parts, such as `2/8`.

        Raises:
            ParameterError: if it is no such part, or how far a run goes is only known on the way.
        """
        if self.looks:
            raise ParameterError(
                "--until decided looks at all scores together: leave it out, or --shard."
            )
        return replace(self, shard=Shard.of(shard))

    def scored_images(self, cells: Sequence[Cell]) -> int:
        """About how many images pass the models so that the cells can be scored.

        A search for a ceiling is about so long.
        """
        grid = self.suite.ceiling
        patches = 0 if isinstance(grid, str) else grid * grid
        search = 3 * patches * max(1, round(math.log2(max(1, patches))))
        curves = [metric for metric in self.metrics.values() if metric.plugin.curve]
        points = {
            label: sum(m.values.get("steps") or model.card.preparation.width for m in curves)
            for label, (_, model) in self.models.items()
        }
        each = [search if cell.ceiling_of else points[cell.model] for cell in cells]
        return self.size * sum(each)

    def method(self, cell: Cell) -> Configured:
        """What makes the maps of a cell.

        Raises:
            KeyError: if the plan has no such method.
        """
        return (
            self.ceiling
            if self.ceiling is not None and cell.ceiling_of
            else self.methods[cell.method]
        )

    def role(self, cell: Cell) -> Role:
        """What a cell's method is to the others."""
        if cell.ceiling_of:
            return "ceiling"
        return "control" if self.methods[cell.method].plugin.control else "method"


def make_plan(
    selection: Selection,
    registry: Registry,
    computing: Computing = Computing(),
    sources: Sources = Sources(),
) -> Plan:
    """Resolves a suite.

    Parameters:
        selection: what to run.
        registry: where the plugins are.
        computing: where and how.
        sources: of the data and the weights.

    Raises:
        InterpBenchError: whatever is wrong with the input.
    """
    suite = selection.suite
    dataset_choice = choose_dataset(registry, suite.dataset, sources)
    dataset = open_dataset(dataset_choice, sources.samples)
    _refuse_unknown_target(suite, dataset)
    suite, fewer = _with_images(suite, selection, dataset)
    until = selection.until_decided
    indices = images.choose(dataset, suite.images, suite.seed, in_turn=until)
    registry, suite = _with_maps(registry, suite, sources.maps, dataset)
    metrics, left_out = _metrics(registry, selection, dataset)
    notices = [*sources.notices, *left_out, *fewer, *_ignored(dataset, metrics)]
    choices = choose_plugins(registry, "model", suite.models)
    methods = choose_plugins(registry, "method", suite.methods)
    notices += left_out_without_gradients(choices, methods, asked="method" in selection.named)
    models, of_models = _models(choices, dataset, suite, computing, sources)
    notices += of_models
    blind = {
        label: choice
        for label, (choice, model) in models.items()
        if not model.gradients and choices.plugins[label].plugin.gradients
    }
    asked = "method" in selection.named
    notices += left_out_without_gradients(Choices(blind), methods, asked=asked)
    if not models:
        raise NoWeightsError(f"No model has weights on {dataset.card.name!r}. " + " ".join(notices))
    in_domain = _in_domain(metrics, models, dataset, computing, sources)
    notices += [
        f"{label}: metrics with network=in-domain ask {twin.card.weights}, not the explained model."
        for label, twin in in_domain.items()
    ]
    notices += computing.detours
    if until:  # a look needs whole blocks
        computing = replace(computing, block_size=min(computing.block_size, FIRST))
    return Plan(
        suite=suite,
        dataset=dataset,
        dataset_choice=dataset_choice,
        indices=indices,
        models=models,
        methods=open_maps(methods.plugins, dataset, indices, models),
        metrics=metrics,
        ceiling=_ceiling(suite, methods.plugins, [model for _, model in models.values()]),
        protocols={label: protocol_of(metric, suite.target) for label, metric in metrics.items()},
        computing=computing,
        notices=tuple(notices),
        changed=selection.changed or suite != selection.suite or sources.samples is not None,
        looks=looks(len(indices)) if until else (),
        in_domain=in_domain,
    )


def _with_maps(
    registry: Registry, suite: Suite, maps: Sequence[str], dataset: Dataset
) -> tuple[Registry, Suite]:
    """The plugins and the suite with a method for each folder or archive of maps."""
    if not maps:
        return registry, suite
    registry = registry.copy()
    names = register_maps(registry, maps, dataset.ids)
    methods = dict.fromkeys([*suite.methods, *names])  # one that goes on has recorded them
    return registry, suite.changed({"methods": list(methods)})


def _with_images(
    suite: Suite, selection: Selection, dataset: Dataset
) -> tuple[Suite, tuple[str, ...]]:
    """The suite with no more images than there are, and a notice of that.

    A number that the user named stays as it is.
    """
    if "images" in selection.named or (suite.images is None and not selection.until_decided):
        return suite, ()
    usual = UNTIL_DECIDED if selection.until_decided else suite.images
    count, notices = images.default_count(dataset, usual or UNTIL_DECIDED)
    return suite.changed({"images": count or suite.images}), notices


def _models(
    choices: Choices, dataset: Dataset, suite: Suite, computing: Computing, sources: Sources
) -> tuple[dict[str, tuple[Configured, Model]], list[str]]:
    """The models with their weights; and notices of what was done to make them usable.

    Those without weights are left out, for `all` means all that apply.
    """
    files = _weights(sources.weights, list(choices.plugins))
    size = computing.images_a_pass
    models, notices = {}, []
    for label, choice in choices.plugins.items():
        try:
            model = load_model(
                choice,
                dataset.card,
                weights=files.get(label),
                stated=sources.preparation,
                outputs=sources.outputs,
                batch_size=size,
                seed=suite.seed,
            )
        except UnstatedPreparationError as error:
            raise error.after_trying(
                in_words(
                    try_candidates(
                        choice,
                        dataset,
                        weights=files.get(label),
                        stated=sources.preparation,
                        outputs=sources.outputs,
                        seed=suite.seed,
                    )
                )
            ) from None
        except NoWeightsError as error:
            if choice.name in choices.named:
                raise
            notices.append(f"Left out: {error}")
            continue
        notices += [f"{label}: {notice}" for notice in model.notices]
        models[label] = (choice if model.gradients else choice.without_gradients(), model)
    return models, notices


def _in_domain(
    metrics: Mapping[str, Configured],
    models: Mapping[str, tuple[Configured, Model]],
    dataset: Dataset,
    computing: Computing,
    sources: Sources,
) -> dict[str, Model]:
    """The twins of the models, if a metric asks them.

    Raises:
        ParameterError: if the user gives weights of them, and no metric asks.
    """
    if all(metric.values.get("network") != "in-domain" for metric in metrics.values()):
        if sources.in_domain:
            raise ParameterError(
                "--in-domain is for metrics that ask that network, and none does: choose one with "
                "network=in-domain, such as --metric METRIC:network=in-domain, or leave it out."
            )
        return {}
    files = _weights(sources.in_domain, list(models), "in-domain")
    return {
        label: load_in_domain(
            choice,
            model,
            dataset.card,
            files.get(label),
            stated=sources.preparation,
            computing=computing,
        )
        for label, (choice, model) in models.items()
    }


def _refuse_unknown_target(suite: Suite, dataset: Dataset) -> None:
    if suite.target == "predicted" and dataset.card.label_alone:
        raise DataError(
            f"An image of {dataset.card.name!r} shows several classes, and which of them is asked "
            "for its label says: explain that with --target label, not the predicted class."
        )
    if suite.target == "label" and UNKNOWN in dataset.labels:
        raise DataError(
            f"target='label' explains the true class, and {dataset.card.name!r} has images without "
            "labels. Give labels=, or explain the class that is predicted."
        )


def _metrics(
    registry: Registry, selection: Selection, dataset: Dataset
) -> tuple[dict[str, Configured], list[str]]:
    """The metrics that apply to the data, with the suite's steps; and notices of those left out."""
    applying: dict[str, Configured] = {}
    without_masks: list[str] = []
    suite = selection.suite
    chosen = choose_plugins(registry, "metric", suite.metrics)
    for choice in chosen.plugins.values():
        if choice.plugin.needs_mask and not dataset.card.has_masks:
            what = (
                f"{choice.name} needs ground-truth masks, which {dataset.card.name!r} does not have"
            )
            if "metric" in selection.named and choice.name in chosen.named:
                raise DataError(f"Metric {what}. Choose another metric or data set.")
            without_masks.append(choice.name)
            continue
        if suite.steps is not None and choice.values.get("steps", 0) is None:
            with_steps = choice.plugin.configure({**choice.values, "steps": suite.steps})
            choice = replace(with_steps, alias=choice.alias)
        applying[choice.label] = choice
    notices = []
    if without_masks:
        notices.append(
            f"Left out, as {dataset.card.name!r} has no ground-truth masks: "
            f"{', '.join(without_masks)}."
        )
    if not applying:
        raise DataError(
            f"No metric of the suite applies to {dataset.card.name!r}: {' '.join(notices)}"
        )
    return applying, notices


def _ignored(dataset: Dataset, metrics: Mapping[str, Configured]) -> list[str]:
    """A notice of what masks leave out, if a metric compares with them."""
    comparing = [label for label, metric in metrics.items() if metric.plugin.needs_mask]
    if not dataset.card.ignored or not comparing:
        return []
    return [f"{' and '.join(comparing)}: nothing counts on {dataset.card.ignored}."]


def _ceiling(
    suite: Suite, methods: Mapping[str, Configured], models: Sequence[Model]
) -> Configured | None:
    """The search for ceilings; none without a control.

    A share of the achievable needs a floor as well.

    Raises:
        ParameterError: if the grid is finer than an image.
    """
    if suite.ceiling == "none" or not any(method.plugin.control for method in methods.values()):
        return None
    size = min(model.card.size for model in models)
    if suite.ceiling > size:
        raise ParameterError(
            f"ceiling={suite.ceiling}: so many patches do not fit on {size} pixels. Give a smaller "
            "number, or `none`."
        )
    return ceiling(suite.ceiling)


def _weights(texts: Sequence[str], models: list[str], flag: str = "weights") -> dict[str, str]:
    """model label -> file, from `FILE`, `random` or `MODEL=FILE`, as a flag gives them."""
    files: dict[str, str] = {}
    for piece in (piece for text in texts for piece in _pieces(text, models)):
        for model, file in _named_weights(piece, models, flag).items():
            if model in files:
                raise WeightsError(
                    f"Model {model!r} is given two weights, {files[model]} and {file}."
                )
            files[model] = file
    return files


def _pieces(text: str, models: list[str]) -> list[str]:
    """A list with commas, if each piece says which model it is for (a path may hold a comma)."""
    pieces = text.split(",")
    each_named = all(any(piece.startswith(f"{model}=") for model in models) for piece in pieces)
    return pieces if each_named else [text]


def _named_weights(text: str, models: list[str], flag: str) -> dict[str, str]:
    for model in models:  # whose label may hold an equals sign itself
        if text.startswith(f"{model}="):
            return {model: text.removeprefix(f"{model}=")}
    name, equals, _ = text.partition("=")
    if equals and not Path(text).exists():
        raise unknown_name(f"model in --{flag}:", name, models)
    if len(models) > 1 and text != RANDOM:
        raise WeightsError(
            f"{len(models)} models are chosen: say which the weights are for, MODEL={text}."
        )
    return dict.fromkeys(models, text)
