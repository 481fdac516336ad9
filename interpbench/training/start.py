"""What a training starts from: an architecture, and weights where it is not to start anew."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from interpbench.core.errors import PreparationError, WeightsError
from interpbench.core.preparation import Stated
from interpbench.core.seeding import derive
from interpbench.core.types import DatasetCard
from interpbench.loading.chosen_weights import (
    RANDOM,
    configured_by,
    find_weights,
    refuse_nonfinite,
    with_weights_card,
)
from interpbench.loading.fitting import in_names_of, load_state
from interpbench.loading.logits import IMAGENET_CLASSES
from interpbench.loading.pretrained import download, hash_tensors, offered
from interpbench.loading.weights import read_weights, sha256
from interpbench.registry.plugin import Configured, blaming
from interpbench.training.recipe import Recipe

OFFERED = "imagenet"  # what a user calls the weights that come with an architecture
USUAL_SIZE = 224  # of the input, for an offer that does not say


@dataclass(frozen=True)
class StartingWeights:
    """The weights that a training starts from.

    Attributes:
        source: a file's name, or what tables call the weights that come with an architecture.
        sha256: of their file, or of the tensors where there is none.
        state: name -> tensor.
        stated: what their card, or their plugin's offer, says of their input.
    """

    source: str
    sha256: str
    state: Mapping[str, Tensor]
    stated: Stated = Stated()


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        model: the architecture with its parameters.
        weights: None for those that the recipe's seed draws.
        said: what the user says of the input.
    """

    model: Configured
    weights: StartingWeights | None = None
    said: Stated = Stated()

    @property
    def _stated(self) -> Stated:
        return self.said.over(Stated() if self.weights is None else self.weights.stated)

    @property
    def states_normalisation(self) -> bool:
        """Whether the user or the weights say how their images are normalised."""
        return self._stated.mean is not None and self._stated.std is not None

    @property
    def normalised_by(self) -> str:
        """Who says how the images are normalised; "" if neither the user nor the weights do."""
        if not self.states_normalisation:
            return ""
        by_user = self.said.mean is not None and self.said.std is not None
        return self.said.by if by_user or self.weights is None else self.weights.source

    def sized(self, recipe: Recipe) -> Recipe:
        """The recipe; at the weights' size of the input where it names none.

        Raises:
            PreparationError: if their input is not square.
        """
        size = self._stated.size
        if recipe.size is not None or size is None:
            return recipe
        height, width = (size, size) if isinstance(size, int) else size
        if height != width:
            raise PreparationError(
                f"The input of these weights is {width}x{height} pixels, and a training takes "
                "square images: say of which side with --size."
            )
        return recipe.changed({"size": height})

    def normalised(self, data: DatasetCard) -> DatasetCard:
        """The data set's card, with the mean and std that this training normalises images by.

        As the user states them, the weights, or else the data set.

        Raises:
            PreparationError: if there are weights and nobody says what they were trained with.
        """
        stated = self._stated
        mean, std = stated.mean or data.mean, stated.std or data.std
        if self.weights is not None and (mean is None or std is None):
            raise PreparationError(
                f"It is not known how the images of {self.weights.source} were normalised, and a "
                "training that starts from it must do the same: state it with --preparation "
                "imagenet, clip, inception or a TOML file, or with --mean and --std."
            )
        return replace(data, mean=_of_rgb(mean), std=_of_rgb(std))

    def build(self, classes: int, size: int, seed: int) -> tuple[nn.Module, tuple[str, ...]]:
        """The network with its first weights, and the layers of it that start anew.

        Parameters:
            classes: how many logits it gives.
            size: side in pixels of its input.
            seed: of the weights that are drawn: all, or those of the layers that start anew. These
                are named only where the others come from weights.

        Raises:
            PluginError: if the architecture cannot be built.
            WeightsError: if the weights misfit by more than their number of classes.
        """
        with blaming(self.model):
            torch.manual_seed(derive(seed, "weights"))
            network: nn.Module = self.model(classes, size)
        if self.weights is None:
            return network, ()
        own = network.state_dict()
        state, _ = in_names_of(own, self.weights.state)
        anew = _heads(own, state, classes)
        load_state(network, {**state, **{name: own[name] for name in anew}}, self.weights.source)
        return network, tuple(dict.fromkeys(name.rpartition(".")[0] or name for name in anew))


def _of_rgb(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """A number a channel, of one that counts for all."""
    return values * 3 if values is not None and len(values) == 1 else values


def find_start(choice: Configured, weights: str | None, said: Stated = Stated()) -> Start:
    """Reads the weights that a training is to start from.

    Parameters:
        choice: the architecture; parameters that the user left out are those of the weights' card.
        weights: a file; `imagenet` for those that come with the architecture; `random` or None for
            first weights.
        said: what the user says of the input; of its size the recipe or `--size` says it.

    Raises:
        WeightsError: if there are none, they cannot be read, or are of another architecture.
        PreparationError: if their input is not RGB.
    """
    if weights is None or weights == RANDOM:
        return _fed_with_rgb(Start(choice, None, said))
    if weights == OFFERED:
        return _fed_with_rgb(Start(choice, _offered(choice), said))
    path = Path(weights)
    state, card = read_weights(path)
    refuse_nonfinite(state, path.name)
    if card is not None:
        choice = configured_by(choice, card, path.name)
    stated = _offer_for(choice, state) if card is None else card.stated
    found = StartingWeights(path.name, sha256(path), state, stated)
    return _fed_with_rgb(Start(choice, found, said))


def find_trained(choice: Configured, data: DatasetCard, said: Stated = Stated()) -> Start:
    """The start from the weights that a run on a data set would take: shipped, or the plugin's.

    Parameters:
        choice: the architecture, as in `find_start`.
        data: the card of the data set.
        said: what the user says of the input.

    Raises:
        WeightsError: if there are none, or their classes stand in another order than the data's.
        PreparationError: if their input is not RGB.
    """
    found = find_weights(choice, data, None)
    choice, card = with_weights_card(choice, found), found.card
    if found.state is None:  # the network is built with them
        return _fed_with_rgb(Start(choice, None, said))
    if card is not None and card.classes != data.classes:
        raise WeightsError(
            f"The classes of {found.source} are not those of {data.name!r}, or stand in another "
            "order. Name weights to start from with --weights FILE."
        )
    offer = Stated() if found.pretrained is None else found.pretrained.stated
    stated = offer if card is None else card.stated
    weights = StartingWeights(found.source, found.sha256, found.state, stated)
    return _fed_with_rgb(Start(choice, weights, said))


def _offered(choice: Configured) -> StartingWeights:
    """The weights that come with an architecture, fetched if they are not in a cache."""
    offer = offered(choice)
    if offer is None:
        raise WeightsError(
            f"No ImageNet weights come with model {choice.label!r}. Start from a file with "
            "--weights FILE, or leave --weights out to train from the beginning."
        )
    if offer.load is None:
        raise WeightsError(
            f"Model {choice.label!r} is built with its weights, {offer.source}: leave --weights "
            "out, and training starts from them."
        )
    if not callable(choice.plugin.pretrained) and choice.label != choice.name:
        raise WeightsError(
            f"{offer.source} is for {choice.name!r} with its default parameters alone: leave them "
            "out, or start from a file with --weights FILE."
        )
    state, digest = download(offer)
    refuse_nonfinite(state, offer.source)
    return StartingWeights(offer.source, digest or hash_tensors(state), state, offer.stated)


def _offer_for(choice: Configured, state: Mapping[str, Tensor]) -> Stated:
    """What the plugin's offer says, if a file without a card holds weights that it is for.

    That is, if they have the shapes of the network with as many logits as the offer's.
    """
    offer = offered(choice)
    if offer is None:
        return Stated()
    if offer.load is None:
        return offer.stated
    size = offer.size if isinstance(offer.size, int) else min(offer.size or (USUAL_SIZE,))
    with torch.random.fork_rng(devices=[]), blaming(choice):
        network: nn.Module = choice(len(offer.classes) or IMAGENET_CLASSES, size)
    own = network.state_dict()
    named, _ = in_names_of(own, state)
    return offer.stated if _shapes(own) == _shapes(named) else Stated()


def _fed_with_rgb(start: Start) -> Start:
    """The start, if its weights take the images that a training feeds them with."""
    stated = start.said.over(Stated() if start.weights is None else start.weights.stated)
    if stated.channels not in (None, "rgb") or len(stated.mean or (0,)) not in (1, 3):
        raise PreparationError(
            f"The input of these weights has other channels ({stated.channels or stated.mean}) "
            "than the RGB that a training feeds: give weights for RGB images."
        )
    return start


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _heads(own: Mapping[str, Tensor], state: Mapping[str, Tensor], classes: int) -> list[str]:
    """The tensors of the layers that give a logit a class, where the weights have other classes.

    They have a row for each class, and differ from the weights' in the number of rows alone.
    """
    return [
        name
        for name, tensor in own.items()
        if name in state
        and tensor.ndim > 0
        and len(tensor) == classes
        and tensor.shape != state[name].shape
        and tensor.shape[1:] == state[name].shape[1:]
    ]
