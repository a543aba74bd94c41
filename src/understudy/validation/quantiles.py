r"""Quantiles of a weighted sample whose weights may be negative.

The cumulative distribution $F_k = \sum_{j \le k} w_j / \sum_j w_j$ of sorted values falls wherever a weight is negative. It
is made monotone by the mean of its two envelopes,

$$\bar F_k = \tfrac12 \big( \max_{j \le k} F_j + \min_{j \ge k} F_j \big),$$

which is $F$ itself for weights that are not negative. The upper envelope alone would reach every level too early, by about the
statistical error of $F$, and the lower one too late; their mean does neither. The quantile $q$ is the first value with
$\bar F \ge q$.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from understudy.schema import Array


def monotone(cumulative: Array) -> Array:
    """The mean of the envelopes of cumulative sums `(..., n)` along the last axis, never falling."""
    up = np.maximum.accumulate(cumulative, axis=-1)
    down = np.flip(np.minimum.accumulate(np.flip(cumulative, -1), axis=-1), -1)
    return np.asarray(0.5 * (up + down))


def weighted_quantiles(values: Array, levels: Sequence[float] | Array, weights: Array | None = None) -> Array:
    """Quantiles of a sample, or of its replicas.

    Args:
        values: `(n,)`, none of them NaN.
        levels: probabilities `(k,)`.
        weights: `(n,)` or `(replicas, n)`; may be negative. 1 for all if None.

    Returns:
        `(k,)`, or `(replicas, k)`; NaN where weights do not sum to more than zero.

    Raises:
        ValueError: no values.
    """
    if not len(values):
        raise ValueError("a sample without values has no quantiles; give at least one event")
    w = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(values, kind="stable")
    v, rows = np.asarray(values)[order], np.atleast_2d(w)[:, order]
    total = rows.sum(1, keepdims=True)
    reached = monotone(np.cumsum(rows, axis=1))
    found = np.full((len(rows), len(levels)), np.nan)
    valid = total[:, 0] > 0
    for k, q in enumerate(levels):
        found[valid, k] = v[(reached[valid] >= (q - 1e-12) * total[valid]).argmax(1)]
    return found[0] if w.ndim == 1 else found
