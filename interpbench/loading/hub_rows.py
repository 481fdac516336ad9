"""Data sets of Hugging Face's library `datasets`: on the hub, or in a folder."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interpbench.core.errors import DataError, ParameterError, in_one_line, unknown_name
from interpbench.registry.maps_plugin import HUGGING_FACE

_ON_THE_HUB = r"\w[\w.-]*/\w[\w.-]*"
_BEST_FIRST = ("test", "validation", "val")  # of which splits methods are measured on


def opened_rows(place: str) -> Any:
    """All rows of a data set, of all splits.

    Raises:
        ParameterError: if the library is not installed.
        DataError: if there is no such data set.
    """
    library = _library(place)
    with _Reading(place) as reading:
        splits = reading.saved(library) or _each(library.load_dataset(reading.source))
        return library.concatenate_datasets(list(splits.values())).with_format(None)


def opened_split(
    place: str, split: str = "", *, config: str = "", revision: str = ""
) -> tuple[Any, str]:
    """The rows of one split, and what it is called.

    Parameters:
        place: `ORG/NAME` on the hub, or a folder.
        split: "" for test, else validation, else the only one.
        config: of several under one name; "" for the default.
        revision: a branch, tag or commit on the hub; "" for the newest.

    Raises:
        ParameterError: if the library is not installed, or no split is named and several are there.
        UnknownNameError: if there is no such split.
        DataError: if there is no such data set.
    """
    library = _library(place)
    options = {"name": config or None, "revision": revision or None}
    with _Reading(place) as reading:
        splits = reading.saved(library)
        if splits is None:
            builder = library.load_dataset_builder(reading.source, **options)
            names = list(builder.info.splits or ()) or _names(library, reading.source, config)
        else:
            names = list(splits)
    chosen = _chosen(place, names, split)
    with _Reading(place) as reading:
        rows = None if splits is None else splits[chosen]
        if rows is None:
            rows = library.load_dataset(reading.source, split=chosen, **options)
        return rows.with_format(None), chosen  # a data set is saved with a format


def _library(place: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise ParameterError(
            f"{HUGGING_FACE}{place} needs the library `datasets`, which is not installed: pip "
            "install 'interpbench[hf]', or pip install datasets."
        ) from None
    return datasets


def _names(library: Any, source: str, config: str) -> list[str]:
    return list(library.get_dataset_split_names(source, config or None))


def _each(found: Any) -> Mapping[str, Any]:
    """The splits of what was read; `all` where it has none."""
    return found if isinstance(found, Mapping) else {"all": found}


def _chosen(place: str, names: list[str], split: str) -> str:
    if split and split not in names:
        raise unknown_name(f"split of {HUGGING_FACE}{place}:", split, names)
    best = [name for name in _BEST_FIRST if name in names]
    found = split or next(iter(best or (names if len(names) == 1 else ())), "")
    if not found:
        raise ParameterError(
            f"{HUGGING_FACE}{place} has the splits {', '.join(names)}: say which, "
            f"{HUGGING_FACE}{place},split={names[0] if names else 'NAME'}."
        )
    return found


class _Reading:
    """While a data set is read, whatever goes wrong is said with its name."""

    def __init__(self, place: str) -> None:
        self.source = place
        self._is_folder = Path(place).is_dir()
        self._expected = (
            f"Expected {HUGGING_FACE}FOLDER, a data set that `save_to_disk` wrote, or "
            f"{HUGGING_FACE}ORG/NAME on the hub."
        )
        if not self._is_folder and not re.fullmatch(_ON_THE_HUB, place):
            raise DataError(f"There is no folder {place!r}. {self._expected}")

    def saved(self, library: Any) -> Mapping[str, Any] | None:
        """The splits of a folder that `save_to_disk` wrote; None where it is no folder."""
        return _each(library.load_from_disk(self.source)) if self._is_folder else None

    def __enter__(self) -> "_Reading":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):  # of the library, of its files or of the network
            what = "The folder" if self._is_folder else "There is no such folder, and the data set"
            raise DataError(
                f"{what} {self.source!r} cannot be read ({in_one_line(error)}). {self._expected}"
            ) from None
