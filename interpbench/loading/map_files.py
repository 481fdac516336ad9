"""Maps found by the ids of their samples: a file a sample, an archive of them all, or rows."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from interpbench.core.errors import DataError
from interpbench.loading.image_files import image_suffixes
from interpbench.loading.map_rows import RowsOfMaps
from interpbench.loading.stated_classes import StatedClasses, classes_beside
from interpbench.loading.weights import SAFETENSORS
from interpbench.registry.maps_plugin import HUGGING_FACE

NPY, NPZ = ".npy", ".npz"
ARCHIVES = (NPZ, SAFETENSORS)
SUFFIXES = (NPY, *ARCHIVES)
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    LookupError,
    EOFError,
    MemoryError,  # a header may promise any size
    RuntimeError,  # of an archive with a password
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    SafetensorError,
)


class MapFiles(Protocol):
    """Arrays by keys, which are made of a sample's names, see `names_of`."""

    def keys_of(self, name: str) -> list[str]:
        """The keys that an array of that name may have."""

    def __contains__(self, key: str, /) -> bool:
        """Whether there is an array of that key."""

    def where(self, key: str) -> str:
        """An array as a user finds it."""

    def read(self, key: str) -> np.ndarray:
        """An array, of any shape and type; raises a DataError if it cannot be read."""

    def stated_classes(self) -> StatedClasses | None:
        """Which classes the maps are for, where it is said; raises a DataError if that is wrong."""


def names_of(sample_id: str) -> tuple[str, ...]:
    """What the map of a sample may be called: its id, also without the suffix of an image."""
    stem, _, suffix = sample_id.rpartition(".")
    is_image = f".{suffix.lower()}" in image_suffixes()
    return (sample_id, stem) if is_image and stem and not stem.endswith("/") else (sample_id,)


def open_map_files(root: str) -> MapFiles:
    """The maps below a folder, in an archive, or in a data set (`hf:...`, see `RowsOfMaps`).

    Raises:
        DataError: if there is none, or the archive or data set cannot be read.
    """
    if root.startswith(HUGGING_FACE):
        return RowsOfMaps(root)
    path = Path(root)
    if path.is_dir():
        return FolderOfMaps(path)
    if is_archive(path):
        return ArchiveOfMaps(path)
    raise DataError(
        f"There are no maps {root!r}. Expected a folder of {', '.join(SUFFIXES)} files that "
        f"are called after the samples' ids, or an archive ({', '.join(ARCHIVES)}) with an array "
        f"for each id, or a data set, {HUGGING_FACE}ORG/NAME or {HUGGING_FACE}FOLDER."
    )


def is_archive(path: Path) -> bool:
    """Whether it is a file that may hold the maps of many samples."""
    return path.suffix.lower() in ARCHIVES and path.is_file()


class FolderOfMaps:
    """A file a sample: `cat/1.png.npy` or `cat/1.npy` below the folder for the id `cat/1.png`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = {
            Path(folder, name).relative_to(root).as_posix()
            for folder, _, names in os.walk(root, followlinks=True)
            for name in names
            if name.endswith(SUFFIXES)
        }

    def keys_of(self, name: str) -> list[str]:
        """A file of each format."""
        return [f"{name}{suffix}" for suffix in SUFFIXES]

    def __contains__(self, key: str) -> bool:
        """Whether there is such a file."""
        return key in self._files

    def where(self, key: str) -> str:
        """Its path."""
        return str(self._root / key)

    def read(self, key: str) -> np.ndarray:
        """Its only array."""
        path = self._root / key
        if path.suffix == NPY:
            with _reading(self.where(key)), path.open("rb") as file:
                array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
                return array
        archive = ArchiveOfMaps(path)
        try:
            if len(archive.names) != 1:
                raise DataError(
                    f"{path} holds {len(archive.names)} arrays; expected one, the map of the "
                    "sample that it is called after."
                )
            return archive.read(archive.names[0])
        finally:
            archive.close()

    def stated_classes(self) -> StatedClasses | None:
        """Those of `targets.json` in the folder, or beside it."""
        return classes_beside(self._root)


class ArchiveOfMaps:
    """An array a sample, called after its id: `cat/1.png` or `cat/1`.

    Attributes:
        names: of all its arrays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _reading(str(path)):
            if path.suffix.lower() == NPZ:
                self._file = np.load(path, allow_pickle=False)
                if not isinstance(self._file, np.lib.npyio.NpzFile):
                    raise ValueError("it is no archive")
            else:
                self._file = safe_open(path, framework="pt")
            self.names = list(self._file.keys())
        self._there = set(self.names)

    def keys_of(self, name: str) -> list[str]:
        """The name itself."""
        return [name]

    def __contains__(self, key: str) -> bool:
        """Whether there is such an array."""
        return key in self._there

    def where(self, key: str) -> str:
        """The archive, and the array in it."""
        return f"{self._path}[{key!r}]"

    def read(self, key: str) -> np.ndarray:
        """The array."""
        with _reading(self.where(key)):
            if isinstance(self._file, np.lib.npyio.NpzFile):
                return np.asarray(self._file[key])
            tensor = self._file.get_tensor(key)
            # numpy has no bfloat16
            return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)

    def stated_classes(self) -> StatedClasses | None:
        """Those of `targets.json` beside the archive."""
        return classes_beside(self._path)

    def close(self) -> None:
        """Lets go of the file."""
        if isinstance(self._file, np.lib.npyio.NpzFile):
            self._file.close()
        else:
            self._file.__exit__(None, None, None)


def as_map(array: np.ndarray, where: str) -> np.ndarray:
    """An array as a map, float32 [h,w].

    Parameters:
        array: [h,w] or [1,h,w], whole numbers or floats.
        where: what to call it in an error.

    Raises:
        DataError: if it is of another shape or type.
    """
    expected = "expected a map [H,W], or [1,H,W], one number a position"
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where} holds {array.dtype}; {expected}: whole numbers or floats.")
    if array.ndim == 3 and len(array) > 1:
        raise DataError(
            f"{where} is {list(array.shape)}; {expected}. If the first axis are channels, make one "
            "of them as your method means it, such as array.sum(0) or abs(array).max(0)."
        )
    found = array[0] if array.ndim == 3 and len(array) == 1 else array
    if found.ndim != 2 or not found.size:
        raise DataError(f"{where} is {list(array.shape)}; {expected}.")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and counted as such
        return np.ascontiguousarray(found, dtype=np.float32)


@contextmanager
def _reading(where: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise DataError(
            f"{where} cannot be read ({type(error).__name__}: {error}). Expected a map as numpy or "
            "safetensors write it: make the file again."
        ) from None
