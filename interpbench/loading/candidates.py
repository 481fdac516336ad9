"""The usual preparations of a model for which none is stated, and how accurate it is with each.

A measurement for the user to decide by; nothing here decides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from interpbench.core.devices import exact_arithmetic
from interpbench.core.errors import InterpBenchError, first_line
from interpbench.core.preparation import Preparation, Stated, settle
from interpbench.core.types import UNKNOWN, Dataset, Model, normalise
from interpbench.loading.images import choose, load_images
from interpbench.loading.model import load_model
from interpbench.loading.model_card import UNTRAINED
from interpbench.loading.pretrained import offered
from interpbench.loading.stated import named_preparation
from interpbench.registry.plugin import Configured, blaming

IMAGES = 64  # that each is tried on, at most
SHOWN = 4  # in a message
SIZES = (96, 128, 160, 224)  # that are tried where nobody states one
CROPPED = 256 / 224  # of the input's side is the shorter side before the crop

_COLOURS = {
    "ImageNet's": Stated(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "-1..1": Stated(mean=(0.5,), std=(0.5,)),
    "0..1": Stated(mean=(0.0,), std=(1.0,)),
    "0..255": Stated(mean=(0.0,), std=(1 / 255,)),
    "BGR in 0..255 less ImageNet's mean": Stated(
        channels="bgr", mean=(103.939 / 255, 116.779 / 255, 123.68 / 255), std=(1 / 255,)
    ),
}
_FRAMINGS = {"with a crop": CROPPED, "whole images": 0.0}


@dataclass(frozen=True)
class Candidate:
    """A preparation, and how a model fares with it.

    Attributes:
        name: in words.
        preparation: the whole of it.
        accuracy: share of the images whose greatest logit is their label's; NaN if it fails.
        images: how many were tried.
        failure: why the model fails with it, or "".
    """

    name: str
    preparation: Preparation
    accuracy: float
    images: int
    failure: str = ""


def usual(choice: Configured, data: Dataset, stated: Stated) -> dict[str, Preparation]:
    """Name -> preparation, with what the user states in all of them.

    Parameters:
        choice: the model; what comes with its architecture is tried as well.
        data: whose size is taken where neither user nor architecture states one.
        stated: what the user says.
    """
    offer = offered(choice)
    of_offer = offer.stated if offer is not None else Stated()
    sizes = [s.size for s in (stated, of_offer, data.card.stated, UNTRAINED) if s.size is not None]
    size = sizes[0]
    side = size if isinstance(size, int) else min(size)
    found: dict[str, Preparation | None] = {}
    if offer is not None:
        found[offer.source] = settle([stated, of_offer])
    if data.card.mean is not None:
        found[data.card.stated.by] = settle([stated, data.card.stated, Stated(size=size)])
    for colours, of_colours in _COLOURS.items():
        for framing, share in _FRAMINGS.items():
            whole = replace(of_colours, size=size, resize=math.floor(side * share))
            found[f"{colours}, {framing}"] = settle([stated, whole])
    clip = named_preparation("clip")
    found["CLIP's"] = settle([stated, replace(clip, size=size, resize=side)])
    distinct: dict[Preparation, str] = {}
    for name, preparation in found.items():
        if preparation is not None:
            distinct.setdefault(replace(preparation, stated_by=""), name)
    return {name: preparation for preparation, name in distinct.items()}


def try_candidates(
    choice: Configured,
    data: Dataset,
    *,
    weights: str | None,
    stated: Stated = Stated(),
    outputs: str | None = None,
    seed: int = 0,
    device: torch.device = torch.device("cpu"),
) -> list[Candidate]:
    """The usual preparations, the one with the greatest accuracy first.

    None where the data have no labels to be right about.

    Parameters:
        choice: the model plugin with its parameters.
        data: a class-balanced sample of it is classified.
        weights: a file, or None for those of the network.
        stated: what the user says of the preparation.
        outputs: what the user says of the model's answers.
        seed: of the sample.
        device: where.

    Raises:
        InterpBenchError: if the model cannot be loaded at all.
    """
    if UNKNOWN in data.labels:
        return []
    candidates = usual(choice, data, stated)
    indices = choose(data, min(IMAGES, len(data.ids)), seed)
    first = next(iter(candidates.values()))
    model = load_model(
        choice,
        data.card,
        weights=weights,
        stated=Stated.whole(first),
        outputs=outputs,
        seed=seed,
    )
    with blaming(choice):
        model.to(device)
    tried = [
        _tried(choice, model, data, indices, name, preparation)
        for name, preparation in candidates.items()
    ]
    tried = _best_first(tried)
    if stated.size is None:
        others = _at_other_sizes(choice, data, tried[0], weights=weights, seed=seed, device=device)
        tried = _best_first([*tried, *others])
    return tried


def _at_other_sizes(
    choice: Configured,
    data: Dataset,
    best: Candidate,
    *,
    weights: str | None,
    seed: int,
    device: torch.device,
) -> list[Candidate]:
    """The best of the candidates at the other usual sizes, as far as the model takes them."""
    preparation, found = best.preparation, []
    indices = choose(data, min(IMAGES, len(data.ids)), seed)
    share = (preparation.resize or 0) / preparation.size
    for size in SIZES:
        if size == preparation.size:
            continue
        resize = math.floor(size * share) or None
        other = replace(preparation, height=size, width=size, resize=resize)
        try:
            model = load_model(
                choice, data.card, weights=weights, stated=Stated.whole(other), seed=seed
            )
        except InterpBenchError:  # of this size it is another network
            continue
        found.append(_tried(choice, model.to(device), data, indices, best.name, other))
    return found


def in_words(candidates: Sequence[Candidate]) -> str:
    """The best of some candidates, for a message."""
    tried = [candidate for candidate in candidates if not candidate.failure]
    if not tried:
        return ""
    shown = "; ".join(
        f"{c.accuracy:.1%} {c.name} at {c.preparation.height}x{c.preparation.width}"
        for c in tried[:SHOWN]
    )
    return f"On {tried[0].images} images the accuracy is {shown}."


def _best_first(tried: Sequence[Candidate]) -> list[Candidate]:
    """The most accurate first; of several that are equal the likelier, as they come."""
    return sorted(tried, key=lambda candidate: -_known(candidate.accuracy))


def _known(accuracy: float) -> float:
    return -1.0 if math.isnan(accuracy) else accuracy


def _tried(
    choice: Configured,
    model: Model,
    data: Dataset,
    indices: list[int],
    name: str,
    preparation: Preparation,
) -> Candidate:
    images = load_images(data, indices, preparation)
    device = next(model.parameters(), torch.empty(0)).device
    try:
        with torch.inference_mode(), exact_arithmetic(), blaming(choice):
            logits = torch.cat(
                [
                    model(normalise(part.to(device), preparation)).float().cpu()
                    for part in images.images.split(model.batch_size)
                ]
            )
    except InterpBenchError as error:
        return Candidate(name, preparation, math.nan, len(images.ids), first_line(error))
    labels = torch.tensor(model.card.logit_of_label)[images.labels]
    right = (logits.argmax(1) == labels).double().mean().item()
    return Candidate(name, preparation, right, len(images.ids))
