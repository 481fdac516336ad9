"""A model's card: how images become its input, and which logit each of a data set's classes has."""

from dataclasses import replace
from typing import Any

from interpbench.core.errors import PreparationError, WeightsError
from interpbench.core.preparation import Preparation, Stated, missing, settle
from interpbench.core.types import IMAGENET, DatasetCard, ModelCard, Pretrained
from interpbench.loading.chosen_weights import RANDOM, WeightsFound
from interpbench.loading.logits import IMAGENET_CLASSES, logits_of_labels, other_classes
from interpbench.loading.pretrained import offered
from interpbench.loading.tensors import HOW_TO_STATE
from interpbench.loading.weights import WeightsCard
from interpbench.registry.in_memory import SOURCE as IN_MEMORY
from interpbench.registry.plugin import Configured

# With weights nobody has trained there is nothing to be right about.
UNTRAINED = Stated(by="by default, untrained", size=224, mean=(0.5,), std=(0.25,))


def _logits(data: DatasetCard, weights: WeightsFound) -> int:
    """How many logits the network has: those of ImageNet, or one for each class of the data set.

    Or as many as the data set states.
    """
    if weights.card is not None:
        return len(weights.card.classes)
    if has_one_logit(weights):
        return len(data.classes) if data.logits is None else 2
    if data.logits is not None:  # of which there may be more than it names: a head comes last
        last = list((weights.state or {}).values())[-1:]
        of_weights = len(last[0]) if last and last[0].ndim else 0
        return len(data.logit_names) or of_weights or max(data.logits, default=-1) + 1
    offer, own = weights.pretrained, len(data.classes)
    if offer is not None and weights.from_plugin:
        return logits_of_offer(offer)
    if data.imagenet is None or weights.decides_on_classes:
        return own
    usual = own if offer is None else IMAGENET_CLASSES
    if weights.state is None:
        return usual
    # A head comes last, so the last tensor with as many rows as either tells.
    rows = [len(tensor) for tensor in weights.state.values() if tensor.ndim]
    return next((n for n in reversed(rows) if n in (own, IMAGENET_CLASSES)), usual)


def has_one_logit(weights: WeightsFound) -> bool:
    """Whether weights without a card end in a head of a single row."""
    if weights.card is not None or not weights.state:
        return False
    last = [tensor for tensor in weights.state.values() if tensor.ndim][-2:]
    return len(last) > 0 and all(len(tensor) == 1 for tensor in last) and last[0].ndim > 1


def card_of(
    choice: Configured, data: DatasetCard, weights: WeightsFound, stated: Stated
) -> ModelCard:
    """Preparation and classes of the network that is to be built."""
    card, offer, logits = weights.card, weights.pretrained, _logits(data, weights)
    common: dict[str, Any] = {
        "name": choice.name,
        "parameters": dict(choice.values),
        "classes": logits,
        "preparation": _preparation(choice, data, weights, stated, logits),
        "target_layer": choice.plugin.target_layer,
        "reference": choice.plugin.reference,
        "weights": weights.source,
        "weights_sha256": weights.sha256,
    }
    if card is not None:
        return ModelCard(
            dataset=card.dataset,
            logit_of_label=_match_classes(data, card, weights.source),
            licence=card.licence,
            notes=dict(card.notes),
            **common,
        )
    names_count = weights.from_plugin and data.imagenet is None
    by_name = offer.classes if offer is not None and names_count else ()
    of_imagenet = logits == IMAGENET_CLASSES and not weights.decides_on_classes
    imagenet = of_imagenet and bool(data.imagenet or by_name)  # whose logits it then has
    labels = logits_of_labels(data, logits, by_name)
    if labels is None and not weights.decides_on_classes:
        raise other_classes(weights.source, data, logits, by_name)
    return ModelCard(
        dataset=IMAGENET if imagenet else data.trained_on,
        logit_of_label=labels or (),
        licence=(offer.licence or choice.plugin.licence) if imagenet and offer is not None else "",
        notes=dict(offer.notes) if offer is not None and weights.from_plugin else {},
        **common,
    )


def _preparation(
    choice: Configured, data: DatasetCard, weights: WeightsFound, stated: Stated, logits: int
) -> Preparation:
    """As the user states it, the weights' card, the plugin's offer, the data set: in this order.

    The offer is for weights with its number of logits. Data that are made of another set's images
    come before the weights with their size, since these were trained on images of another.

    Raises:
        PreparationError: if the weights are trained and nobody states it.
    """
    sources, offer = [stated], weights.pretrained
    if data.made_of:
        sources.append(Stated(by=data.stated.by, size=data.size))
    if weights.card is not None:
        sources.append(weights.card.stated)
    elif offer is not None and (offer.load is None or logits == logits_of_offer(offer)):
        sources.append(offer.stated)
    sources.append(data.stated)
    if weights.source == RANDOM:
        sources.append(UNTRAINED)
    preparation = settle(sources)
    if preparation is None:
        raise UnstatedPreparationError(choice.label, weights.source, missing(sources))
    return preparation


def logits_of_offer(offer: Pretrained) -> int:
    return len(offer.classes) or IMAGENET_CLASSES


class UnstatedPreparationError(PreparationError):
    """Nobody says how images become the input of a model with weights.

    Parameters:
        model, weights: what they are called.
        lacking: of size, mean and std.
    """

    def __init__(self, model: str, weights: str, lacking: list[str]) -> None:
        names = self.lacking = " and ".join(lacking) if len(lacking) < 3 else "size, mean and std"
        if weights == IN_MEMORY:
            super().__init__(
                f"It is not known how images become the input of {model!r}: nobody states {names}, "
                f"and another preparation gives other scores. {HOW_TO_STATE}; and size=... in "
                "pixels, where the images do not have the size of the input."
            )
            return
        flags = ", ".join(f"--{name}" for name in lacking)
        super().__init__(
            f"It is not known how images become the input of {model!r} with the weights "
            f"{weights}: nobody states {names}, and another preparation gives other scores. State "
            f"it with --preparation imagenet|clip|inception|FILE.toml or {flags}; or give weights "
            "that have a card, as `python -m interpbench train` writes; or let the model's plugin "
            "say it, Pretrained(size=..., mean=..., std=...). `python -m interpbench doctor` tries "
            "the usual ones."
        )

    def after_trying(self, outcome: str) -> PreparationError:
        """The same, with what came of trying the usual ones."""
        return PreparationError(f"{self} {outcome}".strip())


def _match_classes(data: DatasetCard, card: WeightsCard, source: str) -> tuple[int, ...]:
    """For each of the data set's classes its logit, by the names that the weights' card has."""
    logits = logits_of_labels(data, len(card.classes), card.classes)
    if logits is None:
        raise other_classes(source, data, len(card.classes), card.classes)
    return logits


def two_classes(
    choice: Configured, card: ModelCard, data: DatasetCard, weights: WeightsFound
) -> ModelCard:
    """The card of a network with one logit, which speaks for the second of two classes.

    Where there is but one class, it speaks for that, unless the data set says otherwise.
    """
    offer = weights.pretrained
    names = offer.classes if offer is not None and weights.card is None else ()
    names = names if weights.card is None else weights.card.classes
    logits = logits_of_labels(data, 2, names if len(names) == 2 else ())
    if logits is None and len(data.classes) == 1 and data.logits is None:
        logits = (1,)
    if logits is None:
        raise WeightsError(
            f"Model {choice.label!r} gives a single logit, which tells two classes apart, but "
            f"data set {data.name!r} has {len(data.classes)} classes. Choose the data set that it "
            "was trained on."
        )
    return replace(card, classes=2, logit_of_label=logits)


def which_is_which(card: ModelCard, data: DatasetCard) -> str:
    """Which classes one logit speaks for and against, in words."""
    names = dict(zip(card.logit_of_label, data.classes, strict=True))
    if len(names) == 1:
        [(logit, name)] = names.items()
        return f"Its one logit speaks {'for' if logit else 'against'} {name!r}, the only class."
    return f"Its one logit speaks for {names[1]!r}, against {names[0]!r}."


def own_classes(
    choice: Configured, count: int | None, card: ModelCard, data: DatasetCard
) -> ModelCard:
    """The card of a network that brings its weights: how many logits it has tells which classes."""
    assert count is not None
    card = replace(card, classes=count)
    offer = offered(choice)
    names = offer.classes if offer is not None else ()
    if names and len(names) != count:
        raise WeightsError(
            f"Model {choice.label!r} gives {count} logits and names {len(names)} classes: "
            "Pretrained(classes=...) holds a name for each logit, in their order."
        )
    logits = logits_of_labels(data, count, names)
    if logits is None:
        raise other_classes(f"Model {choice.label!r}", data, count, names)
    of_imagenet = count == IMAGENET_CLASSES and logits == data.imagenet
    owner = IMAGENET if of_imagenet else data.trained_on
    return replace(card, dataset=owner, logit_of_label=logits)
