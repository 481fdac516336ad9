"""Maps in a data set of Hugging Face's library `datasets`, a row each."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from interpbench.core.errors import DataError, in_one_line, unknown_name
from interpbench.loading.hub_rows import opened_rows
from interpbench.loading.stated_classes import StatedClasses
from interpbench.registry.maps_plugin import HUGGING_FACE

IDS, MAPS, METHOD, TARGET = ("sample_id", "id"), ("map", "saliency"), ("method",), ("target",)
GREY = ("L", "I", "I;16", "I;16L", "I;16B", "F")  # modes of images with a number a position


def roots_in(root: str) -> list[str]:
    """The root itself, or `ROOT#METHOD` for each method that a column of the data set names.

    Raises:
        DataError, ParameterError: as of `RowsOfMaps`.
    """
    place, method = _parts(root)
    methods = [] if method else _methods(opened_rows(place), place)
    return [f"{root}#{name}" for name in sorted(set(methods))] or [root]


def name_in(root: str) -> str:
    """What the method of a root is called: as the root says, else like its data set."""
    place, method = _parts(root)
    return method or Path(place).absolute().name


class RowsOfMaps:
    """A row a sample, in a column its id; of whatever split.

    Parameters:
        root: `hf:FOLDER`, which `save_to_disk` wrote, or `hf:ORG/NAME` on the hub; with `#METHOD`
            the rows of that method alone.

    Raises:
        ParameterError: if the library is not installed.
        UnknownNameError: if there is no such method.
        DataError: if there is no such data set, if a column is missing or a value in it, if it
            holds several methods and none is named, or two maps of a sample.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        place, method = _parts(root)
        rows = opened_rows(place)
        self._map = _column(rows, place, MAPS)
        methods = _methods(rows, place)
        if method:
            mine = [row for row, name in enumerate(methods) if name == method]
            if not mine:
                raise unknown_name(f"method of {HUGGING_FACE}{place}:", method, set(methods))
            rows = rows.select(mine)
        elif len(set(methods)) > 1:
            raise DataError(
                f"{root} holds the maps of several methods, {', '.join(sorted(set(methods)))}: "
                f"name one of them, {root}#METHOD, or give all with --maps {root}."
            )
        ids = [str(name) for name in _values(rows, place, IDS)]
        self._rows = {name: row for row, name in enumerate(ids)}
        if len(self._rows) < len(ids):
            twice = next(name for row, name in enumerate(ids) if self._rows[name] != row)
            raise DataError(
                f"{root} holds several maps of sample {twice!r}: which is meant? Remove the "
                "others, or say in a column 'method' which method each is of."
            )
        self._classes = dict(zip(ids, _values(rows, place, TARGET), strict=False))
        images = type(rows.features[self._map]).__name__ == "Image"
        self._maps = rows.select_columns([self._map]).with_format(None if images else "numpy")

    def keys_of(self, name: str) -> list[str]:
        """The name itself."""
        return [name]

    def __contains__(self, key: str) -> bool:
        """Whether there is such a row."""
        return key in self._rows

    def where(self, key: str) -> str:
        """The data set, and the id in it."""
        return f"{self._root}[{key!r}]"

    def read(self, key: str) -> np.ndarray:
        """The map of a row: its lists, array or grey image."""
        try:
            found = self._maps[self._rows[key]][self._map]
            array = np.array(found)  # one's own: the library's cannot be written to
        except Exception as error:  # of whatever kind a damaged image or file has
            raise DataError(
                f"{self.where(key)} cannot be read ({in_one_line(error)}). Make the data set again."
            ) from None
        if isinstance(found, Image) and found.mode not in GREY:
            raise DataError(
                f"{self.where(key)} is an image of mode {found.mode}; expected a grey one, "
                f"{', '.join(GREY)}, or nested lists of numbers."
            )
        return array

    def stated_classes(self) -> StatedClasses | None:
        """The column `target`, if there is one."""
        where = f"column {TARGET[0]!r} of {self._root}"
        return StatedClasses(where, self._classes) if self._classes else None


def _parts(root: str) -> tuple[str, str]:
    """Where a root's data set is, and the method in it; empty where none is named."""
    place, _, method = root.removeprefix(HUGGING_FACE).partition("#")
    return place, method


def _column(rows: Any, place: str, names: tuple[str, ...]) -> str:
    """Which of the names a column has."""
    found = [name for name in names if name in rows.column_names]
    if len(found) == 1:
        return found[0]
    problem = f"columns {' and '.join(found)}" if found else f"no column {' or '.join(names)}"
    raise DataError(
        f"{HUGGING_FACE}{place} has {problem}; its columns are {', '.join(rows.column_names)}. "
        f"Expected {' or '.join(IDS)}, {' or '.join(MAPS)}, and, where there are several methods "
        f"or classes, {METHOD[0]} and {TARGET[0]}: rename them with `rename_column`."
    )


def _methods(rows: Any, place: str) -> list[str]:
    """The method of each row; empty where no column says it."""
    return [str(name) for name in _values(rows, place, METHOD)]


def _values(rows: Any, place: str, names: tuple[str, ...]) -> list[Any]:
    """What a column holds, by name where it holds classes; nothing without an optional column."""
    if names in (METHOD, TARGET) and names[0] not in rows.column_names:
        return []
    column = _column(rows, place, names)
    values = list(rows[column])
    classes = getattr(rows.features[column], "names", None)
    if classes is not None:
        values = [dict(enumerate(classes)).get(value) for value in values]
    if None in values:
        raise DataError(
            f"{HUGGING_FACE}{place} says nothing in column {column} of row {values.index(None)}. "
            "Expected a value in each row."
        )
    return values
