"""What is looked at to tell whether a data set keeps its promises; `contracts` names them."""

import inspect
from collections import Counter
from collections.abc import Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from interpbench.core.errors import DataError, InterpBenchError, PluginError, in_one_line
from interpbench.core.text import acts
from interpbench.core.types import UNKNOWN, Dataset, Sample
from interpbench.loading.dataset import open_dataset
from interpbench.loading.images import check_image, check_mask
from interpbench.testing.case import NotApplicable, stirred
from interpbench.testing.checks import Fault
from interpbench.testing.dataset_case import DatasetCase, sample_of

NOWHERE = "no-such-folder"
THREADS = 4


def opens(case: DatasetCase) -> Fault | None:
    """The function gives a data set: with a card, ids, labels, and a sample for an index."""
    if case.opened.failure:
        return Fault(
            f"The function {case.opened.failure}.",
            "return an object with card, ids, labels and __getitem__, such as an "
            "interpbench.ImageFolder; where the data lie says a parameter: check FILE --dataset "
            f"{case.choice.name}:root=FOLDER.",
        )
    return None


def length(case: DatasetCase) -> Fault | None:
    """There is a label for each id, and there are some."""
    data = case.dataset
    counts = {"ids": len(data.ids), "labels": len(data.labels)}
    if isinstance(data, Sized):
        counts["samples by len()"] = len(data)
    if len(set(counts.values())) == 1 and len(data.ids):
        return None
    said = ", ".join(f"{count} {what}" for what, count in counts.items())
    return Fault(f"It has {said}.", "give ids and labels in the same order, one for each sample.")


def ids(case: DatasetCase) -> Fault | None:
    """Ids are texts, each there once, and a sample has its own."""
    names = list(case.dataset.ids)
    advice = "name a sample by what stays the same on every machine, as its path below the folder."
    strange = [name for name in names if not isinstance(name, str) or not name or acts(name)]
    if strange:
        return Fault(f"An id is {strange[0]!r}, expected a text on one line.", advice)
    name, count = Counter(names).most_common(1)[0] if names else ("", 1)
    if count > 1:
        return Fault(f"{count} samples are called {name!r}.", advice)
    for index, sample in case.some.items():
        if sample.id != names[index]:
            return Fault(
                f"Sample {index} is called {sample.id!r}, and ids[{index}] is {names[index]!r}.",
                "let __getitem__ return Sample(self.ids[index], ...).",
            )
    return None


def labels(case: DatasetCase) -> Fault | None:
    """Labels are indices of the card's classes, or -1 if unknown, and each sample has its own."""
    classes, found = case.dataset.card.classes, list(case.dataset.labels)
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if not classes or twice or not all(isinstance(name, str) for name in classes):
        what = f"{twice[0]!r} is there twice" if twice else "expected a name for each"
        return Fault(f"The card's classes are {classes!r}: {what}.", "name each class once.")
    for label in found:
        whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
        if not whole or not UNKNOWN <= label < len(classes):
            return Fault(
                f"A label is {label!r}, and there are {len(classes)} classes.",
                "count from 0, in the order of the card's classes; -1 is for a label that nobody "
                "knows.",
            )
    for index, sample in case.some.items():
        if sample.label != found[index]:
            return Fault(
                f"Sample {index} has label {sample.label}, and labels[{index}] is {found[index]}.",
                "let __getitem__ return Sample(..., label=self.labels[index]).",
            )
    return None


def images(case: DatasetCase) -> Fault | None:
    """Images are uint8 [H,W,3], RGB, or float32 in 0..1, as large as they come."""
    for index in case.indices:
        sample = sample_of(case.dataset, index)
        if sample is None:
            continue
        if not isinstance(sample, Sample):
            what = f"raised {sample!r}" if isinstance(sample, Exception) else f"gave {sample!r}"
            return Fault(
                f"Sample {index} {what}.",
                "return an interpbench.Sample; for a file that cannot be decoded raise "
                "interpbench.UnreadableImageError, and the run goes on without it.",
            )
        try:
            check_image(sample)
        except DataError as error:
            return Fault(str(error), "interpbench.read_image(path, name) reads one so.")
    return None


def masks(case: DatasetCase) -> Fault | None:
    """Where the card says so, each sample has a mask of its image's size, with evidence in it."""
    card = case.dataset.card
    if not card.has_masks:
        if any(sample.mask is not None for sample in case.some.values()):
            return Fault(
                "Samples have masks, and the card says that there are none.",
                "say DatasetCard(..., has_masks=True).",
            )
        raise NotApplicable("the data set has no masks")
    for sample in case.some.values():
        try:
            check_mask(sample, card)
        except DataError as error:
            return Fault(str(error), "mark the evidence for the label: bool [H,W].")
    if not any(
        sample.mask is not None and (sample.mask == 1).any() for sample in case.some.values()
    ):
        return Fault("No mask marks any evidence.", "True is the evidence for the label.")
    return None


def again(case: DatasetCase) -> Fault | None:
    """Opened a second time it is the same, whatever random numbers were drawn before."""
    first, pixels = case.dataset, {i: sample.image.copy() for i, sample in case.some.items()}
    with stirred():
        second = case.open().dataset
    if second is None:
        return Fault("It could not be opened twice.", "leave nothing open or locked.")
    advice = (
        "sort what the file system lists; draw from a generator of a seed that is a parameter, and "
        "let revision be another string whenever a pixel, a label or the order changes."
    )
    for what in ("ids", "labels"):
        if list(getattr(first, what)) != list(getattr(second, what)):
            return Fault(f"Opened twice, its {what} are others, or in another order.", advice)
    if first.card != second.card:
        return Fault("Opened twice, its card is another.", advice)
    for index in reversed(case.indices):
        if index in pixels and not _same(second, index, pixels[index]):
            return Fault(f"Opened twice, the image of sample {index} is another.", advice)
    return None


def own_images(case: DatasetCase) -> Fault | None:
    """A sample's image is its own: what is done to it changes no other, and not the data set."""
    index, sample = next(iter(case.some.items()))
    before = sample.image.copy()
    if not sample.image.flags.writeable:
        return None
    sample.image[...] = 0
    same = _same(case.dataset, index, before)
    sample.image[...] = before
    if same:
        return None
    return Fault(
        "An image that was painted black is black when it is asked for again.",
        "return a copy of what you keep: image.copy().",
    )


def threads(case: DatasetCase) -> Fault | None:
    """Where the card says so, several threads may ask for samples at once."""
    if not case.dataset.card.concurrent:
        raise NotApplicable("the card does not say that it is concurrent")
    pixels = {i: sample.image.copy() for i, sample in case.some.items()}
    with ThreadPoolExecutor(THREADS) as pool:
        asked = list(pixels) * THREADS
        same = list(pool.map(lambda i: _same(case.dataset, i, pixels[i]), asked))
    if all(same):
        return None
    return Fault(
        f"Asked by {THREADS} threads at once, it gave other images, or failed.",
        "open a file in each call, or leave concurrent=True out.",
    )


def colours(case: DatasetCase) -> Fault | None:
    """Its revision is stated, and mean and std, if it states them, are of pixels in 0..1."""
    card = case.dataset.card
    if not card.revision:
        return Fault(
            "The card's revision is empty.",
            "give a text that changes whenever a pixel or a label does; ImageFolder makes one.",
        )
    values = [*(card.mean or ()), *(card.std or ())]
    if any(not 0 <= value <= 1 for value in values) or 0 in (card.std or ()):
        return Fault(
            f"Mean {card.mean} and std {card.std} are not of pixels in 0..1.",
            "divide them by 255; leave them out if you do not know them.",
        )
    return None


def missing(cases: Sequence[DatasetCase]) -> Fault | None:
    """A folder that is not there is said in a sentence, with what was expected."""
    choice = cases[0].choice
    names = [p.name for p in choice.plugin.parameters if p.name in ("root", "folder", "path")]
    if not names:
        raise NotApplicable("it has no parameter root, folder or path")
    values = {**choice.values, names[0]: Path(NOWHERE)}
    if "download" in choice.values:
        values["download"] = False
    try:
        open_dataset(choice.plugin.configure(values))
    except PluginError as error:  # what the function raised, which is none of ours
        said = f"It raised {in_one_line(error.__cause__ or error)}."
    except InterpBenchError as error:
        if NOWHERE in str(error) and _is_advice(str(error)):
            return None
        said = f"It said: {error}"
    else:
        said = "It was opened all the same."
    return Fault(
        f"Of a folder that is not there. {said}",
        "raise interpbench.DataError, which names the folder, and says what is expected in it.",
    )


def _is_advice(text: str) -> bool:
    """Whether it says what was wrong and something besides."""
    return text.rstrip().endswith((".", "?")) and len(inspect.cleandoc(text).split()) >= 6


def _same(dataset: Dataset, index: int, pixels: np.ndarray) -> bool:
    sample = sample_of(dataset, index)
    return isinstance(sample, Sample) and np.array_equal(sample.image, pixels)
