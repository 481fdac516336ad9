"""Progress in plain text: what is said, how often, and where nothing is."""

import io
import sys
from types import SimpleNamespace

import pytest

from interpbench.core.progress_lines import Lines, duration, lines_of_a_call


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pipe_gets_a_line_every_half_minute() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, unit="maps", clock=clock)
    lines.begin(400)
    for second in range(1, 66):
        clock.now = float(second)
        lines.advance("net gradcam", 4)
    assert stream.getvalue() == (
        "120/400 maps, 30 %, 70 s left: net gradcam\n240/400 maps, 60 %, 40 s left: net gradcam\n"
    )


def test_in_place_one_line_is_written_over_and_wiped_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with Lines(stream, in_place=True, clock=clock) as lines:
        lines.begin(2)
        for clock.now in (1.0, 1.1, 2.0):
            lines.advance("a long name" if clock.now < 2 else "b")
    first, second = "0/2, 0 %: a long name", "0/2, 0 %: b"
    assert stream.getvalue().split("\r") == [
        "", first, second.ljust(len(first)), " " * len(second), ""
    ]  # fmt: skip


def test_times_are_in_their_largest_unit() -> None:
    assert [duration(s) for s in (0, 89, 100, 5000, 9000)] == [
        "0 s",
        "89 s",
        "2 min",
        "83 min",
        "2.5 h",
    ]


def test_a_script_is_silent_and_a_notebook_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert lines_of_a_call(None) is None
    assert lines_of_a_call(True) is not None
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))  # type: ignore[misc]
    assert lines_of_a_call(None) is None  # imported, and not what runs the code
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))  # type: ignore[misc]
    assert lines_of_a_call(None) is not None
    assert lines_of_a_call(False) is None
