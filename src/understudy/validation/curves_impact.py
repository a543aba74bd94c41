r"""Curves of the barycentre: against the impact point (the S-curve), and against the slope of the direction of flight.

Cells are as large as a shower is wide, so that the barycentre $\langle x \rangle$ is drawn to the centre of the cell that is
hit: $\langle x \rangle - x$ against the impact point $x$ within a cell has the shape of an S. It depends on the shower's
lateral profile and is what a position reconstruction corrects for. Inclined particles deposit their energy downstream,

$$\langle x \rangle - x \approx t_x\, z, \qquad t_x = p_x / p_z,$$

with the depth $z$ of the shower, which is the rise of the curve against the slope. Where slopes are known, the S-curve is
therefore that of the impact point carried on to the shower, $x + t_x z$, with the one depth $z$ that a straight line through
the reference gives for all samples.

All lengths are in mm. Eta and phi of the ATLAS-like clusters count from the same corner as the positions, as lengths over
the radius of the barrel. Looked at are layers with a fair part of the reference's energy, along axes of at least three cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from understudy.events import Events
from understudy.geometry import BARREL_RADIUS, Calorimeter, Layer
from understudy.schema import Array
from understudy.validation import calorimeter as shower
from understudy.validation.curve import Curve
from understudy.validation.curves import binned_mean, influence
from understudy.validation.observables import cells_of, shower_cells
from understudy.validation.observables_direction import has_impact, impact

BINS = 10
FAIR = 0.05
"""Part of the reference's energy that a layer must have."""


@dataclass(frozen=True, eq=False)
class ImpactAxis:
    """One axis of one layer.

    Args:
        layer: the layer's name.
        axis: name of the axis, as in the observable `mean_{axis}_{layer}`.
        column: 0 for positions along x, 1 along y.
        scale: mm per unit of the axis.
        low: lower edge of a cell [mm].
        pitch: size of a cell [mm].
        within: edges of the point (carried on to the shower) within a cell [mm], or of the point itself where it covers no
            more than one cell.
        folded: whether points of several cells are laid on one another.
        edges: edges of the impact point [mm].
        depth: by how much the reference's barycentre moves per unit of slope [mm]; 0 where slopes are not known.
    """

    layer: str
    axis: str
    column: int
    scale: float
    low: float
    pitch: float
    within: Array
    folded: bool
    edges: Array
    depth: float = 0.0


def impact_axes(reference: Events, geometry: Calorimeter) -> tuple[ImpactAxis, ...]:
    """The axes along which the reference has S-curves; none without a condition `position` in mm."""
    if not has_impact(reference.schema) or not len(reference):
        return ()
    seen = slice(None) if reference.mask is None else reference.mask
    energies = shower.layer_energies(shower_cells(reference, geometry)[seen], geometry.layer_of_cell).sum(0)
    points = impact(reference)
    found = []
    for layer, energy in zip(geometry.layers, energies, strict=True):
        scale = millimetres(geometry, layer)
        if scale is None or energy < FAIR * energies.sum():
            continue
        for column in (0, 1):
            low, high = float(points[:, column].min()), float(points[:, column].max())
            if layer.shape[column] >= 3 and high > low:
                found.append(_axis(reference, geometry, layer, column, scale))
    return tuple(found)


def millimetres(geometry: Calorimeter, layer: Layer) -> float | None:
    """Length [mm] of a unit of a layer's axes; None where they have none, or not the same origin as positions in mm."""
    if layer.shape_of_grid != "cartesian":
        return None
    if layer.units == ("mm", "mm") and layer.axes == ("x", "y"):
        return 1.0
    return BARREL_RADIUS if geometry.name.startswith("atlas-em-") and layer.axes == ("eta", "phi") else None


def _depth(reference: Events, geometry: Calorimeter, layer: Layer, column: int, scale: float) -> float:
    """Slope of the straight line through barycentre minus impact point against the slope of the direction of flight [mm]."""
    if (slopes := _slopes(reference)) is None:
        return 0.0
    centre = scale * shower.barycentre(cells_of(reference, geometry, layer.name), layer.centres[:, column])
    offset, slope = centre - impact(reference)[:, column], slopes[:, column]
    known = np.isfinite(offset) & np.isfinite(slope)
    if reference.mask is not None:
        known &= reference.mask
    spread = slope[known] - slope[known].mean() if known.any() else np.zeros(1)
    return float(spread @ offset[known] / (spread @ spread)) if spread @ spread > 0 else 0.0


def _axis(reference: Events, geometry: Calorimeter, layer: Layer, column: int, scale: float) -> ImpactAxis:
    """Bins along one axis of a layer."""
    cells, depth = layer.edges[column], _depth(reference, geometry, layer, column, scale)
    pitch = scale * (cells[-1] - cells[0]) / (len(cells) - 1)
    carried, points = _carried(reference, column, depth), impact(reference)[:, column]
    own, whole = (np.linspace(float(np.nanmin(p)), float(np.nanmax(p)), BINS + 1) for p in (points, carried))
    folded = bool(whole[-1] - whole[0] > 1.001 * pitch)
    within = np.linspace(0.0, pitch, BINS + 1) if folded else whole
    return ImpactAxis(layer.name, layer.axes[column], column, scale, scale * cells[0], pitch, within, folded, own, depth)


def _carried(events: Events, column: int, depth: float) -> Array:
    """Impact point `(n,)` carried on to a depth [mm] along the direction of flight."""
    slopes = _slopes(events) if depth else None
    point = impact(events)[:, column]
    return point if slopes is None else np.asarray(point + depth * slopes[:, column])


def slope_edges(reference: Events) -> Array | None:
    """Bin edges of the slopes of the reference, the same for x and y; None without a momentum or with one slope only."""
    if (slopes := _slopes(reference)) is None or not np.isfinite(slopes).any():
        return None
    low, high = float(np.nanmin(slopes)), float(np.nanmax(slopes))
    return np.linspace(low, high, BINS + 1) if high > low else None


def impact_curves(
    events: Events,
    values: Mapping[str, Array],
    axes: tuple[ImpactAxis, ...],
    slopes: Array | None,
    alone: bool,
    paired: bool = False,
) -> list[Curve]:
    """S-curves, barycentre against impact point, and offset against slope.

    Args:
        events: a sample.
        values: its observables, with the barycentres of the layers.
        axes: those of the reference.
        slopes: `slope_edges` of the reference.
        alone: the calorimeter has no other layer, and names need none.
        paired: keep what each event contributes.
    """
    if not axes:
        return []
    found, points, tilted = [], impact(events), _slopes(events)
    for a in axes:
        point, carried, mean = (
            points[:, a.column],
            _carried(events, a.column, a.depth),
            a.scale * values[f"mean_{a.axis}_{a.layer}"],
        )
        end, where = (f"_{a.axis}", "") if alone else (f"_{a.axis}_{a.layer}", f" in {a.layer.replace('_', ' ')}")
        letter, across = "xy"[a.column], a.axis if a.axis in ("x", "y") else rf"\{a.axis}"
        centre = rf"\langle {across} \rangle" if a.scale == 1.0 else rf"r \langle {across} \rangle"
        hit = f"{letter} + t_{letter} z" if a.depth else letter
        offset, impacted = rf"${centre} - {letter}${where}", f"impact point ${letter}$"
        inside = (carried - a.low) % a.pitch if a.folded else carried
        axis = f"${hit}$" + (" within a cell" if a.folded else "")
        away = rf"${centre} - ({hit})${where}" if a.depth else offset
        drawn = [(f"s_curve{end}", inside, mean - carried, a.within, away, axis, "mm")]
        drawn.append((f"barycentre{end}_vs_impact", point, mean, a.edges, f"${centre}${where}", impacted, "mm"))
        if tilted is not None and slopes is not None:
            slope = tilted[:, a.column]
            drawn.append((f"offset{end}_vs_slope", slope, mean - point, slopes, offset, rf"slope $p_{letter} / p_z$", ""))
        for name, x, y, edges, label, x_label, x_unit in drawn:
            middle, error = binned_mean(x, y, edges, events.weights)
            each = influence(x, y, edges, events.weights) if paired else None
            found.append(Curve(name, edges, middle, error, "mm", label, x_label, x_unit, influence=each))
    return found


def _slopes(events: Events) -> Array | None:
    """Slopes `(n, 2)`, NaN where there is no longitudinal momentum; None where the conditions do not hold them."""
    block = next((b for b in events.schema.given if b.name == "momentum" and {"px", "py", "pz"} <= set(b.columns)), None)
    if block is None:
        return None
    p = np.asarray(events.conditions["momentum"], np.float64)
    px, py, pz = (p[:, block.columns.index(c)] for c in ("px", "py", "pz"))
    forward = np.where(pz > 0, pz, np.nan)
    return np.stack([px / forward, py / forward], 1)
