r"""Fidelity and variety of a sample in a feature space: precision, recall, density, coverage, and the Frechet distance.

With $B(x_i)$ the ball about a reference event that reaches to its $k$-th nearest reference neighbour, and generated events
$y_j$,

- precision is the fraction of generated events inside any $B(x_i)$, recall the fraction of reference events inside any ball
  of the generated ones (Kynkaanniemi et al. 2019, arXiv:1904.06991);
- density $\frac{1}{kM} \sum_{ij} [y_j \in B(x_i)]$ counts in how many balls a generated event lies, coverage is the fraction
  of balls $B(x_i)$ with a generated event inside (Naeem et al. 2020, arXiv:2002.09797). For equal distributions density is 1
  on average and coverage $1 - \frac{(N-1) \cdots (N-k)}{(M+N-1) \cdots (M+N-k)}$, near $1 - 2^{-k}$ for equal sizes.

A collapsed sample has high precision and density and low recall and coverage. The Frechet distance of two normal
distributions with the samples' moments is $|\mu_1 - \mu_2|^2 + \mathrm{tr}(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1
\Sigma_2)^{1/2})$ (Heusel et al. 2017, arXiv:1706.08500).

Errors are bootstrap errors: of a mean over events by drawing these again, with the balls as they are; of the Frechet distance
by drawing both samples again.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from understudy.schema import Array
from understudy.validation.bootstrap import Estimate, multiplicities


def neighbourhoods(
    reference: Array, candidate: Array, generator: np.random.Generator, k: int = 5, replicas: int = 100
) -> dict[str, Estimate]:
    """`precision`, `recall`, `density`, `coverage` with errors.

    Args:
        reference: features `(n, d)`.
        candidate: features `(m, d)`.
        generator: draws the replicas.
        k: which neighbour a ball reaches to.
        replicas: bootstrap replicas.

    Raises:
        ValueError: a sample has no `k` neighbours.
    """
    events = by_event(reference, candidate, k)
    return {name: mean_with_error(values, generator, replicas) for name, values in events.items()}


def by_event(reference: Array, candidate: Array, k: int = 5) -> dict[str, Array]:
    """What the four numbers are means of: `precision` and `density` `(m,)` of candidates, `recall` and `coverage` `(n,)`."""
    if min(len(reference), len(candidate)) <= k:
        raise ValueError(f"samples of {len(reference)} and {len(candidate)} events have no {k} neighbours each; give more events")
    apart = cdist(reference, candidate)
    near, own = radii(reference, k), radii(candidate, k)
    inside = apart < near[:, None]
    return {
        "precision": inside.any(0).astype(float),
        "recall": (apart < own[None]).any(1).astype(float),
        "density": inside.sum(0) / k,
        "coverage": (apart.min(1) < near).astype(float),
    }


def radii(sample: Array, k: int) -> Array:
    """Distance of each event to its `k`-th nearest other event, `(n,)`."""
    return np.asarray(np.partition(cdist(sample, sample), k, axis=1)[:, k])


def mean_with_error(values: Array, generator: np.random.Generator, replicas: int) -> Estimate:
    """Mean of `(n,)` and the spread of the means of bootstrap replicas."""
    means = multiplicities(len(values), replicas, generator) @ values / len(values)
    return Estimate(float(values.mean()), float(means.std(ddof=1)))


def frechet(reference: Array, candidate: Array) -> float:
    """The Frechet distance of features `(n, d)` and `(m, d)`."""
    return _frechet(_moments(reference), _moments(candidate))


def frechet_with_error(reference: Array, candidate: Array, generator: np.random.Generator, replicas: int) -> Estimate:
    """The Frechet distance and the spread over bootstrap replicas of both samples."""
    n, m = (multiplicities(len(x), replicas, generator) for x in (reference, candidate))
    spread = [_frechet(_moments(reference, a), _moments(candidate, b)) for a, b in zip(n, m, strict=True)]
    return Estimate(frechet(reference, candidate), float(np.std(spread, ddof=1)))


def _moments(x: Array, counts: Array | None = None) -> tuple[Array, Array]:
    w = np.ones(len(x)) if counts is None else counts.astype(float)
    mean = w @ x / w.sum()
    centred = x - mean
    return mean, (centred * w[:, None]).T @ centred / (w.sum() - 1)


def _frechet(a: tuple[Array, Array], b: tuple[Array, Array]) -> float:
    """By the symmetric square root: tr (S1 S2)^(1/2) = tr (S1^(1/2) S2 S1^(1/2))^(1/2)."""
    values, vectors = np.linalg.eigh(a[1])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b[1] @ root), 0)).sum()
    return float(((a[0] - b[0]) ** 2).sum() + np.trace(a[1]) + np.trace(b[1]) - 2 * cross)
