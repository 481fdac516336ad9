"""A model plugin and a data set -> a `Model` with weights, ready to be explained.

Which weights it gets is decided in `chosen_weights`, its preparation and classes in `model_card`,
how its answers are read in `answers`.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from interpbench.core.errors import ParameterError, PluginError, PreparationError
from interpbench.core.layers import find_layer, last_spatial_layer
from interpbench.core.outputs import named_outputs
from interpbench.core.preparation import Preparation, Stated
from interpbench.core.seeding import derive
from interpbench.core.types import DatasetCard, Model, ModelCard
from interpbench.loading.answers import Expected, Reading, answering, ask, reading_of
from interpbench.loading.chosen_weights import (
    RANDOM,
    WeightsFound,
    find_weights,
    refuse_nonfinite,
    with_weights_card,
)
from interpbench.loading.fitting import load_state
from interpbench.loading.logits import IMAGENET_CLASSES
from interpbench.loading.model_card import (
    card_of,
    has_one_logit,
    logits_of_offer,
    own_classes,
    two_classes,
    which_is_which,
)
from interpbench.loading.pretrained import hash_tensors
from interpbench.loading.unwrapping import lets_gradients_through, unwrapped
from interpbench.loading.weights import HELD_OUT
from interpbench.registry.in_memory import SOURCE as IN_MEMORY
from interpbench.registry.plugin import MEMORY, Configured, blaming


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
    chosen = find_weights(choice, data, weights)
    choice = with_weights_card(choice, chosen)
    card = card_of(choice, data, chosen, stated)
    if not card.classes and not chosen.decides_on_classes:
        raise ParameterError(
            f"It is not known how many classes {choice.label!r} is to have, as the images have no "
            "labels: give labels=... or classes=..., or a module that is made."
        )
    expected = _expected(choice, card, chosen, outputs)
    one = expected.outputs == "binary" or has_one_logit(chosen)
    network, notices = _build(choice, card, seed, 1 if one else card.classes)
    if chosen.source == IN_MEMORY:
        notices += _left_on(network)
    with blaming(choice):
        if chosen.state is not None:
            notices += load_state(network, chosen.state, chosen.source)
            refuse_nonfinite(chosen.state, chosen.source)
        network.eval().requires_grad_(False)
        _refuse_other_channels(choice, network, card.preparation)
        reading = _reading(choice, network, card, chosen, expected)
        card = replace(card, outputs=reading.outputs)
        if chosen.decides_on_classes:
            digest = card.weights_sha256 or hash_tensors(network.state_dict())
            card = replace(card, weights_sha256=digest)
        if reading.is_single:
            card = two_classes(choice, card, data, chosen)
        elif chosen.decides_on_classes:
            card = own_classes(choice, reading.columns, card, data)
        elif data.logits == () and reading.columns:  # nothing but its answers tells how many
            card = replace(card, classes=reading.columns)
        network = answering(network, reading)
        gradients = lets_gradients_through(network, card.preparation.shape)
        choice = choice if gradients else choice.without_gradients()
        card = replace(card, target_layer=_target_layer(choice, network, card.preparation))
        model = Model(network, card, batch_size(card.preparation.as_square)).eval()
    said = (which_is_which(card, data),) if reading.is_single else ()
    said = (*reading.notices, *said, *_trained_on(chosen, data))
    model.notices, model.gradients = (*notices, *said), gradients
    return model


def _trained_on(chosen: WeightsFound, data: DatasetCard) -> tuple[str, ...]:
    """That weights were trained on some of these very images, if their card says so."""
    notes = {} if chosen.card is None else chosen.card.notes
    if "held_out" not in notes or chosen.card is None:
        return ()
    if chosen.card.data_revision.partition(",")[0] != data.revision:
        return ()
    listed = Path(chosen.source).with_suffix(HELD_OUT)
    return (
        f"It was trained on these images, but for {notes['held_out']}: the others flatter it. "
        f"--samples {listed} takes those alone, as `train` has listed them.",
    )


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


def _left_on(network: nn.Module) -> tuple[str, ...]:
    """What a user's own module brings along that changes what it does here, in words."""
    said = []
    if network.training:
        said.append("It is in train mode; the copy that is explained is in eval mode.")
    hooked = [
        name or type(module).__name__
        for name, module in network.named_modules()
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    ]
    if hooked:
        said.append(f"It carries hooks ({', '.join(hooked[:3])}), which run on the copy as well.")
    return tuple(said)


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
    if choice.plugin.origin.startswith(MEMORY):
        raise PreparationError(
            f"Model {choice.label!r} takes images of {first.in_channels} channels, and these have "
            f"{made}: give images with as many."
        )
    way = "state --preparation grey, with --size, --mean and --std"
    if first.in_channels != 1:
        way = (
            'state `channels = "own"` in a file for --preparation, with a mean and a std for each '
            "channel, or in the plugin's Pretrained(...)"
        )
    raise PreparationError(
        f"Model {choice.label!r} takes images of {first.in_channels} channels, but the preparation "
        f"makes {made} ({preparation.text}, as stated by {preparation.stated_by}): {way}."
    )


def _expected(
    choice: Configured, card: ModelCard, weights: WeightsFound, outputs: str | None
) -> Expected:
    """What the user says of the answers, the weights' card, the plugin's offer: in this order."""
    offer = weights.pretrained
    stated: list[tuple[str | None, str]] = [(outputs, "--outputs")]
    if weights.card is not None:
        stated.append((weights.card.outputs, "the weights' card"))
    elif offer is not None and (offer.load is None or card.classes == logits_of_offer(offer)):
        stated.append((offer.outputs, offer.source))
    said, by = next(((name, by) for name, by in stated if name is not None), (None, ""))
    return Expected(
        f"Model {choice.label!r}",
        card.classes,
        named_outputs(said),
        by,
        trained=weights.source != RANDOM,
        own=weights.decides_on_classes and card.classes != IMAGENET_CLASSES,
    )


def _reading(
    choice: Configured,
    network: nn.Module,
    card: ModelCard,
    weights: WeightsFound,
    expected: Expected,
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
