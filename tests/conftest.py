"""Fixtures that several files share; and one thread for each of several processes, since there is one a core."""

import gc
import os

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.published import (
    finished,
    finished_with_mine,
    plugin_file,
    published,
    results,
    suite,
    suite_file,
)

__all__ = [
    "finished",
    "finished_with_mine",
    "plugin_file",
    "published",
    "results",
    "suite",
    "suite_file",
]

settings.register_profile(
    "suite", settings(), max_examples=40, deadline=None
)  # of what a test does not give a number for itself; however long it takes on a machine that is busy
settings.load_profile("suite")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Takes what was imported and collected out of garbage collection, which would go through it each time."""
    gc.collect()
    gc.freeze()
