"""Text and numbers that came from outside: as they may be shown, and as far as they are sound."""

import re
import sys
import unicodedata

LONGEST = 200  # characters of a value in a message
_DIGITS = re.compile(r"[0-9]{1,18}")


def printable(text: str) -> str:
    """Text that does nothing to a terminal: what controls one, or turns the line, is spelled out.

    Escapes, other control characters, marks of the writing direction and lone surrogates become
    `\\\\x1b` and the like; line ends and tabs stay.

    Example:
        >>> from interpbench.core.text import printable
        >>> print(printable("red \\x1b[31m"))
        red \\x1b[31m
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled_out(character) if _acts(character) else character for character in text)


def acts(text: str) -> bool:
    """Whether it holds what `printable` spells out, or a line end or tab: no name does."""
    return any(_acts(character) or character in "\n\t" for character in text)


def shown(value: object) -> str:
    """A value as a message quotes it: in one line that is not too long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        limit = sys.get_int_max_str_digits()
        return f"a number of more than {limit} digits"
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply"
    return printable(text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}...")


def whole_number(text: str) -> int | None:
    """A number written in at most 18 of the digits 0 to 9; None for any other text.

    `str.isdigit` and `int` take other scripts' digits and superscripts, or fail at some of them.
    """
    return int(text) if _DIGITS.fullmatch(text) else None


def _acts(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Cf":  # of the invisible ones, those that turn the direction of what follows
        return unicodedata.bidirectional(character) in _TURNING
    return category in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t"


_TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def _spelled_out(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
