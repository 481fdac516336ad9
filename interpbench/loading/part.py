"""Some samples of a data set, as a data set of its own; and the files that list them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interpbench.core.errors import DataError, UnknownNameError, unknown_name
from interpbench.core.types import Dataset, Sample

LEAVES_OUT = "!"  # before an id in a list of samples
NAMED = 3  # unknown ids in a message


class Part:
    """Some samples of a data set.

    Parameters:
        data: the data set.
        indices: of the samples.
        words: what the part is, for its revision; "" where that is to be the data set's.
    """

    def __init__(self, data: Dataset, indices: Sequence[int], words: str = "") -> None:
        self._data, self._indices = data, indices
        whole = data.card
        self.card = replace(whole, revision=f"{whole.revision}, {words}") if words else whole
        self.ids = [data.ids[index] for index in indices]
        self.labels = [data.labels[index] for index in indices]

    def __getitem__(self, index: int) -> Sample:
        """The sample; raises UnreadableImageError if it cannot be decoded."""
        return self._data[self._indices[index]]


def listed_part(data: Dataset, file: Path) -> Part:
    """The samples that a text file lists, or all but those; in the data set's order.

    Parameters:
        data: the data set.
        file: holds an id a line. Where each has a `!` before it, these are left out.

    Raises:
        DataError: if the file cannot be read, does both, or leaves no sample.
        UnknownNameError: if the data set has no such sample; the message names the near ones.
    """
    listed, leave_out = _read_list(file)
    there = set(data.ids)
    unknown = [name for name in listed if name not in there]
    if unknown:
        known = f"sample of {data.card.name!r} in {file}:"
        errors = [str(unknown_name(known, name, data.ids)) for name in unknown[:NAMED]]
        more = f" And {len(unknown) - NAMED} more." if len(unknown) > NAMED else ""
        raise UnknownNameError(" ".join(errors) + more)
    indices = [i for i, name in enumerate(data.ids) if (name in listed) != leave_out]
    if not indices:
        raise DataError(f"{file} leaves no sample of {data.card.name!r}.")
    taken = "\n".join(sorted(data.ids[i] for i in indices))
    digest = hashlib.sha256(taken.encode()).hexdigest()[:12]
    return Part(data, indices, f"{len(indices)} samples {digest}")


def _read_list(file: Path) -> tuple[dict[str, None], bool]:
    """The ids in a file, each once and in its order, and whether they are to be left out."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"The list of samples {str(file)!r} cannot be read ({error}). Expected a text file "
            "with the id of a sample a line, such as n01440764/n01440764_10026.JPEG."
        ) from None
    lines = [line for line in lines if line]
    out = [line for line in lines if line.startswith(LEAVES_OUT)]
    if not lines or 0 < len(out) < len(lines):
        what = "both takes and leaves out" if out else "names no"
        raise DataError(
            f"{file} {what} samples. Expected either the ids that are to be used, one a line, or "
            f"those to leave out, each with a {LEAVES_OUT} before it."
        )
    return dict.fromkeys(line.removeprefix(LEAVES_OUT).strip() for line in lines), bool(out)
