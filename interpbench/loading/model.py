"""A model plugin and a data set -> a `Model` with weights, ready to be explained.

Weights come, in this order, from the file the user names, from the file shipped beside the plugin
(`weights/<dataset>-<model>.safetensors`), or from what the plugin offers: torchvision's, for data
whose classes are ImageNet's, or those that its network brings. There is no silent fallback:
untrained weights must be asked for as `random`.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from interpbench.core.errors import NoWeightsError, PluginError, PreparationError, WeightsError
from interpbench.core.layers import find_layer, last_spatial_layer
from interpbench.core.outputs import named_outputs
from interpbench.core.preparation import Preparation, Stated, missing, settle
from interpbench.core.seeding import derive
from interpbench.core.types import IMAGENET, DatasetCard, Model, ModelCard, Pretrained
from interpbench.loading.answers import Expected, Reading, answering, ask, reading_of
from interpbench.loading.fitting import load_state
from interpbench.loading.logits import IMAGENET_CLASSES, logits_of_labels, other_classes
from interpbench.loading.pretrained import download, hash_tensors, offered
from interpbench.loading.tensors import HOW_TO_STATE
from interpbench.loading.unwrapping import lets_gradients_through, unwrapped
from interpbench.loading.weights import WeightsCard, read_weights, sha256
from interpbench.registry.in_memory import SOURCE as IN_MEMORY
from interpbench.registry.plugin import Configured, blaming

RANDOM = "random"
# With weights nobody has trained there is nothing to be right about.
UNTRAINED = Stated(by="by default, untrained", size=224, mean=(0.5,), std=(0.25,))


@dataclass(frozen=True)
class _Weights:
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


def load_model(
    choice: Configured,
    data: DatasetCard,
    *,
    weights: str | None = None,
    stated: Stated = Stated(),
    outputs: str | None = None,
    batch_size: Callable[[int], int] = lambda size: 32,
    seed: int = 0,
) -> Model:
    """Builds the architecture for a data set and loads its weights.

    On the CPU, in eval mode, its parameters frozen.

    Parameters:
        choice: the model plugin with its parameters; those the user left out come from the weights'
            card.
        data: the card of the data set.
        weights: a file, `random`, or None for what is shipped or torchvision's.
        stated: what the user says of the preparation, before all others.
        outputs: what the user says of the network's answers, see `core.outputs`.
        batch_size: images a forward pass for a square input of that side.
        seed: of random weights.

    Raises:
        WeightsError: if there are none, or they do not fit the architecture or the data set's
            classes.
        PreparationError: if nobody says how images become its input.
        OutputsError: if it is not known what its answers are, or they are not what is said.
        UnknownNameError: if there are no such outputs.
        PluginError: if the plugin does not build a module, or one without an answer [B,classes].
    """
    chosen = _find(choice, data, weights)
    choice = _with_card(choice, chosen)
    card = _card(choice, data, chosen, stated)
    expected = _expected(choice, card, chosen, outputs)
    one = expected.outputs == "binary" or _has_one_logit(chosen)
    network, notices = _build(choice, card, seed, 1 if one else card.classes)
    with blaming(choice):
        if chosen.state is not None:
            notices += load_state(network, chosen.state, chosen.source)
            _refuse_nonfinite(chosen)
        network.eval().requires_grad_(False)
        _refuse_other_channels(choice, network, card.preparation)
        reading = _reading(choice, network, card, chosen, expected)
        card = replace(card, outputs=reading.outputs)
        if chosen.decides_on_classes:
            digest = card.weights_sha256 or hash_tensors(network.state_dict())
            card = replace(card, weights_sha256=digest)
        if reading.is_single:
            card = _two_classes(choice, card, data, chosen)
        elif chosen.decides_on_classes:
            card = _own_classes(choice, reading.columns, card, data)
        network = answering(network, reading)
        gradients = lets_gradients_through(network, card.preparation.shape)
        choice = choice if gradients else choice.without_gradients()
        card = replace(card, target_layer=_target_layer(choice, network, card.preparation))
        model = Model(network, card, batch_size(card.preparation.as_square)).eval()
    said = (_which_is_which(card, data),) if reading.is_single else ()
    model.notices, model.gradients = (*notices, *reading.notices, *said), gradients
    return model


def _logits(data: DatasetCard, weights: _Weights) -> int:
    """How many logits the network has: those of ImageNet, or one for each class of the data set.

    Or as many as the data set states.
    """
    if weights.card is not None:
        return len(weights.card.classes)
    if _has_one_logit(weights):
        return len(data.classes) if data.logits is None else 2
    if data.logits is not None:  # of which there may be more than it names: a head comes last
        last = list((weights.state or {}).values())[-1:]
        of_weights = len(last[0]) if last and last[0].ndim else 0
        return len(data.logit_names) or of_weights or max(data.logits, default=-1) + 1
    offer, own = weights.pretrained, len(data.classes)
    if data.imagenet is None or weights.decides_on_classes:
        return own
    usual = own if offer is None else IMAGENET_CLASSES
    if weights.from_plugin or weights.state is None:
        return usual
    # A head comes last, so the last tensor with as many rows as either tells.
    rows = [len(tensor) for tensor in weights.state.values() if tensor.ndim]
    return next((n for n in reversed(rows) if n in (own, IMAGENET_CLASSES)), usual)


def _has_one_logit(weights: _Weights) -> bool:
    """Whether weights without a card end in a head of a single row."""
    if weights.card is not None or not weights.state:
        return False
    last = [tensor for tensor in weights.state.values() if tensor.ndim][-2:]
    return len(last) > 0 and all(len(tensor) == 1 for tensor in last) and last[0].ndim > 1


def _refuse_nonfinite(weights: _Weights) -> None:
    refuse_nonfinite(weights.state or {}, weights.source)


def refuse_nonfinite(state: Mapping[str, Tensor], source: str) -> None:
    """Raises WeightsError, naming their source, for weights that are not all finite numbers."""
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise WeightsError(
                f"Weights {source} hold NaN or infinite numbers in {name!r}: "
                "their training broke down. Train them again, with a lower learning rate."
            )


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


def _find(choice: Configured, data: DatasetCard, weights: str | None) -> _Weights:
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
        return _Weights(RANDOM, pretrained=usable)
    if weights is not None:
        path = Path(weights)
        state, card = read_weights(path)
        return _Weights(path.name, state, card, sha256(path), pretrained if card is None else None)
    shipped = _shipped(choice, data)
    if shipped is not None:
        return shipped
    if built_in and usable is not None:
        return _Weights(usable.source, sha256=usable.sha256, pretrained=usable, built_in=True)
    for_defaults_alone = not callable(choice.plugin.pretrained) and choice.label != choice.name
    if usable is not None and not for_defaults_alone:
        state, digest = download(usable)
        digest = digest or hash_tensors(state)
        return _Weights(usable.source, state, sha256=digest, pretrained=usable, from_plugin=True)
    hint = ""
    if usable is not None:
        hint = f" {usable.source} is for {choice.name!r} with its default parameters alone."
    raise NoWeightsError(
        f"There are no weights for model {choice.label!r} on data set {data.name!r}.{hint} Pass "
        "--weights FILE, train some on that data set with `python -m interpbench train --model "
        f"{choice.label} --dataset ...`, or ask for untrained ones with --weights random."
    )


def _shipped(choice: Configured, data: DatasetCard) -> _Weights | None:
    """The weights beside the plugin, if they have the data set's classes and these parameters.

    Whatever the data's revision: copies of a data set may come in other files, and more samples may
    be generated.
    """
    path = shipped_weights(choice, data.name)
    if not path.is_file():
        return None
    state, card = read_weights(path)
    if card is None or not set(data.classes) <= set(card.classes) or not _agrees(choice, card):
        return None
    return _Weights(path.name, state, card, sha256(path))


def _agrees(choice: Configured, card: WeightsCard) -> bool:
    """Whether what the user asked of the architecture is what the weights were trained with.

    A parameter that the card does not know is younger than the weights, which have its default.
    """
    defaults = {parameter.name: parameter.default for parameter in choice.plugin.parameters}
    trained_with = defaults | card.parameters
    return all(choice.values[name] == trained_with[name] for name in choice.given)


def _with_card(choice: Configured, weights: _Weights) -> Configured:
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


def _card(choice: Configured, data: DatasetCard, weights: _Weights, stated: Stated) -> ModelCard:
    """Preparation and classes of the network that is to be built."""
    card, offer, logits = weights.card, weights.pretrained, _logits(data, weights)
    common: dict[str, Any] = {
        "name": choice.name,
        "parameters": dict(choice.values),
        "classes": logits,
        "preparation": _preparation(choice, data, weights, stated, logits),
        "target_layer": choice.plugin.target_layer,
        "reference": choice.plugin.reference,
        "weights": weights.source,
        "weights_sha256": weights.sha256,
    }
    if card is not None:
        return ModelCard(
            dataset=card.dataset,
            logit_of_label=_match_classes(data, card, weights.source),
            licence=card.licence,
            notes=dict(card.notes),
            **common,
        )
    of_imagenet = logits == IMAGENET_CLASSES and not weights.decides_on_classes
    imagenet = data.imagenet if of_imagenet else None  # whose logits it then has
    labels = logits_of_labels(data, logits)
    if labels is None and not weights.decides_on_classes:
        raise other_classes(weights.source, data, logits)
    return ModelCard(
        dataset=data.name if imagenet is None else IMAGENET,
        logit_of_label=labels or (),
        licence="" if imagenet is None or offer is None else choice.plugin.licence,
        **common,
    )


def _preparation(
    choice: Configured, data: DatasetCard, weights: _Weights, stated: Stated, logits: int
) -> Preparation:
    """As the user states it, the weights' card, the plugin's offer, the data set: in this order.

    The offer is for weights with its number of logits.

    Raises:
        PreparationError: if the weights are trained and nobody states it.
    """
    sources, offer = [stated], weights.pretrained
    if weights.card is not None:
        sources.append(weights.card.stated)
    elif offer is not None and (offer.load is None or logits == _logits_of(offer)):
        sources.append(offer.stated)
    sources.append(data.stated)
    if weights.source == RANDOM:
        sources.append(UNTRAINED)
    preparation = settle(sources)
    if preparation is None:
        raise UnstatedPreparationError(choice.label, weights.source, missing(sources))
    return preparation


def _logits_of(offer: Pretrained) -> int:
    return len(offer.classes) or IMAGENET_CLASSES


class UnstatedPreparationError(PreparationError):
    """Nobody says how images become the input of a model with weights.

    Parameters:
        model, weights: what they are called.
        lacking: of size, mean and std.
    """

    def __init__(self, model: str, weights: str, lacking: list[str]) -> None:
        names = self.lacking = " and ".join(lacking) if len(lacking) < 3 else "size, mean and std"
        if weights == IN_MEMORY:
            super().__init__(
                f"It is not known how images become the input of {model!r}: nobody states {names}, "
                f"and another preparation gives other scores. {HOW_TO_STATE}; and size=... in "
                "pixels, where the images do not have the size of the input."
            )
            return
        flags = ", ".join(f"--{name}" for name in lacking)
        super().__init__(
            f"It is not known how images become the input of {model!r} with the weights "
            f"{weights}: nobody states {names}, and another preparation gives other scores. State "
            f"it with --preparation imagenet|clip|inception|FILE.toml or {flags}; or give weights "
            "that have a card, as `python -m interpbench train` writes; or let the model's plugin "
            "say it, Pretrained(size=..., mean=..., std=...). `python -m interpbench doctor` tries "
            "the usual ones."
        )

    def after_trying(self, outcome: str) -> PreparationError:
        """The same, with what came of trying the usual ones."""
        return PreparationError(f"{self} {outcome}".strip())


def _match_classes(data: DatasetCard, card: WeightsCard, source: str) -> tuple[int, ...]:
    """For each of the data set's classes its logit, by the names that the weights' card has."""
    logits = logits_of_labels(data, len(card.classes), card.classes)
    if logits is None:
        raise other_classes(source, data, len(card.classes), card.classes)
    return logits


def _build(
    choice: Configured, card: ModelCard, seed: int, logits: int
) -> tuple[nn.Module, tuple[str, ...]]:
    """The network that a plugin builds, usable; and what was done to make it so."""
    what = f"{choice.plugin.origin}: model {choice.name!r}"
    with torch.random.fork_rng(devices=[]), blaming(choice):
        torch.manual_seed(derive(seed, "weights", choice.name))
        built = choice(logits, card.size)
        usable = unwrapped(built, what, card.preparation.shape)
    return usable.network, usable.notices


def _refuse_other_channels(
    choice: Configured, network: nn.Module, preparation: Preparation
) -> None:
    """Raises a PreparationError if the first convolution takes other channels, and so fails."""
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    made = preparation.shape[0]
    if first is None or first.in_channels == made:
        return
    with suppress(Exception), torch.no_grad():  # it may be called with something else
        network(torch.zeros(1, *preparation.shape))
        return
    kind = "grey" if first.in_channels == 1 else "own"
    raise PreparationError(
        f"Model {choice.label!r} takes images of {first.in_channels} channels, but the preparation "
        f'that is stated makes {made} ({preparation.text}): state `channels = "{kind}"` in a file '
        "for --preparation, with a mean and a std for each channel, or in the plugin's "
        "Pretrained(...)."
    )


def _expected(
    choice: Configured, card: ModelCard, weights: _Weights, outputs: str | None
) -> Expected:
    """What the user says of the answers, the weights' card, the plugin's offer: in this order."""
    offer = weights.pretrained
    stated: list[tuple[str | None, str]] = [(outputs, "--outputs")]
    if weights.card is not None:
        stated.append((weights.card.outputs, "the weights' card"))
    elif offer is not None and (offer.load is None or card.classes == _logits_of(offer)):
        stated.append((offer.outputs, offer.source))
    said, by = next(((name, by) for name, by in stated if name is not None), (None, ""))
    return Expected(
        f"Model {choice.label!r}", card.classes, named_outputs(said), by, weights.source != RANDOM
    )


def _reading(
    choice: Configured, network: nn.Module, card: ModelCard, weights: _Weights, expected: Expected
) -> Reading:
    """How scores are read off what a network returns, by what it returns for noise."""
    try:
        with blaming(choice):
            returned = ask(network, card.preparation.shape)
    except PluginError:
        if weights.decides_on_classes:  # which are not known without it
            raise
        return Reading(expected.outputs or "softmax")  # its own fault, which shows when measured
    reading = reading_of(returned, expected)
    if weights.decides_on_classes and reading.columns is None:
        is_tensor = isinstance(returned, Tensor)
        given = f"a tensor {list(returned.shape)}" if is_tensor else type(returned).__name__
        raise PluginError(
            f"Model {choice.label!r} must give logits [B,classes], not {given} for two images."
        )
    return reading


def _two_classes(
    choice: Configured, card: ModelCard, data: DatasetCard, weights: _Weights
) -> ModelCard:
    """The card of a network with one logit, which speaks for the second of two classes.

    Where there is but one class, it speaks for that, unless the data set says otherwise.
    """
    offer = weights.pretrained
    names = offer.classes if offer is not None and weights.card is None else ()
    names = names if weights.card is None else weights.card.classes
    logits = logits_of_labels(data, 2, names if len(names) == 2 else ())
    if logits is None and len(data.classes) == 1 and data.logits is None:
        logits = (1,)
    if logits is None:
        raise WeightsError(
            f"Model {choice.label!r} gives a single logit, which tells two classes apart, but "
            f"data set {data.name!r} has {len(data.classes)} classes. Choose the data set that it "
            "was trained on."
        )
    return replace(card, classes=2, logit_of_label=logits)


def _which_is_which(card: ModelCard, data: DatasetCard) -> str:
    """Which classes one logit speaks for and against, in words."""
    names = dict(zip(card.logit_of_label, data.classes, strict=True))
    if len(names) == 1:
        [(logit, name)] = names.items()
        return f"Its one logit speaks {'for' if logit else 'against'} {name!r}, the only class."
    return f"Its one logit speaks for {names[1]!r}, against {names[0]!r}."


def _own_classes(
    choice: Configured, count: int | None, card: ModelCard, data: DatasetCard
) -> ModelCard:
    """The card of a network that brings its weights: how many logits it has tells which classes."""
    assert count is not None
    card = replace(card, classes=count)
    offer = offered(choice)
    names = offer.classes if offer is not None else ()
    if names and len(names) != count:
        raise WeightsError(
            f"Model {choice.label!r} gives {count} logits and names {len(names)} classes: "
            "Pretrained(classes=...) holds a name for each logit, in their order."
        )
    logits = logits_of_labels(data, count, names)
    if logits is None:
        raise other_classes(f"Model {choice.label!r}", data, count, names)
    of_imagenet = count == IMAGENET_CLASSES and logits == data.imagenet
    return replace(card, dataset=IMAGENET if of_imagenet else data.name, logit_of_label=logits)


def _target_layer(choice: Configured, network: nn.Module, preparation: Preparation) -> str | None:
    """The full name of the layer that CAM methods look at.

    The one that the plugin names, or else found by trying.
    """
    if choice.plugin.target_layer is not None:
        try:
            layer = find_layer(network, choice.plugin.target_layer)
        except AttributeError:  # reported when a method asks for it
            return str(choice.plugin.target_layer)
        return next(name for name, module in network.named_modules() if module is layer)
    if not choice.plugin.gradients:
        return None
    noise = torch.randn(2, *preparation.shape, generator=torch.Generator().manual_seed(0))
    try:
        return last_spatial_layer(network, noise)
    except Exception:  # the model's own faults show when it is measured
        return None


def _file_name(model: str) -> str:
    """A model's name without the folder of its file, if it is one of a file."""
    return model.rpartition("/")[2]
