"""Which of a network's logits a data set's classes are."""

from collections.abc import Sequence

from interpbench.core.errors import WeightsError
from interpbench.core.types import DatasetCard

IMAGENET_CLASSES = 1000
HINT = (
    ' A folder of images takes classes="a,b,c", all of the model\'s classes in their order, or '
    "labels=FILE, which says which of its classes is which logit."
)


def logits_of_labels(
    data: DatasetCard, count: int, names: Sequence[str] = ()
) -> tuple[int, ...] | None:
    """For each label of a data set its logit in a network of `count` logits.

    What the data set states counts, and must not contradict the network's names where these are
    known; else the names decide; else the number of logits, which are ImageNet-1k's or the data
    set's classes.

    Parameters:
        data: the card of the data set.
        count: how many logits the network gives.
        names: what the network calls them, in order; none where that is not known.

    Returns:
        indices below `count`; None where the network cannot be one for these classes.

    Example:
        >>> pets = DatasetCard("pets", classes=("cat", "dog"), revision="1")
        >>> logits_of_labels(pets, 2)
        (0, 1)
        >>> logits_of_labels(pets, 3, names=["bird", "dog", "cat"])
        (2, 1)
        >>> logits_of_labels(pets, 3) is None
        True
    """
    by_name = None
    if names and set(data.classes) <= set(names):
        by_name = tuple(names.index(name) for name in data.classes)
    if data.logits is not None:
        agrees = by_name in (None, data.logits) and len(data.logit_names) in (0, count)
        return data.logits if agrees and max(data.logits, default=-1) < count else None
    if by_name is not None:
        return by_name
    if count == IMAGENET_CLASSES and data.imagenet is not None:
        return data.imagenet
    return tuple(range(count)) if count == len(data.classes) and not names else None


def other_classes(
    what: str, data: DatasetCard, count: int, names: Sequence[str] = ()
) -> WeightsError:
    """An error for a network, called `what`, that is none for the classes of a data set."""
    missing = [name for name in data.classes if name not in names] if names else []
    if data.logits is None and missing:
        is_split = missing[0] in ("train", "test", "val")
        hint = " Give split=... if its classes lie one folder deeper." if is_split else HINT
        return WeightsError(
            f"{what} knows {count} classes ({', '.join(names[:10])}) but not {missing[0]!r}, which "
            f"is one of the {len(data.classes)} classes of {data.name!r}.{hint}"
        )
    stated = len(data.logit_names) or max(data.logits or (0,)) + 1
    if data.logits is not None and not data.logit_names and stated > count:
        return WeightsError(
            f"{what} gives {count} logits, 0 to {count - 1}, but the labels of {data.name!r} go up "
            f"to {stated - 1}. Give the labels that the model was trained with."
        )
    if data.logits is None:
        why = f"data set {data.name!r} has {len(data.classes)} classes"
    elif stated > count or len(data.logit_names) not in (0, count):
        why = f"what is said of the classes of {data.name!r} takes {stated} logits"
    else:
        name, logit = next(
            (name, logit)
            for name, logit in zip(data.classes, data.logits, strict=True)
            if name != names[logit]
        )
        why = f"{name!r} is said to be logit {logit}, which it calls {names[logit]!r}"
    return WeightsError(
        f"{what} gives {count} logits, but {why}. Choose the data set that it was trained on.{HINT}"
    )
