"""How much memory this process has held at most: its own, whoever started it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from interpbench.core import peak_memory
from interpbench.core.peak_memory import most_held

MEGABYTE = 2**20
SHOW = "from interpbench.core.peak_memory import most_held; print(most_held())"


def test_what_is_held_is_seen_and_stays_after_it_is_given_back() -> None:
    before = most_held() or 0
    held = np.ones(int(before + 64 * MEGABYTE), dtype=np.uint8)
    during = most_held() or 0
    assert during >= before + 64 * MEGABYTE
    del held
    assert most_held() >= during - MEGABYTE  # Linux adds up what its cores counted


def test_a_child_does_not_inherit_what_its_parent_held() -> None:
    large = np.ones(800 * MEGABYTE, dtype=np.uint8)
    done = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, check=True, env=os.environ
    )
    assert 4 * MEGABYTE < int(done.stdout) < len(large)


@pytest.mark.skipif(sys.platform == "win32", reason="has no getrusage")
def test_where_there_is_no_status_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    own = most_held() or 0
    monkeypatch.setattr(peak_memory, "STATUS", peak_memory.Path("/nowhere"))
    assert most_held() >= own - MEGABYTE
