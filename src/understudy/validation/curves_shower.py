r"""Curves of the cells: sparsity against the threshold, the spectrum of cell energies, and the lateral profile.

Sparsity is the mean fraction of cells with more than an energy $t$ against $t$ (fig. 5 of V. Chekalina et al., "Generative
Models for Fast Calorimeter Simulation: the LHCb case", arXiv:1812.01319). The spectrum is the mean number of cells per event in
bins of their energy: what sparsity adds up, so that a gap above a read-out threshold shows. The lateral profile is
the mean energy per area,

$$\rho_k = \Big\langle \frac{F(R_{k+1}) - F(R_k)}{\pi (R_{k+1}^2 - R_k^2)} \Big\rangle,$$

in rings about the barycentre, with $F$ of `containment.py`. All points share their events, so that these curves carry a
covariance.
"""

from __future__ import annotations

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter, Layer
from understudy.schema import Array
from understudy.validation.containment import cell_size, contained
from understudy.validation.curve import Curve, row_means
from understudy.validation.direction import ROWS, planar
from understudy.validation.observables import cells_of, shower_cells

FAINTEST = 0.01
"""Lowest threshold [MeV]."""
THRESHOLDS = 18
RINGS = 10


def threshold_edges(events: Events, geometry: Calorimeter) -> Array:
    """Bin edges [MeV] up to the hottest cell of the reference; a bin's threshold is its middle.

    They begin at half the energy of the reference's faintest cell, which a read-out threshold may put far above `FAINTEST`.
    """
    cells = shower_cells(events, geometry)[_detected(events)]
    largest = float(cells.max(initial=0.0))
    low = max(FAINTEST, 0.5 * float(np.min(cells, initial=largest, where=cells > 0)))
    return np.geomspace(low, max(largest, 10 * low), THRESHOLDS + 1)


def ring_edges(layer: Layer) -> Array:
    """Radii [mm] from zero over a cell's size, in logarithmic steps, to half of the layer's smaller side."""
    most = 0.5 * min(e[-1] - e[0] for e in layer.edges)
    return np.concatenate([[0.0], np.geomspace(cell_size(layer), most, RINGS)])


def shower_curves(events: Events, geometry: Calorimeter, thresholds: Array, paired: bool = False) -> list[Curve]:
    """Sparsity of the whole shower and of each layer of several; spectrum of each layer, and lateral profile of each in mm.

    Args:
        events: a sample.
        geometry: where its cells sit.
        thresholds: bin edges [MeV], those of the reference (`threshold_edges`).
        paired: keep what each event contributes.
    """
    found = [sparsity(events, geometry, thresholds, None, paired)]
    if len(geometry.layers) > 1:
        found += [sparsity(events, geometry, thresholds, layer.name, paired) for layer in geometry.layers]
    found += [spectrum(events, geometry, thresholds, layer, paired) for layer in geometry.layers]
    return found + [lateral_profile(events, geometry, layer, paired) for layer in geometry.layers if planar(layer)]


def sparsity(events: Events, geometry: Calorimeter, edges: Array, layer: str | None = None, paired: bool = False) -> Curve:
    """Mean fraction of cells above thresholds, of one layer or of all; empty where fewer than ten events have such a cell."""
    valid = _detected(events)
    cells = (shower_cells(events, geometry) if layer is None else cells_of(events, geometry, layer))[valid]
    means = row_means(fractions_above(cells, np.sqrt(edges[1:] * edges[:-1])), events.weights, valid, paired, rare=True)
    name, where = ("sparsity", "") if layer is None else (f"sparsity_{layer}", f" in {layer.replace('_', ' ')}")
    return Curve(
        f"{name}_vs_threshold",
        edges,
        means.y,
        means.error,
        label=f"cells above{where}",
        x_label="threshold",
        covariance=means.covariance,
        influence=means.influence,
        logarithmic=True,
    )


def spectrum(events: Events, geometry: Calorimeter, edges: Array, layer: Layer, paired: bool = False) -> Curve:
    """Mean number of a layer's cells per event in bins of their energy; empty where fewer than ten events have such a cell.

    The hottest cell of the reference, at the last edge, counts as above it.
    """
    valid = _detected(events)
    cells = cells_of(events, geometry, layer.name)[valid]
    counts = -np.diff(fractions_above(cells, edges), axis=1) * layer.n_cells
    means = row_means(counts, events.weights, valid, paired, rare=True)
    name, where = ("", "") if len(geometry.layers) == 1 else (f"_{layer.name}", f" in {layer.name.replace('_', ' ')}")
    return Curve(
        f"cell_energies{name}",
        edges,
        means.y,
        means.error,
        label=f"cells per event{where}",
        x_label="cell energy",
        covariance=means.covariance,
        influence=means.influence,
        logarithmic=True,
    )


def fractions_above(cells: Array, thresholds: Array) -> Array:
    """Fraction of the cells `(n, n_cells)` with more than each of `thresholds (k,)`, `(n, k)`."""
    found = np.empty((len(cells), len(thresholds)))
    for start in range(0, len(cells), ROWS):
        piece = cells[start : start + ROWS]
        for j, threshold in enumerate(thresholds.astype(np.float32)):
            found[start : start + ROWS, j] = np.count_nonzero(piece > threshold, axis=1)
    return np.asarray(found / cells.shape[1])


def lateral_profile(events: Events, geometry: Calorimeter, layer: Layer, paired: bool = False) -> Curve:
    """Mean energy per area over the layer's energy, in rings about the barycentre."""
    edges = ring_edges(layer)
    valid = _detected(events) & (cells_of(events, geometry, layer.name).sum(1) > 0)
    within = contained(cells_of(events, geometry, layer.name)[valid], layer, edges)
    means = row_means(np.diff(within, axis=1) / (np.pi * np.diff(edges**2)), events.weights, valid, paired, rare=True)
    end = "" if len(geometry.layers) == 1 else f"_{layer.name}"
    return Curve(
        f"lateral_profile{end}",
        edges,
        means.y,
        means.error,
        r"mm$^{-2}$",
        r"$\langle \mathrm{d}E / \mathrm{d}A \rangle / E$",
        "distance from the barycentre",
        "mm",
        means.covariance,
        influence=means.influence,
        logarithmic=True,
    )


def _detected(events: Events) -> Array:
    return np.ones(len(events), bool) if events.mask is None else events.mask
