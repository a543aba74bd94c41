r"""Normal scores of each column: $y = \Phi^{-1}(\bar F(x))$ with $\bar F$ the weighted cumulative distribution.

Weights may be negative; $\bar F$ is then the monotone mean of the envelopes of the signed cumulative sums, as for all quantiles
(`validation/quantiles.py` has the reasons). Of it the map keeps knots $(x_k, y_k)$, evenly spaced in $y$ as far out as ten
events reach, and is linear between and beyond them. It is strictly increasing, hence invertible; a value that many
events share (an atom) becomes one score in the middle of its own, and comes back as itself. The conditions have no part in it.

The knots' scores being evenly spaced, the inverse finds its piece by a division. The way there is a sum of ramps with slopes
$s_k$ from the middle knot $m$ on, $y = y_m + \sum_{k \ge m} s_k\, \mathrm{clamp}(x - x_k, 0, x_{k+1} - x_k) + \sum_{k < m} s_k\,
\mathrm{clamp}(x - x_{k+1}, x_k - x_{k+1}, 0)$.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from scipy import stats
from torch import Tensor

from understudy.registry import register
from understudy.schema import Array
from understudy.transforms.base import Tensors, Transform

EVENTS_BEYOND = 10
"""Effective events beyond the outermost knots."""
FARTHEST = 5.0
"""The outermost knots lie at this score at most."""
LEAST = 1e-7
"""Distance of two knots, relative to the range of all, that is kept at least, within an atom too."""


@register("transforms", "quantile")
class Quantile(Transform):
    """Columns `(n, d)` to standard normal ones `(n, d)`; a column without spread becomes 0.

    Args:
        knots: of each column; more follow narrower structures and are slower.
    """

    x: Tensor
    y: Tensor

    def __init__(self, knots: Annotated[int, Field(ge=4, le=2000)] = 64) -> None:
        super().__init__()
        self.knots = knots
        self.register_buffer("x", torch.empty(0, dtype=torch.float64))
        self.register_buffer("y", torch.empty(0, dtype=torch.float64))

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        if bool((~response.isfinite()).any()):
            raise ValueError("quantile: the response holds NaN or infinity; leave these events out")
        w = np.ones(len(response)) if weights is None else weights.double().cpu().numpy()
        found = [knots_of(column, w, self.knots) for column in response.double().cpu().numpy().T]
        self._keep(x=torch.tensor(np.stack([x for x, _ in found])), y=torch.tensor(np.stack([y for _, y in found])))

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        return ramps(response, self.x, self.y)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        return interpolated(response, self.y, self.x)


def interpolated(scores: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The piecewise linear map through knots `(d, k)` from evenly spaced `y` to `x`, of scores `(n, d)`; linear beyond them."""
    last = y.shape[1] - 2
    step = (y[:, -1] - y[:, 0]) / (last + 1)
    place = (scores - y[:, 0].to(scores.dtype)) * (1 / step).to(scores.dtype)
    piece = place.floor().clamp(0, last)
    row = piece.long() + torch.arange(len(y), device=scores.device) * y.shape[1]
    knots = x.to(scores.dtype).flatten()
    low = knots[row]
    return low + (place - piece) * (knots[row + 1] - low)


def ramps(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The increasing piecewise linear map through knots `(d, k)` from `x` to `y`, of values `(n, d)`; linear beyond them."""
    middle = x.shape[1] // 2
    steps, slopes = x[:, 1:] - x[:, :-1], (y[:, 1:] - y[:, :-1]) / (x[:, 1:] - x[:, :-1])
    ends = torch.full_like(steps[:, :1], torch.inf)
    below, above = torch.zeros_like(steps[:, :middle]), torch.zeros_like(steps[:, middle:])
    low = torch.cat([-ends, -steps[:, 1:middle], above], 1).to(values.dtype)
    high = torch.cat([below, steps[:, middle:-1], ends], 1).to(values.dtype)
    start = torch.cat([x[:, 1 : middle + 1], x[:, middle:-1]], 1).to(values.dtype)
    within = torch.minimum(torch.maximum(values.unsqueeze(2) - start, low), high)
    return y[:, middle].to(values.dtype) + (within * slopes.to(values.dtype)).sum(2)


def knots_of(values: Array, weights: Array, count: int) -> tuple[Array, Array]:
    """Knots $x_k$ and $y_k$, `(count,)` each and strictly increasing, of one column.

    Args:
        values: `(n,)`.
        weights: `(n,)`, may be negative; must sum to more than zero.
        count: number of knots.
    """
    different, place = np.unique(values, return_inverse=True)
    if len(different) < 2:
        around = np.arange(count) - count // 2
        return (different[0] if len(different) else 0.0) + around, around.astype(float)
    effective = weights.sum() ** 2 / (weights @ weights)
    reach = float(np.clip(-stats.norm.ppf(EVENTS_BEYOND / max(effective, 3 * EVENTS_BEYOND)), 0.4, FARTHEST))
    scores = np.linspace(-reach, reach, count)
    each = np.bincount(place, weights, len(different))
    passed = np.cumsum(each)
    envelope = 0.5 * (np.maximum.accumulate(passed) + np.minimum.accumulate(passed[::-1])[::-1])
    middle = np.clip((envelope - 0.5 * np.diff(envelope, prepend=0.0).clip(0.0)) / passed[-1], 0.0, 1.0)
    level, first = np.unique(middle, return_index=True)
    last = len(middle) - 1 - np.unique(middle[::-1], return_index=True)[1]
    x = np.interp(stats.norm.cdf(scores), level, 0.5 * (different[first] + different[last]))
    step = LEAST * np.ptp(different)
    x = np.maximum.accumulate(x - step * np.arange(count)) + step * np.arange(count)  # steps of at least that
    return x, scores
