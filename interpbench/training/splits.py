"""The two parts of a data set that a training needs: its own, or cut from it by class."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from interpbench.core.errors import DataError, ParameterError
from interpbench.core.seeding import derive, shuffled
from interpbench.core.types import Dataset, DatasetCard
from interpbench.loading.dataset import open_dataset
from interpbench.loading.part import Part
from interpbench.registry.choosing import Sources, choose_dataset
from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry

PARTS = ("train", "test", "val")  # what the parts of a data set are called


@dataclass(frozen=True)
class Splits:
    """The data to train on, and those that the result is tested on, once, at the end.

    Attributes:
        train, test: they share no image.
        held_out: how `test` was cut, in words; "" where the data set has parts of its own.
    """

    train: Dataset
    test: Dataset
    held_out: str = ""

    @property
    def card(self) -> DatasetCard:
        """That of the data to train on."""
        return self.train.card

    def parts(self, seed: int) -> "Splits":
        """Itself, whatever the seed."""
        return self


@dataclass(frozen=True)
class Whole:
    """A data set without parts, of which a share of each class is to be held out.

    Attributes:
        data: all of it.
        share: of each class that is held out, in 0..1.
    """

    data: Dataset
    share: float

    @property
    def card(self) -> DatasetCard:
        """That of the whole data set."""
        return self.data.card

    def parts(self, seed: int) -> Splits:
        """What is left to train on, and what is held out.

        Both depend on the images' ids and the seed alone, and are the same on every machine.

        Raises:
            DataError: if a class has fewer than two images.
        """
        test = _held_out(self.data, self.share, seed)
        kept = set(test)
        train = [index for index in range(len(self.data.ids)) if index not in kept]
        cut = f"{self.share:g} of each class, seed {seed}"
        words = f"{len(test)} of {len(self.data.ids)} images ({cut})"
        return Splits(Part(self.data, train, f"without {cut}"), Part(self.data, test, cut), words)


def open_data(
    registry: Registry, text: str, sources: Sources = Sources(), share: float | None = None
) -> Splits | Whole:
    """The data of a training: a data set's own parts, or all of one that is to be cut.

    Parameters:
        registry: where the data set is.
        text: one data set.
        sources: of the data.
        share: of each class that is to be held out to test on; None for the data set's own parts.

    Raises:
        ParameterError: if the share is none, or the data set has parts of its own; as
            `open_splits`.
        InterpBenchError: as `open_splits`.
    """
    if share is None:
        return open_splits(registry, text, sources)
    if not 0 < share < 1:
        raise ParameterError(
            f"--split {share:g} is no share of the images: give a number between 0 and 1, such as "
            "0.2 to hold a fifth of each class out."
        )
    choice = choose_dataset(registry, text, sources)
    has_parts = bool(choice.values.get("split")) and "split" not in choice.given
    whole = open_dataset(choice, sources.samples)
    if has_parts or set(whole.card.classes) <= set(PARTS):
        raise ParameterError(
            f"Data set {choice.label!r} has parts of its own: leave --split out to train on the "
            "one and test on the other, or name the part that is to be cut with "
            f"--dataset {choice.name}:split=train."
        )
    return Whole(whole, share)


def open_splits(registry: Registry, text: str, sources: Sources = Sources()) -> Splits:
    """Both parts of the data set that `text` names; some data sets call the second one `val`.

    Raises:
        UnknownNameError: if there is no such data set.
        ParameterError: if it has no splits, or no such parameter.
        PluginError: if the plugin fails.
        InterpBenchError: if the data cannot be opened.
    """
    whole = choose_dataset(registry, text, sources)
    if all(parameter.name != "split" for parameter in whole.plugin.parameters):
        raise ParameterError(
            f"Data set {whole.label!r} has no parts to train and to test on: hold a share of each "
            "class out with --split 0.2."
        )
    train = choose_dataset(registry, text, sources, split="train")
    test = _second(registry, text, sources)
    for part in (train, test):
        _refuse_plain_folder(part)
    return Splits(open_dataset(train, sources.samples), open_dataset(test))


def _second(registry: Registry, text: str, sources: Sources) -> Configured:
    """The part to test on."""
    try:
        test = choose_dataset(registry, text, sources, split="test")
    except ParameterError:
        return choose_dataset(registry, text, sources, split="val")
    root = _root_of_parts(test)
    if root is not None and not (root / "test").is_dir() and (root / "val").is_dir():
        return choose_dataset(registry, text, sources, split="val")
    return test


def _root_of_parts(choice: Configured) -> Path | None:
    """The folder that the parts are subfolders of, for data that are plain class folders without.

    None if there is no such folder, or parts are no matter of subfolders.
    """
    defaults = {parameter.name: parameter.default for parameter in choice.plugin.parameters}
    root = choice.values.get("root")
    plain = defaults.get("split") == "" and isinstance(root, Path) and root.is_dir()
    return root if plain else None


def _refuse_plain_folder(part: Configured) -> None:
    """Says both ways to get two parts, where the folder of one is missing."""
    root, name = _root_of_parts(part), part.values["split"]
    if root is not None and not (root / name).is_dir():
        raise DataError(
            f"{str(root)!r} has no folder `{name}/`. Training needs a `train/` and a `test/` "
            f"folder there, each with one subfolder of images a class; or, where {str(root)!r} "
            "itself has one subfolder a class, --split 0.2, which holds a fifth of each class out "
            "to test on."
        )


def _held_out(data: Dataset, share: float, seed: int) -> list[int]:
    """The indices of a share of each class, sorted; at least one image, and never all."""
    by_class: dict[int, list[int]] = defaultdict(list)
    for index in shuffled(data.ids, derive(seed, "split")):
        by_class[data.labels[index]].append(index)
    held_out: list[int] = []
    for label, indices in by_class.items():
        if len(indices) < 2:
            raise DataError(
                f"Class {data.card.classes[label]!r} has one image: --split needs two of each "
                "class, one to train on and one to test on."
            )
        held_out += indices[: min(max(1, round(share * len(indices))), len(indices) - 1)]
    return sorted(held_out)
