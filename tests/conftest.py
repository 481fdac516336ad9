"""Fixtures that several files share; and one thread for each of several processes, since there is one a core."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.published import finished, finished_with_mine, plugin_file, results, suite, suite_file

__all__ = ["finished", "finished_with_mine", "plugin_file", "results", "suite", "suite_file"]
