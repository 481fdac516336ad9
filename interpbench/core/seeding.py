"""Every random choice comes from the run's seed and the name of the thing it is for.

Never from what ran before.
"""

import hashlib
from collections.abc import Sequence

import numpy as np


def derive(seed: int, *names: object) -> int:
    """A seed in 0..2^63-1 for the thing called `names`, the same on every machine."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def permutation(length: int, seed: int) -> np.ndarray:
    """A random order of 0..length-1, int64 [length].

    Made from Philox's raw bits, which numpy promises never to change, unlike
    `Generator.permutation`.
    """
    bits = np.random.Philox(key=seed).random_raw(length)
    return np.argsort(bits, kind="stable")


def subsets(length: int, size: int, count: int, seed: int) -> np.ndarray:
    """`count` sets of `size` different numbers of 0..length-1 each, bool [count,length].

    Numbers are drawn, from Philox likewise, until each set has its size; one that is there already
    changes nothing, so that all sets are equally likely.
    """
    if 2 * size > length:
        return ~subsets(length, length - size, count, seed)
    source = np.random.Philox(key=seed)
    chosen = np.zeros((count, length), dtype=bool)
    while (missing := size - np.array([np.count_nonzero(row) for row in chosen])).any():
        drawn = source.random_raw(int(missing.sum())) >> np.uint64(32)
        drawn = drawn * np.uint64(length) >> np.uint64(32)  # from 0..2^32-1 to 0..length-1
        chosen[np.repeat(np.arange(count), missing), drawn.astype(np.int64)] = True
    return chosen


def shuffled(names: Sequence[str], seed: int) -> list[int]:
    """The indices of `names` in a random order, which depends only on the names and the seed."""
    return sorted(range(len(names)), key=lambda i: (derive(seed, names[i]), names[i]))
