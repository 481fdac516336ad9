"""The two parts of a data set that a training needs."""

from dataclasses import dataclass

from interpbench.core.errors import ParameterError
from interpbench.core.types import Dataset
from interpbench.loading.dataset import open_dataset
from interpbench.registry.choosing import Sources, choose_dataset
from interpbench.registry.registry import Registry


@dataclass(frozen=True)
class Splits:
    """The data to train on, and those that the result is tested on, once, at the end."""

    train: Dataset
    test: Dataset


def open_splits(registry: Registry, text: str, sources: Sources = Sources()) -> Splits:
    """Both parts of the data set that `text` names; some data sets call the second one `val`.

    Raises:
        UnknownNameError: if there is no such data set.
        ParameterError: if it has no splits, or no such parameter.
        PluginError: if the plugin fails.
        InterpBenchError: if the data cannot be opened.
    """
    try:
        test = choose_dataset(registry, text, sources, split="test")
    except ParameterError:
        test = choose_dataset(registry, text, sources, split="val")
    train = choose_dataset(registry, text, sources, split="train")
    return Splits(open_dataset(train), open_dataset(test))
