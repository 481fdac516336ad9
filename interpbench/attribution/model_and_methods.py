"""Which model is explained, with which weights, a name for each logit, and the methods.

A run opens a data set first; here images may come from anywhere, so what the weights' card says of
the data is enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from interpbench.core.devices import Computing
from interpbench.core.errors import (
    NoWeightsError,
    ParameterError,
    UnknownNameError,
    unknown_name,
)
from interpbench.core.text import whole_number
from interpbench.core.types import IMAGENET, DatasetCard, Model
from interpbench.loading.chosen_weights import RANDOM, shipped_cards, shipped_weights
from interpbench.loading.class_names import class_names, imagenet_card
from interpbench.loading.dataset import open_dataset
from interpbench.loading.model import load_model
from interpbench.loading.pretrained import offered
from interpbench.loading.weights import WeightsCard, read_weights
from interpbench.registry.choosing import (
    Choices,
    Sources,
    can_explain,
    choose_dataset,
    choose_one,
    choose_plugins,
    left_out_without_gradients,
)
from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry

OWN_CLASSES = "classes of its own"  # what a model is trained on that names them alone
PREDICTED = "predicted"  # as target: the class that the model predicts


@dataclass(frozen=True, eq=False)
class ModelAndMethods:
    """What is explained, and by what.

    Attributes:
        choice: the model plugin.
        model: with its weights, on the CPU.
        classes: a name for each logit.
        methods: label -> the method with its parameters.
        notices: what the user should know of them.
    """

    choice: Configured
    model: Model
    classes: tuple[str, ...]
    methods: Mapping[str, Configured]
    notices: tuple[str, ...] = ()


def load_model_and_methods(
    registry: Registry,
    model: str,
    methods: Sequence[str],
    data: DatasetCard | str | None = None,
    sources: Sources = Sources(),
    computing: Computing = Computing(),
    seed: int = 0,
) -> ModelAndMethods:
    """Finds the plugins and loads the model.

    Parameters:
        registry: where the plugins are.
        model: one model, `resnet18:width=16`.
        methods: as on the command line; may be none.
        data: the card of the data set, if there is one at hand; else the name of the data set whose
            weights are meant, or None for what the weights know: see `data_card`.
        sources: of the weights, a file or `random`, or none for those that are shipped, or
            torchvision's; and of the data set, in case that it must be opened.
        computing: where the model will run; decides on the batch size.
        seed: of random weights.

    Raises:
        InterpBenchError: whatever is wrong with the input.
    """
    choice = choose_one(registry, "model", model, "Explain")
    chosen = choose_plugins(registry, "method", methods) if methods else Choices({})
    notices = [
        *sources.notices,
        *left_out_without_gradients(Choices({choice.label: choice}), chosen),  # before the work
    ]
    card = data if isinstance(data, DatasetCard) else data_card(registry, choice, data, sources)
    weights = sources.weights[0] if sources.weights else None
    loaded = load_model(
        choice,
        card,
        weights=weights,
        stated=sources.preparation,
        outputs=sources.outputs,
        batch_size=computing.images_a_pass,
        seed=seed,
    )
    notices += [f"{choice.label}: {notice}" for notice in loaded.notices]
    if not loaded.gradients and choice.plugin.gradients:
        choice = choice.without_gradients()
        notices += left_out_without_gradients(Choices({choice.label: choice}), chosen)
    able = {
        label: method for label, method in chosen.plugins.items() if can_explain(method, choice)
    }
    classes = class_names(choice, loaded, card)
    return ModelAndMethods(choice, loaded, classes, able, tuple(notices))


def data_card(
    registry: Registry, choice: Configured, dataset: str | None, sources: Sources
) -> DatasetCard:
    """What a model's weights know of their data, so that the data set is not needed.

    The card of the weights' file says it; or that of the shipped weights, of `dataset` if it is
    named; or the model itself, if it names its classes; `imagenet-1k` stands for torchvision's
    weights. Only where none of them does, the data set itself is opened.

    Raises:
        WeightsError: if weights cannot be read.
        NoWeightsError: if there are none.
        ParameterError: if several data sets have weights and none is named.
    """
    card = None
    for weights in sources.weights:
        if weights == RANDOM:
            continue
        card = read_weights(Path(weights))[1]
        if card is None and dataset is None and _own_card(choice) is None:
            # Its classes have no names; how many there are their last layer tells.
            return DatasetCard(Path(weights).name, (), "", logits=())
    if card is not None and dataset in (None, card.dataset):
        return _as_data(card)
    if dataset is None:
        return _default_card(choice)
    if dataset == IMAGENET:
        return imagenet_card()
    shipped = shipped_weights(choice, dataset)
    if shipped.is_file():
        card = read_weights(shipped)[1]
        if card is not None:
            return _as_data(card)
    return open_dataset(choose_dataset(registry, dataset, sources)).card


def _default_card(choice: Configured) -> DatasetCard:
    """Of the only shipped weights, or else of torchvision's."""
    data = [_as_data(card) for _, card in shipped_cards(choice)]
    if len(data) > 1:
        names = [card.name for card in data] + ([IMAGENET] if offered(choice) is not None else [])
        raise ParameterError(
            f"Model {choice.label!r} has weights for {', '.join(names)}: say which with --dataset, "
            "or give a file with --weights."
        )
    if data:
        return data[0]
    own, offer = _own_card(choice), offered(choice)
    if own is not None:
        return own
    if offer is not None and offer.load is not None:
        return imagenet_card()
    if offer is not None:
        raise NoWeightsError(
            f"Model {choice.label!r} does not say what its classes are. Name the data set that it "
            f"was trained on with --dataset, such as {IMAGENET}; or name them in its file: "
            "pretrained = interpbench.Pretrained(source=..., classes=(...))."
        )
    raise NoWeightsError(
        f"No weights are shipped for model {choice.label!r}. Give a file with --weights, or name a "
        "data set with --dataset and ask for untrained weights with --weights random."
    )


def _own_card(choice: Configured) -> DatasetCard | None:
    """Of the classes that a model names, if it brings its weights and does so."""
    offer = offered(choice)
    if offer is None or offer.load is not None or not offer.classes:
        return None
    return DatasetCard(OWN_CLASSES, tuple(offer.classes), "")


def _as_data(card: WeightsCard) -> DatasetCard:
    """What a weights' card says of the data set that they were trained on."""
    return DatasetCard(
        card.dataset, card.classes, card.data_revision, card.size, card.mean, card.std
    )


def find_target(text: str, classes: Sequence[str]) -> int | None:
    """As `find_class`; None for `predicted`, whichever class the model predicts.

    Raises:
        UnknownNameError: if there is no such class, or several.
    """
    try:
        return None if text == PREDICTED else find_class(text, classes)
    except UnknownNameError as error:
        raise UnknownNameError(f"{error} So will `{PREDICTED}`.") from None


def find_class(text: str, classes: Sequence[str]) -> int:
    """The logit that a user names by its class or its index; a name wins over an index.

    Raises:
        UnknownNameError: if there is none, or several; the message lists the near names.
    """
    logits = [i for i, name in enumerate(classes) if name == text]
    if len(logits) == 1:
        return logits[0]
    if logits:
        raise UnknownNameError(
            f"Several classes are called {text!r}. Give an index: {', '.join(map(str, logits))}."
        )
    index = whole_number(text)
    if index is not None and index < len(classes):
        return index
    raise UnknownNameError(
        f"{unknown_name('class', text, classes)} An index from 0 to {len(classes) - 1} will do as "
        "well."
    )
