r"""Empty cells as Gaussian variables below their threshold, drawn given all the other cells.

Behind conditional marginals a cell that is empty is only known to lie below a bound, $z_c < z^0_c$. Drawn independently there,
empty cells would dilute the correlation that faint cells have. So they are drawn given the others, one cell after the other,

$$z_c \mid z_{-c} \sim N\Big(z_c - \tfrac{(\Lambda z)_c}{\Lambda_{cc}},\; \Lambda_{cc}^{-1}\Big), \quad z_c < z^0_c, \qquad
  \Lambda = \Sigma^{-1},$$

a Gibbs sweep over a Gaussian copula with censored margins (P. Hoff, Ann. Appl. Stat. 1 (2007) 265). $\Sigma$ is found again
after every sweep of the fit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.transforms.covariance import shrunk_covariance, standardised

ROWS = 512
"""Events whose cells are drawn together; they fit a processor's cache."""
LOWEST = 1e-14
"""The least probability that a bound is given: about 7.6 standard deviations below the mean."""


def below(bound: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers below `bound`, of its shape and type."""
    chance = torch.special.ndtr(bound.double())
    uniform = torch.rand(bound.shape, generator=generator, dtype=torch.float64)
    found: Tensor = torch.special.ndtri((uniform * chance).clamp(min=LOWEST))
    return found.to(bound.dtype)


def precision_of(z: Tensor, weights: Tensor | None) -> Tensor:
    """$\\Lambda$ `(d, d)` float32 of the columns of `z` `(n, d)`, which have mean 0 and spread 1 but for their fluctuations."""
    covariance, _ = shrunk_covariance(standardised(z, weights)[0], weights)
    inverse: Tensor = torch.linalg.inv(covariance)
    return inverse.to(torch.float32)


def sweep(z: Tensor, bound: Tensor, empty: Tensor, precision: Tensor, generator: torch.Generator) -> Tensor:
    """`z` `(n, d)` with the `empty` cells drawn anew below `bound`, each once, given all others.

    Args:
        z: normal scores `(n, d)`.
        bound: $z^0$, `(n, d)`.
        empty: which cells are only known to lie below their bound, `(n, d)`.
        precision: $\\Lambda$ `(d, d)`.
        generator: draws them.
    """
    found = torch.empty_like(z)
    spread = precision.diagonal().rsqrt()
    for start in range(0, len(z), ROWS):
        rows = slice(start, start + ROWS)
        cells, bounds, free = z[rows].T.contiguous(), bound[rows].T.contiguous(), empty[rows].T.contiguous()
        pull = precision @ cells
        for c in torch.nonzero(free.any(1)).squeeze(1).tolist():
            here = free[c].nonzero().squeeze(1)
            mean = cells[c, here] - pull[c, here] * spread[c] ** 2
            drawn = mean + spread[c] * below((bounds[c, here] - mean) / spread[c], generator)
            change = torch.zeros_like(cells[c]).index_copy_(0, here, drawn - cells[c, here])
            cells[c] += change
            pull.addr_(precision[:, c], change)
        found[rows] = cells.T
    return torch.where(empty, torch.minimum(found, bound), z)
