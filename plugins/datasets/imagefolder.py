"""Any folder of images with one subfolder a class, and what its classes are among a model's logits."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import PositiveFloat, PositiveInt

from interpbench import (
    DataError,
    Dataset,
    DatasetCard,
    ImageFolder,
    ParameterError,
    class_folders,
    dataset,
    unknown_name,
)

SEE = "; `python -m interpbench show imagefolder` says more"


@dataset("imagefolder")
def imagefolder(
    *,
    root: Path,
    name: str = "",
    split: str = "",
    size: PositiveInt | None = None,
    classes: str = "",
    labels: Path | None = None,
    range: PositiveFloat | None = None,
) -> Dataset:
    """A folder with one subfolder of images a class; the subfolders' names, sorted, are the classes.

    Images may have any size: the model's card decides how they are resized and cropped.

    `classes` and `labels` say more of a model that has more logits than there are subfolders, or has them in another
    order: each subfolder's class is then looked up among the model's, and labels follow the order of the logits.

    A label file is one of

    * `.txt`, or a JSON list: the names of all logits in their order, one a line;
    * JSON whose keys are numbers, as Keras' class_index.json, {"0": ["n01440764", "tench"], ...}: a logit's names. A
      subfolder may be called by any of them, or by the number; the last one is shown;
    * any other JSON object, or a `.csv` or `.tsv` of two columns: a subfolder's name and its class, either as a number,
      which is the index of its logit, or as a name. Where all are names and `classes` is not given, logits follow the
      sorted subfolders. A table whose first column holds numbers alone is read as the JSON with such keys.

    Entries without a subfolder are left aside; a subfolder without an entry, and two of one class, are refused.

    Parameters:
        root: the folder.
        name: of the data set in tables; none for the folder's own name.
        split: a subfolder of root, such as train or test, that holds the classes.
        size: side in pixels that untrained or newly trained models take; none to leave it to the weights.
        classes: the names of all of the model's logits in their order, classes="dog,cat".
        labels: a file that says which subfolder is which class.
        range: the value that is white in images of more than 8 bits, such as 4095 for 12 bits in 16; none for the
            greatest that their type can hold.
    """
    folder = root / split
    if split and not folder.is_dir():
        raise _without_split(root, split)
    card = DatasetCard(name=name or root.resolve().name, classes=class_folders(folder), revision="", size=size)
    order = None
    if classes or labels:
        card, order = _labelled(card, _known(classes, labels))
    return ImageFolder(folder, card, order, range=range)


def _without_split(root: Path, split: str) -> DataError:
    """An error for a folder without that split, which says what there is instead."""
    there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    holds = ", ".join(there[:8]) + (" and more" if len(there) > 8 else "") if there else "no folders"
    return DataError(
        f"There is no image folder {str(root / split)!r}; {root} holds {holds}. Expected the images of the split in "
        f"{root / split}/CLASS; without split= the classes are the folders in {root}."
    )


@dataclass(frozen=True)
class Known:
    """What is said of a model's classes.

    Attributes:
        where: who says it, for messages.
        names: logit -> its names, of which the last one is shown.
        of_folder: subfolder -> the index of its logit, or a class's name; None if subfolders are called like classes.
    """

    where: str
    names: Mapping[int, Sequence[str]] = field(default_factory=dict)
    of_folder: Mapping[str, int | str] | None = None

    def logit(self, folder: str) -> int | None:
        """Of a subfolder's class; None if its name alone is known.

        Raises:
            DataError: if nothing is said of the folder, or a name belongs to several logits.
            UnknownNameError: if no class has the name.
        """
        if self.of_folder is not None and folder not in self.of_folder:
            raise DataError(f"{self.where} says nothing of class folder {folder!r}. Add it, or take the folder away.")
        called = folder if self.of_folder is None else self.of_folder[folder]
        if isinstance(called, int):
            return called
        if not self.names:
            return None
        found = [logit for logit, names in self.names.items() if called in names]
        if not found and _is_index(called) and int(called) in self.names:
            return int(called)
        if not found:
            raise unknown_name(f"class of {self.where}:", called, {n for names in self.names.values() for n in names})
        if len(found) > 1:
            logits = ", ".join(map(str, found))
            raise DataError(f"{self.where} calls several logits {called!r}: {logits}. Say which the class folder is.")
        return found[0]

    def shown(self, folder: str, logit: int | None) -> str:
        """The name of a subfolder's class."""
        if logit is not None and logit in self.names:
            return self.names[logit][-1]
        called = folder if self.of_folder is None else self.of_folder[folder]
        return called if isinstance(called, str) else folder


def _labelled(card: DatasetCard, known: Known) -> tuple[DatasetCard, list[str]]:
    """The card with labels in the order of the logits, or of the subfolders if only names are known; their folders."""
    logits = {name: known.logit(name) for name in card.classes}
    stated = {name: logit for name, logit in logits.items() if logit is not None}
    if stated and len(stated) < len(logits):
        unstated = next(name for name in logits if name not in stated)
        raise DataError(
            f"{known.where} gives a logit for {next(iter(stated))!r} and a name for {unstated!r}. Expected one or the "
            'other for all class folders; or give the names of all logits as well, classes="NAME,NAME".'
        )
    order = sorted(logits, key=lambda name: stated.get(name, 0))
    shown = tuple(known.shown(name, logits[name]) for name in order)
    for what in (shown, tuple(stated.values())):
        twice, count = Counter(what).most_common(1)[0] if what else ("", 0)
        if count > 1:
            raise DataError(f"{known.where} gives {count} class folders the class {twice!r}. Put them into one folder.")
    whole = sorted(known.names) == list(range(len(known.names)))
    names = tuple(known.names[i][-1] for i in range(len(known.names))) if whole else ()
    logits_in_order = tuple(stated[name] for name in order) if stated else None
    return replace(card, classes=shown, logits=logits_in_order, logit_names=names if stated else shown), order


def _known(classes: str, labels: Path | None) -> Known:
    """What `classes` and the file say."""
    listed = [name.strip() for name in classes.split(",")] if classes else []
    if len(set(listed)) < len(listed) or "" in listed:
        raise ParameterError(f'classes="{classes}" has a name twice, or an empty one. Expected a name for each logit.')
    names = dict(enumerate([name] for name in listed))
    if labels is None:
        return Known("classes=", names)
    where = f"Label file {str(labels)!r}"
    found = _read(labels, where)
    if isinstance(found, list):
        found = {str(logit): names for logit, names in enumerate(found)}
    if found and all(map(_is_index, found)):
        if listed:
            raise ParameterError(f"{where} names the logits, and so does classes=. Leave one of them away.")
        return Known(where, {int(key): _names(value, where) for key, value in found.items()})
    return Known(where, names, {key: _one(value, where) for key, value in found.items()})


def _read(path: Path, where: str) -> list[Any] | dict[str, Any]:
    """The content of a label file: names in order, or pairs."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            found = json.loads(text, object_pairs_hook=_each_once)
        elif path.suffix in (".csv", ".tsv"):
            found = _pairs(list(csv.reader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ",")), where)
        else:
            found = [line.strip() for line in text.splitlines() if line.strip()]
    except RecursionError:
        raise DataError(f"{where} is nested too deeply. Expected a list of names, or pairs{SEE}.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{where} cannot be read ({error}). Expected .txt, .json, .csv or .tsv{SEE}.") from None
    if not isinstance(found, list | dict) or not found:
        raise DataError(f"{where} holds no labels. Expected a list of names, or pairs{SEE}.")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of JSON; raises ValueError for a key that stands there twice."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is there twice")
    return dict(pairs)


def _is_index(text: str) -> bool:
    """Whether it is an index in digits 0 to 9, and of no more of them than an index has."""
    return text.isascii() and text.isdecimal() and len(text) < 10


def _pairs(rows: list[list[str]], where: str) -> dict[str, str]:
    """Two columns, without a heading over numbers."""
    rows = [[cell.strip() for cell in row] for row in rows if any(row)]
    for row in rows:
        if len(row) != 2:
            raise DataError(f"{where} has a row of {len(row)} columns, {row}. Expected two: a class folder, its class.")
    columns = zip(*rows, strict=True)
    headed = any(not _is_index(top) and rest and all(map(_is_index, rest)) for top, *rest in columns)
    pairs = rows[headed:]
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise DataError(f"{where} has {twice[0]!r} twice in its first column. Expected one row for each.")
    return dict(pairs)


def _names(value: Any, where: str) -> list[str]:
    """The names of a logit."""
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{where} calls a logit {value!r}. Expected a name, or a list of names{SEE}.")
    return list(names)


def _one(value: Any, where: str) -> int | str:
    """A logit's index, or a class's name."""
    if isinstance(value, str) and value:
        return int(value) if _is_index(value) else value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return value
    raise DataError(f"{where} says {value!r} of a class folder. Expected the index of a logit, or a class's name.")
