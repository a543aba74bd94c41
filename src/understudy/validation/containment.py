r"""How much of a shower lies within a distance of its axis: lateral profile and containment radius.

The fraction of a layer's energy within a radius $R$ of the barycentre,

$$F(R) = \frac{1}{E} \sum_i E_i\, \mathrm{clip}\Big(\frac{R^2 - (r_i^-)^2}{(r_i^+)^2 - (r_i^-)^2}, 0, 1\Big), \qquad
  r_i^\pm = \max(r_i \pm h / 2,\, 0),$$

where $r_i$ is the distance of the centre of cell $i$ and $h$ the cell size: a cell's energy is spread evenly over the ring
that the cell reaches into, since cells are nearly as large as the Moliere radius and would make steps of it. Below one cell
size $F$ says little. One Moliere radius holds about 90 % of an electromagnetic shower (Particle Data Group, "Passage of
particles through matter"). The axis is the barycentre, which needs no condition and, unlike the impact point, is right for
inclined particles too. Only layers whose two axes are both in mm have such radii: eta and phi have no common length, and
strips are no wider than a fraction of a shower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from understudy.geometry import Layer
from understudy.schema import Array
from understudy.validation import calorimeter as shower
from understudy.validation.direction import ROWS

STEPS = 8
"""Parts of a cell size in which distances are counted."""


def cell_size(layer: Layer) -> float:
    """The larger of the mean cell sizes along both axes [mm]."""
    return max((e[-1] - e[0]) / (len(e) - 1) for e in layer.edges)


def farthest(layer: Layer) -> float:
    """Largest distance of two points of a layer [mm]."""
    return math.hypot(*(e[-1] - e[0] for e in layer.edges))


def contained(cells: Array, layer: Layer, radii: Array) -> Array:
    """Fraction of the energy within each of `radii (k,)` [mm] of the barycentre, `(n, k)`; NaN where a layer is empty.

    Distances are rounded to an eighth of a cell.
    """
    return _within(counted(cells, layer), layer, radii)


def radius(rings: Array, layer: Layer, fractions: Sequence[float]) -> Array:
    """Radii [mm] that hold `fractions` of the energy, `(n, fractions)`, interpolated between quarters of a cell.

    Args:
        rings: what `counted` gives.
        layer: the grid.
        fractions: between 0 and 1.
    """
    at = np.arange(0.0, farthest(layer) + cell_size(layer), cell_size(layer) / 4)
    within = np.maximum.accumulate(_within(rings, layer, at), axis=1)
    found = np.full((len(rings), len(fractions)), np.nan)
    known = np.flatnonzero(np.isfinite(within[:, 0]))
    for j, fraction in enumerate(fractions):
        above = np.clip((within[known] >= fraction).argmax(1), 1, None)
        low, high = within[known, above - 1], within[known, above]
        found[known, j] = at[above - 1] + shower.ratio(fraction - low, high - low) * np.diff(at)[0]
    return found


def counted(cells: Array, layer: Layer) -> Array:
    """Share of the energy `(n, rings)` by a cell centre's distance from the barycentre, in rings of an eighth of a cell."""
    step = cell_size(layer) / STEPS
    rings = int(farthest(layer) / step) + 2
    first, second = (0.5 * (np.asarray(e[1:]) + np.asarray(e[:-1])) for e in layer.edges)
    total = shower.energy(cells)
    sums = np.concatenate(
        [np.empty((0, 2)), *(cells[i : i + ROWS] @ layer.centres for i in range(0, len(cells), ROWS))],
    )
    axis = np.nan_to_num(shower.ratio(sums, total[:, None]))
    found = np.empty((len(cells), rings))
    for start in range(0, len(cells), ROWS):
        piece, (x, y) = cells[start : start + ROWS], axis[start : start + ROWS].T
        dx, dy = ((c - m[:, None]).astype(np.float32) / np.float32(step) for c, m in ((first, x), (second, y)))
        ring = np.rint(np.sqrt((dx**2)[:, :, None] + (dy**2)[:, None, :])).astype(np.intp).reshape(len(piece), -1)
        ring += rings * np.arange(len(piece))[:, None]
        found[start : start + ROWS] = np.bincount(ring.ravel(), piece.ravel(), rings * len(piece)).reshape(-1, rings)
    return np.asarray(shower.ratio(found, total[:, None]))


def _within(rings: Array, layer: Layer, radii: Array) -> Array:
    size = cell_size(layer)
    r = np.arange(rings.shape[1]) * size / STEPS
    low, high = np.clip(r - size / 2, 0.0, None), r + size / 2
    return np.asarray(rings @ np.clip((np.square(radii)[None, :] - low[:, None] ** 2) / (high**2 - low**2)[:, None], 0.0, 1.0))
