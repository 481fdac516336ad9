"""Weights on disk: a safetensors file with a card that says what they are.

Reading never executes code.
"""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from interpbench.core.errors import WeightsError
from interpbench.core.outputs import Outputs
from interpbench.core.preparation import (
    MOST_PIXELS,
    NUMBER_OF,
    Channels,
    Interpolation,
    Stated,
)
from interpbench.core.text import acts, printable, shown
from interpbench.core.types import PerChannel
from interpbench.files.atomic import write_atomically
from interpbench.files.records import first_problem
from interpbench.loading.checkpoints import SUFFIXES, StateDict, read_checkpoint

# One metadata entry, because safetensors writes several in an order of chance and equal weights
# should be equal bytes.
KEY = "interpbench"
SAFETENSORS = ".safetensors"
MOST_CHARACTERS = 2**22  # of a card, which names every class


HELD_OUT = ".held-out.txt"  # beside weights: the ids of samples that they were not trained on


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class WeightsCard:
    """What a weights' file holds, and how it came to be; checked whenever one is made.

    Attributes:
        architecture: the model plugin's name, `parameters` its values.
        dataset: the data set it was trained on, `data_revision` that set's revision.
        classes: class names, in the order of the logits.
        size: side in pixels of the square input.
        mean, std: per channel, of pixels in 0..1.
        licence: of the weights.
        notes: recipe, seed, accuracy and number of samples, library versions.
        resize, interpolation, channels: see `core.preparation.Preparation`; None for a shorter side
            of `size`, bilinear, and RGB.
        outputs: what the network's answers are, see `core.outputs`; None where it is not said.

    Raises:
        pydantic.ValidationError: if a value is of another type, or not what it should be: a name of
            a class missing or there twice, a size that is none, a mean and a std of different
            lengths or not of pixels in 0..1.
    """

    architecture: str
    parameters: dict[str, Any]
    dataset: str
    data_revision: str
    classes: tuple[str, ...]
    size: Annotated[int, Field(ge=1, le=MOST_PIXELS)]
    mean: PerChannel
    std: PerChannel
    licence: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    resize: Annotated[int, Field(ge=0, le=MOST_PIXELS)] | None = None
    interpolation: Interpolation | None = None
    channels: Channels | None = None
    outputs: Outputs | None = None

    @model_validator(mode="after")
    def _go_together(self) -> "WeightsCard":
        twice = [name for name, count in Counter(self.classes).items() if count > 1]
        if twice or "" in self.classes or not self.classes:
            what = (
                f"{shown(twice[0])} is there twice" if twice else "one has none, or there is none"
            )
            raise ValueError(f"classes have a name each: {what}")
        steering = [name for name in (self.dataset, *self.classes) if acts(name)]
        if steering:
            raise ValueError(f"{shown(steering[0])} holds characters that control a terminal")
        lengths = {len(self.mean), len(self.std)}
        if not lengths <= {1, NUMBER_OF.get(self.channels or "own", max(1, *lengths))}:
            raise ValueError("mean and std are a number a channel of the input, or one for all")
        if not all(-1 <= value <= 2 for value in self.mean):
            raise ValueError("the mean is of pixels in 0..1")
        if not all(0 < value <= 2 for value in self.std):
            raise ValueError("the std is of pixels in 0..1, and every number above 0")
        return self

    @property
    def stated(self) -> Stated:
        """What it says of the preparation."""
        return Stated(
            by="the weights' card",
            size=self.size,
            resize=self.resize,
            interpolation=self.interpolation,
            channels=self.channels,
            mean=self.mean,
            std=self.std,
        )

    def as_json(self) -> str:
        """Canonical text: equal cards, equal text. What is None is left out."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(said, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "WeightsCard":
        """The card that `as_json` wrote.

        Raises:
            ValueError: if it is none; the message says why.
        """
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"it has more than {MOST_CHARACTERS} characters")
        try:
            values = json.loads(text, object_pairs_hook=_each_once)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not isinstance(values, dict):
            raise ValueError(f"it is {shown(values)}, no mapping of names to values")
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        try:
            return cls(**values | lists)
        except ValidationError as invalid:
            key, reason, given = first_problem(invalid)
            raise ValueError(f"{key or 'card'}: {reason}, got {shown(given)}") from None


def save_weights(
    path: Path, state_dict: Mapping[str, Tensor], card: WeightsCard, *, half: bool = False
) -> None:
    """Writes a safetensors file atomically: a killed process leaves the old file or the new one.

    Parameters:
        path: where to; missing folders are made.
        state_dict: name -> tensor.
        card: goes into the file's metadata.
        half: stores floating-point tensors as float16, in half the space.

    Raises:
        WeightsError: if it cannot be written.
    """
    content = save(stored(state_dict, half=half), {KEY: card.as_json()})
    try:
        write_atomically(path, lambda partial: partial.write_bytes(content))
    except OSError as error:
        raise WeightsError(
            f"Cannot write the weights {path}: {error.strerror}. Give another place."
        ) from None


def check_writable(path: Path) -> None:
    """Makes sure that weights can be written to a path, before anybody spends time on making them.

    Raises:
        WeightsError: if they cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise WeightsError(
            f"Cannot write the weights {path}: {error.strerror}. Give another place."
        ) from None


def stored(state_dict: Mapping[str, Tensor], *, half: bool = False) -> dict[str, Tensor]:
    """The tensors as `save_weights` writes them: on the CPU, contiguous, float16 if `half`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    return {
        name: tensor.half() if half and tensor.is_floating_point() else tensor.clone()
        for name, tensor in tensors.items()
    }


def read_weights(path: Path) -> tuple[dict[str, Tensor], WeightsCard | None]:
    """The tensors of a file, and its card if it has one of ours.

    By name, on the CPU. A file is one of safetensors, or of torch in any form that
    `checkpoints.read_checkpoint` knows, which then says what it took.

    Raises:
        WeightsError: if the file is missing, corrupt, of another format, or would need code to be
            loaded.
    """
    if not path.is_file():
        raise WeightsError(
            f"There is no weights' file {path}. "
            "Check the path, or make one with `python -m interpbench train`."
        )
    suffix = path.suffix.lower()
    if suffix == SAFETENSORS:
        return _read_safetensors(path)
    if suffix in SUFFIXES:
        return read_checkpoint(path), None
    raise WeightsError(
        f"Weights {path} end in {path.suffix!r}: expected {', '.join((SAFETENSORS, *SUFFIXES))}."
    )


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], WeightsCard | None]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"Weights {path} are no safetensors file, or a damaged one ({error}). "
            "Fetch or make them again."
        ) from None
    if KEY not in metadata:
        return StateDict.of(tensors), None
    try:
        return tensors, WeightsCard.from_json(metadata[KEY])
    except ValueError as error:
        raise WeightsError(
            f"The card of weights {path} cannot be read ({printable(str(error))}). "
            "Make them again with this version."
        ) from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of JSON; raises ValueError for a name that stands there twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for name, count in Counter(k for k, _ in pairs).items() if count > 1)
        raise ValueError(f"{shown(twice)} stands there twice")
    return values
