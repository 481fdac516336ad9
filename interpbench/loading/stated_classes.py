"""Which class each map that was made elsewhere is for, where it is said."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from interpbench.core.errors import DataError
from interpbench.core.text import shown

TARGETS = "targets.json"


@dataclass(frozen=True)
class StatedClasses:
    """Classes as somebody wrote them down.

    Attributes:
        where: they are found.
        by_name: what a map is called -> its class: the index of a logit, or its name. It is not
            checked.
    """

    where: str
    by_name: Mapping[str, int | str]


def classes_beside(root: Path) -> StatedClasses | None:
    """What `targets.json` in a folder of maps, or beside it or an archive, says; None without one.

    Raises:
        DataError: if it says nothing of the kind.
    """
    places = [root / TARGETS, root.absolute().parent / TARGETS]
    file = next((path for path in places if path.is_file()), None)
    if file is None:
        return None
    problem = ""
    try:
        stated = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        problem = str(error)
    else:
        if isinstance(stated, dict):
            return StatedClasses(str(file), stated)
        problem = f"it is {shown(stated)}"
    raise DataError(
        f"{file} cannot be read ({problem}). Expected JSON that gives the class of each sample's "
        'map by its index or name, such as {"cat/1.png": 281, "dog/2.png": "beagle"}.'
    )
