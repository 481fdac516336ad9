"""`occlusion:window=16,stride=8` as a name and its values, and back."""

import re
from collections.abc import Sequence

from interpbench.core.errors import ParameterError
from interpbench.core.text import acts, shown

POSITIONAL = ""  # stands for the name of a value that is written without one, as in `folder:photos`


PAIR = re.compile(r"[^\W\d]\w*=")  # parameter=...
_FILE = re.compile(r"(.+\.py:\w+)(?::(.*))?")  # FILE.py:FUNCTION is a name in itself
_QUOTED = r'"(?:[^"]|"")*"'
# Up to a comma that is not within a quoted value.
_PIECE = re.compile(rf"(?:(?<=[=:]){_QUOTED}(?=\s*(?:,|$))|[^,])+")


def quoted(value: str) -> str:
    """A parameter's value as one types it.

    In double quotes where it holds a comma, its own quotes doubled.
    """
    needs_quotes = "," in value or value.startswith('"') or value != value.strip()
    return '"' + value.replace('"', '""') + '"' if needs_quotes else value


def _unquoted(value: str) -> str:
    return value[1:-1].replace('""', '"') if re.fullmatch(_QUOTED, value) else value


def parse_specs(texts: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Texts such as `occlusion:window=16,stride=8,saliency` as pairs of a name and its values.

    Here occlusion with two values and saliency with none.

    A comma starts a new name, unless what follows is `parameter=value`, which belongs to the name
    before. What stands behind the colon without a name (`folder:photos`) gets the name
    `POSITIONAL`; which parameter it is, the plugin knows. A value in double quotes may hold commas:
    `folder:root="a,b"`. `FILE.py:FUNCTION` is one name.
    """
    specs: list[tuple[str, dict[str, str]]] = []
    for text in texts:
        if acts(text):
            raise ParameterError(
                f"{shown(text)} holds characters that control a terminal, or a line end. Leave "
                "them out, or rename the file."
            )
        for piece in filter(None, map(str.strip, _PIECE.findall(text))):
            if "=" in piece.partition(":")[0]:  # parameter=value of the spec before
                if not specs:
                    raise ParameterError(f"{piece!r} belongs to no name: write NAME:{piece}.")
                pair = piece
            else:
                in_file = _FILE.fullmatch(piece)
                if in_file:
                    name, pair = in_file[1], in_file[2] or ""
                else:
                    name, _, pair = piece.partition(":")
                specs.append((name, {}))
                pair = pair if not pair or PAIR.match(pair) else f"{POSITIONAL}={pair}"
            if pair:
                key, value = pair.split("=", 1)
                if key in specs[-1][1]:
                    raise ParameterError(f"Parameter {key!r} of {specs[-1][0]!r} is given twice.")
                specs[-1][1][key] = _unquoted(value)
    return specs
