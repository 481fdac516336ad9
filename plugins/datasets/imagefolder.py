"""Any folder of images with one subfolder a class."""

import hashlib
from pathlib import Path

from pydantic import PositiveInt
from torchvision.datasets.folder import IMG_EXTENSIONS

from interpbench import DataError, Dataset, DatasetCard, Sample, dataset, read_image


@dataset("imagefolder")
def imagefolder(*, root: Path, name: str = "", split: str = "", size: PositiveInt | None = None) -> Dataset:
    """A folder with one subfolder of images a class; the subfolders' names, sorted, are the classes.

    Images may have any size: the model's card decides how they are resized and cropped.

    Parameters:
        root: the folder.
        name: of the data set in tables; none for the folder's own name.
        split: a subfolder of root, such as train or test, that holds the classes.
        size: side in pixels that untrained or newly trained models take; none to leave it to the weights.
    """
    folder = root / split
    return ImageFolder(folder, name or root.resolve().name, size)


class ImageFolder:
    """The images below a folder, sorted by class and name; an id is the path below the folder."""

    def __init__(self, folder: Path, name: str, size: int | None) -> None:
        if not folder.is_dir():
            raise DataError(f"There is no image folder {str(folder)!r}. Expected a folder with one subfolder a class.")
        classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not classes:
            raise DataError(f"{str(folder)!r} has no subfolders. Expected one subfolder of images a class.")
        self._folder = folder
        self.ids: list[str] = []
        self.labels: list[int] = []
        for label, name_ in enumerate(classes):
            files = sorted(p for p in (folder / name_).rglob("*") if p.suffix.lower() in IMG_EXTENSIONS)
            if not files:
                raise DataError(
                    f"Class folder {str(folder / name_)!r} holds no images ({', '.join(IMG_EXTENSIONS)}). "
                    "Fill it or remove it."
                )
            self.ids += [path.relative_to(folder).as_posix() for path in files]
            self.labels += [label] * len(files)
        self.card = DatasetCard(name=name, classes=tuple(classes), revision=self._revision(), size=size)

    def _revision(self) -> str:
        """Names and sizes of all files: changes with the selection, and costs no reading."""
        digest = hashlib.sha256()
        for sample_id in self.ids:
            digest.update(f"{sample_id}\t{(self._folder / sample_id).stat().st_size}\n".encode())
        return f"files-{digest.hexdigest()[:12]}"

    def __getitem__(self, index: int) -> Sample:
        """The sample: image uint8 [H,W,3]; raises UnreadableImageError if it cannot be decoded."""
        sample_id = self.ids[index]
        return Sample(sample_id, read_image(self._folder / sample_id, sample_id), self.labels[index])
