"""What came of one cell on one block of images; and as a file, which waits until its cell is whole.

blocks/<cell>/000007.block      the sha256 of what follows, 32 bytes; then arrays as an .npz
"""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from interpbench.files.atomic import content_of, remove, write_atomically
from interpbench.results.cell_folder import DamagedError
from interpbench.results.run_info import WindowsRecord
from interpbench.suite.cells import Cell

_META = "block.json"


@dataclass(frozen=True, eq=False)
class BlockResult:
    """One cell on one block: numbers of single images, in their order, and what went wrong.

    Attributes:
        cell: which.
        number, count: of the block, and how many there are.
        sample_ids: of the images that were scored; N of them.
        labels, targets: int64 [N], logits; UNKNOWN where there is none.
        constant, nonfinite: bool [N or more], of all images that were explained, which come first:
            the maps that are no answer.
        tied: float64 [N], share of tied positions, 0..1.
        scored: metric -> float32 or float64 [N], or [N,S+1] of a curve.
        changed: metric -> how many positions have changed at each point of its curve.
        lowered, exact: metric -> float32 [n,S+1], the curves of some images in the run's precision
            and in float32, where the precision is lower.
        maps: sample id -> float32 [H,W], of the example images.
        failures: why the cell fails; it is not asked for further blocks.
        failed_metrics: metric -> why.
        discarded: whether none of the cell's numbers count, in no block.
        left_behind: what the method left behind, which was undone.
        signed: how many valid maps hold a negative value.
        attribution_seconds, scoring_seconds: time taken.
        peak_memory: bytes of a GPU that making maps took at most; None where it was not measured.
        forward_passes: of the search for a ceiling.
        explained_again: how many other inputs metrics asked the method about.
        batch_size: images a forward pass in the end.
        method_hash: sha256 of the method's source.
        windows: how windows that cover parts of images were computed.
        device: what it was computed on.
    """

    cell: Cell
    number: int
    count: int
    sample_ids: tuple[str, ...]
    labels: np.ndarray
    targets: np.ndarray
    constant: np.ndarray
    nonfinite: np.ndarray
    tied: np.ndarray
    scored: dict[str, np.ndarray] = field(default_factory=dict)
    changed: dict[str, list[int]] = field(default_factory=dict)
    lowered: dict[str, np.ndarray] = field(default_factory=dict)
    exact: dict[str, np.ndarray] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    failed_metrics: dict[str, str] = field(default_factory=dict)
    discarded: bool = False
    left_behind: tuple[str, ...] = ()
    signed: int = 0
    attribution_seconds: float = 0.0
    scoring_seconds: float = 0.0
    peak_memory: int | None = None
    forward_passes: int = 0
    explained_again: int = 0
    batch_size: int = 0
    method_hash: str = ""
    windows: tuple[WindowsRecord, ...] = ()
    device: str = ""

    @property
    def is_last(self) -> bool:
        """Whether no block of its cell comes after it."""
        return self.number == self.count - 1


class BlockFiles:
    """The blocks of cells that are not whole yet, a folder a cell.

    Parameters:
        path: of the folder; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, result: BlockResult) -> None:
        """Writes a block, whole or not at all.

        Raises:
            OSError: if the disk is full, or not writable.
        """
        content = block_content(result)
        write_atomically(self._file(result.cell, result.number), lambda p: p.write_bytes(content))

    def numbers(self, cell: Cell) -> list[int]:
        """Which blocks of a cell are there."""
        files = content_of(self._path / cell.folder)
        return [int(path.stem) for path in files if path.stem.isdecimal()]

    def read(self, cell: Cell, number: int) -> BlockResult:
        """A block that was written.

        Raises:
            DamagedError: if it is missing, or not what was written.
        """
        path = self._file(cell, number)
        try:
            result = block_of(path.read_bytes())
        except Exception as error:  # whatever libraries make of bytes that are no such file
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise DamagedError(path, why) from None
        if (result.cell, result.number) != (cell, number):
            raise DamagedError(path, f"it holds block {result.number} of {result.cell.method!r}")
        return result

    def forget(self, cell: Cell) -> None:
        """Removes the blocks of a cell that does not need them any more.

        Raises:
            OSError: if the disk refuses.
        """
        remove(self._path / cell.folder)
        if self._path.is_dir() and not any(self._path.iterdir()):
            self._path.rmdir()

    def _file(self, cell: Cell, number: int) -> Path:
        return self._path / cell.folder / f"{number:06d}.block"


_DIGEST = hashlib.sha256().digest_size
_ARRAYS = ("labels", "targets", "constant", "nonfinite", "tied")
_NAMED_ARRAYS = ("scored", "lowered", "exact", "maps")


def block_content(result: BlockResult) -> bytes:
    """A block as a file, or to be sent."""
    arrays = {name: getattr(result, name) for name in _ARRAYS}
    for group in _NAMED_ARRAYS:
        named = getattr(result, group).values()
        arrays |= {f"{group}:{i}": array for i, array in enumerate(named)}
    rest = vars(result).items()
    meta = {name: value for name, value in rest if name not in (*_ARRAYS, *_NAMED_ARRAYS)}
    meta |= {
        "cell": result.cell.as_dict(),
        "windows": [windows.contents() for windows in result.windows],
        "names": {group: list(getattr(result, group)) for group in _NAMED_ARRAYS},
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr(zipfile.ZipInfo(_META), json.dumps(meta))
    body = buffer.getvalue()
    return hashlib.sha256(body).digest() + body


def block_of(content: bytes) -> BlockResult:
    """A block again.

    Raises:
        ValueError: or another error, if the bytes are not those of one.
    """
    checksum, content = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(content).digest() != checksum:
        raise ValueError("it does not fit its checksum")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        meta = json.loads(file.read(_META))
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != _META}
    fields = meta | {name: arrays[name] for name in _ARRAYS}
    for group, names in fields.pop("names").items():
        fields[group] = {name: arrays[f"{group}:{i}"] for i, name in enumerate(names)}
    for name in ("sample_ids", "failures", "left_behind"):
        fields[name] = tuple(fields[name])
    fields["windows"] = tuple(map(WindowsRecord.model_validate, fields["windows"]))
    return BlockResult(**fields | {"cell": Cell(**fields["cell"])})
