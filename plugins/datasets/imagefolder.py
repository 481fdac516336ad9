"""Any folder of images with one subfolder a class."""

from pathlib import Path

from pydantic import PositiveInt

from interpbench import Dataset, DatasetCard, ImageFolder, class_folders, dataset


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
    card = DatasetCard(name=name or root.resolve().name, classes=class_folders(folder), revision="", size=size)
    return ImageFolder(folder, card)
