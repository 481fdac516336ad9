"""How the docstrings of this project are read for the site.

`Example:` is a section of examples, and what lists several parameters before one colon may run over lines.
"""

import re

from griffe import Extension, Object

_OVER_LINES = re.compile(r"^((?: {4})(?:\w+, )*\w+,)\n\s+(?=(?:\w+, )*\w+[,:])", re.MULTILINE)


class HouseStyle(Extension):
    """Brings a docstring into the form that griffe reads."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        if obj.docstring is None:
            return
        text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
        while (joined := _OVER_LINES.sub(r"\1 ", text)) != text:
            text = joined
        obj.docstring.value = text
