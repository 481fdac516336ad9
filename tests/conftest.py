"""Fixtures that several files share."""

from tests.published import finished, finished_with_mine, plugin_file, results, suite, suite_file

__all__ = ["finished", "finished_with_mine", "plugin_file", "results", "suite", "suite_file"]
