"""A model plugin, built as a run builds it, with all that its promises are read off."""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from interpbench.core.errors import InterpBenchError
from interpbench.core.preparation import NUMBER_OF
from interpbench.core.types import Pretrained
from interpbench.loading.answers import Expected, answering, ask, reading_of
from interpbench.loading.pretrained import offered
from interpbench.registry.plugin import Configured, described
from interpbench.testing.case import NotApplicable

IMAGES = 3
SIZES = ((64, 3), (96, 10))  # pixels and classes that an architecture is built for


@dataclass(frozen=True)
class Built:
    """What came of building a model.

    Attributes:
        network: in eval mode, giving logits [B,classes]; None if it was not built.
        returned: what the plugin's function gave.
        refusal: why it is not defined for this size, if it says so.
        failure: what went wrong.
    """

    network: nn.Module | None
    returned: object = None
    refusal: str = ""
    failure: str = ""


class ModelCase:
    """A model for images of one size, and three such images of noise.

    Parameters:
        model: with its parameters.
        size: the shorter side of its input.
        classes: how many logits it is asked for; one that brings its weights has its own.
        offer: the weights that come with it, if it has its own.
    """

    def __init__(
        self, model: Configured, size: int, classes: int, offer: Pretrained | None = None
    ) -> None:
        self.choice, self.size, self.offer = model, size, offer
        self.name = f"{size} pixels"
        self.own = offer is not None and offer.load is None
        known = len(offer.classes) if self.own and offer is not None else 0
        self.classes = known or (None if self.own else classes)
        self._asked = classes
        self.shape = _shape(offer if self.own else None, size)
        self.x = torch.randn(IMAGES, *self.shape, generator=torch.Generator().manual_seed(1))

    @cached_property
    def built(self) -> Built:
        """The model that the others are compared with."""
        return self.build(0)

    @property
    def network(self) -> nn.Module:
        """The model, in eval mode; raises NotApplicable if it was not built."""
        if self.built.refusal:
            raise NotApplicable(self.built.refusal)
        if self.built.network is None:
            raise NotApplicable("there is no model to look at, since another contract is broken")
        return self.built.network

    @cached_property
    def logits(self) -> Tensor:
        """Of the three images, [B,classes]; raises NotApplicable if there are none."""
        network = self.network
        with torch.no_grad():
            try:
                logits = network(self.x.clone())
            except Exception:  # which another contract says
                logits = None
        is_logits = isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == IMAGES
        if is_logits and bool(torch.isfinite(logits).all()):
            return cast(Tensor, logits)
        raise NotApplicable("there are no logits to look at, since another contract is broken")

    def build(self, seed: int) -> Built:
        """The model once more, from torch's random numbers of a seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                returned = self.choice(self._asked, self.size)
            except InterpBenchError as error:
                return Built(None, refusal=str(error))
            except Exception as error:
                return Built(None, failure=f"raised {described(error, self.choice)}")
        if not isinstance(returned, nn.Module):
            return Built(None, returned, failure=f"returned a {type(returned).__name__}")
        network = returned.eval().requires_grad_(False)
        try:
            reading = reading_of(ask(network, self.shape), self._expected())
        except Exception:  # a fault of its answers, which another contract says
            return Built(network, returned)
        return Built(answering(network, reading), returned)

    def _expected(self) -> Expected:
        outputs = self.offer.outputs if self.own and self.offer is not None else None
        who = f"Model {self.choice.label!r}"
        return Expected(who, self.classes or 0, outputs, "its plugin", trained=False)


def cases_of(model: Configured) -> list[ModelCase]:
    """Of an architecture at two sizes, for as many classes; of a model with weights at its own."""
    offer = _offer(model)
    if offer is None or offer.load is not None:
        return [ModelCase(model, size, classes, offer) for size, classes in SIZES]
    size = offer.size if isinstance(offer.size, int) else min(offer.size or SIZES[0])
    return [ModelCase(model, size, SIZES[0][1], offer)]


def _offer(model: Configured) -> Pretrained | None:
    """The weights that come with it; None where they cannot be told, which a contract says."""
    try:
        return offered(model)
    except InterpBenchError:
        return None


def _shape(offer: Pretrained | None, size: int) -> tuple[int, int, int]:
    """Of one input."""
    if offer is None:
        return 3, size, size
    channels = NUMBER_OF.get(offer.channels or "rgb") or len(offer.mean or (0, 0, 0))
    height, width = (size, size) if not isinstance(offer.size, tuple) else offer.size
    return channels, height, width
