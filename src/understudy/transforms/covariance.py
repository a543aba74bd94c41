r"""The covariance of many columns, shrunk as far as the number of events asks for.

With $S$ the weighted covariance of $d$ standardised columns, $I$ the identity and $n$ the effective number of events,

$$\Sigma = \frac{n S + d I}{n + d}, \qquad n = \frac{(\sum_i w_i)^2}{\sum_i w_i^2},$$

as if $d$ further events had been seen whose columns are independent (the mean under an inverse-Wishart prior; C.-F. Chen,
J. R. Stat. Soc. B 41 (1979) 235). With many events the sample speaks alone; with fewer events than columns $S$ is singular, and
$\Sigma$ is not. The shrinkage of least squared error over all elements (Ledoit and Wolf 2004) is much stronger where most
columns are independent, and takes the few strong correlations with the many that are none.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from understudy.transforms.moments import mean_and_scale

TOLD = 0.3
"""Shrinkage from which on the user hears of it."""
BLOCKS = 4
"""Of columns, in a product with a triangular matrix."""
FEWEST_COLUMNS = 64
"""In a block."""


def standardised(values: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of mean 0 and spread 1 `(n, d)`, their means and their spreads `(d,)`, all float64; 1 without any spread."""
    mean, scale = mean_and_scale(values, weights)
    return (values.double() - mean) / scale, mean, scale


def shrunk_covariance(values: Tensor, weights: Tensor | None = None) -> tuple[Tensor, float]:
    """$\\Sigma$ `(d, d)` of columns that are standardised already, float64, and the part of it that is the identity.

    Args:
        values: `(n, d)`.
        weights: optional `(n,)`, may be negative; must sum to more than zero.
    """
    n, d = values.shape
    x = values.double()
    w = torch.ones(n, dtype=torch.float64, device=x.device) if weights is None else weights.to(x)
    total = w.sum()
    sample = (x * w[:, None]).T @ x / total
    spread = sample.diagonal()
    identity = torch.eye(d, dtype=torch.float64, device=x.device)
    sample = sample + torch.diag((spread <= 0).to(sample) * (1 - spread))  # a column that never varies
    effective = float(total.square() / w.square().sum())
    shrinkage = d / (effective + d)
    return (1 - shrinkage) * sample + shrinkage * identity, shrinkage


def root(values: Tensor, weights: Tensor | None, who: str) -> Tensor:
    """$L$ with $L L^T = \\Sigma$, lower triangular `(d, d)` float64, of standardised columns `(n, d)`.

    Warns where there are fewer events than columns, or where much had to be shrunk. Signed weights may leave directions of
    negative variance: more is then shrunk until there are none.

    Raises:
        ValueError: no covariance could be found.
    """
    covariance, shrinkage = shrunk_covariance(values, weights)
    n, d = values.shape
    if n <= d or shrinkage > TOLD:
        told = (
            f"{who}: {n} events for {d} columns; their covariance was shrunk by {shrinkage:.2g} towards independent columns,"
            " and more events would tell more of it"
        )
        warnings.warn(told, stacklevel=3)
    return factor(covariance, who, n)


def factor(covariance: Tensor, who: str, n: int) -> Tensor:
    """$L$ with $L L^T$ the covariance `(d, d)`, float64, of `n` events; shrunk as far as it has directions of negative variance.

    Raises:
        ValueError: it is not finite, or cannot be shrunk enough.
    """
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    for more in (0.0, 1e-3, 1e-2, 0.1, 0.5):
        found: Tensor
        found, failed = torch.linalg.cholesky_ex((1 - more) * covariance + more * identity)
        if not int(failed) and bool(found.isfinite().all()):
            return found
    raise ValueError(f"{who}: no covariance can be found from these {n} events; their weights cancel or values are not finite")


def times_lower(x: Tensor, lower: Tensor) -> Tensor:
    """$x L^T$ for a lower triangular $L$, in blocks that leave out most of its zeros; `(n, d)`."""
    d = len(lower)
    step = max(FEWEST_COLUMNS, -(-d // BLOCKS))
    if step >= d:
        return x @ lower.T
    blocks = ((start, min(start + step, d)) for start in range(0, d, step))
    return torch.cat([x[:, :stop] @ lower[start:stop, :stop].T for start, stop in blocks], 1)
