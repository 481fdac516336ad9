"""What of a submission nobody can compute, and so has to be believed, or not.

Everything else in its record is made again by `rescoring`, and compared.
"""

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

from interpbench.publish.submission import SubmissionRecord

# Fields of a record -> what they say. Whoever makes all hashes fit can write there what he likes.
FIELDS = {
    "name": "what the submission is called",
    "by": "who made it",
    "comment": "what its author says of it",
    "supersedes": "what it takes the place of",
    "failures_declared": "that failed cells are meant to be there",
    "started": "when it was begun",
    "finished": "when it was finished",
    "device": "on which device",
    "precision": "in which precision",
    "versions": "with which packages",
    "git": "from which commit",
}
# Where two values need not be the same, and what that leaves open.
MARGINS = (
    "why a cell that fails here too has failed",
    "whatever a smaller run would not have held: a method, model or metric that is left out "
    "altogether",
    "a score that is moved by less than its tolerance, which is greater for another kind of "
    "device and where the score hangs on the last bits of what the network computes, and a mean by "
    "less than its tolerance over the root of the number of images",
    "the share of tied positions, where the devices are of different kinds",
    "how many of the maps that were not made again hold negative values",
)
# Made of the rest of the record; `integrity` compares them with what lies there.
SEALS = ("schema_version", "files", "digest")

_WHY = {
    "samples": "its images are not those that the suite chooses",
    "source_hash": "it was changed after the run, or is another plugin",
    "weights_sha256": "it has other weights here",
    "pixels_sha256": "the images' files differ, or are decoded otherwise here",
}


def hearsay() -> str:
    """The list in words."""
    fields = ", ".join(f"{name} ({what})" for name, what in FIELDS.items())
    return (
        "Hearsay, which neither `leaderboard --check` nor `verify` can find to be false where all "
        f"hashes fit: {fields}; {'; '.join(MARGINS)}."
    )


def differences(published: SubmissionRecord, here: SubmissionRecord) -> Iterator[str]:
    """Every field of a record that is no hearsay and is not what it is here.

    A preparation, or a number of signed maps, that an older record leaves out is no difference.
    """
    yield from _differences(_compared(published), _compared(here), "")


def _compared(record: SubmissionRecord) -> dict[str, Any]:
    """A record's fields by name, and its cells by theirs."""
    contents = record.model_dump(mode="json", exclude={*FIELDS, *SEALS})
    cells = {f"{cell['method']} on {cell['model']}": cell for cell in contents["cells"]}
    return {**contents, "cells": cells}


def _differences(published: Any, here: Any, where: str) -> Iterator[str]:
    if isinstance(published, Mapping) and isinstance(here, Mapping):
        for name in (*published, *(name for name in here if name not in published)):
            path = f"{where} {name}".strip()
            if name not in here:
                yield f"{path}: there is none here"
            elif name in published:
                yield from _differences(published[name], here[name], path)
            elif name not in ("preparation", "signed"):
                yield f"{path}: it does not say so, and here it is {_short(here[name])}"
    elif not _same(published, here):
        why = _WHY.get(where.rpartition(" ")[2], "")
        yield (
            f"{where} is {_short(published)}; here it is {_short(here)}{': ' if why else ''}{why}"
        )


def _same(published: Any, here: Any) -> bool:
    if type(published) is float and type(here) is float:
        return isclose(published, here, rel_tol=1e-9)
    return type(published) is type(here) and bool(published == here)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
