"""Which part of each map can differ once a window of the image has changed.

As intervals along one axis at a time.

Windows are grouped so that those of a group share the size of their boxes on every map, and run as
one batch. A box may be larger than what changed: what it computes there equals what is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Spans = np.ndarray  # int64 [U,2]: first position, and the one after the last


@dataclass(frozen=True)
class Reach:
    """What a layer reads along one axis.

    Output i reads the inputs i·stride - padding + j·dilation for j < kernel.
    """

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """From the first input that an output reads to the last, both counted."""
        return (self.kernel - 1) * self.dilation + 1

    def touched(self, spans: Spans, size: int) -> Spans:
        """The outputs, of `size`, that read any position of the spans.

        At least one, since one can always be computed.
        """
        start = -((self.extent - 1 - self.padding - spans[:, 0]) // self.stride)
        stop = (spans[:, 1] - 1 + self.padding) // self.stride + 1
        start = start.clip(0, size - 1)
        return np.stack([start, stop.clip(start + 1, size)], axis=1)

    def read(self, start: np.ndarray, length: int) -> tuple[np.ndarray, int]:
        """Start and length of what `length` outputs from `start` on read.

        It may lie outside of the map.
        """
        return start * self.stride - self.padding, (length - 1) * self.stride + self.extent


ITSELF = Reach()


def hull(spans: Sequence[Spans]) -> Spans:
    """The shortest spans that hold all of the given ones."""
    starts, stops = (np.stack([s[:, end] for s in spans]) for end in (0, 1))
    return np.stack([starts.min(0), stops.max(0)], axis=1)


@dataclass(frozen=True)
class Axis:
    """Boxes along one axis.

    Attributes:
        kind: int64 [U], the class of each span of the image; those of a class share their lengths.
        starts: map -> int64 [U], where its box begins.
        lengths: map -> int64 [K], for each class.
    """

    kind: np.ndarray
    starts: Mapping[str, np.ndarray]
    lengths: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, spans: Mapping[str, Spans], sizes: Mapping[str, int], kind: np.ndarray) -> "Axis":
        """Boxes as long as the longest span of their class.

        They are moved into the map where they would reach beyond it.

        Parameters:
            spans: map -> the spans on it.
            sizes: map -> how many positions it has.
            kind: int64 [U], the class of each span.
        """
        lengths, starts = {}, {}
        for name, on_map in spans.items():
            longest = np.zeros(kind.max() + 1, dtype=np.int64)
            np.maximum.at(longest, kind, on_map[:, 1] - on_map[:, 0])
            lengths[name] = longest
            starts[name] = np.minimum(on_map[:, 0], sizes[name] - longest[kind])
        return cls(kind, starts, lengths)

    def box(self, name: str, number: np.ndarray) -> tuple[np.ndarray, int]:
        """Start and length on a map of the boxes of these spans, which are of one class."""
        return self.starts[name][number], int(self.lengths[name][self.kind[number[0]]])


def alike(lengths: np.ndarray) -> np.ndarray:
    """Classes of spans that have the same lengths on all maps: [maps,U] -> int64 [U]."""
    _, kind = np.unique(lengths, axis=1, return_inverse=True)
    return kind.reshape(-1)


def merged(
    lengths: np.ndarray, counts: np.ndarray, weight: np.ndarray, overhead: float
) -> np.ndarray:
    """Classes of spans that are worth running together: greedily, from those that are alike.

    Two classes become one where the positions that are computed in vain cost less than a batch of
    its own.

    Parameters:
        lengths: int64 [maps,U].
        counts: int64 [U], windows that have the span.
        weight: float [maps], cost of one position of length, for a window.
        overhead: of a class.

    Returns:
        int64 [U].
    """
    kind = alike(lengths)
    while (classes := kind.max() + 1) > 1:
        members = [kind == number for number in range(classes)]
        longest = np.stack([lengths[:, spans].max(1) for spans in members])
        windows = np.array([counts[spans].sum() for spans in members])
        both = np.maximum(longest[:, None], longest[None])
        in_vain = (
            (both - longest[:, None]) * windows[:, None, None]
            + (both - longest[None]) * windows[None, :, None]
        ) @ weight
        in_vain[np.tril_indices(classes)] = np.inf
        first, second = np.unravel_index(in_vain.argmin(), in_vain.shape)
        if in_vain[first, second] >= overhead:
            break
        kind = np.where(kind == second, first, kind)
        kind = np.unique(kind, return_inverse=True)[1].reshape(-1)
    return kind


def distinct(spans: Spans) -> tuple[Spans, np.ndarray]:
    """Each span once, int64 [U,2]; and for every given one its number, int64 [N]."""
    different, number = np.unique(spans, axis=0, return_inverse=True)
    return different, number.reshape(-1)
