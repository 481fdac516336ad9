"""The twin of a model that was tuned on images that lack parts, which metrics may ask instead.

Its weights come from the file that the user names, or from the one shipped beside the plugin
(`weights/in-domain/<dataset>-<model>.safetensors`). It must be the same network but for them: what
is normalised, explained and scored is the same for both.
"""

from pathlib import Path

from interpbench.core.devices import Computing
from interpbench.core.errors import WeightsError
from interpbench.core.preparation import Stated
from interpbench.core.types import DatasetCard, Model
from interpbench.loading.chosen_weights import RANDOM, shipped_weights
from interpbench.loading.model import load_model
from interpbench.registry.plugin import Configured

FOLDER = "in-domain"  # of the shipped weights, beside the others
HOW_TO_MAKE = (
    "Give a file of weights with --in-domain FILE (MODEL=FILE where there are several models); "
    "`python -m interpbench train --recipe in-domain` makes it."
)


def shipped_in_domain(choice: Configured, data: DatasetCard) -> Path:
    """Where the weights lie that a plugin ships for the twin of its model on a data set."""
    path = shipped_weights(choice, data.trained_on)
    return path.parent / FOLDER / path.name


def load_in_domain(
    choice: Configured,
    model: Model,
    data: DatasetCard,
    file: str | None,
    *,
    stated: Stated = Stated(),
    computing: Computing = Computing(),
) -> Model:
    """The twin of a model, on the CPU.

    Parameters:
        choice: the model's plugin with its parameters.
        model: that is explained.
        data: the card of the data set.
        file: of the twin's weights; None for those that are shipped.
        stated: what the user says of the preparation.
        computing: where and how.

    Raises:
        WeightsError: if there are none, they are those of the explained model, or the two networks
            differ in more than their weights.
    """
    shipped = shipped_in_domain(choice, data)
    if file == RANDOM or (file is None and not shipped.is_file()):
        raise WeightsError(
            f"Metrics with network={FOLDER} ask a twin of {choice.label!r} that was tuned on "
            f"images that lack parts, and there are no such weights for it on {data.trained_on!r}. "
            f"{HOW_TO_MAKE}"
        )
    twin = load_model(
        choice,
        data,
        weights=str(shipped) if file is None else file,
        stated=stated,
        outputs=model.card.outputs,
        batch_size=computing.images_a_pass,
    )
    if twin.card.weights_sha256 == model.card.weights_sha256:
        raise WeightsError(
            f"{twin.card.weights} holds the weights of {choice.label!r} itself, which was not "
            f"tuned on images that lack parts. {HOW_TO_MAKE}"
        )
    for what in ("preparation", "classes", "logit_of_label", "outputs"):
        mine, other = (_said(network.card, what) for network in (model, twin))
        if mine != other:
            raise WeightsError(
                f"{twin.card.weights} is for another {what.replace('_', ' ')} than "
                f"{choice.label!r} has: {other}, not {mine}. Tune the weights that are "
                f"explained. {HOW_TO_MAKE}"
            )
    return twin


def _said(card: object, what: str) -> object:
    value = getattr(card, what)
    return value.text if what == "preparation" else value
