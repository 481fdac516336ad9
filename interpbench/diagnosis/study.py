"""A model on a data set's images, examined and repaired: what `doctor` does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from interpbench.core.devices import exact_arithmetic
from interpbench.core.errors import PluginError, in_one_line
from interpbench.core.preparation import Preparation, Stated
from interpbench.core.types import Dataset, Model, normalise
from interpbench.diagnosis.examination import Diagnosis, Finding, examine
from interpbench.diagnosis.layer_statistics import (
    IMAGES,
    LayerStatistics,
    findings_of,
    layer_statistics,
)
from interpbench.diagnosis.repair import Repair, repair
from interpbench.loading.candidates import Candidate, try_candidates
from interpbench.loading.chosen_weights import RANDOM
from interpbench.loading.dataset import open_dataset
from interpbench.loading.images import choose, load_images
from interpbench.loading.model import load_model
from interpbench.loading.model_card import UnstatedPreparationError
from interpbench.loading.pretrained import offered
from interpbench.registry.choosing import Sources, choose_dataset, choose_one
from interpbench.registry.plugin import Configured, blaming
from interpbench.registry.registry import Registry


@dataclass(frozen=True)
class DoctorsReport:
    """What makes methods go wrong on a model, and what can be repaired.

    Attributes:
        model: the architecture, as one would type it.
        weights: where they came from.
        dataset: the name of the data set whose images were used.
        image_size: their height and width in pixels, as the model gets them; None if it could not
            be loaded.
        diagnosis: the findings; what could be repaired on a copy is marked so.
        repairs: what was done to the copy, or tried and discarded.
        ruled_out: which methods cannot be trusted on the model, even repaired, in words -> the
            names of those that can be told by their traits.
        preparation: how the images became the model's input; None if it could not be loaded.
        candidates: how accurate a model with weights of one's own is with the usual preparations,
            the best first; none of weights that are shipped, downloaded or random.
        notices: what was done to the model or its weights to make them usable.
        layers: how large activations and gradients are, layer by layer, of the repaired copy; none
            if the model fails.
        images: over how many images that is.
    """

    model: str
    weights: str
    dataset: str
    image_size: tuple[int, int] | None
    diagnosis: Diagnosis
    repairs: tuple[Repair, ...]
    ruled_out: Mapping[str, tuple[str, ...]]
    preparation: Preparation | None = None
    candidates: tuple[Candidate, ...] = ()
    notices: tuple[str, ...] = ()
    layers: tuple[LayerStatistics, ...] = ()
    images: int = 0

    @property
    def healthy(self) -> bool:
        """Whether nothing rules methods out for good but what the model is by nature."""
        return self.diagnosis.healthy


def examine_and_repair(
    registry: Registry,
    model: str,
    dataset: str,
    sources: Sources = Sources(),
    *,
    device: torch.device = torch.device("cpu"),
    seed: int = 0,
) -> DoctorsReport:
    """Loads a model and two images of a data set, examines the model, and repairs a copy.

    Parameters:
        registry: where the plugins are.
        model: one model, `resnet18:width=16`.
        dataset: one data set, whose first images are used.
        sources: of the data, and of the weights: a file or `random`, or none for what is shipped,
            or torchvision's.
        device: where.
        seed: of random weights, and of all chance.

    Raises:
        InterpBenchError: whatever is wrong with the input. What is wrong with the model is found
            instead.
    """
    choice = choose_one(registry, "model", model, "Examine")
    data = open_dataset(choose_dataset(registry, dataset, sources))
    candidates: list[Candidate] = []
    repairs: list[Repair] = []
    loaded, x = None, None
    layers: tuple[LayerStatistics, ...] = ()
    unseen: tuple[str, ...] = ()
    seen = 0
    try:
        loaded, candidates, unstated = _load(choice, data, sources, seed, device)
        x = _images(data, loaded, choose(data, None, 0)[:2]).to(device)
        with exact_arithmetic(), blaming(choice):
            loaded.to(device)
            mended, diagnosis, repairs = repair(loaded, examine(loaded, x, seed), x, seed)
            if "failure" not in diagnosis.kinds:
                batch = _images(data, loaded, choose(data, min(IMAGES, len(data.ids)), 0))
                layers, unseen = _layers(mended, batch.to(device))
                seen = len(batch)
        findings = (*unstated, *diagnosis.findings, *findings_of(layers))
        diagnosis = replace(diagnosis, findings=findings)
    except PluginError as error:  # what is wrong with the model is what is asked for
        diagnosis = Diagnosis((_failure(error),))
    return DoctorsReport(
        model=choice.label,
        weights=loaded.card.weights if loaded is not None else "not loaded",
        dataset=data.card.name,
        image_size=None if x is None else (x.shape[2], x.shape[3]),
        diagnosis=diagnosis,
        repairs=tuple(repairs),
        ruled_out=_ruled_out(diagnosis, registry),
        preparation=None if loaded is None else loaded.card.preparation,
        candidates=tuple(candidates),
        notices=(*(() if loaded is None else loaded.notices), *unseen),
        layers=layers,
        images=seen,
    )


def _failure(error: PluginError) -> Finding:
    """What kept a model from being loaded or looked at."""
    advice = "Mend what the message names; nothing else was examined."
    return Finding("failure", (), str(error).removesuffix("."), advice, "all methods")


def _load(
    choice: Configured, data: Dataset, sources: Sources, seed: int, device: torch.device
) -> tuple[Model, list[Candidate], list[Finding]]:
    """The model, what came of trying the usual preparations, and the finding that none is stated.

    Where nobody states one, the model has that with the greatest accuracy.
    """
    weights = sources.weights[0] if sources.weights else None
    stated, finding = sources.preparation, []
    offer = offered(choice)
    own = weights not in (None, RANDOM) or (offer is not None and offer.load is None)
    load = partial(
        load_model, choice, data.card, weights=weights, outputs=sources.outputs, seed=seed
    )
    candidates: list[Candidate] = []
    if own:
        candidates = try_candidates(
            choice,
            data,
            weights=weights,
            stated=stated,
            outputs=sources.outputs,
            seed=seed,
            device=device,
        )
    try:
        loaded = load(stated=stated)
    except UnstatedPreparationError as error:
        best = candidates[0]
        finding.append(
            Finding(
                "preparation",
                (),
                f"nobody states the {error.lacking}; examined with {best.name}",
                "State how images become the input, see the accuracies with the usual ways.",
                "all methods",
            )
        )
        whole = replace(Stated.whole(best.preparation), by=f"nobody; tried: {best.name}")
        loaded = load(stated=whole)
    return loaded, candidates, finding


def _layers(model: Model, x: Tensor) -> tuple[tuple[LayerStatistics, ...], tuple[str, ...]]:
    """The statistics of a model that two images did no harm, or why there are none."""
    try:
        return layer_statistics(model, x), ()
    except Exception as error:
        return (), (f"Its layers were not looked at: with {len(x)} images {in_one_line(error)}.",)


def _images(data: Dataset, model: Model, indices: list[int]) -> Tensor:
    """Some of the images, normalised: [N,C,H,W], those left out that cannot be read."""
    images = load_images(data, indices, model.card.preparation).images
    return normalise(images, model.card.preparation)


def _ruled_out(diagnosis: Diagnosis, registry: Registry) -> dict[str, tuple[str, ...]]:
    """Which methods what is not repaired rules out, in words -> their names."""
    left = [finding for finding in diagnosis.findings if not finding.repaired]
    methods: dict[str, tuple[str, ...]] = {}
    for scope in diagnosis.ruled_out:
        ruling_out = [finding for finding in left if finding.rules_out == scope]
        methods[scope] = _concerned(ruling_out, registry)
    return methods


def _concerned(findings: Sequence[Finding], registry: Registry) -> tuple[str, ...]:
    """The methods that findings rule out, as far as their traits tell."""
    methods = [plugin.configure() for plugin in registry.plugins("method") if not plugin.required]
    return tuple(
        method.name for method in methods if any(finding.concerns(method) for finding in findings)
    )
