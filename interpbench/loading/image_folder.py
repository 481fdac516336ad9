"""A folder of images with one subfolder a class, as a data set."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interpbench.core.errors import DataError
from interpbench.core.types import DatasetCard, Sample
from interpbench.loading.image_files import image_files, image_suffixes, read_image


def class_folders(folder: Path) -> tuple[str, ...]:
    """The names of a folder's subfolders, sorted.

    Raises:
        DataError: if there is no such folder, or it has no subfolders.

    Example:
        >>> from pathlib import Path
        >>> Path("photos/dog").mkdir(parents=True)
        >>> Path("photos/cat").mkdir()
        >>> interpbench.class_folders(Path("photos"))
        ('cat', 'dog')
    """
    if not folder.is_dir():
        raise DataError(
            f"There is no image folder {str(folder)!r}. "
            "Expected a folder with one subfolder a class."
        )
    names = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        raise DataError(
            f"{str(folder)!r} has no subfolders. Expected one subfolder of images a class."
        )
    return tuple(names)


class ImageFolder:
    """The images below a folder, sorted by class and name; an id is the path below the folder.

    Parameters:
        folder: has one subfolder of images for each of the card's classes.
        card: of the data set; its revision is replaced by one that is made from the files' names
            and sizes, and from its logits where it states them.
        subfolders: of the classes, in their order, where they are not called like them.
        range: see `read_image`.

    Raises:
        DataError: if a class has no images.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> for name in ("cat", "dog"):
        ...     Path("photos", name).mkdir(parents=True)
        ...     Image.new("RGB", (32, 24)).save(f"photos/{name}/1.png")
        >>> card = interpbench.DatasetCard("pets", classes=("cat", "dog"), revision="by files")
        >>> folder = interpbench.ImageFolder(Path("photos"), card)
        >>> folder.ids, folder.labels
        (['cat/1.png', 'dog/1.png'], [0, 1])
        >>> folder[1].image.shape
        (24, 32, 3)
    """

    def __init__(
        self,
        folder: Path,
        card: DatasetCard,
        subfolders: Sequence[str] | None = None,
        *,
        range: float | None = None,
    ) -> None:
        self._folder, self._range = folder, range
        self.ids: list[str] = []
        self.labels: list[int] = []
        for label, name in enumerate(card.classes if subfolders is None else subfolders):
            files = image_files(folder / name)
            if not files:
                raise DataError(
                    f"Class folder {str(folder / name)!r} holds no images "
                    f"({', '.join(image_suffixes())}). Fill it or remove it."
                )
            self.ids += [path.relative_to(folder).as_posix() for path in files]
            self.labels += [label] * len(files)
        self.card = replace(card, revision=self._revision(card), concurrent=True)

    def _revision(self, card: DatasetCard) -> str:
        """Names and sizes of all files: changes with the selection, and costs no reading.

        And what the labels stand for, where that is stated.
        """
        digest = hashlib.sha256()
        if card.logits is not None or card.logit_names:
            digest.update(f"{card.classes} {card.logits} {card.logit_names}\n".encode())
        if self._range is not None:
            digest.update(f"range {self._range:g}\n".encode())
        for sample_id in self.ids:
            digest.update(f"{sample_id}\t{(self._folder / sample_id).stat().st_size}\n".encode())
        return f"files-{digest.hexdigest()[:12]}"

    def __getitem__(self, index: int) -> Sample:
        """The sample, its image as `read_image` gives it, with that one's errors."""
        sample_id = self.ids[index]
        image = read_image(self._folder / sample_id, sample_id, range=self._range)
        return Sample(sample_id, image, self.labels[index])
