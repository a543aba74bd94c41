"""Statistical error and noise floor of a distance between two samples.

The error is the spread of the distance over bootstrap replicas (Efron 1979): events drawn again with replacement, as
integer multiplicities on top of their weights. The replicas' mean is biased upwards and is not used. The floor is the
distance that the reference has to itself: between two disjoint reference samples of exactly the candidate's sizes. A
distance says something only where it exceeds its floor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from understudy.schema import Array
from understudy.validation.distances import Distance

CHUNK = 2_000_000
"""Numbers per block of replicas; bounds the memory."""


class Estimate(NamedTuple):
    """A value and its error (one standard deviation)."""

    value: float
    error: float


def multiplicities(n: int, replicas: int, generator: np.random.Generator) -> Array:
    """How often each of `n` events is in each bootstrap replica, `(replicas, n)`; every row sums to `n`."""
    drawn = generator.integers(0, n, (replicas, n)) + n * np.arange(replicas)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * replicas).reshape(replicas, n)


def with_uncertainty(
    distance: Distance,
    x: Array,
    y: Array,
    generator: np.random.Generator,
    replicas: int = 100,
    wx: Array | None = None,
    wy: Array | None = None,
    paired: bool = False,
) -> Estimate:
    """A distance with its bootstrap error.

    Args:
        distance: such as `wasserstein1`; `functools.partial(separation_power, bins=edges)` keeps the reference's bins.
        x: reference values `(n,)`; NaN are left out.
        y: candidate values `(m,)`.
        generator: draws the replicas.
        replicas: number of replicas.
        wx: weights `(n,)`.
        wy: weights `(m,)`.
        paired: the events of x and y belong to the same conditions, row by row, and are drawn together.

    Raises:
        ValueError: fewer than two replicas, or paired samples of different lengths.
    """
    if replicas < 2:
        raise ValueError(f"{replicas} bootstrap replicas give no error; ask for at least 2")
    if paired and len(x) != len(y):
        raise ValueError(f"paired samples must have equal lengths, not {len(x)} and {len(y)}")
    value = float(distance(x, y, wx, wy))
    if np.isnan(value):
        return Estimate(value, np.nan)
    wx, wy = np.ones(len(x)) if wx is None else wx, np.ones(len(y)) if wy is None else wy
    values = []
    for rows in _blocks(replicas, len(x) + len(y)):
        mx = multiplicities(len(x), rows, generator)
        my = mx if paired else multiplicities(len(y), rows, generator)
        values.append(np.asarray(distance(x, y, wx * mx, wy * my)))
    return Estimate(value, _spread(np.concatenate(values)))


def floor(
    distance: Distance,
    reference: Array,
    sizes: tuple[int, int],
    generator: np.random.Generator,
    repeats: int = 10,
    weights: Array | None = None,
) -> Estimate:
    """The distance between two disjoint random samples of the reference: mean and spread over `repeats` draws.

    Args:
        distance: as in `with_uncertainty`.
        reference: values `(n,)`; NaN count as events and are left out by the distance.
        sizes: events in the two samples, as in the comparison with the candidate.
        generator: draws the samples.
        repeats: how often the reference is divided anew. The draws share events, so that the spread is that of one draw
            and not an error of the mean.
        weights: weights `(n,)`.

    Raises:
        ValueError: the reference is smaller than the two samples together.
    """
    first, second = sizes
    n = len(reference)
    if min(sizes) < 1 or first + second > n:
        raise ValueError(f"two disjoint samples of {first} and {second} events cannot be drawn from {n} reference events")
    weights = np.ones(n) if weights is None else np.asarray(weights, float)
    values = []
    for _ in range(repeats):
        order = generator.permutation(n)
        a, b = order[:first], order[first : first + second]
        values.append(float(distance(reference[a], reference[b], weights[a], weights[b])))
    return Estimate(float(np.mean(values)), _spread(np.asarray(values)) if repeats > 1 else np.nan)


def _blocks(replicas: int, events: int) -> list[int]:
    """Replicas cut into blocks of at most `CHUNK` numbers."""
    size = max(1, CHUNK // max(events, 1))
    return [min(size, replicas - start) for start in range(0, replicas, size)]


def _spread(values: Array) -> float:
    """Standard deviation of the defined values; NaN where fewer than two are."""
    defined = values[~np.isnan(values)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")
