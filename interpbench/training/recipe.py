"""A recipe: everything that decides how a model is trained, as a TOML file.

It is validated as suites are.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from interpbench.core.errors import RecipeError
from interpbench.core.preparation import MOST_PIXELS
from interpbench.files import toml_settings as settings
from interpbench.files.toml_settings import Settings

FOLDER = Path(__file__).parent / "recipes"
DEFAULT = "default"
FINE_TUNE = "fine-tune"  # from weights that were trained before
ROOM = 1.25  # times the size trained at: what random resized crops are cut from

Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class Optimiser(Settings):
    """An optimiser of torch.optim.

    Attributes:
        name: `sgd` has no momentum; `momentum` and `nesterov` are SGD with it.
        lr: the learning rate; the highest one where the schedule changes it.
        momentum: of `momentum`, `nesterov` and `rmsprop`; the first beta of Adam and AdamW.
        weight_decay: of weights, never of norms, biases and embeddings. Decoupled from the gradient
            in `adamw` only.
    """

    name: Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"] = "adamw"
    lr: PositiveFloat = 3e-3
    momentum: BelowOne = 0.9
    weight_decay: NonNegativeFloat = 0.05


class Schedule(Settings):
    """How the learning rate changes.

    Attributes:
        name: `one-cycle` (Smith and Topin, arXiv 1708.07120, 2017) and `cosine` change it after
            each batch; `step` and `plateau` after each epoch.
        warmup: share of the training in which it rises, for `one-cycle` and `cosine`.
        every: epochs between the drops of `step`.
        factor: that a drop of `step` and `plateau` multiplies it with.
        patience: epochs without a lower validation loss that `plateau` waits for.
    """

    name: Literal["constant", "one-cycle", "cosine", "step", "plateau"] = "one-cycle"
    warmup: BelowOne = 0.2
    every: PositiveInt = 10
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: NonNegativeInt = 3


class Augmentation(Settings):
    """What changes the training images, by torchvision.transforms.v2; 0 or false is without.

    Attributes:
        flip: mirrors every other image left to right.
        crop: pixels that the image is padded with, its edge mirrored, before it is cropped at
            random.
        resized_crop: the least share of the image's area that a random rectangle has, which is
            brought to the size trained at (Szegedy et al., CVPR 2015); the greatest is 1, its sides
            are 3:4 to 4:3. Not together with `crop`.
        rotation: the largest angle in degrees.
        randaugment: operations an image (Cubuk et al., NeurIPS 2020), of `magnitude` 0 to 30.
        jpeg: the lowest quality that an image is compressed with, from there to 100.
        erasing: probability that a rectangle becomes the mean colour (Zhong et al., AAAI 2020;
            cutout, DeVries and Taylor, arXiv 1708.04552, 2017).
        removed_cell: probability that one cell, drawn at random, of a grid of `cells` a side
            becomes the mean colour, after all else (Hesse et al., NeurIPS 2024): an image without a
            cell is then none that the network has never seen.
        cells: a side of that grid.
        mixup, cutmix: the Beta distribution's alpha (Zhang et al., ICLR 2018; Yun et al., ICCV
            2019). Where both are given, one or the other is drawn for each batch.
        pairing: probability that a batch's images are averaged with others, whose labels are
            ignored (Inoue, arXiv 1801.02929, 2018).
    """

    flip: bool = True
    crop: NonNegativeInt = 4
    resized_crop: Share = 0.0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    randaugment: NonNegativeInt = 0
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    jpeg: Annotated[int, Field(ge=0, le=100)] = 0
    erasing: Share = 0.0
    removed_cell: Share = 0.0
    cells: Annotated[int, Field(ge=2, le=64)] = 4
    mixup: NonNegativeFloat = 0.0
    cutmix: NonNegativeFloat = 0.0
    pairing: Share = 0.0

    @model_validator(mode="after")
    def _one_crop(self) -> "Augmentation":
        if self.crop and self.resized_crop:
            raise ValueError(
                f"crop = {self.crop} and resized_crop = {self.resized_crop:g} both crop at random: "
                "set one of them to 0"
            )
        return self


class Loss(Settings):
    """What is minimised.

    Attributes:
        name: cross-entropy, or focal loss (Lin et al., ICCV 2017).
        label_smoothing: share of the target that is spread over all classes (Szegedy et al., CVPR
            2016).
        gamma: of the focal loss: how much less well-classified images count.
    """

    name: Literal["cross-entropy", "focal"] = "cross-entropy"
    label_smoothing: BelowOne = 0.05
    gamma: NonNegativeFloat = 2.0


class Recipe(Settings):
    """How a model is trained.

    Attributes:
        description: in a line.
        epochs, batch_size: how long, and images a step. The last, smaller batch of an epoch is left
            out.
        size: side in pixels that images are resized and cropped to; None for the data set's own.
        stored: side in pixels, at least `size`, that training images are kept at for `resized_crop`
            to cut from; smaller images are enlarged to it. None for a quarter more than `size`.
        seed: of every random choice: first weights, order, augmentation, dropout.
        precision: of the forward passes: bf16 is faster where the processor has it (AMX,
            AVX512-BF16, a recent GPU), fp16 needs a GPU. Weights, validation and the accuracies on
            the card are in fp32.
        validation: share of the training images that are held out to choose the best epoch by; with
            0 it is the last.
        dropout: probability that an input of the last linear layer is dropped.
        ema: decay per step of the exponential moving average of the weights, which then are the
            result; 0 is without.
        clip: the largest norm of the gradient; 0 is without.
        from_trained: starts from trained weights: those given, or else those that a run on the data
            would take; refused where there are none.
        compile: makes the training step with torch.compile, which takes a minute and on a CPU needs
            a C++ compiler.
        optimiser, schedule, augmentation, loss: sections of their own.
    """

    description: str = ""
    epochs: PositiveInt = 16
    batch_size: PositiveInt = 128
    size: Annotated[int, Field(ge=1, le=MOST_PIXELS)] | None = None
    stored: Annotated[int, Field(ge=1, le=MOST_PIXELS)] | None = None
    seed: NonNegativeInt = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    validation: BelowOne = 0.02
    dropout: BelowOne = 0.0
    ema: BelowOne = 0.0
    clip: NonNegativeFloat = 0.0
    from_trained: bool = False
    compile: bool = False
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()

    @model_validator(mode="after")
    def _plateau_needs_validation(self) -> "Recipe":
        if self.schedule.name == "plateau" and self.validation == 0:
            raise ValueError(
                "schedule 'plateau' follows the validation loss: give `validation` a share above 0"
            )
        return self

    @model_validator(mode="after")
    def _stored_for_crops(self) -> "Recipe":
        if self.stored is None:
            return self
        if not self.augmentation.resized_crop:
            raise ValueError(
                "`stored` is the size that random resized crops are cut from: give "
                "`augmentation.resized_crop` a share above 0, or leave `stored` out"
            )
        if self.size is None or self.stored < self.size:
            raise ValueError(
                f"stored = {self.stored} is for a `size` of at most as many pixels, and that is "
                f"{self.size or 'not given'}"
            )
        return self

    @property
    def kept_at(self) -> int | None:
        """Side in pixels of the training images in memory; None for the data set's own."""
        if self.size is None or not self.augmentation.resized_crop:
            return self.size
        return self.stored or round(ROOM * self.size)

    def changed(self, values: Mapping[str, Any]) -> "Recipe":
        """This recipe with other values where they are not None; `lr` is the optimiser's.

        Raises:
            RecipeError: if a value is not valid; the message names the key.
        """
        given = {key: value for key, value in values.items() if value is not None}
        changed = self.model_dump()
        if "lr" in given:
            changed["optimiser"]["lr"] = given.pop("lr")
        return settings.validate(Recipe, changed | given, "settings", RecipeError)


def recorded_recipe(text: str) -> Recipe:
    """The recipe that a weights' card records as JSON.

    The first cards recorded no more than what could be chosen then; all else was as the default is
    now.

    Raises:
        RecipeError: if it is none; the message names the key.
    """
    values = json.loads(text)
    if isinstance(values.get("optimiser"), str):
        return Recipe().changed(
            {key: values[key] for key in ("epochs", "batch_size", "lr", "precision", "seed")}
        )
    return settings.validate(Recipe, values, "the weights' card", RecipeError)


def recipe_names() -> list[str]:
    """The bundled recipes."""
    return settings.names(FOLDER)


def load_recipe(name: str = DEFAULT) -> Recipe:
    """A bundled recipe by name, or any TOML file by path.

    Raises:
        UnknownNameError: if no bundled recipe has that name.
        RecipeError: if the file is missing or not valid; the message names the key.
    """
    return settings.load(Recipe, "recipe", name, FOLDER, RecipeError)
