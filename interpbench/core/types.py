"""The shapes and promises of the four kinds of plugin, explained once.

* method: `(model, x, target, *, parameters) -> saliency`, with x float32 [B,C,H,W] in the model's
  normalised space, target int64 [B] (indices of logits) and saliency [B,H,W], higher = more
  important for the target.
* model: `(classes, size, *, parameters) -> torch.nn.Module` giving logits [B,classes] for x
  [B,C,H,W]; `size` is the shorter side, and C is 3 unless the preparation says otherwise.
* dataset: `(*, parameters) -> Dataset`.
* metric: `(explanation, *, parameters) -> scores` float [B], or a `Perturbation`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from interpbench.core.errors import MethodError, PreparationError
from interpbench.core.layers import find_layer, is_scripted
from interpbench.core.outputs import Outputs, probabilities_of
from interpbench.core.passes_counted import count_pass
from interpbench.core.preparation import Channels, Crop, Interpolation, Preparation, Size, Stated
from interpbench.core.shared_passes import Shared
from interpbench.core.stand_ins import answer_of_stand_in

PerChannel = tuple[float, ...]
SCRIPTED = (
    "is TorchScript, in whose layers nobody can look: explain the Python module that it was made "
    "from."
)
UNKNOWN = -1  # the label of an image of which nobody says one
IGNORE = 255  # in a mask: a position that no metric counts, for or against the evidence


@dataclass(frozen=True)
class DatasetCard:
    """What a data set is.

    Attributes:
        name: as it appears in tables.
        classes: class names, in the order of the labels.
        revision: changes whenever the data do.
        size: side in pixels of the square images, or None if they vary.
        mean, std: per channel, of pixels in 0..1; what a model trained on it normalises with. None
            if that is not settled, as with a folder of anybody's images.
        has_masks: whether every sample carries the exact mask of the evidence.
        ignored: what masks mark as `IGNORE`, in words, such as `the border of the animal`; "" if
            they mark nothing.
        imagenet: for each label the index of its class among ImageNet-1k's logits, or None.
        reference, licence: where the data come from, and on what terms.
        concurrent: whether several threads may ask for samples at once, which then decode faster.
        logits: for each label the index of its logit, where that is stated for the model at hand;
            None where it follows from the number of logits or from the classes' names.
        logit_names: a name for each of the model's logits, where they are known; may hold more
            classes than the data.
        made_of: the data set whose images these are made of, for which models have weights; "" if
            models are trained on these. Models take such images at their `size`.
        label_alone: whether the class that is explained must be the label, since an image shows
            several: a run that explains the predicted class is refused.

    Example:
        >>> card = interpbench.DatasetCard("pets", classes=("cat", "dog"), revision="1")
        >>> card.mean, card.has_masks
        (None, False)
    """

    name: str
    classes: tuple[str, ...]
    revision: str
    size: int | None = None
    mean: PerChannel | None = None
    std: PerChannel | None = None
    has_masks: bool = False
    ignored: str = ""
    imagenet: tuple[int, ...] | None = None
    reference: str = ""
    licence: str = ""
    concurrent: bool = False
    logits: tuple[int, ...] | None = None
    logit_names: tuple[str, ...] = ()
    made_of: str = ""
    label_alone: bool = False

    @property
    def trained_on(self) -> str:
        """The name of the data set whose weights models take."""
        return self.made_of or self.name

    @property
    def stated(self) -> Stated:
        """What it says of the preparation of a model that was trained on it."""
        return Stated(by=f"the data set {self.name}", size=self.size, mean=self.mean, std=self.std)


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        id: unique in the data set, and the same on every machine.
        image: uint8 [H,W,3], RGB; or float32 in 0..1; with other than three channels as it is.
        label: index of `DatasetCard.classes`, or -1 where it is not known.
        mask: bool [H,W], the evidence for the label; None where it is not known. Or uint8 [H,W] of
            0, 1 (the evidence) and `IGNORE` (255), where the data set's card says what is ignored.

    Example:
        >>> import numpy as np
        >>> black = np.zeros((24, 32, 3), dtype=np.uint8)
        >>> sample = interpbench.Sample("cat/1.png", black, label=0)
        >>> sample.image.shape, sample.mask is None
        ((24, 32, 3), True)
    """

    id: str
    image: np.ndarray
    label: int
    mask: np.ndarray | None = None


class Dataset(Protocol):
    """A revisioned sequence of samples. `ids` and `labels` are known without decoding an image.

    Any class with these four members is one; it need not inherit.

    Example:
        >>> import numpy as np
        >>> class Blank:
        ...     card = interpbench.DatasetCard("blank", classes=("nothing",), revision="1")
        ...     ids, labels = ["0", "1"], [0, 0]
        ...     def __getitem__(self, index):
        ...         image = np.zeros((8, 8, 3), dtype=np.uint8)
        ...         return interpbench.Sample(self.ids[index], image, self.labels[index])
        >>> dataset: interpbench.Dataset = Blank()
        >>> dataset[1].id
        '1'
    """

    @property
    def card(self) -> DatasetCard:
        """What the data set is."""

    @property
    def ids(self) -> Sequence[str]:
        """A name for each sample, unique and the same on every machine."""

    @property
    def labels(self) -> Sequence[int]:
        """The label of each sample."""

    def __getitem__(self, index: int, /) -> Sample:
        """The sample at `index`; raises `UnreadableImageError` if it cannot be decoded."""


@dataclass(frozen=True)
class ModelCard:
    """What a model is, and how an image becomes its input.

    Attributes:
        name: the plugin's name.
        parameters: of the architecture (`width`, ...).
        dataset: the data set it was trained on.
        classes: number of logits.
        preparation: how an image becomes its input; `size`, `mean` and `std` are its.
        logit_of_label: for each label of the data set at hand, the index of its logit.
        target_layer: dotted name of the submodule that CAM methods look at, or None.
        weights: where they came from (a file's name, torchvision's name, or `random`), their sha256
            and licence.
        notes: what the weights' file says of its training: recipe, seed, accuracy, library
            versions.
        outputs: what the network's answers are, which says how probabilities are read off its
            scores, see `core.outputs`.

    Example:
        >>> preparation = interpbench.Preparation(
        ...     height=32, width=32, resize=36, mean=(0.5,) * 3, std=(0.25,) * 3)
        >>> card = interpbench.ModelCard(
        ...     name="tiny", parameters={}, dataset="pets", classes=2,
        ...     preparation=preparation, logit_of_label=(0, 1),
        ...     target_layer="0", weights="random", weights_sha256="")
        >>> card.size, card.logit_of_label
        (32, (0, 1))
    """

    name: str
    parameters: dict[str, Any]
    dataset: str
    classes: int
    preparation: Preparation
    logit_of_label: tuple[int, ...]
    target_layer: str | None
    weights: str
    weights_sha256: str
    licence: str = ""
    reference: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    outputs: Outputs = "softmax"

    @property
    def size(self) -> int:
        """The shorter side of the input, in pixels."""
        return self.preparation.size

    @property
    def mean(self) -> PerChannel:
        """Per channel, of pixels in 0..1; `std` likewise."""
        return self.preparation.mean

    @property
    def std(self) -> PerChannel:
        """Per channel, of pixels in 0..1."""
        return self.preparation.std


class Model(nn.Module):
    """A classifier ready to be explained, as methods get it.

    Attributes:
        network: the module itself, in eval mode, its parameters frozen; gives logits [B,classes].
        card: what it is.
        batch_size: images a forward pass; methods that perturb pack their inputs to this number.
        shared: what methods have computed of it for the images at hand.
        dtype: in which it wants its images; a copy that scores are read off may want another.
        fixed_shape: whether every batch must have the same number of images, as that of a compiled
            copy.
        notices: what was done to the network or its weights to make them usable.
        gradients: whether gradients flow through it; not through quantised layers.

    Example:
        >>> network = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> preparation = interpbench.Preparation(
        ...     height=32, width=32, resize=36, mean=(0.5,) * 3, std=(0.25,) * 3)
        >>> card = interpbench.ModelCard(
        ...     name="tiny", parameters={}, dataset="pets", classes=2,
        ...     preparation=preparation, logit_of_label=(0, 1),
        ...     target_layer="0", weights="random", weights_sha256="")
        >>> model = interpbench.Model(network, card, batch_size=16).eval()
        >>> model(torch.zeros(5, 3, 32, 32)).shape  # logits [B,classes]
        torch.Size([5, 2])
        >>> model.target_layer
        Conv2d(3, 2, kernel_size=(3, 3), stride=(1, 1))
    """

    dtype: torch.dtype = torch.float32
    fixed_shape: bool = False
    notices: tuple[str, ...] = ()
    gradients: bool = True

    def __init__(self, network: nn.Module, card: ModelCard, batch_size: int) -> None:
        super().__init__()
        self.network = network
        self.card = card
        self.batch_size = batch_size
        self.shared = Shared()

    def __getattr__(self, name: str) -> Any:
        """An attribute that there is not: says where the network's layers are."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            network = vars(self).get("_modules", {}).get("network")
            if network is None or not hasattr(network, name):
                raise
            raise AttributeError(
                f"A Model has no {name!r}; its network has: model.network.{name}, or "
                f"model.layer({name!r})."
            ) from None

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B,classes] of x [B,C,H,W], which is normalised."""
        answered = answer_of_stand_in(self, x)
        logits: Tensor = self.network(x) if answered is None else answered
        count_pass(logits)
        return logits

    def probabilities(self, logits: Tensor) -> Tensor:
        """The probability of each class, in 0..1 [B,classes], of the model's logits [B,classes].

        Their softmax, unless the card says that its outputs are others.
        """
        return probabilities_of(logits, self.card.outputs)

    @property
    def target_layer(self) -> nn.Module:
        """The layer that CAM methods look at.

        Raises:
            MethodError: if the model's card names none.
        """
        return self.layer(self.card.target_layer)

    def layer(self, name: str | None) -> nn.Module:
        """The submodule with that dotted name; a negative number in it counts from the last child.

        Raises:
            MethodError: if there is none.
        """
        if name is None and is_scripted(self.network):
            raise MethodError(f"Model {self.card.name!r} {SCRIPTED}")
        if name is None:
            raise MethodError(
                f"Model {self.card.name!r} names no target layer for CAM methods: "
                "give its plugin `target_layer=`, or the method a layer."
            )
        try:
            found = find_layer(self.network, name)
        except (AttributeError, RuntimeError) as error:
            if isinstance(error, RuntimeError):  # as TorchScript's, which cannot be asked for one
                raise MethodError(f"Model {self.card.name!r} {SCRIPTED}") from None
            layers = [n for n, _ in self.network.named_modules() if n]
            raise MethodError(
                f"Model {self.card.name!r} has no layer {name!r}. It has: {', '.join(layers)}."
            ) from None
        if is_scripted(found):
            raise MethodError(f"Layer {name!r} of model {self.card.name!r} {SCRIPTED}")
        return found


@torch.no_grad()
def normalise(images: Tensor, preparation: Preparation) -> Tensor:
    """Pixels [B,H,W,C] -> a model's input, float32 [B,C,H,W], on the images' device.

    Contiguous, as gradients need it, see `PreparedModel.batch`.

    Parameters:
        images: uint8, or float32 in 0..1.
        preparation: the model's.
    """
    images = with_channels(images, preparation)
    x = images.permute(0, 3, 1, 2).contiguous().to(torch.float32)
    if images.dtype == torch.uint8:
        x = x.div(255)
    mean, std = colour(preparation.mean, x.device), colour(preparation.std, x.device)
    return (x - mean) / std


def with_channels(images: Tensor, preparation: Preparation) -> Tensor:
    """Pixels [B,H,W,C] with the channels of a model's input, as many and in its order.

    Raises:
        PreparationError: if these cannot be made of those.
    """
    found, wanted = images.shape[-1], len(preparation.mean)
    if preparation.channels in ("rgb", "bgr") and found in (1, 3):
        rgb = images.expand(*images.shape[:-1], 3)
        return rgb.flip(-1) if preparation.channels == "bgr" else rgb
    if preparation.channels == "grey" and found == 3:
        return _grey(images)
    if found == wanted:
        return images
    raise PreparationError(
        f"The images have {found} channels, the model takes {wanted} ({preparation.channels}). "
        "Give images or a model of the same, or state the channels with --preparation FILE.toml."
    )


def _grey(images: Tensor) -> Tensor:
    """ITU-R 601-2 luma, to the bit as PIL computes it of whole numbers."""
    if images.dtype == torch.uint8:
        weights = torch.tensor([19595, 38470, 7471], device=images.device)
        luma = (images.to(torch.int64) * weights).sum(-1, keepdim=True).add(0x8000) >> 16
        return luma.to(torch.uint8)
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device)
    return (images * weights).sum(-1, keepdim=True)


def colour(values: PerChannel, device: torch.device) -> Tensor:
    """A number a channel, float32 [C,1,1]; on a GPU without waiting for it."""
    return torch.tensor(values).to(device, non_blocking=True)[:, None, None]


IMAGENET = "imagenet-1k"


Loaded = tuple[dict[str, Tensor], str]


@dataclass(frozen=True)
class Pretrained:
    """What weights there are, and what input they want.

    Attributes:
        source: what tables call them.
        load: gives the state dict, of an ImageNet-1k classifier, and the sha256 of its file, or "".
            None if the network that the plugin builds has its weights already: those of the data
            set at hand, or ImageNet-1k's.
        size, resize: side in pixels of the square input or (height, width), and the length that the
            shorter side of an image is brought to before the central crop, 0 for none; None where
            they are not settled.
        mean, std: per channel, of pixels in 0..1; None where they are not settled.
        interpolation, crop, channels: see `Preparation`.
        beside: a TOML file that may say what this leaves open, if it is there: `size`, `resize`,
            `mean`, `std`, `interpolation`, `channels`, `range`, `classes`, `outputs`.
        classes: names of the logits, where they are known.
        sha256: of the weights, where `load` is None; "" for that of the network's tensors.
        outputs: what the network's answers are, see `core.outputs`; None where it is not settled.
        licence: of the weights; "" for that of the plugin.
        notes: what a user should know of the weights; they go onto the model's card.

    Example:
        A model plugin whose network has its weights from the start says so by a function of its
        parameters:

        >>> def pretrained():
        ...     return interpbench.Pretrained(source="my network, run 7", size=64)
        >>> pretrained().load is None
        True
    """

    source: str
    load: Callable[[], Loaded] | None = None
    size: Size | None = None
    resize: int | None = None
    mean: PerChannel | None = None
    std: PerChannel | None = None
    classes: tuple[str, ...] = ()
    sha256: str = ""
    interpolation: Interpolation | None = None
    channels: Channels | None = None
    beside: Path | None = None
    outputs: Outputs | None = None
    licence: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    crop: Crop | None = None

    @property
    def stated(self) -> Stated:
        """What it says of the preparation."""
        return Stated(
            by=self.source,
            size=self.size,
            resize=self.resize,
            interpolation=self.interpolation,
            crop=self.crop,
            channels=self.channels,
            mean=self.mean,
            std=self.std,
        )
