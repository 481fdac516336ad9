"""A data set plugin -> its samples, or an error that names the plugin."""

from interpbench.core.types import Dataset
from interpbench.registry.plugin import Configured, blaming


def open_dataset(choice: Configured) -> Dataset:
    """The data set of a plugin with its parameters.

    Raises:
        PluginError: if the plugin fails.
        InterpBenchError: if the data cannot be opened.
    """
    with blaming(choice):
        dataset: Dataset = choice()
    return dataset
