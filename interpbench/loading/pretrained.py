"""Weights that come with an architecture: torchvision's, another library's, or built in.

A model plugin offers them as `pretrained=`: a torchvision `WeightsEnum` member, or a function of
the plugin's parameters that gives such a member, a `Pretrained` or None.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interpbench.core.errors import WeightsError
from interpbench.core.types import Loaded, Pretrained
from interpbench.loading.stated import completed
from interpbench.loading.weights import sha256
from interpbench.registry.plugin import Configured, blaming


def offered(choice: Configured) -> Pretrained | None:
    """The weights that come with a model of these parameters, if there are any.

    Nothing is downloaded yet.

    Raises:
        PluginError: if the plugin's function fails.
        PreparationError: if a file beside the model is not valid.
    """
    weights = choice.plugin.pretrained
    if callable(weights):
        with blaming(choice):
            weights = weights(**choice.values)
    if isinstance(weights, Pretrained):
        return completed(weights)
    return None if weights is None else _torchvisions(weights)


def download(weights: Pretrained) -> Loaded:
    """The state dict and the sha256 of its file, from a cache or over the network.

    Raises:
        WeightsError: if they cannot be had.
    """
    assert weights.load is not None
    try:
        return weights.load()
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(
            f"The weights {weights.source} could not be downloaded ({type(error).__name__}: "
            f"{error}). Pass a copy with --weights FILE."
        ) from error


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """The hexadecimal SHA-256 of names, types and values.

    A quantised network keeps more than tensors: numbers, texts and the like are taken as they are
    written, and of anything else its type alone.
    """
    digest = hashlib.sha256()
    for name, value in state.items():
        _update(digest, name, value)
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", name: str, value: Any) -> None:
    """Takes one entry of a state dict into a hash, with all that is in it."""
    if isinstance(value, Mapping):
        value = [*value.items()]
    if isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _update(digest, f"{name}.{number}", item)
    elif not isinstance(value, Tensor):
        plain = isinstance(value, str | bytes | int | float | torch.dtype | None)
        digest.update(f"{name} {value!r} ".encode() if plain else f"{name} {type(value)} ".encode())
    elif value.is_quantized:
        digest.update(f"{name} {value.qscheme()} ".encode())
        _update(digest, f"{name}.int_repr", value.int_repr())
        _update(digest, f"{name}.values", value.dequantize())
    else:
        values = value.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)} ".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())


def _torchvisions(enum: Any) -> Pretrained:
    """A WeightsEnum member, which knows its file, its input and its classes."""
    preset = enum.transforms()
    return Pretrained(
        source=str(enum),
        load=partial(_load_torchvisions, enum),
        size=preset.crop_size[0],
        resize=preset.resize_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        classes=tuple(enum.meta["categories"]),
    )


def _load_torchvisions(enum: Any) -> Loaded:
    try:
        state = enum.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"torchvision's weights {enum} could not be downloaded from {enum.url} "
            f"({type(error).__name__}: {error}). Pass a copy with --weights FILE, or put it into "
            f"{torch.hub.get_dir()}/checkpoints."
        ) from error
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(enum.url).name
    return state, sha256(cached) if cached.is_file() else ""
