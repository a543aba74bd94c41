r"""Means, variances and correlations of cells.

The paper compares the mean energy of each cell as an image, the variance per cell (a first look for mode collapse) and
the matrix of Pearson correlations $\rho_{ij}$, whose mean squared difference is one number (P. Klein, figs. 6-12).
Sums are taken chunk by chunk and merged without cancellation (Chan, Golub and LeVeque, Am. Stat. 37, 242 (1983)).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from understudy.schema import Array

CHUNK = 4096
"""Events per block of the sums."""

GROUPS = 10
"""Groups of the jackknife."""


@dataclass(frozen=True, eq=False)
class CellMoments:
    """First and second moments of `d` cells; adding two gives those of both samples together.

    Args:
        weight: sum of the weights.
        mean: mean energy per cell `(d,)` [MeV].
        scatter: weighted sum of products of deviations from the mean: `(d, d)`, or `(d,)` its diagonal alone.
    """

    weight: float
    mean: Array
    scatter: Array

    @classmethod
    def of(cls, cells: Array, weights: Array | None = None, correlations: bool = True) -> CellMoments:
        """Moments of showers.

        Args:
            cells: energies `(n, d)` [MeV].
            weights: `(n,)`, may be negative; their sum must be positive.
            correlations: False keeps variances only, for calorimeters whose `d x d` numbers do not fit into memory.

        Raises:
            ValueError: not two dimensions, no events, or weights without a positive sum.
        """
        if cells.ndim != 2 or not len(cells):
            raise ValueError(f"cells of shape {cells.shape} have no moments; (events, cells) with at least one event is expected")
        w = np.ones(len(cells)) if weights is None else np.asarray(weights, np.float64)
        if w.sum() <= 0:
            raise ValueError(f"the weights sum to {w.sum():g}; moments need a positive sum")
        # One origin for all chunks: a chunk's own signed weights may well sum to zero.
        origin = cells[:CHUNK].mean(0, dtype=np.float64)
        d = cells.shape[1]
        first, second = np.zeros(d), np.zeros((d, d) if correlations else d)
        for start in range(0, len(cells), CHUNK):
            moved = cells[start : start + CHUNK] - origin
            weighted = w[start : start + CHUNK, None] * moved
            first += weighted.sum(0)
            second += weighted.T @ moved if correlations else np.einsum("ij,ij->j", weighted, moved)
        total = float(w.sum())
        shift = first / total
        return cls(total, origin + shift, second - total * (np.outer(shift, shift) if correlations else shift**2))

    def __add__(self, other: CellMoments) -> CellMoments:
        if self.scatter.shape != other.scatter.shape:
            raise ValueError(f"moments of shapes {self.scatter.shape} and {other.scatter.shape} cannot be added")
        total = self.weight + other.weight
        step = other.mean - self.mean
        outer = np.outer(step, step) if self.scatter.ndim == 2 else step**2
        scatter = self.scatter + other.scatter + outer * (self.weight * other.weight / total)
        return CellMoments(total, self.mean + step * (other.weight / total), scatter)

    @property
    def variance(self) -> Array:
        """Variance per cell `(d,)` [MeV^2]."""
        diagonal = np.diag(self.scatter) if self.scatter.ndim == 2 else self.scatter
        return np.asarray(np.clip(diagonal / self.weight, 0.0, None))

    @property
    def correlation(self) -> Array:
        """Pearson correlations `(d, d)`; a constant cell has 0 with every other cell and 1 with itself."""
        if self.scatter.ndim != 2:
            raise ValueError("these moments were taken without correlations; use CellMoments.of(..., correlations=True)")
        variance = self.variance
        # Rounding leaves a constant cell a variance of the order of (1e-16 mean)^2 and float32 data (1e-7 mean)^2.
        constant = variance <= (1e-7 * self.mean) ** 2
        sigma = np.sqrt(np.where(constant, 1.0, variance))
        rho = np.clip(self.scatter / self.weight / np.outer(sigma, sigma), -1.0, 1.0)
        rho[constant, :] = 0.0
        rho[:, constant] = 0.0
        np.fill_diagonal(rho, 1.0)
        return np.asarray(rho)


def correlation_difference(a: CellMoments, b: CellMoments) -> float:
    """Mean squared difference of two correlation matrices over all pairs of cells, as in fig. 12 of the paper.

    A cell that is constant in one sample only counts with the full correlations that it has in the other.
    """
    if a.scatter.shape != b.scatter.shape:
        raise ValueError(f"correlations of {len(a.mean)} and {len(b.mean)} cells cannot be compared")
    return float(np.mean((a.correlation - b.correlation) ** 2))


def compare_structure(a: CellMoments, b: CellMoments) -> dict[str, float]:
    """Summary of how cells differ, candidate `b` against reference `a`.

    Returns:
        `correlation_mse`; `mean_difference`, summed absolute difference of the mean images over the reference's energy;
        `variance_ratio`, median of the ratio of variances over cells that vary in the reference (below one where variety
        is missing).
    """
    varying = a.variance > (1e-7 * a.mean) ** 2
    ratios = b.variance[varying] / a.variance[varying]
    total = np.abs(a.mean).sum()
    return {
        "correlation_mse": correlation_difference(a, b),
        "mean_difference": float(np.abs(b.mean - a.mean).sum() / total) if total > 0 else np.nan,
        "variance_ratio": float(np.median(ratios)) if len(ratios) else np.nan,
    }


Sample = tuple[Array, Array | None]
"""Cells `(n, d)` and weights `(n,)` or None."""


def structure_errors(a: Sample, b: Sample, paired: bool = False, groups: int = GROUPS) -> dict[str, float]:
    r"""One standard deviation of each number of `compare_structure`, by the delete-a-group jackknife.

    Every `groups`-th event is left out in turn, of both samples together if they are paired, else of one and then of the
    other: $\sigma^2 = \frac{g - 1}{g} \sum_k (\theta_k - \bar\theta)^2$ (Efron 1982), added over the samples. Of
    `variance_ratio`, a median, it is an estimate within a factor of two.

    Args:
        a: reference.
        b: candidate.
        paired: row i of both is at the same conditions.
        groups: number of groups.

    Returns:
        NaN where the signed weights of a group do not sum to more than zero, so that it has no moments.

    Raises:
        ValueError: a sample has fewer events than there are groups.
    """
    if min(len(a[0]), len(b[0])) < groups:
        raise ValueError(f"{len(a[0])} and {len(b[0])} events cannot be divided into {groups} groups; give more events")
    if any(w is not None and min(w[k::groups].sum() for k in range(groups)) <= 0 for _, w in (a, b)):
        return dict.fromkeys(("correlation_mse", "mean_difference", "variance_ratio"), np.nan)
    (whole_a, less_a), (whole_b, less_b) = _without_groups(a, groups), _without_groups(b, groups)
    together = [list(zip(less_a, less_b, strict=True))]
    apart = [[(less, whole_b) for less in less_a], [(whole_a, less) for less in less_b]]
    variance: dict[str, float] = {}
    for left in together if paired else apart:
        found = [compare_structure(x, y) for x, y in left]
        for name in found[0]:
            spread = float(np.var([f[name] for f in found]) * (groups - 1))
            variance[name] = variance.get(name, 0.0) + spread
    return {name: float(np.sqrt(v)) for name, v in variance.items()}


def _without_groups(sample: Sample, groups: int) -> tuple[CellMoments, list[CellMoments]]:
    """Moments of a sample, and those without each group."""
    cells, weights = sample
    parts = [CellMoments.of(cells[k::groups], None if weights is None else weights[k::groups]) for k in range(groups)]
    return reduce(add, parts), [reduce(add, parts[:k] + parts[k + 1 :]) for k in range(groups)]
