"""One seed per purpose: every random number of a run comes from the recipe's seed, and no step disturbs another's."""

from __future__ import annotations

import zlib

import numpy as np


def sequence(seed: int, *purpose: str | int) -> np.random.SeedSequence:
    """The seed sequence of a purpose, e.g. `sequence(7, "split")` or `sequence(7, "samples", chunk)`."""
    words = [p if isinstance(p, int) else zlib.crc32(p.encode()) for p in purpose]
    return np.random.SeedSequence([seed, *words])


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator of its own for a purpose."""
    return np.random.default_rng(sequence(seed, *purpose))


def integer(seed: int, *purpose: str | int) -> int:
    """A 63-bit integer for a purpose, for libraries that want one."""
    return int(sequence(seed, *purpose).generate_state(1, np.uint64)[0] >> np.uint64(1))
