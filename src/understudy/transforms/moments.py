r"""Mean and spread of a weighted sample.

With weights $w_i$, which may be negative (sWeights, Pivk and Le Diberder, physics/0402083, that subtract a background),
$\mu = \sum w x / \sum w$ and $\sigma^2 = \sum w (x - \mu)^2 / \sum w$, computed in double precision.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOAT32_RESOLUTION = 2.0**-23
COLUMNS_AT_ONCE = 256
"""Columns taken to double precision at a time, which bounds the memory."""


def mean_and_variance(values: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and variance of each column, both float64 `(d,)`.

    Where signed weights leave a column with a variance that is not positive, too few events tell its spread, and the
    absolute weights are taken for it.

    Args:
        values: `(n, d)`.
        weights: optional `(n,)`, may be negative; must sum to more than zero.
    """
    w = torch.ones(len(values), device=values.device) if weights is None else weights
    w = w.to(values.device, torch.float64)
    moments = [_mean_and_variance(block.double(), w) for block in torch.split(values, COLUMNS_AT_ONCE, 1)]
    return torch.cat([m for m, _ in moments]), torch.cat([v for _, v in moments])


def _mean_and_variance(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    mean = w @ x / w.sum()
    squares = (x - mean) ** 2
    variance = w @ squares / w.sum()
    return mean, torch.where(variance > 0, variance, w.abs() @ squares / w.abs().sum())


def mean_and_scale(values: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, both float64 `(d,)`, fit to standardise with.

    A column without spread (or with one below the resolution of float32) gets the scale 1, so that it standardises to 0.
    """
    return usable(*mean_and_variance(values, weights))


def usable(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, the latter 1 where there is no spread beyond the resolution of float32."""
    scale = variance.sqrt()
    return mean, torch.where(scale > FLOAT32_RESOLUTION * mean.abs(), scale, torch.ones_like(scale))
