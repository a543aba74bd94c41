r"""Empty cells as Gaussian variables below their threshold, drawn given all the other cells.

Behind conditional marginals a cell that is empty is only known to lie below a bound, $z_c < z^0_c$. Drawn independently there,
empty cells would dilute the correlation that faint cells have. So they are drawn given the others, one cell after the other,

$$z_c \mid z_{-c} \sim N\Big(z_c - \tfrac{(\Lambda z)_c}{\Lambda_{cc}},\; \Lambda_{cc}^{-1}\Big), \quad z_c < z^0_c, \qquad
  \Lambda = \Sigma^{-1},$$

a Gibbs sweep over a Gaussian copula with censored margins (P. Hoff, Ann. Appl. Stat. 1 (2007) 265). $\Sigma$ is found again
after every sweep of the fit. The random numbers of an event follow from the event itself by a hash (the finaliser of SplitMix64,
G. Steele et al., OOPSLA 2014), so that an event has the same scores in whatever
company it comes, unless its like comes before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from understudy.transforms.covariance import factor, shrunk_covariance, standardised

ROWS = 512
"""Events whose cells are drawn together; they fit a processor's cache."""
LOWEST = 1e-300
"""The least probability that a bound is given: about 37 standard deviations below the mean."""
GOLDEN = -0x61C8864680B583EB
MIXERS = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))


@dataclass(frozen=True)
class Draws:
    """Uniform random numbers of events.

    Args:
        keys: of the events, int64 `(n,)`.
    """

    keys: Tensor

    @classmethod
    def of(cls, events: Tensor, seed: int) -> Draws:
        """Those of `events` `(n, d)`, each by its own numbers in float32, the seed, and how many of its like come before."""
        bits = (events.detach().to(torch.float32) + 0.0).contiguous().view(torch.int32).long()
        keys = _mixed(bits + _counted(bits.shape[1], 1, bits.device)).sum(1) + seed
        return cls(_mixed(_mixed(keys) + _repeats(keys) * GOLDEN))

    def __call__(self, rows: slice, columns: int, turn: int) -> Tensor:
        """Between 0 and 1, float64 `(rows, columns)`; other ones in every turn."""
        keys = self.keys[rows, None] + _counted(columns, turn * columns + 1, self.keys.device)
        return (_shifted(_mixed(keys), 11).double() + 0.5) * 2.0**-53


def _repeats(keys: Tensor) -> Tensor:
    """How many equal numbers come before each one, `(n,)`."""
    order = keys.argsort(stable=True)
    number, ordered = torch.arange(len(keys), device=keys.device), keys[order]
    first = torch.cat([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]])
    return torch.empty_like(keys).index_copy_(0, order, number - torch.where(first, number, 0).cummax(0).values)


def _counted(columns: int, first: int, device: torch.device) -> Tensor:
    return torch.arange(first, first + columns, device=device) * GOLDEN


def _mixed(x: Tensor) -> Tensor:
    """Every bit of int64 numbers made to depend on all of them."""
    for shift, odd in MIXERS:
        x = (x ^ _shifted(x, shift)) * odd
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shifted right as numbers without a sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def below(bound: Tensor, uniform: Tensor) -> Tensor:
    """Standard normal numbers below `bound`, of its shape and type, at the quantiles `uniform` of what lies below."""
    chance = ndtr(bound.double().cpu().numpy())  # torch's own functions lose the tails
    found = torch.from_numpy(ndtri(np.maximum(uniform.cpu().numpy() * chance, LOWEST)))
    return torch.minimum(found.to(bound), bound)


def precision_of(z: Tensor, weights: Tensor | None) -> Tensor:
    """$\\Lambda$ `(d, d)` float32 of the columns of `z` `(n, d)`, which have mean 0 and spread 1 but for their fluctuations.

    Raises:
        ValueError: signed weights leave no covariance.
    """
    covariance, _ = shrunk_covariance(standardised(z, weights)[0], weights)
    inverse: Tensor = torch.cholesky_inverse(factor(covariance, "conditional-marginals", len(z)))
    return inverse.to(torch.float32)


def sweep(
    z: Tensor,
    bound: Tensor,
    empty: Tensor,
    precision: Tensor,
    draws: Draws,
    turn: int,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """`z` `(n, d)` with the `empty` cells drawn anew below `bound`, each once, given all others.

    Args:
        z: normal scores `(n, d)`.
        bound: $z^0$, `(n, d)`.
        empty: which cells are only known to lie below their bound, `(n, d)`.
        precision: $\\Lambda$ `(d, d)`.
        draws: random numbers of the events.
        turn: which of them.
        progress: told the part that is done, 0 to 1.
    """
    found = torch.empty_like(z)
    spread = precision.diagonal().rsqrt()
    for start in range(0, len(z), ROWS):
        rows = slice(start, start + ROWS)
        cells, bounds, free = z[rows].T.contiguous(), bound[rows].T.contiguous(), empty[rows].T.contiguous()
        uniform = draws(rows, z.shape[1], turn).T.contiguous()
        pull = precision @ cells
        for c in torch.nonzero(free.any(1)).squeeze(1).tolist():
            here = free[c].nonzero().squeeze(1)
            mean = cells[c, here] - pull[c, here] * spread[c] ** 2
            drawn = mean + spread[c] * below((bounds[c, here] - mean) / spread[c], uniform[c, here])
            change = torch.zeros_like(cells[c]).index_copy_(0, here, drawn - cells[c, here])
            cells[c] += change
            pull.addr_(precision[:, c], change)
        found[rows] = cells.T
        if progress is not None:
            progress(min(1.0, (start + ROWS) / len(z)))
    return torch.where(empty, torch.minimum(found, bound), z)
