r"""Correlations of Gaussian variables of which many are only known to lie below a bound.

Where cells are rarely hit, drawing the empty ones given the others and counting again approaches their correlation too
slowly. For a pair of cells with scores $s = z$ where a cell is hit and $s = E[z \mid z < z^0] = -\varphi(z^0)/\Phi(z^0)$
where it is empty, the log-likelihood has the slope $\sum s_i s_j$ in their correlation at zero, and the information
$\sum v_i v_j$ with
$v = E[s^2] = 1 - \Phi(z^0) + z^0 \varphi(z^0) + \varphi^2(z^0)/\Phi(z^0)$; so

$$\hat\rho_{ij} = \frac{\sum_n w_n s_i s_j}{\sum_n w_n v_i v_j}, \qquad \sigma_{ij}^2 = \frac{1}{\sum_n w_n v_i v_j},$$

the estimate of one step of Fisher's scoring, which is the plain correlation where no cell is empty. Pairs of the same kind (the
same distance in the same layer, or the same two layers) have correlations that scatter by $\tau$ about a common one, $\rho_0$:
each estimate is drawn to it as far as it is uncertain, $\rho = \rho_0 + (\hat\rho - \rho_0)\, \tau^2 / (\tau^2 + \sigma^2)$
(B. Efron and C. Morris, J. Am. Stat. Assoc. 70 (1975) 311). One step from zero goes somewhat too far for strong correlations of
rare cells; sweeps of `imputation.py` follow.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from understudy.geometry import Calorimeter
from understudy.schema import Array

FARTHEST = 6
"""Cells apart, from which on pairs are of one kind."""
LEAST_EIGENVALUE = 0.02
LARGEST = 0.98


def pair_kinds(columns: int, geometry: Calorimeter | None) -> Array:
    """A number for the kind of each pair of columns, `(d, d)`; without a geometry all are of one kind."""
    if geometry is None or geometry.n_cells != columns:
        return np.zeros((columns, columns), np.int64)
    layer = np.asarray(geometry.layer_of_cell)
    first, second = (np.concatenate([np.indices(la.shape)[axis].ravel() for la in geometry.layers]) for axis in (0, 1))
    apart = [np.minimum(np.abs(a[:, None] - a[None, :]), FARTHEST) for a in (first, second)]
    low, high = np.minimum(layer[:, None], layer[None, :]), np.maximum(layer[:, None], layer[None, :])
    same = low == high
    near = np.where(same, 1 + apart[0] * (FARTHEST + 1) + apart[1], 0)
    return np.asarray((low * (len(geometry.layers) + 1) + high) * (1 + (FARTHEST + 1) ** 2) + near)


def censored_correlation(z: Tensor, bound: Tensor, empty: Tensor, atom: Tensor, weights: Tensor | None, kinds: Array) -> Tensor:
    """The correlation matrix `(d, d)` float64 of normal scores.

    Args:
        z: scores of cells that are not empty `(n, d)`.
        bound: $z^0$, `(n, d)`.
        empty: which cells are only known to lie below it `(n, d)`.
        atom: columns that can be empty `(d,)`.
        weights: optional `(n,)`.
        kinds: of each pair of columns `(d, d)`.
    """
    below = bound.double().numpy()
    density, chance = np.exp(-0.5 * below**2) / np.sqrt(2 * np.pi), np.maximum(ndtr(below), 1e-12)
    score = np.where(empty.numpy(), -density / chance, z.double().numpy())
    known = np.where(atom.numpy(), ndtr(-below) + below * density + density**2 / chance, 1.0).clip(1e-6, 1.0)
    w = np.ones(len(z)) if weights is None else weights.double().numpy()
    information = ((known * np.abs(w)[:, None]).T @ known).clip(1e-9)
    estimate = ((score * w[:, None]).T @ score) / information
    np.fill_diagonal(estimate, 1.0)
    found = np.clip(drawn_together(estimate, 1 / information, kinds), -LARGEST, LARGEST)
    np.fill_diagonal(found, 1.0)
    values, vectors = np.linalg.eigh(found)
    found = (vectors * values.clip(LEAST_EIGENVALUE)) @ vectors.T
    scale = np.sqrt(found.diagonal())
    return torch.from_numpy(found / scale[:, None] / scale[None, :])


def drawn_together(estimate: Array, variance: Array, kinds: Array) -> Array:
    """Estimates `(d, d)` drawn to the common value of their kind as far as they are uncertain."""
    upper = np.triu_indices(len(estimate), 1)
    rho, var = estimate[upper], variance[upper]
    _, kind = np.unique(kinds[upper], return_inverse=True)

    def per_kind(values: Array) -> Array:
        return np.bincount(kind, values)

    weight = 1 / var
    common = per_kind(weight * rho) / per_kind(weight)
    excess = (rho - common[kind]) ** 2 - var
    spread = np.maximum(per_kind(weight**2 * excess) / per_kind(weight**2), 0.0)
    kept = spread[kind] / (spread[kind] + var)
    result = np.eye(len(estimate))
    result[upper] = common[kind] + (rho - common[kind]) * kept
    return np.asarray(np.maximum(result, 0) + np.minimum(result, 0) + np.triu(result, 1).T)
