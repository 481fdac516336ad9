"""Weights on disk: a safetensors file with a card that says what they are.

Reading never executes code.
"""

import hashlib
import json
import pickle
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from interpbench.core.errors import WeightsError
from interpbench.core.preparation import Channels, Interpolation, Stated
from interpbench.core.types import PerChannel
from interpbench.files.atomic import write_atomically

# One metadata entry, because safetensors writes several in an order of chance and equal weights
# should be equal bytes.
KEY = "interpbench"


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
    """The tensors of a `.safetensors`, `.pt` or `.pth` file, and its card if it has one of ours.

    By name, on the CPU.

    Raises:
        WeightsError: if the file is missing, corrupt, of another format, or would need code to be
            loaded.
    """
    if not path.is_file():
        raise WeightsError(
            f"There is no weights' file {path}. "
            "Check the path, or make one with `python -m interpbench train`."
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pt", ".pth"):
        return _read_torch(path), None
    raise WeightsError(
        f"Weights {path} end in {path.suffix!r}: expected .safetensors, .pt or .pth."
    )


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copies tensors into a module, converted to its precision.

    Parameters:
        network: the module.
        state: name -> tensor, exactly those of `network.state_dict()`.
        source: what to call the weights in an error, such as the file's name.

    Raises:
        WeightsError: that names the first mismatch.
    """
    own = network.state_dict()
    head = list(own)[-1].rpartition(".")[0] if own else ""
    for name, tensor in own.items():
        if name not in state:
            raise _misfit(source, f"{name!r} is missing")
        shape, wanted = tuple(state[name].shape), tuple(tensor.shape)
        if shape != wanted and name.rpartition(".")[0] == head and shape[1:] == wanted[1:]:
            raise WeightsError(
                f"Weights {source} are for {shape[0]} classes, the data set has {wanted[0]} "
                f"({name!r}). Use weights that were trained on this data set, or the data set of "
                "these weights."
            )
        if shape != wanted:
            raise _misfit(source, f"{name!r} has shape {shape}, the model's has {wanted}")
    for name in state:
        if name not in own:
            raise _misfit(source, f"{name!r} is not in the model")
    network.load_state_dict(dict(state))


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _misfit(source: str, mismatch: str) -> WeightsError:
    return WeightsError(
        f"Weights {source} do not fit the model: {mismatch}. "
        "Use the architecture, parameters and image size that they were trained with."
    )


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
        return tensors, None
    try:
        return tensors, WeightsCard.from_json(metadata[KEY])
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"The card of weights {path} cannot be read ({error}). "
            "Make them again with this version."
        ) from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():  # torch warns of the files that it refuses just below
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"Weights {path} hold Python objects, or no pickle at all; nothing of them was loaded, "
            "as that could run code. Save them as `torch.save(model.state_dict(), path)`."
        ) from None
    except Exception as error:  # torch.load promises no type for a damaged file
        raise WeightsError(
            f"Weights {path} are no PyTorch file, or a damaged one ({type(error).__name__}). "
            "Fetch or make them again."
        ) from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        # A training checkpoint.
        tensors = state["state_dict"].items()
        state = {name.removeprefix("module."): tensor for name, tensor in tensors}
    is_mapping = isinstance(state, Mapping)
    if not is_mapping or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(
            f"Weights {path} are not a mapping of names to tensors. "
            "Save them as `torch.save(model.state_dict(), path)`."
        )
    return dict(state)
