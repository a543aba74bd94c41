r"""Numbers that describe a shower in a segmented calorimeter.

With $E_i$ the energy of cell $i$ and $u_i$ its centre along an axis, a layer has

$$E_l = \sum_i E_i, \qquad \langle u \rangle = \frac{\sum_i E_i u_i}{E_l}, \qquad
  \sigma_u = \Big(\frac{\sum_i E_i u_i^2}{E_l} - \langle u \rangle^2\Big)^{1/2},$$

and the shower core is what 3 x 3 cells hold of a layer (figs. 14-21 of P. Klein, "WGANs for simulation of e.m. showers in
ATLAS calorimeter"; the CaloGAN paper, arXiv:1712.10321, uses most of them too). Every function takes energies
`(n, n_cells)` of one layer and returns `(n,)` in float64; NaN stands where a quantity is not defined, such as the
barycentre of a layer without energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from understudy.geometry import Layer
from understudy.schema import Array


@dataclass(frozen=True)
class Direction:
    """An axis along which a layer's barycentre and width are taken: cell centres `(n_cells,)` in `unit`."""

    name: str
    unit: str
    positions: Array


def directions(layer: Layer) -> tuple[Direction, ...]:
    """The axes of a layer along which a barycentre means something.

    A cartesian layer has its own axes where they have more than one cell. A polar one has x and y, from its cells'
    cartesian centres, or only r where a ring is one cell.
    """
    if layer.shape_of_grid == "cartesian":
        found = [Direction(layer.axes[i], layer.units[i], layer.centres[:, i]) for i in (0, 1)]
        return tuple(d for d, cells in zip(found, layer.shape, strict=True) if cells > 1)
    if layer.shape[0] > 1:
        return tuple(Direction(name, layer.units[1], layer.cartesian[:, i]) for i, name in enumerate(("x", "y")))
    return (Direction(layer.axes[1], layer.units[1], layer.centres[:, 1]),) if layer.shape[1] > 1 else ()


def energy(cells: Array) -> Array:
    """Energy of each event, `(n,)`."""
    return np.asarray(cells.sum(1, dtype=np.float64))


def ratio(numerator: Array, denominator: Array) -> Array:
    """`numerator / denominator`; NaN where the denominator is not above zero."""
    defined = denominator > 0
    return np.where(defined, numerator / np.where(defined, denominator, 1.0), np.nan)


def barycentre(cells: Array, positions: Array) -> Array:
    """Energy-weighted mean of `positions`."""
    return ratio(cells.astype(np.float64) @ positions, energy(cells))


def width(cells: Array, positions: Array) -> Array:
    """Square root of the energy-weighted variance of `positions`."""
    centred = positions - positions.mean()
    weights = cells.astype(np.float64)
    first, second = ratio(weights @ centred, energy(cells)), ratio(weights @ centred**2, energy(cells))
    variance: Array = np.clip(second - first**2, 0.0, None)
    return np.sqrt(variance)


def has_core(layer: Layer) -> bool:
    """Whether a 3 x 3 core can be looked at: a cartesian grid of at least 3 x 3 cells."""
    return layer.shape_of_grid == "cartesian" and min(layer.shape) >= 3


def core_fraction(cells: Array, layer: Layer) -> Array:
    """Energy of 3 x 3 cells over the layer's energy.

    They surround the central cell where the layer has one (both numbers of cells odd: the clusters of a calorimeter are
    centred on it), else the hottest cell; there they are cut at the layer's border.
    """
    centred = layer.shape[0] % 2 and layer.shape[1] % 2
    index = np.full(len(cells), layer.n_cells // 2) if centred else cells.argmax(1)
    padded = np.pad(cells.reshape(-1, *layer.shape), ((0, 0), (1, 1), (1, 1))).reshape(len(cells), -1)
    row = layer.shape[1] + 2
    centre = (index // layer.shape[1] + 1) * row + index % layer.shape[1] + 1
    window = (row * np.arange(-1, 2)[:, None] + np.arange(-1, 2)).ravel()
    return ratio(energy(np.take_along_axis(padded, centre[:, None] + window, axis=1)), energy(cells))


def hottest_fraction(cells: Array) -> Array:
    """Energy of the hottest cell over the layer's energy."""
    return ratio(cells.max(1).astype(np.float64), energy(cells))


def active_cells(cells: Array, threshold: float) -> Array:
    """Number of cells with more than `threshold` [MeV]."""
    return np.asarray(np.count_nonzero(cells > threshold, axis=1), np.float64)


def zero_fraction(cells: Array) -> Array:
    """Fraction of cells without energy."""
    return np.asarray(np.mean(cells <= 0, axis=1, dtype=np.float64))


def layer_energies(cells: Array, layer_of_cell: Array) -> Array:
    """Energy per layer `(n, layers)` of whole showers `(n, n_cells)` whose cells are sorted by layer."""
    starts = np.searchsorted(layer_of_cell, np.arange(layer_of_cell[-1] + 1))
    return np.add.reduceat(cells, starts, axis=1, dtype=np.float64)
