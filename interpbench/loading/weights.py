"""Weights on disk: a safetensors file with a card that says what they are.

Reading never executes code.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from interpbench.core.errors import WeightsError
from interpbench.core.outputs import Outputs
from interpbench.core.preparation import Channels, Interpolation, Stated
from interpbench.core.types import PerChannel
from interpbench.files.atomic import write_atomically
from interpbench.loading.checkpoints import SUFFIXES, StateDict, read_checkpoint

# One metadata entry, because safetensors writes several in an order of chance and equal weights
# should be equal bytes.
KEY = "interpbench"
SAFETENSORS = ".safetensors"


@dataclass(frozen=True)
class WeightsCard:
    """What a weights' file holds, and how it came to be.

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
    """

    architecture: str
    parameters: dict[str, Any]
    dataset: str
    data_revision: str
    classes: tuple[str, ...]
    size: int
    mean: PerChannel
    std: PerChannel
    licence: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    resize: int | None = None
    interpolation: Interpolation | None = None
    channels: Channels | None = None
    outputs: Outputs | None = None

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
        """The card that `as_json` wrote; raises ValueError, TypeError or KeyError if it is none."""
        values = json.loads(text)
        for name in ("classes", "mean", "std"):
            values[name] = tuple(values[name])
        return cls(**values)


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
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"The card of weights {path} cannot be read ({error}). "
            "Make them again with this version."
        ) from None
