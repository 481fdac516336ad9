"""A metric on a small model, called as the runner does, with all that can be seen of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.core.model_guard import Guard
from interpbench.core.types import Model
from interpbench.fast.scoring_copy import Scorer
from interpbench.registry.plugin import Configured
from interpbench.scoring.curves import area
from interpbench.scoring.evaluate import EndPoints, Passes, evaluate
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.ranking import rank, tie_breakers
from interpbench.scoring.shared_results import SharedResults
from interpbench.testing.case import BATCH_SIZE, NotApplicable

IMAGES = 3
REFERENCE = 8  # images that stand for the data
SEED = 0


def unchanged(maps: Tensor) -> Tensor:
    """The maps as they are, [B,H,W]."""
    return maps


def negated(maps: Tensor) -> Tensor:
    """Maps with the opposite sign, [B,H,W]."""
    return maps.neg()


def shuffled(maps: Tensor) -> Tensor:
    """Maps with their values in other places, [B,H,W]."""
    order = torch.randperm(maps[0].numel(), generator=torch.Generator().manual_seed(2))
    return maps.flatten(1)[:, order].view_as(maps)


def sharpened(maps: Tensor) -> Tensor:
    """Maps with their greatest values made greater still, [B,H,W]."""
    return maps.pow(3)


def tilted(maps: Tensor) -> Tensor:
    """Maps that rise from their upper left to their lower right corner besides, [B,H,W]."""
    ramp = torch.linspace(-1, 1, maps[0].numel()).view_as(maps[0])
    return maps + ramp * maps.abs().mean((1, 2), keepdim=True)


@dataclass(frozen=True)
class Scoring:
    """What was seen of a metric's call.

    Attributes:
        scores: float64 [B]; None if it gave none.
        failure: why it gave none.
        left: what it left behind on the model or in torch's global switches.
        wrote: which of its inputs it changed.
    """

    scores: Tensor | None
    failure: str
    left: tuple[str, ...]
    wrote: tuple[str, ...]


class MetricCase:
    """A metric and a small model, with three images, their maps and masks.

    The maps are gradient x input, and so is what `explanation.explain` gives, of other models too.

    Parameters:
        metric: with its parameters.
        name: of the model.
        build: gives the model, the same each time.
    """

    def __init__(self, metric: Configured, name: str, build: Callable[[], Model]) -> None:
        self.choice = metric
        self.name = name
        self.model = build()
        shape = self.model.card.preparation.shape
        self.x = torch.randn(IMAGES, *shape, generator=torch.Generator().manual_seed(1))
        self.reference = torch.randn(REFERENCE, *shape, generator=torch.Generator().manual_seed(3))
        self.target = torch.arange(IMAGES) % self.model.card.classes
        self.maps = self._explain(self.x, self.target)
        self._scorings = dict[Callable[[Tensor], Tensor], Scoring]()

    @property
    def plain(self) -> Scoring:
        """The call that nothing is special about."""
        return self._scoring(unchanged)

    @property
    def scores(self) -> Tensor:
        """The plain call's scores, float64 [B]; raises NotApplicable if there are none."""
        return taken(self.plain)

    def scores_of(self, change: Callable[[Tensor], Tensor]) -> Tensor:
        """As `scores`, of maps that are changed; several contracts look at the same call."""
        return taken(self._scoring(change))

    def _scoring(self, change: Callable[[Tensor], Tensor]) -> Scoring:
        if change not in self._scorings:
            self._scorings[change] = self.call(change=change)
        return self._scorings[change]

    def call(
        self,
        *,
        rows: Sequence[int] | None = None,
        change: Callable[[Tensor], Tensor] = unchanged,
        batch: int = BATCH_SIZE,
        shared: SharedResults | None = None,
    ) -> Scoring:
        """Scores maps.

        Parameters:
            rows: numbers of the images.
            change: makes another method of the case's: whatever maps [B,H,W] it gives are changed.
            batch: images a forward pass.
            shared: what was computed for other maps of the same images.
        """
        numbers = list(range(IMAGES)) if rows is None else list(rows)
        explanation = self._explanation(numbers, change)
        before = {name: value.clone() for name, value in _inputs(explanation).items()}
        guard, left = Guard(self.model), list[str]()

        def watching() -> AbstractContextManager[object]:
            return _noting(guard.watching(SEED), left)

        passes = Passes(
            Scorer(self.model.network, self.model),
            BatchSize(batch),
            EndPoints(),
            watching,
            shared=shared or SharedResults(),
            reference=lambda: self.reference,
        )
        found = evaluate({"metric": self.choice}, explanation, passes)
        left += [f"{name}: value changed" for name in guard.changed_weights()]
        values = found.scored.get("metric")
        if values is not None:
            values = area(values) if values.ndim == 2 else values.double()
        return Scoring(
            scores=None if values is None else values.cpu(),
            failure=found.failed.get("metric", ""),
            left=tuple(dict.fromkeys(left)),
            wrote=tuple(
                name
                for name, value in _inputs(explanation).items()
                if not torch.equal(value, before[name])
            ),
        )

    def _explanation(self, numbers: list[int], change: Callable[[Tensor], Tensor]) -> Explanation:
        x, saliency = self.x[numbers].clone(), change(self.maps[numbers].clone())

        def explain(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
            return change(self._explain(x, target, model))

        ids = tuple(f"image-{number}" for number in numbers)
        ranks, _ = rank(saliency, tie_breakers(ids, saliency[0].numel(), SEED))
        mask = torch.zeros_like(saliency, dtype=torch.bool)
        mask[:, : x.shape[2] // 2, : x.shape[3] // 3] = True
        return Explanation(
            model=self.model,
            x=x,
            target=self.target[numbers].clone(),
            label=self.target[numbers].clone(),
            mask=mask,
            ids=ids,
            seed=SEED,
            saliency=saliency,
            rank=ranks,
            explainer=explain,
            alone=lambda row: explain(x[[row]], self.target[[numbers[row]]]),
        )

    def _explain(self, x: Tensor, target: Tensor, model: Model | None = None) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            score = (self.model if model is None else model)(leaf).gather(1, target[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, leaf)
        return (gradient * leaf.detach()).sum(1)


def taken(scoring: Scoring) -> Tensor:
    """The scores of a call, float64 [B].

    Raises:
        NotApplicable: if it gave none.
    """
    if scoring.scores is None:
        raise NotApplicable("there is no score to look at, since another contract is broken")
    return scoring.scores


def _inputs(explanation: Explanation) -> dict[str, Tensor]:
    """The tensors of an explanation, by their names."""
    return {name: value for name, value in vars(explanation).items() if isinstance(value, Tensor)}


@contextmanager
def _noting(watch: AbstractContextManager[list[str]], left: list[str]) -> Iterator[None]:
    """Within a guard's watch; what was left behind is added to a list."""
    with watch as found:
        yield
    left += found
