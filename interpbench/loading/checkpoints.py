"""The state dict in a file that torch saved, in whatever form people keep it.

Reading never executes code. Which of several state dicts is taken is decided by a fixed order, and
said.
"""

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpbench.core.errors import WeightsError

SUFFIXES = (".pt", ".pth", ".th", ".tar", ".ckpt", ".bin")
# Under which of its keys a checkpoint keeps the network's tensors. The first that is there is
# taken, since the averaged weights (`ema`) are a second copy where there are others.
KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights",
    "params", "ema_state_dict", "state_dict_ema", "model_ema", "params_ema", "ema",
)  # fmt: skip
EITHER = ("teacher", "student")  # taken only where there is one of them
SHOWN = 5  # names in a message
MOST_PACKED = 2**26  # bytes: TorchScript packs its code
DEEPEST = 8  # mappings within mappings down to the network's tensors
# Plain values that stand beside tensors in many a checkpoint: they hold data, and run nothing.
_SCALAR = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bhilqBHILQefd"},
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_SCALAR, "numpy.core.multiarray.scalar"),
]


class StateDict(dict[str, Tensor]):
    """Tensors by name, as they stood in a file.

    Attributes:
        notices: what of the file was taken and what was left, a sentence each.
    """

    notices: tuple[str, ...] = ()

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], notices: Sequence[str] = ()) -> "StateDict":
        """Tensors with what is to be said of them, also that they are not of float32."""
        state = cls(tensors)
        others = {
            str(tensor.dtype).removeprefix("torch.")
            for tensor in tensors.values()
            if tensor.is_floating_point() and tensor.dtype != torch.float32
        }
        said = f"Its {' and '.join(sorted(others))} tensors are brought to the network's precision."
        state.notices = (*notices, *([said] if others else []))
        return state


def read_checkpoint(path: Path) -> StateDict:
    """The tensors of a file that `torch.save` wrote, by name, on the CPU.

    Raises:
        WeightsError: if it is damaged, of another format, holds no state dict or several of equal
            right, or would need code to be loaded.
    """
    content = _loaded(path)
    taken: list[str] = []
    beside: list[str] = []
    while (key := _key(path, content)) is not None and len(taken) < DEEPEST:
        beside += [str(name) for name in content if name != key]
        taken.append(key)
        content = content[key]
    tensors = _tensors_of(content)
    if not tensors:
        raise WeightsError(
            f"Weights {path} are not a mapping of names to tensors{_found(content)}. "
            "Save them as `torch.save(model.state_dict(), path)`."
        )
    beside += [str(name) for name in content if name not in tensors]
    notices = []
    if taken:
        where = ".".join(taken)
        left = f"; beside it stood {_listed(beside)}" if beside else ""
        notices.append(f"{where!r} was taken{left}.")
    elif beside:
        notices.append(f"{_listed(beside)} was left, being no tensor.")
    return StateDict.of(tensors, notices)


def _key(path: Path, content: Any) -> str | None:
    """The key of the mapping under which the network's tensors are; None where it has them itself.

    Raises:
        WeightsError: if two networks are in it, neither of which is the one to take.
    """
    if not isinstance(content, Mapping):
        return None
    holding = [key for key in (*KEYS, *EITHER) if _holds_tensors(content.get(key), DEEPEST)]
    if set(holding) == set(EITHER):
        raise WeightsError(
            f"Weights {path} hold two networks, {' and '.join(EITHER)}. Save the one that you mean:"
            f" torch.save(checkpoint[{EITHER[0]!r}], path)."
        )
    return holding[0] if holding else None


def _holds_tensors(value: Any, depth: int) -> bool:
    """Whether it is a state dict, or a mapping in which one stands, at most so deep."""
    if not isinstance(value, Mapping) or not depth:
        return False
    inner = (value.get(key) for key in KEYS)
    return bool(_tensors_of(value)) or any(_holds_tensors(part, depth - 1) for part in inner)


def _tensors_of(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def _refuse_packed(path: Path) -> None:
    """Raises WeightsError for a zip file that holds far more than itself: torch packs no tensor."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as file:
            unpacked = sum(entry.file_size for entry in file.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # which torch will say
    if unpacked > path.stat().st_size + MOST_PACKED:
        raise WeightsError(
            f"Weights {path} are a compressed file, which holds {unpacked} bytes; nothing of them "
            "was loaded. torch.save does not compress: give the file that it wrote."
        )


def _loaded(path: Path) -> Any:
    _refuse_packed(path)
    try:
        with warnings.catch_warnings():  # torch warns of the files that it refuses just below
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals(HARMLESS):
                return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        which = f"Python objects ({refused[1]})" if refused else "Python objects, or no pickle"
        raise WeightsError(
            f"Weights {path} hold {which}; nothing of them was loaded, as that could run code. "
            "Load them where you trust them and save the tensors alone: "
            "`torch.save(model.state_dict(), path)`; or return the module from FILE.py:build."
        ) from None
    except Exception as error:  # torch.load promises no type for a damaged file
        if "TorchScript" in str(error):
            raise WeightsError(
                f"Weights {path} are a whole TorchScript module. Return torch.jit.load(path) from "
                "FILE.py:build, or save its tensors: torch.save(module.state_dict(), path)."
            ) from None
        raise WeightsError(
            f"Weights {path} are no PyTorch file, or a damaged one ({type(error).__name__}). "
            "Fetch or make them again."
        ) from None


def _found(content: Any) -> str:
    if isinstance(content, Mapping):
        return f" but hold {_listed([str(key) for key in content])}" if content else " but empty"
    return f" but a {type(content).__name__}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
