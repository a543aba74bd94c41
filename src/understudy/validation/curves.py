r"""Curves: how a mean or a width depends on the energy, with errors, compared by pulls and chi-squared.

The response $\langle E_\mathrm{tot} / E_\mathrm{inc} \rangle$, the resolution
$\sigma(E_\mathrm{tot} / E_\mathrm{inc}) / \langle E_\mathrm{tot} / E_\mathrm{inc} \rangle$, widths (fig. 20 of P. Klein,
"WGANs for simulation of e.m. showers in ATLAS calorimeter", there against the sum of the cells), layer fractions and the
shower core against the incident energy, and the longitudinal profile.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation import calorimeter as shower
from understudy.validation.bootstrap import multiplicities
from understudy.validation.curve import FEWEST, Curve, compare_curves, filled, pulls, row_means
from understudy.validation.observables import evaluate, incident_energy, observables_for, shower_cells
from understudy.validation.quantiles import monotone

__all__ = [
    "FEWEST",
    "Curve",
    "binned_mean",
    "binned_resolution",
    "compare_curves",
    "curves",
    "energy_edges",
    "influence",
    "longitudinal_profile",
    "pulls",
    "scale_energy",
]

AGAINST_ENERGY = ("response", "fraction_", "width_", "core_fraction_", "depth", "asymmetry_", "radius_")
"""Observables whose mean is followed against the energy, by the beginning of their names."""


def energy_edges(events: Events, geometry: Calorimeter | None = None, bins: int = 8) -> Array:
    """Logarithmic bin edges `(bins + 1,)` [MeV] over the energies of the reference."""
    energy = scale_energy(events, geometry)
    positive = energy[energy > 0]
    if not len(positive):
        raise ValueError(f"{events.where}: no event has an energy above zero to choose energy bins from")
    low, high = float(positive.min()), float(positive.max())
    return np.geomspace(low * (1 - 1e-6), max(high, low * (1 + 1e-6)) * (1 + 1e-6), bins + 1)


def scale_energy(events: Events, geometry: Calorimeter | None = None) -> Array:
    """The energy [MeV] that curves are drawn against: the incident one, or the sum of the cells where that is unknown."""
    energy = incident_energy(events)
    return shower.energy(shower_cells(events, geometry)) if energy is None else energy


def curves(
    events: Events,
    geometry: Calorimeter,
    edges: Array,
    generator: np.random.Generator,
    values: Mapping[str, Array] | None = None,
    paired: bool = False,
) -> dict[str, Curve]:
    """Every curve of a calorimeter by name.

    Args:
        events: a sample.
        geometry: where its cells sit.
        edges: energy bins [MeV], those of the reference for all samples that are to be compared (`energy_edges`).
        generator: draws the bootstrap replicas behind the errors of the resolution.
        values: observables of these events where they are known already, from `evaluate`.
        paired: keep what each event contributes to means, for comparisons of samples at the same conditions row by row.
    """
    chosen = [o for o in observables_for(events.schema, geometry) if o.name.startswith(AGAINST_ENERGY)]
    known = evaluate(events, geometry, [o for o in chosen if values is None or o.name not in values])
    known.update({} if values is None else values)
    known_incident = incident_energy(events) is not None
    energy, weights = scale_energy(events, geometry), events.weights
    x_label = r"$E_\mathrm{inc}$" if known_incident else r"$E_\mathrm{tot}$"
    found = []
    for o in chosen:
        y, error = binned_mean(energy, known[o.name], edges, weights)
        label = rf"$\langle$ {o.label} $\rangle$"
        each = influence(energy, known[o.name], edges, weights) if paired else None
        found.append(Curve(f"{o.name}_vs_energy", edges, y, error, o.unit, label, x_label, influence=each))
    if known_incident:
        for kind, label in (("central", r"$\sigma_{68} / \langle E \rangle$"), ("rms", r"$\sigma / \langle E \rangle$")):
            y, error = binned_resolution(energy, known["response"], edges, generator, kind, weights)
            name = "resolution_vs_energy" if kind == "central" else "resolution_rms_vs_energy"
            at, _ = binned_mean(energy, np.where(np.isfinite(known["response"]), energy, np.nan), edges, weights)
            found.append(Curve(name, edges, y, error, "", label, x_label, x=at))
    if len(geometry.layers) > 1:
        found.append(longitudinal_profile(events, geometry, paired))
    return {c.name: c for c in found}


def binned_mean(x: Array, values: Array, edges: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Weighted mean of `values` and its error in bins of `x`, `(k,)` each; NaN where a bin is empty."""
    w = np.ones(len(x)) if weights is None else weights
    index, inside = _bins(x, values, edges)
    index, v, w = index[inside], values[inside], w[inside]
    k = len(edges) - 1
    total, squares = np.bincount(index, w, k), np.bincount(index, w**2, k)
    known = filled(total, squares)
    safe = np.where(known, total, 1.0)
    mean = np.where(known, np.bincount(index, w * v, k) / safe, np.nan)
    spread = np.bincount(index, (w * (v - mean[index])) ** 2, k)
    return mean, np.sqrt(spread) / np.where(known, safe, np.nan)


def influence(x: Array, values: Array, edges: Array, weights: Array | None = None) -> Array:
    """How far each event moves the means of `binned_mean`, `(n, k)`; the sum of its squares is their error squared."""
    w = np.ones(len(x)) if weights is None else weights
    mean, _ = binned_mean(x, values, edges, w)
    index, inside = _bins(x, values, edges)
    rows = np.flatnonzero(inside)
    found = np.zeros((len(x), len(mean)), np.float32)
    total = np.bincount(index[rows], w[rows], len(mean))
    safe = np.where(total != 0, total, 1.0)
    found[rows, index[rows]] = np.nan_to_num(w[rows] * (values[rows] - mean[index[rows]]) / safe[index[rows]])
    return found


def binned_resolution(
    x: Array,
    values: Array,
    edges: Array,
    generator: np.random.Generator,
    kind: str = "central",
    weights: Array | None = None,
    replicas: int = 100,
    relative: bool = True,
) -> tuple[Array, Array]:
    """Width of `values` and its bootstrap error in bins of `x`, `(k,)` each; NaN where a bin is empty.

    Args:
        x: what the bins are made of.
        values: `(n,)`, such as the response.
        edges: bin edges `(k + 1,)`.
        generator: draws the replicas.
        kind: `central`, half of the central 68.27 % interval, or `rms`, the standard deviation.
        weights: `(n,)`.
        replicas: number of bootstrap replicas.
        relative: give the width over the mean.
    """
    if kind not in ("central", "rms"):
        raise ValueError(f"no resolution of kind {kind!r}; choose 'central' or 'rms'")
    w = np.ones(len(x)) if weights is None else weights
    index, inside = _bins(x, values, edges)
    y, error = np.full(len(edges) - 1, np.nan), np.full(len(edges) - 1, np.nan)
    for b in range(len(y)):
        v, wb = values[inside & (index == b)], w[inside & (index == b)]
        if filled(wb.sum(), (wb**2).sum()):
            y[b] = _width(v, wb[None, :], kind, relative)[0]
            widths = _width(v, wb * multiplicities(len(v), replicas, generator), kind, relative)
            widths = widths[np.isfinite(widths)]
            error[b] = widths.std(ddof=1) if len(widths) > 1 else np.nan
    return y, error


def longitudinal_profile(events: Events, geometry: Calorimeter, paired: bool = False) -> Curve:
    """Mean energy of each layer over the incident energy (over the sum of the cells where that is unknown).

    The layers share their events, so that the curve carries its covariance.
    """
    energies = shower.layer_energies(shower_cells(events, geometry), geometry.layer_of_cell)
    scale = scale_energy(events, geometry)
    valid = (scale > 0) & np.isfinite(energies).all(1)
    shares = energies[valid] / scale[valid, None]
    k, means = len(geometry.layers), row_means(shares, events.weights, valid, paired)
    label = (
        r"$\langle E / E_\mathrm{inc} \rangle$"
        if incident_energy(events) is not None
        else r"$\langle E / E_\mathrm{tot} \rangle$"
    )
    edges = np.arange(k + 1) - 0.5
    return Curve(
        "longitudinal_profile",
        edges,
        means.y,
        means.error,
        "",
        label,
        "layer",
        "",
        means.covariance,
        geometry.layer_names,
        means.influence,
    )


def _bins(x: Array, values: Array, edges: Array) -> tuple[Array, Array]:
    """Bin of each event, and whether it is in one with a defined value."""
    index = np.searchsorted(edges, x, side="right") - 1
    inside = (index >= 0) & (index < len(edges) - 1) & np.isfinite(values)
    return index, inside


def _width(values: Array, weights: Array, kind: str, relative: bool) -> Array:
    """Width `(replicas,)` of `values (n,)` with weights `(replicas, n)`; NaN where the weights sum to nothing."""
    total = weights.sum(1)
    weights = weights / np.where(total > 0, total, np.nan)[:, None]
    mean = weights @ values
    scale = np.where(mean == 0, np.nan, mean) if relative else np.ones(len(mean))  # where nothing was deposited, no ratio
    if kind == "rms":
        variance = weights @ (values - values.mean()) ** 2 - (mean - values.mean()) ** 2
        return np.asarray(np.sqrt(np.clip(variance, 0.0, None)) / scale)
    order = np.argsort(values)
    cumulative = monotone(np.cumsum(weights[:, order], axis=1))
    tail = stats.norm.sf(1.0)
    low, high = (values[order][(cumulative >= q - 1e-12).argmax(1)] for q in (tail, 1.0 - tail))
    return np.asarray(0.5 * (high - low) / scale)
