r"""Nearest neighbours between samples: memorising, collapse and repeated showers.

The paper looks at the five generated showers nearest to a chosen one (P. Klein, fig. 7, Euclidean distance). Here the
distance is Euclidean in $E_i / E_\mathrm{inc}$ (over the sum of the cells where the incident energy is unknown), so that
showers of all energies take part. Distances say something only beside what fresh events of the reference do:

- generated to training against held-out to training: a generator that *memorises* comes too close;
- held-out to generated against held-out to as many training showers: one that has *collapsed* leaves some too far away;
- inside the generated sample: *repeated* showers. These are looked for in the shape $E_i / \sum_j E_j$, which a
  rescaling of the energy leaves as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation import calorimeter as shower
from understudy.validation.curves import scale_energy
from understudy.validation.observables import shower_cells

COMPARED = 1e11
"""Cells compared between two samples of showers, about: of more showers some are drawn (33,520 of 89 cells, 5,481 of 3,328)."""
KNOWN = 4
"""As many times more showers of the training sample may be compared with."""
SAME = 1e-6
"""Shapes closer than this are equal: single precision leaves about 1e-8."""


@dataclass(frozen=True, eq=False)
class NeighbourStudy:
    """Distances `(n,)` to the nearest neighbour, pure numbers, and what follows from them.

    Args:
        generated_to_training: every generated shower to the training sample; of many showers, of some drawn at random (`most`).
        heldout_to_training: every held-out shower to the training sample, the yardstick of memorising.
        heldout_to_generated: every held-out shower to the generated sample.
        heldout_to_reference: every held-out shower to as many training showers, the yardstick of collapse.
        summary: `memorising_ratio` and `collapse_ratio`, medians over those of their yardsticks; `too_close`, fraction of
            generated showers nearer to the training sample than all but 1 % of the held-out ones; `copied`, fraction of
            held-out showers nearer to the generated sample than all but 1 % are to the reference; `too_far`, fraction of
            held-out showers farther from the generated sample than all but 1 % are from the reference (both expected
            0.01); `training_distance_ks`, the Kolmogorov-Smirnov distance between the generated and the held-out showers'
            distances to the training sample, and `nearer_ks`, the part of it that generated showers are nearer by;
            `duplicates`, fraction of generated showers with a near copy of their shape in the generated sample,
            and `reference_duplicates`, the same in a training sample of that size.
    """

    generated_to_training: Array
    heldout_to_training: Array
    heldout_to_generated: Array
    heldout_to_reference: Array
    summary: dict[str, float]


def coordinates(events: Events, geometry: Calorimeter) -> Array:
    """Cells over the incident energy, `(n, n_cells)`: where neighbours are looked for."""
    return _scaled(shower_cells(events, geometry), scale_energy(events, geometry))


def shapes(events: Events, geometry: Calorimeter) -> Array:
    """Cells over their sum, `(n, n_cells)`: unchanged by a rescaling of the energy. Empty showers stay zero."""
    cells = shower_cells(events, geometry)
    return _scaled(cells, shower.energy(cells))


def nearest(query: Array, base: Array, k: int = 1) -> tuple[Array, Array]:
    """Distances and row numbers `(n, k)` of the `k` nearest rows of `base`, nearest first.

    Raises:
        ValueError: `base` has fewer than `k` rows.
    """
    if k > len(base):
        raise ValueError(f"{k} neighbours were asked for among {len(base)} showers")
    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(base)
    distances, index = found.kneighbors(query)
    return np.asarray(distances, np.float64), np.asarray(index)


def nearest_to(chosen: Events, candidates: Events, geometry: Calorimeter, k: int = 5) -> tuple[Array, Array]:
    """The `k` candidates, at any conditions, nearest to each chosen shower: distances and row numbers `(n, k)`."""
    return nearest(coordinates(chosen, geometry), coordinates(candidates, geometry), k)


def self_distances(points: Array) -> Array:
    """Distance `(n,)` of each row to the nearest other row; an exact copy is at 0."""
    distances, _ = nearest(points, points, 2)
    return np.asarray(distances[:, 1])


def near_duplicates(points: Array, reference: Array) -> tuple[float, float]:
    """Fractions of `points` and of `reference` that have a near copy in their own sample.

    Near is half of what all but 1 in 100 reference showers keep from each other, apart from those that are equal: after
    a threshold, showers of one or two cells may well have the same shape. Both should hold equally many showers.

    Args:
        points: shapes `(n, d)` of the generated sample.
        reference: shapes `(m, d)` of showers made independently of each other.
    """
    own, others = self_distances(points), self_distances(reference)
    apart = others[others > SAME]
    near = max(0.5 * float(np.quantile(apart, 0.01)) if len(apart) else 0.0, SAME)
    return float(np.mean(own <= near)), float(np.mean(others <= near))


def one_sided(values: Array, others: Array) -> float:
    r"""How far the cumulative distribution of `values` rises above that of `others`: $\max_x [F(x) - G(x)]$, 0 or more."""
    points = np.sort(np.concatenate([values, others]))
    first, second = (np.searchsorted(np.sort(v), points, "right") / len(v) for v in (values, others))
    return float(max((first - second).max(), 0.0))


def errors_of(summary: Mapping[str, float], n: int, heldout: int) -> dict[str, float]:
    """Errors of a study's fractions (binomial) and Kolmogorov-Smirnov distances (at the median, where they are largest)."""
    found = {k: float(np.sqrt(max(v * (1 - v), 0.01) / n)) for k, v in summary.items() if not k.endswith(("_ratio", "_ks"))}
    return found | {k: float(np.sqrt(0.25 / n + 0.25 / heldout)) for k in summary if k.endswith("_ks")}


def most(geometry: Calorimeter) -> int:
    """How many showers are compared with each other: as many as `COMPARED` allows, and a thousand at least."""
    return max(1000, int((COMPARED / geometry.n_cells) ** 0.5))


def some(events: Events, limit: int, generator: np.random.Generator) -> Events:
    """All events in their order, or `limit` of them, drawn at random."""
    if len(events) <= limit:
        return events
    drawn: Events = events[np.sort(generator.choice(len(events), limit, replace=False))]
    return drawn


def study(
    generated: Events, training: Events, heldout: Events, geometry: Calorimeter, generator: np.random.Generator
) -> NeighbourStudy:
    """Look for memorising, collapse and repeated showers.

    Args:
        generated: what is being judged.
        training: what its generator was trained on; at least as many showers as generated ones.
        heldout: reference showers that it never saw.
        geometry: where the cells sit.
        generator: draws as many training showers as there are generated ones.

    Raises:
        ValueError: fewer training than generated showers, or fewer than two of any.
    """
    n = len(generated)
    if min(n, len(heldout)) < 2 or len(training) < n:
        raise ValueError(
            f"neighbours of {n} generated, {len(training)} training and {len(heldout)} held-out showers cannot be compared;"
            " at least 2 of each and as many training as generated ones are needed"
        )
    limit = most(geometry)
    generated, heldout = (some(e, limit, generator) for e in (generated, heldout))
    n, training = len(generated), some(training, KNOWN * limit, generator)
    alike = np.sort(generator.choice(len(training), n, replace=False))
    made, known, fresh = (coordinates(e, geometry) for e in (generated, training, heldout))
    to_training, yardstick = nearest(made, known)[0][:, 0], nearest(fresh, known)[0][:, 0]
    to_generated, density = nearest(fresh, made)[0][:, 0], nearest(fresh, known[alike])[0][:, 0]
    copies, expected = near_duplicates(shapes(generated, geometry), shapes(training[alike], geometry))
    nearer, farther = one_sided(to_training, yardstick), one_sided(yardstick, to_training)
    summary = {
        "memorising_ratio": float(np.median(to_training) / np.median(yardstick)),
        "collapse_ratio": float(np.median(to_generated) / np.median(density)),
        "too_close": float(np.mean(to_training < np.quantile(yardstick, 0.01))),
        "too_far": float(np.mean(to_generated > np.quantile(density, 0.99))),
        "copied": float(np.mean(to_generated < np.quantile(density, 0.01))),
        "training_distance_ks": max(nearer, farther),
        "nearer_ks": nearer,
        "duplicates": copies,
        "reference_duplicates": expected,
    }
    return NeighbourStudy(to_training, yardstick, to_generated, density, summary)


def _scaled(cells: Array, energy: Array) -> Array:
    scale = np.where(energy > 0, energy, 1.0)
    return (cells / scale[:, None]).astype(np.float32)
