"""A data set plugin, opened as a run opens it, with all that its promises are read off."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interpbench.core.errors import UnreadableImageError
from interpbench.core.types import Dataset, DatasetCard, Sample
from interpbench.loading.dataset import open_dataset
from interpbench.registry.plugin import Configured, described
from interpbench.testing.case import NotApplicable

SAMPLES = 12  # of which promises are read off
MEMBERS = ("card", "ids", "labels", "__getitem__")


@dataclass(frozen=True)
class Opened:
    """What came of opening a data set.

    Attributes:
        dataset: None if it was not opened, or is none.
        failure: what went wrong.
    """

    dataset: Dataset | None
    failure: str = ""


class DatasetCase:
    """A data set, and some of its samples: the first, the last, and others between them.

    Parameters:
        dataset: the plugin with its parameters.
    """

    name = "samples"

    def __init__(self, dataset: Configured) -> None:
        self.choice = dataset

    @cached_property
    def opened(self) -> Opened:
        """The data set that the others are compared with."""
        return self.open()

    def open(self) -> Opened:
        """The data set once more."""
        try:
            found = open_dataset(self.choice)
        except Exception as error:
            return Opened(None, f"raised {described(error, self.choice)}")
        lacking = [name for name in MEMBERS if not hasattr(found, name)]
        if lacking:
            return Opened(None, f"returned a {type(found).__name__} without {', '.join(lacking)}")
        if not isinstance(found.card, DatasetCard):
            return Opened(None, f"returned one whose card is a {type(found.card).__name__}")
        return Opened(found)

    @property
    def dataset(self) -> Dataset:
        """The data set; raises NotApplicable if it was not opened."""
        if self.opened.dataset is None:
            raise NotApplicable("there is no data to look at, since another contract is broken")
        return self.opened.dataset

    @cached_property
    def indices(self) -> list[int]:
        """Of the samples that are looked at."""
        count = min(len(self.dataset.ids), len(self.dataset.labels))
        spread = np.linspace(0, max(0, count - 1), min(count, SAMPLES))
        return [int(index) for index in spread]

    @cached_property
    def samples(self) -> dict[int, Sample]:
        """Index -> sample, of those that can be decoded."""
        found = {index: sample_of(self.dataset, index) for index in self.indices}
        return {index: sample for index, sample in found.items() if isinstance(sample, Sample)}

    @property
    def some(self) -> dict[int, Sample]:
        """The samples; raises NotApplicable if there are none."""
        if not self.samples:
            raise NotApplicable("there is no sample to look at, since another contract is broken")
        return self.samples


def sample_of(dataset: Dataset, index: int) -> object:
    """The sample, or why it cannot be had; None if its file cannot be decoded."""
    try:
        return dataset[index]
    except UnreadableImageError:
        return None
    except Exception as error:
        return error
