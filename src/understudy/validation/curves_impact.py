r"""Curves of the barycentre: against the impact point (the S-curve), and against the slope of the direction of flight.

Cells are as large as a shower is wide, so that the barycentre $\langle x \rangle$ is drawn to the centre of the cell that is
hit: $\langle x \rangle - x$ against the impact point $x$ within a cell has the shape of an S. It depends on the shower's
lateral profile and is what a position reconstruction corrects for. Inclined particles deposit their energy downstream,

$$\langle x \rangle - x \approx t_x\, z, \qquad t_x = p_x / p_z,$$

with the depth $z$ of the shower, which is the rise of the curve against the slope.

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
from understudy.validation.observables import shower_cells
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
        within: edges of the impact point within a cell [mm]; the impact point itself where it covers no more than one cell.
        edges: edges of the impact point [mm].
    """

    layer: str
    axis: str
    column: int
    scale: float
    low: float
    pitch: float
    within: Array
    edges: Array

    @property
    def folded(self) -> bool:
        """Whether impact points of several cells are laid on one another."""
        return not np.array_equal(self.within, self.edges)


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
                found.append(_axis(layer, column, scale, np.linspace(low, high, BINS + 1)))
    return tuple(found)


def millimetres(geometry: Calorimeter, layer: Layer) -> float | None:
    """Length [mm] of a unit of a layer's axes; None where they have none, or not the same origin as positions in mm."""
    if layer.shape_of_grid != "cartesian":
        return None
    if layer.units == ("mm", "mm") and layer.axes == ("x", "y"):
        return 1.0
    return BARREL_RADIUS if geometry.name.startswith("atlas-em-") and layer.axes == ("eta", "phi") else None


def _axis(layer: Layer, column: int, scale: float, edges: Array) -> ImpactAxis:
    cells = layer.edges[column]
    pitch = scale * (cells[-1] - cells[0]) / (len(cells) - 1)
    one = edges[-1] - edges[0] <= 1.001 * pitch
    within = edges if one else np.linspace(0.0, pitch, BINS + 1)
    return ImpactAxis(layer.name, layer.axes[column], column, scale, scale * cells[0], pitch, within, edges)


def slope_edges(reference: Events) -> Array | None:
    """Bin edges of the slopes of the reference, the same for x and y; None without a momentum or with one slope only."""
    if (slopes := _slopes(reference)) is None or not len(slopes):
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
        point, mean = points[:, a.column], a.scale * values[f"mean_{a.axis}_{a.layer}"]
        end, where = (f"_{a.axis}", "") if alone else (f"_{a.axis}_{a.layer}", f" in {a.layer.replace('_', ' ')}")
        letter, across = "xy"[a.column], a.axis if a.axis in ("x", "y") else rf"\{a.axis}"
        centre = rf"\langle {across} \rangle" if a.scale == 1.0 else rf"r \langle {across} \rangle"
        inside = (point - a.low) % a.pitch if a.folded else point
        axis = f"impact point ${letter}$" + (" within a cell" if a.folded else "")
        offset = rf"${centre} - {letter}${where}"
        drawn = [(f"s_curve{end}", inside, mean - point, a.within, offset, axis, "mm")]
        drawn.append((f"barycentre{end}_vs_impact", point, mean, a.edges, f"${centre}${where}", f"impact point ${letter}$", "mm"))
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
