r"""Distances between two weighted samples of one number.

With $F$ and $G$ the cumulative distributions of $x$ and $y$,

$$W_1 = \int |F(t) - G(t)| \, dt, \qquad D = \sup_t |F(t) - G(t)|, \qquad
  S = \frac{1}{2} \sum_b \frac{(p_b - q_b)^2}{p_b + q_b}$$

are the Wasserstein-1 (earth mover's) distance in the unit of the observable, the Kolmogorov-Smirnov distance and the
separation power (as the CaloChallenge defines it, arXiv:2410.21611), with $p, q$ the contents of bins that the reference fixes.

Weights may be negative (sWeights); they are normalised to one by their sum, which must be positive. $W_1$ and $D$ keep
their definitions with the signed cumulative sums: $W_1$ is then still $\sup_f \int f\,(dp - dq)$ over functions $f$ with
slope at most one, hence a distance. For $S$, bins with negative content are set to zero and the rest normalised again,
which keeps it between 0 and 1.

Weights of shape `(replicas, n)` give one distance per replica from a single sort, which is what makes bootstrap errors
cheap. NaN values are events for which the observable is not defined; they are left out. A distance to a sample without
any defined value is NaN.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from understudy.schema import Array
from understudy.validation.quantiles import weighted_quantiles


class Distance(Protocol):
    """A distance between two samples of one number; the first one is the reference."""

    def __call__(self, x: Array, y: Array, wx: Array | None = None, wy: Array | None = None) -> float | Array:
        """A float, or one value per replica where a weight has shape `(replicas, n)`."""
        ...


def wasserstein1(x: Array, y: Array, wx: Array | None = None, wy: Array | None = None) -> float | Array:
    """Wasserstein-1 distance in the unit of `x` and `y`.

    Args:
        x: reference values `(n,)`; NaN are left out.
        y: candidate values `(m,)`.
        wx: weights `(n,)` or `(replicas, n)`; may be negative.
        wy: weights `(m,)` or `(replicas, m)`.

    Raises:
        ValueError: infinite values, or weights of another shape or without a positive sum.
    """
    pooled, difference, replicas = _cumulative_difference(x, y, wx, wy)
    np.abs(difference, out=difference)
    return _answer(difference[:, :-1] @ np.diff(pooled), replicas)


def ks(x: Array, y: Array, wx: Array | None = None, wy: Array | None = None) -> float | Array:
    """Kolmogorov-Smirnov distance: the largest difference of the cumulative distributions. Arguments as `wasserstein1`."""
    pooled, difference, replicas = _cumulative_difference(x, y, wx, wy)
    np.abs(difference, out=difference)
    inside_ties = np.flatnonzero(np.diff(pooled) == 0)
    difference[:, inside_ties] = 0.0
    return _answer(difference.max(1), replicas)


def separation_power(
    x: Array, y: Array, wx: Array | None = None, wy: Array | None = None, bins: int | Array = 50
) -> float | Array:
    """Separation power, 0 for equal histograms and 1 for disjoint ones. Samples and weights as in `wasserstein1`.

    Args:
        x: reference values `(n,)`.
        y: candidate values `(m,)`.
        wx: reference weights.
        wy: candidate weights.
        bins: number of bins between the edges of `reference_edges` without weights, or the edges themselves. Values outside them
            are kept in an underflow and an overflow bin.
    """
    (x, wx, rx), (y, wy, ry) = _sample(x, wx, "x"), _sample(y, wy, "y")
    replicas = _replicas(rx, ry)
    if not len(x) or not len(y):
        return _answer(np.full(max(len(wx), len(wy)), np.nan), replicas)
    edges = reference_edges(x, int(bins)) if np.ndim(bins) == 0 else np.asarray(bins, float)
    p, q = _histogram(x, wx, edges), _histogram(y, wy, edges)
    both = p + q
    return _answer(0.5 * ((p - q) ** 2 / np.where(both > 0, both, 1.0)).sum(1), replicas)


def reference_edges(x: Array, bins: int = 50, tail: float = 1e-3, tails: bool = True, weights: Array | None = None) -> Array:
    """Edges of `bins` equal bins between the quantiles `tail` and `1 - tail` of the reference.

    Args:
        x: reference values `(n,)`; NaN are left out.
        bins: number of equal bins. A single far outlier does not stretch them.
        tail: fraction of the reference on either side of them.
        tails: add one bin on either side that reaches to the smallest and to the largest reference value, so that under-
            and overflow hold what the reference never has. False for drawing.
        weights: weights `(n,)` of the quantiles; may be negative. What a background alone fills is then under- or overflow.

    Raises:
        ValueError: the reference has no defined value.
    """
    defined = ~np.isnan(x)
    values = x[defined]
    if not len(values):
        raise ValueError("bins cannot be fixed by a reference without any defined value")
    lowest, highest = float(values.min()), float(values.max())
    low, high = np.quantile(values, [tail, 1.0 - tail])
    if weights is not None and np.ptp(weights) > 0:
        low, high = weighted_quantiles(values, (tail, 1.0 - tail), weights[defined])
    if not high > low:
        low, high = lowest, highest
    if high <= low:  # a constant
        half = 1e-6 * max(abs(lowest), 1.0)
        return np.array([lowest - half, lowest + half])
    edges = np.linspace(low, high, bins + 1)
    return np.unique([lowest, *edges, highest]) if tails else edges


def defined_fraction(x: Array, w: Array | None = None) -> float:
    """Weighted fraction of events for which an observable is defined (not NaN)."""
    weights = np.ones(len(x)) if w is None else np.asarray(w, float)
    return float(weights[~np.isnan(x)].sum() / weights.sum()) if len(x) else 0.0


def _sample(x: Array, w: Array | None, name: str) -> tuple[Array, Array, int | None]:
    """Defined values `(n,)`, their weights normalised to one `(replicas or 1, n)`, and the number of replicas."""
    x = np.asarray(x, np.float64)
    weights = np.ones(x.shape) if w is None else np.asarray(w, np.float64)
    if x.ndim != 1 or weights.ndim not in (1, 2) or weights.shape[-1] != len(x):
        raise ValueError(
            f"{name} has shape {x.shape} and weights {weights.shape}; one value and one weight per event are expected"
        )
    replicas = len(weights) if weights.ndim == 2 else None
    defined = ~np.isnan(x)
    if not np.isfinite(x[defined]).all():
        raise ValueError(f"{name} holds an infinite value; an observable that is not defined for an event is NaN")
    weights = np.atleast_2d(weights)
    if not defined.all():
        x, weights = x[defined], weights[:, defined]
    total = weights.sum(1, keepdims=True)
    if replicas is None and len(x) and total[0, 0] <= 0:
        raise ValueError(f"the weights of {name} sum to {total[0, 0]:g}; a distribution needs a positive sum")
    return x, np.divide(weights, total, out=np.full(weights.shape, np.nan), where=total > 0), replicas


def _replicas(rx: int | None, ry: int | None) -> int | None:
    if rx is not None and ry is not None and rx != ry:
        raise ValueError(f"x has {rx} replicas of its weights and y {ry}; the numbers must agree")
    return ry if rx is None else rx


def _cumulative_difference(x: Array, y: Array, wx: Array | None, wy: Array | None) -> tuple[Array, Array, int | None]:
    """Sorted pooled values `(k,)`, F - G just behind each of them `(replicas or 1, k)`, and the number of replicas."""
    (x, wx, rx), (y, wy, ry) = _sample(x, wx, "x"), _sample(y, wy, "y")
    replicas = _replicas(rx, ry)
    rows = max(len(wx), len(wy))
    if not len(x) or not len(y):
        return np.zeros(2), np.full((rows, 2), np.nan), replicas
    pooled = np.concatenate([x, y])
    order = np.argsort(pooled, kind="stable")
    steps = np.empty((rows, len(pooled)))
    steps[:, : len(x)], steps[:, len(x) :] = wx, -wy
    ordered = np.take(steps, order, axis=1, out=np.empty_like(steps), mode="clip")
    return pooled[order], np.cumsum(ordered, axis=1, out=steps), replicas


def _histogram(x: Array, w: Array, edges: Array) -> Array:
    """Normalised contents `(replicas, bins + 2)` with underflow and overflow; negative bins are set to zero first."""
    index = np.searchsorted(edges, x, side="right")
    index[x == edges[-1]] = len(edges) - 1
    counts = np.stack([np.bincount(index, row, len(edges) + 1) for row in w])
    contents: Array = np.clip(counts, 0.0, None)
    return np.asarray(contents / contents.sum(1, keepdims=True))


def _answer(values: Array, replicas: int | None) -> float | Array:
    return float(values[0]) if replicas is None else values
