r"""The maximum-entropy tilt: cells that have given moments, and are otherwise as they were.

Among all cells $x'_c \ge 0$ with $\sum_c x'_c \phi_c = E\, t$ and $\sum_c x'_c = E$, those nearest to $x_c$ in relative entropy
$\sum_c x'_c \ln (x'_c / x_c)$ are

$$x'_c = E\, \frac{x_c\, e^{\lambda \cdot \phi_c}}{\sum_j x_j\, e^{\lambda \cdot \phi_j}}, \qquad
  \lambda = \arg\min_\lambda\; \ln \sum_c x_c\, e^{\lambda \cdot (\phi_c - t)}$$

(Jaynes 1957, Phys. Rev. 106, 620; Csiszar 1975, Ann. Probab. 3, 146). Empty cells stay empty. The minimum is found by Newton's
method: the gradient is $\langle\phi\rangle - t$ and the Hessian the covariance of $\phi$ under the tilted cells. To the function
is added $\epsilon \sum_k \mathrm{Var}(\phi_k)\, \lambda_k^2 / 2$, and no step changes a cell by more than a fixed factor: so
moments which no tilt can reach (a barycentre outside the cells that are hit) are approached, nothing diverges, and rounding
stays rounding. Steps are a fixed number, which is exported.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 3
"""Newton's steps: each squares the relative error once it is small."""
DAMPING = 1e-6
"""Added to the Hessian's diagonal, relative to it."""
TINY = 1e-6
"""Added to the diagonal as well, well above rounding: where cells in one row are hit, nothing moves them across."""
LONGEST = 2.0
"""A step changes the logarithm of no cell by more."""
LARGEST = 6.0
"""A cell's energy is changed by a factor of exp of this at most."""
HOLD = 1e-4
"""$\\epsilon$: of what is asked for, about as much is left out where it is in reach."""
MORE = 2
"""Hit cells that there must be besides one for each moment; with fewer, cells stay as they are."""


@dataclass(frozen=True)
class Basis:
    """The functions $\\phi$ of a grid: fixed ones, and others that differ from event to event.

    Args:
        fixed: `(c, p)`, the same in every event, in double precision: a width far from the origin is a small difference.
        pairs: products of any two of the fixed, `(c, q)`.
        index: which column of `pairs` is the product of two, `(p * p,)`.
        own: `(n, r, c)`, of each event, or None.
    """

    fixed: Tensor
    pairs: Tensor
    index: Tensor
    own: Tensor | None = None

    @classmethod
    def of(cls, fixed: Tensor, own: Tensor | None = None) -> Basis:
        """With the products computed."""
        return cls(fixed.double(), *products(fixed.double()), own)

    def means(self, cells: Tensor, total: Tensor) -> Tensor:
        """$\\sum_c x_c \\phi_c$ over `total` `(n, 1)`, `(n, p + r)`."""
        found = cells.double() @ self.fixed
        if self.own is not None:
            found = torch.cat([found, (self.own @ cells.unsqueeze(2)).squeeze(2).double()], 1)
        return found / total

    def exponent(self, multipliers: Tensor) -> Tensor:
        """$\\lambda \\cdot \\phi_c$, `(n, c)`."""
        p = self.fixed.shape[1]
        fixed, own = torch.split(multipliers, [p, multipliers.shape[1] - p], 1)
        found = fixed @ self.fixed.T
        if self.own is not None:
            found = found + (own.to(self.own.dtype).unsqueeze(1) @ self.own).squeeze(1)
        return found

    def moments(self, cells: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Means `(n, k)` and covariance `(n, k, k)` of $\\phi$ under the cells, in double precision."""
        p = self.fixed.shape[1]
        exact = cells.double() / total
        means = exact @ self.fixed
        squares = (exact @ self.pairs).index_select(1, self.index).reshape(-1, p, p)
        if self.own is not None:
            weighted = self.own * (cells / total).unsqueeze(1)
            means = torch.cat([means, weighted.sum(2).double()], 1)
            cross = (weighted @ self.fixed.to(cells.dtype)).double()
            corner = (weighted @ self.own.transpose(1, 2)).double()
            squares = torch.cat([torch.cat([squares, cross.transpose(1, 2)], 2), torch.cat([cross, corner], 2)], 1)
        return means, squares - means.unsqueeze(2) * means.unsqueeze(1)


def products(fixed: Tensor) -> tuple[Tensor, Tensor]:
    """Products of any two columns of `fixed` `(c, p)`, each once, and where that of columns i and j is, `(p * p,)`."""
    p = fixed.shape[1]
    first, second = torch.triu_indices(p, p)
    index = torch.zeros(p, p, dtype=torch.int64)
    index[first, second] = index[second, first] = torch.arange(len(first))
    return fixed[:, first] * fixed[:, second], index.reshape(-1)


def tilt(cells: Tensor, basis: Basis, targets: Tensor, steps: int = STEPS) -> Tensor:
    """Cells with the means `targets` of $\\phi$ and the same sum, or as near as a tilt comes.

    Args:
        cells: energies `(n, c)`, none below zero; events of zeros stay as they are.
        basis: $\\phi$.
        targets: $t$, `(n, k)`.
        steps: Newton's steps.

    Returns:
        `(n, c)`.
    """
    energy = cells.sum(1, keepdim=True)
    multipliers = torch.zeros_like(targets, dtype=torch.float64)
    exponent, hold, tilted, hit = torch.zeros_like(cells), multipliers, cells, cells > 0
    enough = hit.sum(1, keepdim=True) >= targets.shape[1] + MORE
    for number in range(steps):
        means, covariance = basis.moments(tilted, _not_zero(tilted.sum(1, keepdim=True)))
        hold = hold if number else HOLD * covariance.diagonal(dim1=1, dim2=2)
        missing = targets.double() - means - hold * multipliers
        newton = solve(covariance + torch.diag_embed(hold), missing)
        change = basis.exponent(newton).to(cells.dtype)
        farthest = torch.where(hit, change.abs(), 0.0).amax(1, keepdim=True)
        length = 1 / (farthest / LONGEST).clamp(min=1.0)
        multipliers = multipliers + length.double() * newton
        exponent = (exponent + length * change).clamp(-LARGEST, LARGEST)
        tilted = cells * exponent.exp()
    tilted = torch.where(enough, tilted, cells)
    return tilted * (energy / _not_zero(tilted.sum(1, keepdim=True)))


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """$(A + \\epsilon)^{-1} b$ for positive semidefinite $A$ `(n, k, k)` and $b$ `(n, k)`, by elimination.

    A damped matrix of this kind needs no pivots. `torch.linalg` has it too, but not as ONNX operations.
    """
    k = right.shape[1]
    unit = torch.eye(k, dtype=matrix.dtype, device=matrix.device)
    system = torch.cat([matrix + unit * (DAMPING * matrix.clamp(min=0.0) + TINY), right.unsqueeze(2)], 2)
    for i in range(k):
        pivot_row, column = system.select(1, i), system.select(2, i)
        row = pivot_row / pivot_row.select(1, i).clamp(min=TINY).unsqueeze(1)
        system = system - (column - unit.select(0, i)).unsqueeze(2) * row.unsqueeze(1)
    return system.select(2, k)


def _not_zero(total: Tensor) -> Tensor:
    return torch.where(total > 0, total, 1.0)
