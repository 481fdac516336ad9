"""Data sets that each break a promise of data sets, and which they break."""

import itertools
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from interpbench import DataError, Dataset, DatasetCard, Sample, UnreadableImageError, dataset
from interpbench.registry.registry import Registry

FAULTY = Registry()
# Name -> contract -> what is said.
BREAKS: dict[str, dict[str, str]] = {
    "undocumented": {"documentation": "no docstring"},
    "misannotated": {"parameters": "would be refused"},
    "raises": {"opens": "raised PluginError"},
    "no-labels": {"opens": "without card, ids, labels"},
    "no-card": {"opens": "whose card is a str"},
    "fewer-labels": {"length": "6 ids, 5 labels"},
    "same-ids": {"ids": "6 samples are called 'same'"},
    "numbers": {"ids": "expected a text"},
    "misnamed": {"ids": "Sample 0 is called"},
    "from-one": {"labels": "A label is 3, and there are 3 classes"},
    "same-classes": {"labels": "'a' is there twice"},
    "mislabelled": {"labels": "Sample 0 has label"},
    "channels-first": {"images": "expected a numpy array"},
    "in-bytes": {"images": "expected float32 in 0..1"},
    "breaks-off": {"images": "raised OSError"},
    "small-mask": {"masks": "needs a mask of its image's size"},
    "no-evidence": {"masks": "No mask marks any evidence"},
    "unsaid-masks": {"masks": "the card says that there are none"},
    "any-order": {"again": "ids are others"},
    "drawn": {"again": "the image of sample"},
    "lent": {"own images": "black when it is asked for again"},
    "one-at-a-time": {"threads": "it gave other images"},
    "no-revision": {"card": "revision is empty"},
    "card-in-bytes": {"card": "not of pixels in 0..1"},
    "anywhere": {"missing data": "opened all the same"},
    "traceback": {"missing data": "FileNotFoundError"},
}
_calls = itertools.count()


class Blobs:
    """Six small images of three classes; what a subclass or an argument says otherwise."""

    def __init__(self, **said: Any) -> None:
        self.card = DatasetCard("blobs", ("a", "b", "c"), "1", **said)
        self.ids: Any = [f"blob-{i}" for i in range(6)]
        self.labels: Any = [i % 3 for i in range(6)]

    def pixels(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (8, 9, 3), dtype=np.uint8)

    def mask(self, index: int) -> np.ndarray | None:
        return np.eye(8, 9, dtype=bool) if self.card.has_masks else None

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.ids[index], self.pixels(index), self.labels[index], self.mask(index))


def _with(**attributes: Any) -> Blobs:
    """Blobs of which one thing is another."""
    blobs = Blobs()
    vars(blobs).update(attributes)
    return blobs


def _masked(mask: Any, **said: Any) -> Blobs:
    blobs = Blobs(**said)
    vars(blobs)["mask"] = mask
    return blobs


class _Drawn(Blobs):
    def pixels(self, index: int) -> np.ndarray:
        return np.random.randint(0, 256, (8, 9, 3), np.uint8)  # noqa: NPY002  as people do it


class _OncePerOpening(_Drawn):
    """Draws when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = [super(_OncePerOpening, self).pixels(i) for i in range(6)]

    def pixels(self, index: int) -> np.ndarray:
        return self._drawn[index].copy()


class _Lent(Blobs):
    def __init__(self) -> None:
        super().__init__()
        self._kept = [super(_Lent, self).pixels(i) for i in range(6)]

    def pixels(self, index: int) -> np.ndarray:
        return self._kept[index]


class _OneAtATime(Blobs):
    """Has one place for what is read."""

    def __init__(self) -> None:
        super().__init__(concurrent=True)
        self._lock = threading.Lock()

    def pixels(self, index: int) -> np.ndarray:
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("busy")
        time.sleep(0.002)
        self._lock.release()
        return super().pixels(index)


class _Named(Blobs):
    def __getitem__(self, index: int) -> Sample:
        return replace(super().__getitem__(index), id="another")


class _Labelled(Blobs):
    def __getitem__(self, index: int) -> Sample:
        return replace(super().__getitem__(index), label=(self.labels[index] + 1) % 3)


def _breaks_off(index: int) -> np.ndarray:
    raise OSError("truncated")


PLANTED: dict[str, Any] = {
    "raises": lambda: 1 / 0,
    "no-labels": lambda: {"card": 1},
    "no-card": lambda: _with(card="blobs"),
    "fewer-labels": lambda: _with(labels=[0, 1, 2, 0, 1]),
    "same-ids": lambda: _with(ids=["same"] * 6),
    "numbers": lambda: _with(ids=[*range(6)]),
    "misnamed": _Named,
    "from-one": lambda: _with(labels=[1, 2, 3, 1, 2, 3]),
    "same-classes": lambda: _with(card=DatasetCard("blobs", ("a", "a", "c"), "1")),
    "mislabelled": _Labelled,
    "channels-first": lambda: _with(pixels=lambda index: np.zeros((3, 8, 9))),
    "in-bytes": lambda: _with(pixels=lambda index: np.full((8, 9, 3), 200.0, np.float32)),
    "breaks-off": lambda: _with(pixels=_breaks_off),
    "small-mask": lambda: _masked(lambda index: np.ones((4, 4), bool), has_masks=True),
    "no-evidence": lambda: _masked(lambda index: np.zeros((8, 9), bool), has_masks=True),
    "unsaid-masks": lambda: _masked(lambda index: np.ones((8, 9), bool)),
    "any-order": lambda: _with(ids=[f"blob-{(i + next(_calls)) % 97}" for i in range(6)]),
    "drawn": _OncePerOpening,
    "lent": _Lent,
    "one-at-a-time": _OneAtATime,
    "no-revision": lambda: _with(card=DatasetCard("blobs", ("a", "b", "c"), "")),
    "card-in-bytes": lambda: Blobs(mean=(124.0,) * 3, std=(58.0,) * 3),
}

with FAULTY.collecting():

    @dataset("undocumented", reference="none")
    def undocumented() -> Dataset:
        return Blobs()

    @dataset("misannotated", reference="none")
    def misannotated(*, count: int = None) -> Dataset:  # type: ignore[assignment]  # noqa: RUF013
        """Blobs."""
        return Blobs()

    @dataset("anywhere", reference="none")
    def anywhere(*, root: Path = Path()) -> Dataset:
        """Blobs."""
        return Blobs()

    @dataset("traceback", reference="none")
    def traceback(*, root: Path = Path()) -> Dataset:
        """Blobs."""
        if list(root.absolute().iterdir()):
            pass
        return Blobs()

    def _register(name: str, opened: Any) -> None:
        @dataset(name, reference="none")
        def planted() -> Dataset:
            """Blobs."""
            return opened()

    for name, opened in PLANTED.items():
        _register(name, opened)


class _Photographs(Blobs):
    """One of its files is damaged; one label is not known."""

    def __init__(self) -> None:
        super().__init__(has_masks=True, concurrent=True, mean=(0.5,) * 3, std=(0.2,) * 3)
        self.labels = [-1, 0, 1, 2, 0, 1]

    def pixels(self, index: int) -> np.ndarray:
        if index == 2:
            raise UnreadableImageError("blob-2: it is damaged")
        return super().pixels(index)


SOUND = Registry()
with SOUND.collecting():

    @dataset("photographs")
    def photographs(*, root: Path = Path()) -> Dataset:
        """Small images, of which one cannot be read."""
        if not root.is_dir():
            raise DataError(f"There is no folder {str(root)!r}. Give that of the photographs.")
        return _Photographs()
