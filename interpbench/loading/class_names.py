"""What the classes of a model are called."""

from interpbench.core.types import IMAGENET, DatasetCard, Model
from interpbench.loading.pretrained import offered
from interpbench.registry.plugin import Configured


def class_names(choice: Configured, model: Model, data: DatasetCard) -> tuple[str, ...]:
    """A name for each logit: the data set's, else the model's own, else its number.

    Parameters:
        choice: the model's plugin, which may name its classes.
        model: with as many logits as there are names.
        data: the data set at hand, which may have fewer classes than the model has logits.
    """
    names = [f"logit {i}" for i in range(model.card.classes)]
    offer = offered(choice)
    for known in (
        imagenet_card().classes if model.card.dataset == IMAGENET else (),
        offer.classes if offer is not None else (),
        data.logit_names,
    ):
        if len(known) == len(names):
            names = list(known)
    for name, logit in zip(data.classes, model.card.logit_of_label, strict=True):
        names[logit] = name
    return tuple(names)


def imagenet_card() -> DatasetCard:
    """ImageNet-1k without its images, as torchvision's weights know it."""
    from torchvision.models import AlexNet_Weights  # here, as it takes its time

    weights = AlexNet_Weights.IMAGENET1K_V1
    preset, classes = weights.transforms(), tuple(weights.meta["categories"])
    return DatasetCard(
        IMAGENET, classes, IMAGENET, preset.crop_size[0], tuple(preset.mean), tuple(preset.std),
        imagenet=tuple(range(len(classes))),
    )  # fmt: skip
