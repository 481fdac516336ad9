"""A model plugin and a data set -> a `Model` with weights, ready to be explained.

Weights come, in this order, from the file the user names, from the file shipped beside the plugin
(`weights/<dataset>-<model>.safetensors`), or from torchvision for data whose classes are ImageNet's. There is no silent
fallback: untrained weights must be asked for as `random`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from interpbench.contracts import DatasetCard, Model, ModelCard
from interpbench.errors import NoWeightsError, PluginError, WeightsError
from interpbench.plugin import Configured, blaming
from interpbench.seeding import derive
from interpbench.weights import WeightsCard, load_state, read_weights, sha256

RANDOM = "random"
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class _Weights:
    """A state dict (None: random initialisation), its card where it has one, and where it came from."""

    source: str
    state: dict[str, Tensor] | None = None
    card: WeightsCard | None = None
    sha256: str = ""
    pretrained: Any = None  # the torchvision WeightsEnum member that says how to preprocess


def load_model(
    choice: Configured,
    data: DatasetCard,
    *,
    weights: str | None = None,
    batch_size: Callable[[int], int] = lambda size: 32,
    seed: int = 0,
) -> Model:
    """Builds the architecture for a data set and loads its weights, on the CPU, in eval mode, parameters frozen.

    Args:
        choice: the model plugin with its parameters; those the user left out come from the weights' card.
        data: the card of the data set.
        weights: a file, `random`, or None for what is shipped or torchvision's.
        batch_size: images a forward pass for an input of that side.
        seed: of random weights.

    Raises:
        WeightsError: if there are none, or they do not fit the architecture or the data set's classes.
        PluginError: if the plugin does not build a module.
    """
    found = _find(choice, data, weights)
    choice = _with_card(choice, found)
    card = _card(choice, data, found)
    network = _build(choice, card, seed)
    if found.state is not None:
        load_state(network, found.state, found.source)
        _refuse_nonfinite(found)
    network.eval().requires_grad_(False)
    return Model(network, card, batch_size(card.size)).eval()


def _refuse_nonfinite(found: _Weights) -> None:
    for name, tensor in (found.state or {}).items():
        if not bool(tensor.isfinite().all()):
            raise WeightsError(
                f"Weights {found.source} hold NaN or infinite numbers in {name!r}: their training broke down. "
                "Train them again, with a lower learning rate."
            )


def shipped_weights(choice: Configured, dataset: str) -> Path:
    """Where the weights of a model on a data set lie if its plugin ships them."""
    folder = Path(choice.plugin.origin.rpartition(":")[0]).parent / "weights"
    return folder / f"{dataset.replace(':', '-').replace('/', '-')}-{choice.name}.safetensors"


def shipped_card(choice: Configured, data: DatasetCard) -> WeightsCard | None:
    """The card of the weights that a model's plugin ships for a data set, if there are any with these parameters."""
    found = _shipped(choice, data)
    return found.card if found is not None else None


def with_parameters(choice: Configured, card: WeightsCard) -> Configured:
    """The choice with the parameters that the card knows and the user left out."""
    values = choice.plugin.configure({**choice.values, **card.parameters}).values
    return Configured(choice.plugin, values, choice.given)


def _find(choice: Configured, data: DatasetCard, weights: str | None) -> _Weights:
    if weights == RANDOM:
        return _Weights(RANDOM, pretrained=choice.plugin.pretrained if data.imagenet else None)
    if weights is not None:
        path = Path(weights)
        state, card = read_weights(path)
        pretrained = choice.plugin.pretrained if card is None and data.imagenet else None
        return _Weights(path.name, state, card, sha256(path), pretrained)
    shipped = _shipped(choice, data)
    if shipped is not None:
        return shipped
    pretrained = data.imagenet is not None and choice.plugin.pretrained is not None
    if pretrained and choice.label == choice.name:
        return _download(choice)
    hint = f" torchvision's are for {choice.name!r} with its default parameters alone." if pretrained else ""
    raise NoWeightsError(
        f"There are no weights for model {choice.label!r} on data set {data.name!r}.{hint} Pass --weights FILE, "
        f"train some on that data set with `python -m interpbench train --model {choice.label} --dataset ...`, or ask "
        "for untrained ones with --weights random."
    )


def _shipped(choice: Configured, data: DatasetCard) -> _Weights | None:
    """The weights beside the plugin, if they know the data set's classes and are of these parameters.

    Whatever the data's revision: copies of a data set may come in other files, and more samples may be generated.
    """
    path = shipped_weights(choice, data.name)
    if not path.is_file():
        return None
    state, card = read_weights(path)
    if card is None or not set(data.classes) <= set(card.classes) or not _agrees(choice, card):
        return None
    return _Weights(path.name, state, card, sha256(path))


def _download(choice: Configured) -> _Weights:
    """torchvision's weights, from its cache or over the network."""
    enum = choice.plugin.pretrained
    try:
        state = enum.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"torchvision's weights {enum} could not be downloaded from {enum.url} ({type(error).__name__}: {error}). "
            f"Pass a copy with --weights FILE, or put it into {torch.hub.get_dir()}/checkpoints."
        ) from error
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(enum.url).name
    return _Weights(str(enum), state, sha256=sha256(cached) if cached.is_file() else "", pretrained=enum)


def _agrees(choice: Configured, card: WeightsCard) -> bool:
    """Whether what the user asked of the architecture is what the weights were trained with.

    A parameter that the card does not know is younger than the weights, which have its default.
    """
    trained = {p.name: p.default for p in choice.plugin.parameters} | card.parameters
    return all(choice.values[name] == trained[name] for name in choice.given)


def _with_card(choice: Configured, found: _Weights) -> Configured:
    """The choice with the parameters that the weights' card knows and the user left out."""
    card = found.card
    if card is None:
        return choice
    if card.architecture != choice.name:
        raise WeightsError(f"{found.source} holds weights of {card.architecture!r}, not of {choice.name!r}.")
    if not _agrees(choice, card):
        raise WeightsError(
            f"{found.source} was trained with {card.parameters}, but {choice.label!r} is asked for: leave the "
            "parameters out, or give weights that have them."
        )
    return with_parameters(choice, card)


def _card(choice: Configured, data: DatasetCard, found: _Weights) -> ModelCard:
    """Input size, normalisation and classes: from the weights' card, from torchvision, or else from the data set."""
    common: dict[str, Any] = {
        "name": choice.name,
        "parameters": dict(choice.values),
        "target_layer": choice.plugin.target_layer,
        "reference": choice.plugin.reference,
        "weights": found.source,
        "weights_sha256": found.sha256,
    }
    if found.card is not None:
        known = found.card
        return ModelCard(
            dataset=known.dataset, classes=len(known.classes), size=known.size, resize=known.size, mean=known.mean,
            std=known.std, logit_of_label=_match_classes(data, known, found.source), licence=known.licence,
            notes=dict(known.notes), **common,
        )  # fmt: skip
    if found.pretrained is not None and data.imagenet is not None:
        preset = found.pretrained.transforms()
        return ModelCard(
            dataset="imagenet-1k", classes=IMAGENET_CLASSES, size=preset.crop_size[0], resize=preset.resize_size[0],
            mean=tuple(preset.mean), std=tuple(preset.std), logit_of_label=data.imagenet,
            licence=choice.plugin.licence, **common,
        )  # fmt: skip
    size = data.size or 224
    return ModelCard(
        dataset=data.name, classes=len(data.classes), size=size, resize=size, mean=data.mean, std=data.std,
        logit_of_label=tuple(range(len(data.classes))), **common,
    )  # fmt: skip


def _match_classes(data: DatasetCard, card: WeightsCard, source: str) -> tuple[int, ...]:
    """For each of the data set's classes its logit, found by name."""
    missing = [name for name in data.classes if name not in card.classes]
    if missing:
        splits = missing[0] in ("train", "test", "val")
        hint = " Give split=... if its classes lie one folder deeper." if splits else ""
        raise WeightsError(
            f"{source} knows {len(card.classes)} classes ({', '.join(card.classes[:10])}) but not {missing[0]!r}, "
            f"which is one of the {len(data.classes)} classes of {data.name!r}.{hint}"
        )
    return tuple(card.classes.index(name) for name in data.classes)


def _build(choice: Configured, card: ModelCard, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]), blaming(choice):
        torch.manual_seed(derive(seed, "weights", choice.name))
        network = choice(card.classes, card.size)
    if not isinstance(network, nn.Module):
        raise PluginError(
            f"{choice.plugin.origin}: model {choice.name!r} must return a torch.nn.Module, "
            f"not {type(network).__name__}."
        )
    return network
