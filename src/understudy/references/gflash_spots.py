r"""Energy spots: the radial profile drawn point by point and summed in cells.

A spot at uniform azimuth and at radius $r = R \sqrt{u / (1 - u)}$, $u$ uniform, follows $2 r R^2 / (r^2 + R^2)^2$. Its
share in a rectangle has a closed form (`rectangle_share`), which is what very many spots approach.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from understudy.geometry import Layer
from understudy.schema import Array


@dataclass(frozen=True)
class SpotGroups:
    """Groups of spots of equal energy around a common axis point; all arrays `(g,)`.

    Args:
        counts: number of spots.
        radius: R [mm].
        energy: energy of one spot [MeV].
        x: axis point [mm].
        y: axis point [mm].
        event: row of the response that the spots belong to.
    """

    counts: Array
    radius: Array
    energy: Array
    x: Array
    y: Array
    event: Array


@dataclass(frozen=True)
class SpotCounter:
    """Sums spots in the cells of a layer.

    Args:
        layer: its cells; spots outside are lost.
        mm: length [mm] of one unit of the layer's axes; of a polar grid the second counts.
        piece: number of spots (about) handled at a time, small enough for the processor's cache.
    """

    layer: Layer
    mm: tuple[float, float] = (1.0, 1.0)
    piece: int = 25_000

    def drop(self, groups: SpotGroups, n: int, generator: np.random.Generator) -> Array:
        """Drop the spots of `groups`, of `n` events, into the cells.

        The generator draws, for each piece, first all `u`, then all azimuths, in single precision.

        Returns:
            Energies `(n, layer.n_cells)` [MeV].
        """
        filled = np.flatnonzero(groups.counts)
        counts = groups.counts[filled]
        columns = [np.asarray(v[filled], np.float32) for v in (groups.radius, groups.x, groups.y, groups.energy)]
        padded = (self.layer.shape[0] + 2, self.layer.shape[1] + 2)
        offset = np.asarray(groups.event[filled] * (padded[0] * padded[1]), np.intp)
        sums = np.zeros(n * padded[0] * padded[1])
        number = np.cumsum(counts) // self.piece
        cuts = [0, *(np.flatnonzero(np.diff(number)) + 1), len(counts)]
        for a, b in pairwise(cuts):
            if b > a:
                radius, x, y, energy = (np.repeat(c[a:b], counts[a:b]) for c in columns)
                cell = self._cells(*_throw(radius, x, y, generator))
                cell += np.repeat(offset[a:b], counts[a:b])
                first, last = int(offset[a:b].min()), int(offset[a:b].max()) + padded[0] * padded[1]
                cell -= first
                sums[first:last] += np.bincount(cell, energy, last - first)
        return sums.reshape(n, *padded)[:, 1:-1, 1:-1].reshape(n, -1)

    def _cells(self, x: Array, y: Array) -> Array:
        """Number of each point's cell [mm] in the grid with one more row and column on every side; overwrites x and y."""
        if self.layer.shape_of_grid == "polar":
            x, y = np.arctan2(y, x), np.hypot(x, y)
            scales = (1.0, self.mm[1])
        else:
            scales = self.mm
        index = _bins(x, self._axes[0], scales[0])
        index *= np.float32(self.layer.shape[1] + 2)
        index += _bins(y, self._axes[1], scales[1])
        return index.astype(np.intp)

    @cached_property
    def _axes(self) -> tuple[_Axis, _Axis]:
        return _Axis.of(self.layer.edges[0]), _Axis.of(self.layer.edges[1])


@dataclass(frozen=True)
class _Axis:
    """Cell edges along one axis; `width` is that of equal cells, None where they differ."""

    edges: Array
    width: float | None

    @classmethod
    def of(cls, edges: tuple[float, ...]) -> _Axis:
        widths = np.diff(edges)
        return cls(np.asarray(edges), float(widths.mean()) if np.allclose(widths, widths.mean(), rtol=1e-5) else None)


def _throw(radius: Array, x: Array, y: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    """Spots around the points (x, y); overwrites the arguments."""
    u = generator.random(len(radius), np.float32)
    phi = generator.random(len(radius), np.float32)
    radius *= np.sqrt(u / (np.float32(1.0) - u))
    phi *= np.float32(2.0 * np.pi)
    step = np.cos(phi)
    step *= radius
    x += step
    np.sin(phi, out=step)
    step *= radius
    y += step
    return x, y


def _bins(values: Array, axis: _Axis, scale: float) -> Array:
    """Bin numbers as whole float32: 0 below the first edge, one more than there are cells above the last; overwrites."""
    if axis.width is None:
        return np.searchsorted(axis.edges * scale, values, side="right").astype(np.float32)
    values -= np.float32(axis.edges[0] * scale)
    values *= np.float32(1.0 / (axis.width * scale))
    values += np.float32(1.0)
    np.clip(values, np.float32(0.0), np.float32(len(axis.edges)), out=values)
    return np.trunc(values, out=values)


def rectangle_share(x: tuple[float, float], y: tuple[float, float], radius: float) -> float:
    r"""Share of $f(r)$ with radius $R$ around the origin in the rectangle `x` by `y`.

    The density in the plane is $R^2 / \pi (x^2 + y^2 + R^2)^2$, whose integral over a quadrant's corner is
    $\frac{1}{2\pi} \left( \frac{x}{a} \arctan \frac{y}{a} + \frac{y}{b} \arctan \frac{x}{b} \right)$ with
    $a^2 = x^2 + R^2$ and $b^2 = y^2 + R^2$.
    """

    def corner(px: float, py: float) -> float:
        a, b = np.hypot(px, radius), np.hypot(py, radius)
        return float((px / a * np.arctan(py / a) + py / b * np.arctan(px / b)) / (2.0 * np.pi))

    return corner(x[1], y[1]) - corner(x[0], y[1]) - corner(x[1], y[0]) + corner(x[0], y[0])
