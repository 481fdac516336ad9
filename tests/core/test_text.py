"""What came from outside neither steers a terminal nor is taken for a number that it is not."""

import contextlib
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench.commands.shared import open_console, plain
from interpbench.core.text import acts, printable, shown, whole_number

STEERING = "\x1b]0;title\x07\x9b2J\x7f\u202e\u2066\u2028\ud800"


@given(st.text(st.characters()))
def test_what_is_printed_holds_nothing_that_steers(text: str) -> None:
    safe = printable(text)
    assert not any(
        unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in safe if c not in "\n\t"
    )
    assert printable(safe) == safe
    assert (safe == text) == (not acts(text.replace("\n", "").replace("\t", "")))


def test_letters_of_all_scripts_stay_and_what_steers_is_spelled_out() -> None:
    assert (
        printable("é \u05d0 \u0627 \u4e2d \U0001f600 a\nb\tc")
        == "é \u05d0 \u0627 \u4e2d \U0001f600 a\nb\tc"
    )
    assert printable(STEERING) == "\\x1b]0;title\\x07\\x9b2J\\x7f\\u202e\\u2066\\u2028\\ud800"


@pytest.mark.parametrize(
    "text", ["٣", "²", "", "-1", "1.0", "1_0", " 1", "9" * 19, "9" * 5000, "1\n"]
)
def test_whole_numbers_are_written_in_digits(text: str) -> None:
    assert whole_number(text) is None
    assert whole_number("0042") == 42


def test_values_in_messages_are_short_and_in_one_line() -> None:
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    for value in ("x" * 5000, 16**5000, nested, STEERING, "a\nb"):
        text = shown(value)
        assert len(text) <= 200
        assert "\n" not in text
        assert "\x1b" not in text
    assert shown(3) == "3"


def test_a_console_prints_no_escape_of_a_name() -> None:
    from rich.table import Table

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        console = open_console()
        table = Table("method")
        table.add_row(plain(STEERING))
        console.print(table, plain(STEERING), STEERING)
    assert "\\x1b]0;title" in out.getvalue()
    assert not set(out.getvalue()) & set(STEERING) - set("0;titleJ2]")
