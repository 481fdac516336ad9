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


def sample(length: int, size: int, seed: int) -> np.ndarray:
    """`size` different numbers of 0..length-1, int64 [size], in no order; from Philox likewise."""
    bits = np.random.Philox(key=seed).random_raw(length)
    return np.argpartition(bits, size)[:size] if size < length else np.arange(length)


def shuffled(names: Sequence[str], seed: int) -> list[int]:
    """The indices of `names` in a random order, which depends only on the names and the seed."""
    return sorted(range(len(names)), key=lambda i: (derive(seed, names[i]), names[i]))
