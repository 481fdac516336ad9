"""Models of other libraries by the names that they have there: torchvision:NAME and timm:NAME."""

import math
from types import ModuleType
from typing import Annotated, Any

from pydantic import AfterValidator
from torch import nn
from torchvision import models

from interpbench import ParameterError, Pretrained, model, unknown_name

IMAGENET = tuple(models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _classifier(name: str) -> str:
    """A classification model of torchvision; raises UnknownNameError for another name, ValueError for another task."""
    classifiers = models.list_models(module=models)
    if name not in classifiers:
        if name in models.list_models():
            raise ValueError(f"torchvision's {name} is no image classifier in floating point")
        raise unknown_name("model of torchvision:", name, classifiers)
    return name


def _torchvisions_weights(name: str) -> Any:
    weights = models.get_model_weights(name).DEFAULT
    return weights if tuple(weights.meta["categories"]) == IMAGENET else None


@model(
    "torchvision",
    reference="TorchVision maintainers, TorchVision: PyTorch's Computer Vision library, 2016",
    licence="BSD-3-Clause",
    pretrained=_torchvisions_weights,
)
def from_torchvision(classes: int, size: int, *, name: Annotated[str, AfterValidator(_classifier)]) -> nn.Module:
    """Any image classifier of torchvision as it is there, such as torchvision:convnext_tiny.

    With its best ImageNet weights on data whose classes are ImageNet's.

    Args:
        name: what torchvision calls it; see torchvision.models.list_models().
    """
    options: dict[str, Any] = {
        "vit": {"image_size": size},
        "maxvit": {"input_size": (size, size)},
        "googlenet": {"init_weights": True},  # what it does anyway, with a warning
        "inception": {"init_weights": True},
    }
    network = models.get_model(name, num_classes=classes, **options.get(name.partition("_")[0], {}))
    if hasattr(network, "aux_logits"):  # GoogLeNet and Inception
        network.aux_logits = False  # in training too they give one tensor
        network.transform_input = True  # their weights expect another normalisation than torchvision's other ones
    return _with_a_head(network, classes)


def _with_a_head(network: nn.Module, classes: int) -> nn.Module:
    """Starts from a random last layer where the library's is zero, for all maps of an untrained model are constant."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear) and layer.out_features == classes and not layer.weight.any():
            nn.init.trunc_normal_(layer.weight, std=0.02)
    return network


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise ParameterError("timm is not installed: pip install 'interpbench[timm]'.") from None
    return timm


def _of_timm(name: str) -> str:
    """A model of timm; raises UnknownNameError for another name."""
    known = _timm().list_models()
    if name.partition(".")[0] not in known:
        raise unknown_name("model of timm:", name, known)
    return name


def _timms_weights(name: str) -> Pretrained | None:
    timm = _timm()
    found = timm.get_pretrained_cfg(name)
    if found is None or not found.has_weights or found.num_classes != len(IMAGENET):
        return None
    size = found.input_size[-1]
    return Pretrained(
        source=f"timm/{found.architecture}.{found.tag}" if found.tag else f"timm/{found.architecture}",
        load=lambda: (timm.create_model(name, pretrained=True).state_dict(), ""),
        size=size,
        resize=0 if found.crop_mode == "squash" else math.floor(size / found.crop_pct),
        mean=tuple(found.mean),
        std=tuple(found.std),
        interpolation=found.interpolation,
        classes=IMAGENET,
    )


@model("timm", reference="Wightman, PyTorch Image Models, github.com/huggingface/pytorch-image-models, 2019",
       pretrained=_timms_weights)  # fmt: skip
def from_timm(classes: int, size: int, *, name: Annotated[str, AfterValidator(_of_timm)]) -> nn.Module:
    """Any model of timm as it is there, such as timm:convnext_atto or timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k.

    Needs `pip install 'interpbench[timm]'`. With its ImageNet weights on data whose classes are ImageNet's; timm names
    their licence.

    Args:
        name: what timm calls it, with or without the tag of its weights; see timm.list_models().
    """
    timm = _timm()
    found = timm.get_pretrained_cfg(name)
    sizes = {"img_size": size} if found is not None and found.fixed_input_size else {}
    return _with_a_head(timm.create_model(name, num_classes=classes, **sizes), classes)
