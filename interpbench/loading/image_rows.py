"""Images in a data set of Hugging Face's library `datasets`, a row each."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from interpbench.core.errors import DataError, ParameterError, UnreadableImageError
from interpbench.core.types import UNKNOWN, DatasetCard, Sample
from interpbench.loading.hub_rows import opened_split
from interpbench.loading.image_files import read_image
from interpbench.registry.maps_plugin import HUGGING_FACE

ROWS_AT_ONCE = 1000  # whose images are looked at for the revision
LAST_BYTES = 64  # of each


class ImageRows:
    """The images of one split of such a data set.

    Each image is read as a file would be, see `read_image`. Labels that the library names keep
    their names and their order; other texts are sorted; whole numbers are indices of the model's
    logits. A label below 0, or none, is not known.

    Parameters:
        place: `ORG/NAME` on the hub, or a folder that `save_to_disk` wrote.
        split: "" for test, else validation, else the only one.
        config: of several under one name; "" for the default.
        revision: a branch, tag or commit on the hub; "" for the newest.
        image: the column of images; "" for the only one.
        label: the column of classes; "" for the only one of the library's classes.
        id: a column of names for the samples, each its own; "" for its split and its row's number.

    Raises:
        ParameterError: if the library is not installed, or there are several splits or columns and
            none is named.
        UnknownNameError: if there is no such split.
        DataError: if there is no such data set, or a column does not hold what it should.

    Example:
        >>> import datasets
        >>> from PIL import Image
        >>> white = Image.new("RGB", (32, 24), "white")
        >>> rows = datasets.Dataset.from_dict({"photo": [white, white], "kind": ["cat", "dog"]})
        >>> rows = rows.cast_column("photo", datasets.Image())
        >>> rows.cast_column("kind", datasets.ClassLabel(names=["dog", "cat"])).save_to_disk("pets")
        >>> pets = interpbench.ImageRows("pets")
        >>> pets.ids, pets.labels, pets.card.classes
        (['all-000000', 'all-000001'], [1, 0], ('dog', 'cat'))
        >>> pets[1].image.shape
        (24, 32, 3)
    """

    def __init__(
        self,
        place: str,
        split: str = "",
        *,
        config: str = "",
        revision: str = "",
        image: str = "",
        label: str = "",
        id: str = "",
    ) -> None:
        rows, split = opened_split(place, split, config=config, revision=revision)
        from datasets import Image  # which is there now

        what = f"{HUGGING_FACE}{place}"
        image = _column(what, rows, "image", image)
        if type(rows.features[image]).__name__ != "Image":
            raise DataError(
                f"{what} has no images in column {image!r}, but {rows.features[image]}. Name a "
                f"column of images, image=COLUMN; its columns are {', '.join(rows.column_names)}."
            )
        self.ids = _ids(what, rows, split, id)
        classes, self.labels, self.logits = _classes(what, rows, label)
        self._image = image
        self._rows = rows.select_columns([image]).cast_column(image, Image(decode=False))
        self.card = DatasetCard(
            name=place if not Path(place).is_dir() else Path(place).absolute().name,
            classes=classes,
            revision=self._revision(classes),
            concurrent=True,
            logits=self.logits,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """The sample, its image as `read_image` gives it, with that one's errors."""
        name = self.ids[index]
        found = self._rows[index][self._image] or {}
        content = found.get("bytes") or (Path(found["path"]) if found.get("path") else None)
        if content is None:
            raise UnreadableImageError(f"{name}: there is no image in its row")
        return Sample(name, read_image(content, name), self.labels[index])

    def _revision(self, classes: Sequence[str]) -> str:
        """Of names and labels, and of all images as they are stored their sizes and last bytes.

        There a PNG has the checksum of its pixels. Whole images are not read for it.
        """
        digest = hashlib.sha256(f"{list(classes)} {self.logits}\n".encode())
        for name, label, end in zip(self.ids, self.labels, self._ends(), strict=True):
            digest.update(f"{name}\t{label}\t{end}\n".encode())
        return f"rows-{digest.hexdigest()[:12]}"

    def _ends(self) -> Iterator[str]:
        """The size and the last bytes of each image; "" where there is none."""
        from pyarrow import compute

        for batch in self._rows.with_format("arrow").iter(ROWS_AT_ONCE):
            stored = batch[self._image].combine_chunks()
            content = stored.field("bytes")
            sizes = compute.binary_length(content).to_pylist()
            ends = compute.binary_slice(content, -LAST_BYTES).to_pylist()
            for size, end, path in zip(sizes, ends, stored.field("path").to_pylist(), strict=True):
                if end is not None:
                    yield f"{size} {end.hex()}"
                else:
                    yield _end_of_file(Path(path)) if path else ""


def _end_of_file(path: Path) -> str:
    """As in a row; "" where there is no such file."""
    if not path.is_file():
        return ""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - LAST_BYTES))
        return f"{size} {file.read().hex()}"


def _column(what: str, rows: Any, kind: str, named: str) -> str:
    """The column of that kind: the one that is named, or the only one that it can be.

    Raises:
        DataError: if there is none of that name.
        ParameterError: if none or several could be meant.
    """
    there = ", ".join(rows.column_names)
    if named and named not in rows.column_names:
        raise DataError(f"{what} has no column {named!r}; its columns are {there}.")
    if named:
        return named
    feature = {"image": "Image", "label": "ClassLabel"}[kind]
    found = [name for name, of in rows.features.items() if type(of).__name__ == feature]
    if len(found) == 1:
        return found[0]
    several = f"several columns that could be the {kind}" if found else f"no column of {feature}"
    raise ParameterError(
        f"{what} has {several}: say which, {kind}=COLUMN. Its columns are {there}."
    )


def _ids(what: str, rows: Any, split: str, column: str) -> list[str]:
    if not column:
        return [f"{split}-{row:06d}" for row in range(len(rows))]
    ids = [str(value) for value in rows[_column(what, rows, "id", column)]]
    seen: set[str] = set()
    for name in ids:
        if name in seen or not name:
            raise DataError(
                f"{what} has {name!r} twice in column {column!r}, or no name: name a column with a "
                "name of its own for each image, id=COLUMN, or none."
            )
        seen.add(name)
    return ids


def _classes(
    what: str, rows: Any, column: str
) -> tuple[tuple[str, ...], list[int], tuple[int, ...] | None]:
    """The classes' names, each row's label, and the classes' logits where those are what they are.

    Raises:
        DataError: if the column holds no classes, or all labels are unknown.
    """
    column = _column(what, rows, "label", column)
    values, names = list(rows[column]), getattr(rows.features[column], "names", None)
    kinds = {type(value) for value in values if value is not None}
    if names is not None:
        return tuple(names), [_known(value) for value in values], None
    if kinds == {str}:
        texts = sorted({value for value in values if value is not None})
        of_text = {text: number for number, text in enumerate(texts)}
        return tuple(texts), [of_text.get(value, UNKNOWN) for value in values], None
    if kinds == {int}:
        logits = sorted({value for value in values if _known(value) >= 0})
        of_logit = {logit: number for number, logit in enumerate(logits)}
        labels = [of_logit.get(value, UNKNOWN) for value in values]
        return tuple(map(str, logits)), labels, tuple(logits)
    found = " and ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
    raise DataError(
        f"{what} has {found} in column {column!r}; expected a class in each row: its name, or its "
        "number among the model's logits. Name another column, label=COLUMN."
    )


def _known(value: int | None) -> int:
    return UNKNOWN if value is None or value < 0 else value
