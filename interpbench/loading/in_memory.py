"""What a caller hands over in Python: names of plugins, or the things themselves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

from torch import nn

from interpbench.core.errors import DataError, ParameterError
from interpbench.core.types import Dataset, DatasetCard
from interpbench.loading.tensors import Taken, take_images
from interpbench.registry.choosing import Sources, choose_dataset, choose_one
from interpbench.registry.in_memory import SOURCE, register, register_dataset
from interpbench.registry.plugin import MEMORY, Kind
from interpbench.registry.registry import Registry

One = str | nn.Module
Models = One | Mapping[str, One] | Sequence[One | Mapping[str, One]]
Function = str | Callable[..., Any]
Methods = Function | Mapping[str, Function] | Sequence[Function | Mapping[str, Function]]
Metric = Function | tuple[Callable[..., Any], str]
Metrics = Metric | Mapping[str, Metric] | Sequence[Metric | Mapping[str, Metric]]
Images = Any  # see `tensors.EXPECTED`


class Handed:
    """Registers what is in memory, so that all of it has a name as on the command line.

    Attributes:
        registry: gets the plugins.
        sources: of data and weights, with what is known of the preparation by then, and notices of
            what was assumed.
        count: of images that make up a data set; None where its name was given.
    """

    def __init__(self, registry: Registry, sources: Sources, *, resized: bool = False) -> None:
        """Nothing is handed over yet.

        Parameters:
            registry: see above.
            sources: what else the caller says.
            resized: whether the caller states another size than the images'.
        """
        self.registry = registry
        self.sources = sources
        self.count: int | None = None
        self._resized = resized

    def names(self, kind: Kind, given: object) -> tuple[str, ...] | None:
        """What plugins of a kind are called; None where none are given.

        Raises:
            ParameterError: if it is neither a name nor something of that kind.
        """
        if given is None:
            return None
        texts, notices = register(self.registry, kind, given)
        self._note(notices)
        return texts

    def model(self, given: object) -> str:
        """What a single model is called.

        Raises:
            ParameterError: if it is none, or several.
        """
        texts = self.names("model", given) or ()
        if len(texts) != 1:
            raise ParameterError(f"One model at a time is expected, not {len(texts)}.")
        return texts[0]

    def dataset(
        self, dataset: object, images: object = None, labels: object = None,
        classes: Sequence[str] | None = None,
    ) -> str | None:  # fmt: skip
        """What the data set is called; None where none is given.

        Parameters:
            dataset: a name, or images in memory.
            images: images in memory; None, or a number, where they are the data set's.
            labels, classes: of images in memory.

        Raises:
            DataError: if there are two data sets, or none to which labels could belong.
            PreparationError: if it is not known how the images are normalised.
        """
        given = images if images is not None and not isinstance(images, Integral) else None
        if given is not None and dataset is not None:
            raise DataError("dataset= and images= are both given: which of the two is meant?")
        given = dataset if given is None and not isinstance(dataset, str) else given
        if given is None:
            if labels is not None or classes is not None:
                raise DataError("labels= and classes= belong to images in memory: give images=.")
            return None if dataset is None else str(dataset)
        if isinstance(given, tuple) and len(given) == 2 and labels is None:
            given, labels = given
        taken = self._take(given, labels, classes)
        self.count = len(taken.dataset.ids)
        return register_dataset(self.registry, taken.dataset)

    def range_of(self, dataset: str) -> float | None:
        """The value that a data set's name says is white, `imagefolder:photos,range=4095`."""
        name, _, _ = dataset.partition(":")
        if name not in self.registry.names("dataset"):
            return None
        choice = choose_dataset(self.registry, dataset, self.sources)
        stated: float | None = choice.values.get("range")
        return stated

    def images(self, given: object) -> Dataset:
        """Images in memory, whatever their classes."""
        return self._take(given, None, None).dataset

    def data_of(
        self, model: str, dataset: str | None, classes: Sequence[str] | None
    ) -> DatasetCard | str | None:
        """What is known of the classes of a model whose images may come from anywhere.

        Parameters:
            model: what it is called.
            dataset: the name of the data set whose weights are meant, if one is named.
            classes: names of its logits, if the caller gives them.
        """
        if dataset is not None:
            return dataset
        choice = choose_one(self.registry, "model", model, "Explain")
        if classes is None and not choice.plugin.origin.startswith(MEMORY):
            return None
        return DatasetCard(SOURCE, tuple(classes or ()), "", logits=() if classes is None else None)

    def _take(self, images: Any, labels: Any, classes: Sequence[str] | None) -> Taken:
        taken = take_images(
            images, labels, classes, self.sources.preparation, resized=self._resized
        )
        self.sources = replace(self.sources, preparation=taken.stated)
        self._note(taken.notices)
        return taken

    def _note(self, notices: Sequence[str]) -> None:
        self.sources = replace(self.sources, notices=(*self.sources.notices, *notices))
