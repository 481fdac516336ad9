"""What a metric gets: images, and what it may ask of the model and of the method about them.

An `Explanation` is the images with one method's maps. `Inputs` is the same without any map: what a
metric computes of it is the same for every method, so that `shared` computes it once for all.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol, Self, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.core.errors import MethodError, ParameterError
from interpbench.core.memory_format import memory_format_of
from interpbench.core.passes_counted import counting, uncounted
from interpbench.core.seeding import derive
from interpbench.core.time_spent import phase
from interpbench.core.types import Model
from interpbench.scoring.curves import curves, of_target
from interpbench.scoring.perturbation import Network, Output, Perturbation, Sign
from interpbench.scoring.ranking import rank, tie_breakers
from interpbench.scoring.shared_results import SharedResults, named

Result = TypeVar("Result")
UNASKABLE = (
    "needs a method that can be asked again, and these maps have none: they come from files, or "
    "from a search. Leave the metric out."
)


class Explainer(Protocol):
    """Asks a method about images [B,C,H,W] and targets [B], for maps [B,H,W]."""

    def __call__(self, x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
        """Of another model than the one that was explained, if one is given."""


@dataclass
class Reader:
    """How outputs are read off a model.

    Attributes:
        scorer: the model, or the copy that scores are read off; in float32.
        batch_size: images a forward pass; halved on out-of-memory.
        shared: what was computed of the images or of the model, for other methods.
        reference: gives the reference images, see `Inputs.reference`; None if there are none.
        in_domain: a network that was tuned on images that lack parts, see `Inputs.asking`; None if
            there is none.
    """

    scorer: Model
    batch_size: BatchSize
    shared: SharedResults = field(default_factory=SharedResults)
    reference: Callable[[], Tensor] | None = None
    in_domain: Model | None = None


class Readings(NamedTuple):
    """What can be read of the targets of images that were changed in K ways.

    Attributes:
        probability, logit: float32 [B,K].

    Example:
        >>> readings = interpbench.Readings(torch.ones(2, 3), torch.zeros(2, 3))
        >>> readings.logit.shape
        torch.Size([2, 3])
    """

    probability: Tensor
    logit: Tensor


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A batch of images and their targets, without maps.

    Attributes:
        model: the model that was explained.
        x: float32 [B,C,H,W], normalised.
        target: int64 [B], the logit that was explained.
        label: int64 [B], the logit of the true class.
        mask: bool [B,H,W], the evidence, or None.
        ids: the samples' ids.
        ignored: bool [B,H,W], what counts neither as evidence nor as its surroundings; None if
            nothing is to be left out.
        seed: of the run, which all chance follows from.
        reader: how outputs are read; None for the model itself.
        network: which network outputs are read off, see `asking`.

    Example:
        What a function gets that `shared` calls: how much the output falls under the image's noise.

        >>> def drop(inputs, *, strength: float):
        ...     noise = [torch.randn(inputs.x.shape[1:], generator=g)
        ...              for g in inputs.generators("noise")]
        ...     noisy = inputs.x + strength * torch.stack(noise)
        ...     return inputs.output() - inputs.outputs([noisy])[:, 0]
        >>> zeros = torch.zeros(2, dtype=torch.int64)
        >>> inputs = interpbench.Inputs(
        ...     model=None, x=torch.zeros(2, 3, 4, 4), target=zeros, label=zeros, mask=None,
        ...     ids=("a", "b"))
        >>> [torch.rand(1, generator=g).shape for g in inputs.generators("noise")]
        [torch.Size([1]), torch.Size([1])]
    """

    model: Model
    x: Tensor
    target: Tensor
    label: Tensor
    mask: Tensor | None
    ids: tuple[str, ...]
    ignored: Tensor | None = None
    seed: int = 0
    reader: Reader | None = None
    network: Network = "explained"

    def __post_init__(self) -> None:
        """Reads off the model itself where nothing else is said."""
        if self.reader is None and self.model is not None:
            reader = Reader(self.model, BatchSize(self.model.batch_size))
            object.__setattr__(self, "reader", reader)

    def output(self, output: Output = "probability") -> Tensor:
        """What the model says of the untouched images' targets, float32 [B].

        Computed once, see `shared`.
        """
        return self.shared(_untouched, output=output)

    def outputs(self, perturbed: Iterable[Tensor], output: Output = "probability") -> Tensor:
        """What the model says of the images changed in K ways, float32 [B,K], in full passes.

        Parameters:
            perturbed: K tensors [B,C,H,W], normalised; one after the other, so that a generator
                needs no more memory than a forward pass.
            output: the target's probability or logit.
        """
        values: Tensor = getattr(self.readings(perturbed), output)
        return values

    def readings(self, perturbed: Iterable[Tensor]) -> Readings:
        """As `outputs`, all that can be read of the targets: for metrics that share what they ask.

        Parameters:
            perturbed: as of `outputs`.
        """
        logits = self.logits(perturbed)
        flat, targets = logits.flatten(0, 1), self.target.repeat_interleave(logits.shape[1])
        found = [of_target(each, targets) for each in (self.model.probabilities(flat), flat)]
        return Readings(*(each.view(logits.shape[:2]) for each in found))

    def logits(self, perturbed: Iterable[Tensor]) -> Tensor:
        """As `outputs`, but all the logits, float32 [B,K,classes]."""
        reader = self._reader
        waiting: list[Tensor] = []
        found: list[Tensor] = []
        held = 0
        for images in perturbed:
            if images.shape != self.x.shape:
                raise ValueError(
                    f"a perturbed batch is {list(images.shape)}; expected {list(self.x.shape)}"
                )
            waiting.append(images)
            held += len(images)
            if held >= reader.batch_size.images:
                waiting = self._pass(torch.cat(waiting), found, whole=True)
                held = sum(map(len, waiting))
        if waiting:
            self._pass(torch.cat(waiting), found, whole=False)
        if not found:
            raise ValueError("there are no perturbed images to read outputs of")
        return torch.cat(found).unflatten(0, (-1, len(self.x))).transpose(0, 1)

    @property
    def in_domain(self) -> Model | None:
        """The network that was tuned on images that lack parts; None where the run has none."""
        return None if self.reader is None else self.reader.in_domain

    def asking(self, network: Network) -> Self:
        """The same, with outputs read off that network.

        The explained one has never seen an image without parts, and may answer to the gap rather
        than to what is gone. `in-domain` is its twin that was tuned on such images (`train --recipe
        in-domain`, Hesse et al., NeurIPS 2024), which a run takes by `--in-domain`. Maps stay those
        of the explained model. A metric has it by a parameter of this name, `network: Network =
        "explained"`, by which the run knows that the twin is needed.

        Raises:
            ParameterError: if there is no such network.
        """
        if network == "in-domain" and self.in_domain is None:
            raise ParameterError(
                "network=in-domain asks a second network, and there is none: give a run its "
                "weights with --in-domain FILE, as `train --recipe in-domain` makes them."
            )
        return replace(self, network=network)

    def generators(self, purpose: str) -> list[torch.Generator]:
        """A source of chance for each image, on the CPU: the same for every method and batch.

        Parameters:
            purpose: what it is for; another purpose gives other chance.
        """
        return [
            torch.Generator().manual_seed(derive(self.seed, "metric", purpose, name))
            for name in self.ids
        ]

    def shared(self, function: Callable[..., Result], **parameters: Any) -> Result:
        """`function(inputs, **parameters)`, computed once for all methods.

        Parameters:
            function: of a module; gets these images without any map. Gives tensors, numbers or
                tuples of them.
            parameters: that it is called with; what is given again is what these gave.

        Raises:
            ParameterError: if it is an inner function or a lambda, which may have seen a map.
        """
        key = (named(function), repr(sorted(parameters.items())), self.ids, self.network)
        result: Result = self._reader.shared.once(
            key, lambda: function(self.without_maps(), **parameters)
        )
        return result

    def of_model(self, function: Callable[..., Result], **parameters: Any) -> Result:
        """`function(model, reference, seed, **parameters)`, computed once for all images.

        Such as a randomised copy of the model, which every method is asked about.

        Parameters:
            function: of a module; gets the model, `reference` and the run's seed. Gives a model,
                tensors, numbers or tuples of them; a model must not be changed.
            parameters: that it is called with; what is given again is what these gave.

        Raises:
            ParameterError: if it is an inner function or a lambda, or there are no such images.
        """
        key = (named(function), repr(sorted(parameters.items())))

        def make() -> Result:
            with uncounted():  # once for all: no image's passes
                return function(self.model, self.reference, self.seed, **parameters)

        result: Result = self._reader.shared.once(key, make)
        return result

    @property
    def reference(self) -> Tensor:
        """Images [R,C,H,W] that stand for the data, normalised; the same for every image scored.

        A run takes 32 images of the data set, drawn by its seed, whichever it explains: what is
        measured on them, as the statistics of batch norms, then depends neither on the batch nor on
        how many images are scored, and is what the model sees of real images, unlike of noise.

        Raises:
            ParameterError: if there are none.
        """
        reference = self._reader.reference
        if reference is None:
            raise ParameterError(
                "needs reference images, which a run takes of its data set, and these images come "
                "without any: give their Reader some, Reader(..., reference=function)."
            )
        return reference()

    def without_maps(self) -> "Inputs":
        """The images alone."""
        return Inputs(**{each.name: getattr(self, each.name) for each in fields(Inputs)})

    @property
    def _reader(self) -> Reader:
        if self.reader is None:
            raise ValueError("these images have no model that could be asked")
        return self.reader

    @property
    def _scorer(self) -> Model:
        """The network that outputs are read off."""
        if self.network == "explained":
            return self._reader.scorer
        assert self.in_domain is not None
        return self.in_domain

    def _pass(self, images: Tensor, found: list[Tensor], *, whole: bool) -> list[Tensor]:
        """Reads off as many images as fill passes, or all; the others are left."""
        reader = self._reader

        def read(size: int) -> tuple[list[Tensor], int]:
            last = len(images) // size * size if whole else len(images)
            parts = [images[first : min(first + size, last)] for first in range(0, last, size)]
            return [self._read(part, size) for part in parts], last

        read_off, last = reader.batch_size.attempt(read)
        found += read_off
        return [images[last:]] if last < len(images) else []

    @torch.inference_mode()
    def _read(self, images: Tensor, size: int) -> Tensor:
        """The logits of at most `size` images, float32 [n,classes]."""
        scorer = self._scorer
        with phase("forwards"):
            batch = images.to(scorer.dtype).contiguous(memory_format=memory_format_of(self.x))
            if scorer.fixed_shape and len(batch) < size:
                batch = torch.cat([batch, batch.new_zeros(size - len(batch), *batch.shape[1:])])
            logits: Tensor = scorer(batch)[: len(images)].float()
            return logits


@dataclass(frozen=True, kw_only=True)
class Explanation(Inputs):
    """A batch of images with their saliency maps: what a metric scores.

    Attributes:
        saliency: float32 [B,H,W], finite; may hold negative values.
        rank: int32 [B,H,W], 0 for the most salient position; ties are broken by one seeded
            permutation an image.
        explainer: asks the method again, see `explain`.
        alone: asks it again about one of the images, by its row, see `passes`.
        explained: the maps that it gave of each model, for other metrics that ask for the same.

    Example:
        A metric gets one and gives a score for each image: here the share of pixels that are
        positive. (A metric that asks the model for nothing can be tried without one.)

        >>> zeros = torch.zeros(2, dtype=torch.int64)
        >>> explanation = interpbench.Explanation(
        ...     model=None, x=torch.zeros(2, 3, 1, 4), target=zeros, label=zeros,
        ...     saliency=torch.tensor([[[3.0, -1.0, 2.0, 1.0]], [[0.0, 0.0, 0.0, 5.0]]]),
        ...     rank=torch.tensor([[[0, 3, 1, 2]], [[1, 2, 3, 0]]], dtype=torch.int32),
        ...     mask=None, ids=("a", "b"))
        >>> (explanation.saliency > 0).float().mean(dim=(1, 2))
        tensor([0.7500, 0.2500])
    """

    saliency: Tensor
    rank: Tensor
    explainer: Explainer | None = None
    alone: Callable[[int], object] | None = None
    explained: "WeakKeyDictionary[Model, SharedResults]" = field(
        default_factory=WeakKeyDictionary, init=False
    )

    def explain(
        self, x: Tensor, target: Tensor | None = None, *, model: Model | None = None
    ) -> Tensor:
        """The method's maps of other inputs, float32 [B,H,W]: guarded, and seeded as before.

        The method is asked once for the same inputs, whichever metrics want to know.

        Parameters:
            x: float32 [B,C,H,W], normalised; as many as there are images.
            target: int64 [B]; None for the targets that were explained.
            model: another model to be explained, such as a changed copy of `model`, in eval mode
                and on its device; None for that itself.

        Raises:
            MethodError: if there is no method to ask, or it gives no maps.
        """
        if self.explainer is None:
            raise MethodError(UNASKABLE)
        explainer = self.explainer if model is None else partial(self.explainer, model=model)
        targets = self.target if target is None else target
        key = (tuple(x.shape), _digest(x), _digest(targets))
        # What was found of a copy is forgotten with the copy.
        known = self.explained.setdefault(self.model if model is None else model, SharedResults())
        maps: Tensor = known.once(key, lambda: explainer(x, targets))
        return maps

    @cached_property
    def passes(self) -> Tensor:
        """Forward and backward passes that the method takes for each image, int64 [B,2].

        Images that go through a whole model, and those for which a gradient comes back from its
        logits. Each image is explained once more, alone, so that neither what other methods have
        computed of it nor its neighbours count. Where only what a covered window changes is
        computed, each window counts as a pass.

        Raises:
            MethodError: if there is no method to ask, or it gives no maps.
        """
        if self.alone is None:
            raise MethodError(UNASKABLE)
        found = []
        for row in range(len(self.ids)):
            with counting() as count:
                self.alone(row)
            found.append((count.forwards + count.windows, count.backwards))
        return torch.tensor(found)

    def values(self, sign: Sign, saliency: Tensor | None = None) -> Tensor:
        """The maps, or others [B,H,W], with their sign taken as said, see `Perturbation.sign`."""
        maps = self.saliency if saliency is None else saliency
        if sign == "signed":
            return maps
        return maps.abs() if sign == "absolute" else maps.clamp(min=0)

    def ranked(self, values: Tensor) -> Tensor:
        """Ranks other values [B,H,W] as maps are, ties too: int32 [B,H,W], 0 for the greatest."""
        return rank(values, self.shared(_ties))[0]

    def ranks(self, sign: Sign) -> Tensor:
        """The ranks of the maps with their sign taken as is said, int32 [B,H,W]."""
        return self.rank if sign == "signed" else self.ranked(self.values(sign))

    def order(self, path: Perturbation) -> Tensor:
        """The order in which positions change along a path, int [B,H,W], 0 first."""
        if path.rank is not None:
            return path.rank
        ranks = self.ranks(path.sign)
        return ranks if path.first == "most" else ranks[0].numel() - 1 - ranks

    def along(self, path: Perturbation) -> Tensor:
        """The model's output along a path, float32 [B,S+1], for a metric made of several."""
        reader = self._reader
        [values] = curves(self._scorer, [path], self.order(path), self.target, reader.batch_size)
        return values.clone()


def _digest(values: Tensor) -> bytes:
    """Tells tensors apart by what they hold."""
    held = values.detach().cpu().contiguous().numpy()
    return blake2b(held.tobytes(), digest_size=16).digest()


def _untouched(inputs: Inputs, output: Output) -> Tensor:
    return inputs.outputs([inputs.x], output)[:, 0]


def _ties(inputs: Inputs) -> Tensor:
    return tie_breakers(inputs.ids, inputs.x.shape[2] * inputs.x.shape[3], inputs.seed).to(
        inputs.x.device
    )
