"""Observables in the plane of a layer: asymmetries and widths along the direction of flight, and containment radii."""

from __future__ import annotations

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter, Layer
from understudy.schema import Array, Schema
from understudy.validation import containment, direction
from understudy.validation.observable import Observable, cells_of, shared

SIDES = {"along": r"\parallel", "across": r"\perp"}
"""Along and across the direction of flight, with their indices in labels."""
FRACTIONS = {"68": 0.68, "90": 0.90}
"""Parts of the energy whose containment radius is an observable."""


def has_direction(schema: Schema) -> bool:
    """Whether the given conditions hold a momentum with `px` and `py`."""
    return any(b.name == "momentum" and {"px", "py"} <= set(b.columns) for b in schema.given)


def has_impact(schema: Schema) -> bool:
    """Whether the given conditions hold a position with `x` and `y` in mm."""
    return any(b.name == "position" and b.unit == "mm" and {"x", "y"} <= set(b.columns) for b in schema.given)


def impact(events: Events) -> Array:
    """Impact point `(n, 2)` [mm] at the front face."""
    columns = events.schema.block("position").columns
    return np.asarray(events.conditions["position"][:, [columns.index("x"), columns.index("y")]], np.float64)


def transverse_direction(events: Events) -> Array:
    """Unit vectors along the transverse momentum, `(n, 2)`; NaN where that is zero."""
    columns = events.schema.block("momentum").columns
    return direction.unit_vectors(events.conditions["momentum"][:, [columns.index("px"), columns.index("py")]])


def directed(schema: Schema, layer: Layer, alone: bool) -> list[Observable]:
    """Asymmetry about the impact point and width, along and across the direction; none where these are not known.

    Args:
        schema: what the events hold.
        layer: a layer whose coordinates have the origin of the condition `position`.
        alone: the calorimeter has no other layer, and names need none.
    """
    if not (has_direction(schema) and direction.planar(layer)):
        return []
    end, where = ("", "") if alone else (f"_{layer.name}", f" in {layer.name.replace('_', ' ')}")

    def moments(events: Events, geometry: Calorimeter | None) -> Array:
        return direction.covariance(cells_of(events, geometry, layer.name), layer)

    once = shared(moments)

    def width(events: Events, geometry: Calorimeter | None, side: str) -> Array:
        return direction.width(once(events, geometry), _side(events, side))

    def asymmetry(events: Events, geometry: Calorimeter | None, side: str) -> Array:
        return direction.asymmetry(cells_of(events, geometry, layer.name), layer, impact(events), _side(events, side))

    found = []
    for side, index in SIDES.items():
        if has_impact(schema):
            label = rf"$A_{index}${where}"
            found.append(Observable(f"asymmetry_{side}{end}", "", label, lambda e, g, s=side: asymmetry(e, g, s)))  # type: ignore[misc]
        label = rf"$\sigma_{index}${where}"
        found.append(Observable(f"width_{side}{end}", "mm", label, lambda e, g, s=side: width(e, g, s)))  # type: ignore[misc]
    return found


def radii(layer: Layer, alone: bool) -> list[Observable]:
    """Radii about the barycentre that hold parts of a layer's energy; none where the layer's axes are not both in mm."""
    if not direction.planar(layer):
        return []
    end, where = ("", "") if alone else (f"_{layer.name}", f" in {layer.name.replace('_', ' ')}")

    def both(events: Events, geometry: Calorimeter | None) -> Array:
        rings = containment.counted(cells_of(events, geometry, layer.name), layer)
        return containment.radius(rings, layer, tuple(FRACTIONS.values()))

    once = shared(both)
    return [
        Observable(f"radius_{name}{end}", "mm", rf"$R_{{{name}\,\%}}${where}", lambda e, g, j=j: once(e, g)[:, j])  # type: ignore[misc]
        for j, name in enumerate(FRACTIONS)
    ]


def _side(events: Events, side: str) -> Array:
    along = transverse_direction(events)
    return along if side == "along" else direction.across(along)
