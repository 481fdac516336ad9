"""Metrics beside their references, for the same model, images and maps."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from interpbench.core.seeding import derive
from interpbench.core.types import Model
from interpbench.registry.plugin import Configured, MetricReference, ReferencePlugin
from interpbench.registry.registry import Registry
from interpbench.scoring.curves import area
from interpbench.scoring.explanation import Explainer, Explanation
from interpbench.scoring.ranking import rank, tie_breakers
from interpbench.studies.conformance.comparing import Case
from interpbench.studies.conformance.models_on_noise import ModelOnNoise

LEVELS = 4  # of the maps with ties


class MetricCase(Case):
    """A model, images and maps that metrics and their references score.

    The deviation is the greatest difference of the images' scores, as a share of what scores can
    be from the least to the greatest, or of the reference's greatest score where that has no bound.

    Parameters:
        registry: knows the metrics.
        model: the model's label.
        maps: which maps.
        explanation: what is scored.
    """

    def __init__(self, registry: Registry, model: str, maps: str, explanation: Explanation) -> None:
        self._registry = registry
        self._explanation = explanation
        self.label = f"{model}, {maps}"
        self.columns = {"model": model, "maps": maps}
        self.images = len(explanation.ids)

    def subject(self, reference: ReferencePlugin) -> str:
        """The metric with its parameters, and which of its references it is."""
        return self._metric(reference).label + (
            f", {reference.variant}" if reference.variant else ""
        )

    def theirs(self, reference: ReferencePlugin) -> Tensor:
        """The reference's scores, float64 [B]."""
        return _scores(reference.configure(), self._changed(reference))

    def ours(self, reference: ReferencePlugin) -> Tensor:
        """The metric's scores, float64 [B]."""
        return _scores(self._metric(reference), self._changed(reference))

    def deviation(self, reference: ReferencePlugin, ours: Tensor, theirs: Tensor) -> float:
        """As `deviation_of_scores`."""
        metric = self._metric(reference)
        return deviation_of_scores(ours, theirs, metric.plugin.scale(metric.values).range)

    def unless(self, reference: ReferencePlugin) -> str:
        """Why these maps, or any, cannot be compared."""
        assert isinstance(reference, MetricReference)
        here = "" if reference.unless is None else reference.unless(self._explanation)
        return here or super().unless(reference)

    def _metric(self, reference: ReferencePlugin) -> Configured:
        return self._registry.configure("metric", reference.ours, reference.configure().values)

    def _changed(self, reference: ReferencePlugin) -> Explanation:
        """The explanation as both score it; nothing that was computed before is kept."""
        assert isinstance(reference, MetricReference)
        alone = replace(self._explanation, reader=None)
        return alone if reference.on is None else reference.on(alone)


def _scores(metric: Configured, explanation: Explanation) -> Tensor:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.no_grad():
        torch.manual_seed(explanation.seed)
        warnings.simplefilter("ignore")  # of libraries, at length, on what they are sensitive to
        answer = metric(explanation)
        scores: Tensor = (
            answer if isinstance(answer, Tensor) else area(explanation.along(answer).cpu())
        )
    return scores.double()


def deviation_of_scores(ours: Tensor, theirs: Tensor, limits: tuple[float, float]) -> float:
    """The greatest |ours - theirs| of [B], as a share of what scores can be.

    Infinite where one of the two is NaN and the other is not, or all of theirs are 0 and ours not.

    Parameters:
        ours, theirs: float64 [B].
        limits: the least and the greatest possible score; the greatest |theirs| is the scale if
            one of them is infinite.

    Raises:
        ValueError: if the two have different shapes.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"it gives {list(ours.shape)} scores, the reference {list(theirs.shape)}")
    if not torch.equal(ours.isnan(), theirs.isnan()):
        return math.inf
    difference = float((ours - theirs).abs().nan_to_num(0).max())
    width = limits[1] - limits[0]
    scale = width if math.isfinite(width) else float(theirs.abs().nan_to_num(0).max())
    return 0.0 if difference == 0 else difference / scale if scale else math.inf


def cases_on(registry: Registry, subject: ModelOnNoise) -> Iterator[MetricCase]:
    """The images of noise with maps of each kind.

    `gradient-x-input` is what a linear model's positions contribute; `ties` is the same cut to a
    few values, most of them 0; `random` knows nothing of the model or the image.
    """
    given = Model(_InDouble(subject.model.network), subject.model.card, subject.model.batch_size)
    if subject.model.card.target_layer is not None:
        layer = f"inner.{subject.model.card.target_layer}"
        given.card = replace(given.card, target_layer=layer)
    given.eval()

    def contributions(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
        leaf = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            outputs = (model or given)(leaf).gather(1, target[:, None]).sum()
        return (torch.autograd.grad(outputs, leaf)[0] * leaf.detach()).sum(1)

    def tied(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
        maps = contributions(x, target, model=model)
        greatest = maps.amax((1, 2), keepdim=True)
        return (maps / greatest * LEVELS).round().clamp(min=0) / LEVELS

    def random(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
        generators = [
            torch.Generator().manual_seed(derive(subject.seed, "conformance", "maps", i))
            for i in range(len(x))
        ]
        return torch.stack([torch.randn(x.shape[2:], generator=g) for g in generators])

    kinds: dict[str, Explainer] = {
        "gradient-x-input": contributions, "ties": tied, "random": random,
    }  # fmt: skip
    for name, explain in kinds.items():
        yield MetricCase(registry, subject.label, name, _explained(subject, given, explain))


class _InDouble(nn.Module):
    """A network in double precision that takes images in single precision."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x.double())
        return logits


def _explained(subject: ModelOnNoise, model: Model, explain: Explainer) -> Explanation:
    x = subject.x.float()
    ids = tuple(map(str, range(len(x))))
    saliency = explain(x, subject.target)
    ranks, _ = rank(saliency, tie_breakers(ids, saliency[0].numel(), subject.seed))
    return Explanation(
        model=model, x=x, target=subject.target, label=subject.target, mask=_masks(saliency),
        ids=ids, seed=subject.seed, saliency=saliency, rank=ranks, explainer=explain,
    )  # fmt: skip


def _masks(saliency: Tensor) -> Tensor:
    """A rectangle an image, each of another size, bool [B,H,W]."""
    mask = torch.zeros_like(saliency, dtype=torch.bool)
    height, width = saliency.shape[1:]
    for i, evidence in enumerate(mask):
        evidence[height // 8 + i : height // 2 + i, width // 4 : 3 * width // 4 - i] = True
    return mask
