"""Data sets of images by the names that they have on Hugging Face's hub: hf:ORG/NAME."""

from typing import Annotated

from pydantic import AfterValidator

from interpbench import Dataset, ImageRows, dataset


def _without_colon(name: str) -> str:
    if ":" in name:
        place, _, rest = name.partition(":")
        raise ValueError(f"parameters follow after a comma: hf:{place},{rest}")
    return name


@dataset("hf", reference="Lhoest et al., Datasets: A Community Library for Natural Language Processing, EMNLP 2021")
def from_hugging_face(
    *,
    name: Annotated[str, AfterValidator(_without_colon)],
    split: str = "",
    image: str = "",
    label: str = "",
    id: str = "",
    config: str = "",
    revision: str = "",
) -> Dataset:
    """A data set of images on Hugging Face's hub, or saved in a folder, such as hf:uoft-cs/cifar10,split=test.

    Needs `pip install 'interpbench[hf]'`; the hub's licences are the data sets' own. Labels that have names there are
    the classes; other texts too, sorted; whole numbers are indices of the model's logits. A label below 0 is not known.

    Parameters:
        name: ORG/NAME on the hub, or a folder that `save_to_disk` wrote.
        split: of it; none for test, else validation, else the only one.
        image: the column of images; none for the only one.
        label: the column of classes; none for the only one.
        id: a column of names for the samples, each its own; none for the split and the row's number.
        config: of several that have one name.
        revision: a branch, tag or commit on the hub; none for the newest.
    """
    return ImageRows(name, split, config=config, revision=revision, image=image, label=label, id=id)
