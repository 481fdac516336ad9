"""How much memory this process has held at most: its own, whoever started it."""

import subprocess
import sys

import numpy as np
import pytest

from interpbench.core import peak_memory
from interpbench.core.peak_memory import most_held

MEGABYTE = 2**20
SHOW = "from interpbench.core.peak_memory import most_held; print(most_held())"
GROW = """
import numpy as np
from interpbench.core.peak_memory import most_held
before = most_held()
held = np.ones(before + 64 * 2**20, dtype=np.uint8)
during = most_held()
del held
print(before, during, most_held())
"""


def printed(code: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_what_is_held_is_seen_and_stays_after_it_is_given_back() -> None:
    before, during, after = printed(GROW)
    assert during >= before + 64 * MEGABYTE
    assert after >= during - MEGABYTE  # Linux adds up what its cores counted


def test_a_child_does_not_inherit_what_its_parent_held() -> None:
    large = np.ones(800 * MEGABYTE, dtype=np.uint8)
    [child] = printed(SHOW)
    assert 4 * MEGABYTE < child < len(large)


@pytest.mark.skipif(sys.platform == "win32", reason="has no getrusage")
def test_where_there_is_no_status_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    own = most_held() or 0
    monkeypatch.setattr(peak_memory, "STATUS", peak_memory.Path("/nowhere"))
    assert most_held() >= own - MEGABYTE
