"""Which weights a model gets on a data set, and what they were trained with.

They come, in this order, from the file the user names, from the file shipped beside the plugin
(`weights/<dataset>-<model>.safetensors`), or from what the plugin offers: torchvision's, for data
whose classes are ImageNet's or are called as the offer calls them, or those that its network
brings. There is no silent fallback: untrained weights must be asked for as `random`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from interpbench.core.errors import NoWeightsError, WeightsError
from interpbench.core.types import DatasetCard, Pretrained
from interpbench.loading.pretrained import download, hash_tensors, offered
from interpbench.loading.weights import WeightsCard, read_weights, sha256
from interpbench.registry.plugin import Configured

RANDOM = "random"


@dataclass(frozen=True)
class WeightsFound:
    """The weights that a network gets.

    Attributes:
        source: where they came from: a file's name, torchvision's name, or `random`.
        state: the state dict; None where the network stays as it is built.
        card: theirs, where they have one.
        sha256: of their file.
        pretrained: what the plugin offers, which may say how images are prepared.
        built_in: whether the network has its weights when it is built.
        from_plugin: whether they are those that the plugin offers.
    """

    source: str
    state: dict[str, Tensor] | None = None
    card: WeightsCard | None = None
    sha256: str = ""
    pretrained: Pretrained | None = None
    built_in: bool = False
    from_plugin: bool = False

    @property
    def decides_on_classes(self) -> bool:
        """Whether the network has the logits that it has, whatever the data set's classes."""
        return self.pretrained is not None and self.pretrained.load is None


def shipped_weights(choice: Configured, dataset: str) -> Path:
    """Where the weights of a model on a data set lie if its plugin ships them."""
    folder = Path(choice.plugin.origin.rpartition(":")[0]).parent / "weights"
    return folder / weights_file(choice, dataset)


def weights_file(choice: Configured, dataset: str) -> str:
    """What a file of a model's weights on a data set is called by default."""
    return f"{dataset.replace(':', '-').replace('/', '-')}-{choice.slug}.safetensors"


def shipped_card(choice: Configured, data: DatasetCard) -> WeightsCard | None:
    """The card of the weights that a model's plugin ships for a data set and these parameters."""
    shipped = _shipped(choice, data)
    return shipped.card if shipped is not None else None


def shipped_cards(choice: Configured) -> list[tuple[Path, WeightsCard]]:
    """The files of weights that a model's plugin ships for these parameters, with their cards."""
    folder = shipped_weights(choice, "").parent
    files = sorted(folder.glob(f"*-{choice.slug}.safetensors"))
    cards = [(path, read_weights(path)[1]) for path in files]
    return [
        (path, card)
        for path, card in cards
        if card is not None and card.architecture == choice.name and _agrees(choice, card)
    ]


def with_parameters(choice: Configured, card: WeightsCard) -> Configured:
    """The choice with the parameters that the card knows and the user left out."""
    values = choice.plugin.configure({**choice.values, **card.parameters}).values
    return Configured(choice.plugin, values, choice.given)


def find_weights(choice: Configured, data: DatasetCard, weights: str | None) -> WeightsFound:
    """The weights for a model on a data set.

    Parameters:
        choice: the model.
        data: the card of the data set.
        weights: what the user says: a file, `random`, or None.

    Raises:
        WeightsError: if there are none, or those asked for cannot be had.
    """
    pretrained = offered(choice)
    built_in = pretrained is not None and pretrained.load is None
    usable = pretrained if built_in or data.imagenet else None
    if weights == RANDOM:
        if built_in:
            raise WeightsError(
                f"Model {choice.label!r} brings its own weights: leave --weights random away."
            )
        return WeightsFound(RANDOM, pretrained=usable)
    if weights is not None:
        path = Path(weights)
        state, card = read_weights(path)
        return WeightsFound(
            path.name, state, card, sha256(path), pretrained if card is None else None
        )
    shipped = _shipped(choice, data)
    if shipped is not None:
        return shipped
    if built_in and usable is not None:
        return WeightsFound(usable.source, sha256=usable.sha256, pretrained=usable, built_in=True)
    for_defaults_alone = not callable(choice.plugin.pretrained) and choice.label != choice.name
    if usable is None and pretrained is not None and data.classes:
        usable = pretrained if set(data.classes) <= set(pretrained.classes) else None
    if usable is not None and not for_defaults_alone:
        state, digest = download(usable)
        digest = digest or hash_tensors(state)
        return WeightsFound(
            usable.source, state, sha256=digest, pretrained=usable, from_plugin=True
        )
    hint = ""
    if usable is not None:
        hint = f" {usable.source} is for {choice.name!r} with its default parameters alone."
    raise NoWeightsError(
        f"There are no weights for model {choice.label!r} on data set {data.trained_on!r}.{hint} "
        "Pass --weights FILE, train some on that data set with `python -m interpbench train "
        f"--model {choice.label} --dataset ...`, or ask for untrained ones with --weights random."
    )


def _shipped(choice: Configured, data: DatasetCard) -> WeightsFound | None:
    """The weights beside the plugin, if they have the data set's classes and these parameters.

    Whatever the data's revision: copies of a data set may come in other files, and more samples may
    be generated.
    """
    path = shipped_weights(choice, data.trained_on)
    if not path.is_file():
        return None
    state, card = read_weights(path)
    if card is None or not set(data.classes) <= set(card.classes) or not _agrees(choice, card):
        return None
    return WeightsFound(path.name, state, card, sha256(path))


def _agrees(choice: Configured, card: WeightsCard) -> bool:
    """Whether what the user asked of the architecture is what the weights were trained with.

    A parameter that the card does not know is younger than the weights, which have its default.
    """
    defaults = {parameter.name: parameter.default for parameter in choice.plugin.parameters}
    trained_with = defaults | card.parameters
    return all(choice.values[name] == trained_with[name] for name in choice.given)


def with_weights_card(choice: Configured, weights: WeightsFound) -> Configured:
    """The choice with the parameters that the weights' card knows and the user left out."""
    card = weights.card
    return choice if card is None else configured_by(choice, card, weights.source)


def configured_by(choice: Configured, card: WeightsCard, source: str) -> Configured:
    """The choice with the parameters that a weights' card knows and the user left out.

    Parameters:
        choice: the architecture.
        card: of the weights.
        source: what to call the weights in an error.

    Raises:
        WeightsError: if the weights are of another architecture, or of other parameters than asked.
    """
    if _file_name(card.architecture) != _file_name(choice.name):
        raise WeightsError(
            f"{source} holds weights of {card.architecture!r}, not of {choice.name!r}."
        )
    if not _agrees(choice, card):
        raise WeightsError(
            f"{source} was trained with {card.parameters}, but {choice.label!r} is asked "
            "for: leave the parameters out, or give weights that have them."
        )
    return with_parameters(choice, card)


def _file_name(model: str) -> str:
    """A model's name without the folder of its file, if it is one of a file."""
    return model.rpartition("/")[2]


def refuse_nonfinite(state: Mapping[str, Tensor], source: str) -> None:
    """Raises WeightsError, naming their source, for weights that are not all finite numbers."""
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise WeightsError(
                f"Weights {source} hold NaN or infinite numbers in {name!r}: "
                "their training broke down. Train them again, with a lower learning rate."
            )
