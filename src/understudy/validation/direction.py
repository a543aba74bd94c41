r"""A shower seen along its direction of flight: energy asymmetry about the impact point, and widths along and across.

The paper on the LHCb calorimeter (V. Chekalina et al., "Generative Models for Fast Calorimeter Simulation: the LHCb case",
arXiv:1812.01319) judges showers by their energy asymmetry along and across the direction of flight; its appendix with the
definition is lost. Here, with $\hat u$ the unit vector along $(p_x, p_y)$ and a line through the impact point that is
perpendicular to $\hat u$,

$$A_\mathrm{along} = \frac{E_\mathrm{forward} - E_\mathrm{backward}}{E_\mathrm{forward} + E_\mathrm{backward}},$$

and $A_\mathrm{across}$ the same for the line along $\hat u$, with what lies to the left of the direction of flight counted
as forward. A cell that is cut by the line is shared by area. Sharing makes the asymmetry a continuous function of shower
and conditions; by the centre of a cell, it would jump as the line passes it, by up to the energy of the hottest one.

The widths are $\sigma_u = (\hat u^T V \hat u)^{1/2}$ with the energy-weighted covariance $V$ of the cells' centres about the
barycentre. Nothing of this is defined where the transverse momentum is zero.
"""

from __future__ import annotations

import numpy as np

from understudy.geometry import Layer
from understudy.schema import Array
from understudy.validation import calorimeter as shower

ROWS = 128
"""Events in one piece: small enough that the arrays of a piece stay in the processor's cache."""


def planar(layer: Layer) -> bool:
    """Whether distances in the plane of a layer mean something: a cartesian grid with both axes in mm, of 3 x 3 cells or more."""
    return layer.shape_of_grid == "cartesian" and layer.units == ("mm", "mm") and min(layer.shape) >= 3


def unit_vectors(transverse: Array) -> Array:
    """`transverse (n, 2)` over its length, in float64; NaN where that is zero."""
    t = np.asarray(transverse, np.float64)
    length = np.hypot(t[:, 0], t[:, 1])
    return np.asarray(t / np.where(length > 0, length, np.nan)[:, None])


def across(direction: Array) -> Array:
    """Directions `(n, 2)` turned by a quarter to the left."""
    return np.stack([-direction[:, 1], direction[:, 0]], 1)


def asymmetry(cells: Array, layer: Layer, point: Array, direction: Array) -> Array:
    """Energy on the forward side of a line minus that on the other side, over their sum.

    Args:
        cells: energies `(n, n_cells)` of a planar layer.
        layer: its grid.
        point: where the line passes, `(n, 2)` [mm].
        direction: unit vectors `(n, 2)` perpendicular to the line, pointing forward; NaN where there is none.

    Returns:
        `(n,)` in -1 to 1; NaN where the layer is empty or there is no direction.
    """
    known = np.asarray(np.isfinite(direction).all(1))
    found = np.full(len(cells), np.nan)
    normal = np.where(known[:, None], direction, 0.0).astype(np.float32)
    for start in range(0, len(cells), ROWS):
        rows = slice(start, start + ROWS)
        share = _signed_share(layer, np.asarray(point[rows], np.float32), normal[rows])
        found[rows] = np.einsum("ni,ni->n", cells[rows], share.reshape(len(share), -1), dtype=np.float64)
    return np.where(known, shower.ratio(found, shower.energy(cells)), np.nan)


def _signed_share(layer: Layer, point: Array, normal: Array) -> Array:
    r"""Area of each cell before a line minus that behind it, over the cell's area, `(n, *layer.shape)`.

    Along the normal $(c, s)$ a cell of $w \times h$ has the profile of a sum of two uniform distributions of half-widths
    $w |c| / 2$ and $h |s| / 2$, the larger of which is called $a$ and the smaller $b$. At a distance $d$ the share is

    $$\mathrm{sign}(d)\,\Big(\frac{u}{a} - \frac{\max(u - a + b, 0)^2}{4 a b}\Big), \qquad u = \min(|d|, a + b).$$
    """
    first, second = (np.asarray(e) for e in layer.edges)
    centre = [(0.5 * (e[1:] + e[:-1])).astype(np.float32) for e in (first, second)]
    half = [_once(0.5 * np.diff(e)).astype(np.float32) for e in (first, second)]
    distance = (normal[:, :1] * (centre[0] - point[:, :1]))[:, :, None] + (normal[:, 1:] * (centre[1] - point[:, 1:]))[:, None]
    one = (np.abs(normal[:, :1]) * half[0])[:, :, None]
    other = (np.abs(normal[:, 1:]) * half[1])[:, None]
    large = np.maximum(np.maximum(one, other), np.float32(1e-6))  # no direction, no share: any length will do
    small = np.maximum(np.minimum(one, other), np.float32(1e-6) * large)
    u = np.minimum(np.abs(distance), large + small)
    share = u / large
    share -= np.maximum(u - (large - small), 0) ** 2 / (4 * large * small)
    return np.asarray(np.copysign(share, distance))


def _once(widths: Array) -> Array:
    """One width that stands for all, where they are equal."""
    return widths[:1] if np.allclose(widths, widths[0]) else widths


def covariance(cells: Array, layer: Layer) -> Array:
    """Energy-weighted covariance of the cells' centres about the barycentre, `(n, 3)`: xx, xy, yy [mm^2]; NaN where empty."""
    x, y = (layer.centres - layer.centres.mean(0)).T
    monomials = np.stack([x, y, x * x, x * y, y * y], 1)
    sums = np.concatenate([np.empty((0, 5)), *(cells[i : i + ROWS] @ monomials for i in range(0, len(cells), ROWS))])
    mx, my, xx, xy, yy = shower.ratio(sums, shower.energy(cells)[:, None]).T
    return np.stack([xx - mx * mx, xy - mx * my, yy - my * my], 1)


def width(moments: Array, direction: Array) -> Array:
    """Width `(n,)` [mm] along unit vectors `(n, 2)`, from what `covariance` gives."""
    u, v = direction.T
    variance = u * u * moments[:, 0] + 2 * u * v * moments[:, 1] + v * v * moments[:, 2]
    return np.asarray(np.sqrt(np.clip(variance, 0.0, None)))
