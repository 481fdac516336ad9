"""A data set plugin -> its samples, or an error that names the plugin."""

from pathlib import Path

from interpbench.core.types import Dataset
from interpbench.loading.part import listed_part
from interpbench.registry.plugin import Configured, blaming


def open_dataset(choice: Configured, samples: Path | None = None) -> Dataset:
    """The data set of a plugin with its parameters.

    Parameters:
        choice: the plugin.
        samples: a file that lists those that are used, or left out; None for all.

    Raises:
        PluginError: if the plugin fails.
        InterpBenchError: if the data cannot be opened, or the list does not fit them.
    """

    def open_data(text: str, samples: Path | None = None) -> Dataset:
        """Another data set, as one types it, with the flags that were given."""
        assert choice.another is not None
        return open_dataset(choice.another(text), samples)

    with blaming(choice):
        dataset: Dataset = choice(open_data=open_data)
        return dataset if samples is None else listed_part(dataset, samples)
