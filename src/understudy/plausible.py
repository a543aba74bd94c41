r"""Is a file of showers what it says it is? Questions asked before anything is learned from it.

A calorimeter's cells hold a known part of the incident energy: all of it on the electromagnetic scale, the sampling fraction of a
sampling calorimeter otherwise. Where the mean of $E_\mathrm{tot}/E_\mathrm{inc}$ is away from that by a factor of a
thousand, a unit is wrong, most likely GeV for MeV. A particle that does not enter through the front face, or flies away from it,
leaves no shower: the position is counted from another origin, or in another unit.
"""

from __future__ import annotations

import numpy as np

from understudy.events import Events
from understudy.geometry import BARREL_RADIUS, Calorimeter
from understudy.kinematics import TRUE_ETA, TRUE_PT, true_energy
from understudy.schema import Array

RESPONSE = (0.01, 1.5)
"""Where the mean energy in the cells over the incident energy is expected: sampling fractions and calibrated responses."""
FAR = 10.0
"""Outside the expected range by less than this factor nothing is asked, unless a factor of a thousand leads back into it."""
THOUSAND = 1000.0
REMEDY = "give the data set an attribute 'unit', or convert it"
ELSE = "; if not, say what this calorimeter answers as 'expected_response' of the reference"
MANY = 0.9
ROUNDING = 1e-3
FACES = {"atlas-em-": BARREL_RADIUS}
"""Geometries in eta and phi that are flat boxes, by the beginning of their names: radius [mm] at which the front face stands."""


def check_plausible(
    events: Events, geometry: Calorimeter | None, expected: tuple[float, float] = RESPONSE, where: str | None = None
) -> None:
    """Ask the questions of a calorimeter's events; does nothing where the conditions say too little.

    Args:
        events: a reference's events as they were read.
        geometry: where the cells sit; None for a response that is no calorimeter's.
        expected: range of the mean of the response over the incident energy.
        where: the file, named in errors.

    Raises:
        ValueError: one sentence, a question where it is about units.
    """
    where = where or events.where
    if geometry is None or not len(events) or not events.response:
        return
    energy = _incident(events)
    if energy is not None:
        check_energy_scale(events.packed(), energy, expected, where)
    if "momentum" in events.conditions and events.schema.block("momentum").shape == (3,):
        check_momentum(np.asarray(events["momentum"], float), energy, where)
    if "position" in events.conditions and events.schema.block("position").shape == (2,):
        check_position(np.asarray(events["position"], float), geometry, where)


def _incident(events: Events) -> Array | None:
    """The incident energy `(n,)` [MeV], or None."""
    if "incident_energy" in events.conditions:
        return np.asarray(events["incident_energy"], float).reshape(-1)
    return true_energy(events.conditions) if {TRUE_PT, TRUE_ETA} <= set(events.conditions) else None


def check_energy_scale(cells: Array, energy: Array, expected: tuple[float, float], where: str) -> None:
    """ValueError, as a question, where the cells hold a thousand times too much or too little of the incident energy."""
    total = float(cells.sum(dtype=np.float64))
    ratio = total / max(float(energy.sum(dtype=np.float64)), np.finfo(float).tiny)
    low, high = expected
    lost, won = low <= ratio * THOUSAND <= high, low <= ratio / THOUSAND <= high
    near = low / FAR <= ratio <= high * FAR and not (lost or won)
    if total <= 0 or low <= ratio <= high or near:
        return
    said = f"{where}: the cells hold {ratio:.3g} of the incident energy where {low:g} to {high:g} are expected"
    if lost:
        raise ValueError(f"{said}; do the showers hold GeV where MeV are declared? If so, {REMEDY}{ELSE}")
    if won:
        raise ValueError(f"{said}; do the incident energies hold GeV where MeV are declared? If so, {REMEDY}{ELSE}")
    raise ValueError(f"{said}; have showers and incident energies the units that are declared? If not, {REMEDY}")


def check_momentum(momentum: Array, energy: Array | None, where: str) -> None:
    """ValueError where a particle flies away from the front face, or the momenta are a thousand times too large or small."""
    if (away := np.flatnonzero(momentum[:, 2] <= 0)).size:
        raise ValueError(
            f"{where}: event {away[0]} has pz = {momentum[away[0], 2]:g} MeV, away from the calorimeter, and {away.size} of"
            f" {len(momentum)} events have; leave such events out, or turn the axis so that the beam goes along +z"
        )
    if energy is None:
        return
    ratio = float(np.linalg.norm(momentum, axis=1).sum() / max(float(energy.sum()), np.finfo(float).tiny))
    if not 1 / FAR <= ratio <= FAR:
        which = "momenta" if ratio < 1 else "incident energies"
        raise ValueError(
            f"{where}: the momenta are {ratio:.3g} of the incident energies; do the {which} hold GeV where MeV are declared?"
            f" If so, {REMEDY}"
        )


def check_position(position: Array, geometry: Calorimeter, where: str) -> None:
    """ValueError where a particle enters beside the cells."""
    face = front_face(geometry)
    if face is None:
        return
    low, high = face
    beside = ((position < low - ROUNDING) | (position > high + ROUNDING)).any(1)
    if (outside := np.flatnonzero(beside)).size:
        x, y = position[outside[0]]
        raise ValueError(
            f"{where}: event {outside[0]} enters at ({x:g}, {y:g}) mm, beside the cells of {geometry.name!r}, which cover"
            f" ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}) mm, and {outside.size} of {len(position)} events do;"
            " leave such events out, or count the position in mm from the geometry's origin"
        )


def front_face(geometry: Calorimeter) -> tuple[Array, Array] | None:
    """Lower and upper corner [mm] of what the cells cover, in the frame of the condition `position`; None if unknown."""
    low = np.min([[axis[0] for axis in layer.edges] for layer in geometry.layers], axis=0)
    high = np.max([[axis[-1] for axis in layer.edges] for layer in geometry.layers], axis=0)
    if all(layer.shape_of_grid == "cartesian" and layer.units == ("mm", "mm") for layer in geometry.layers):
        turned = geometry.layers[0].axes == ("y", "x")  # a position is x, y, whatever the rows of cells run along
        return (low[::-1], high[::-1]) if turned else (low, high)
    radius = next((r for name, r in FACES.items() if geometry.name.startswith(name)), None)
    return None if radius is None else (radius * low, radius * high)


def check_projected(read: Events, prepared: Events, where: str) -> None:
    """ValueError, as a question, where thresholds empty nearly all events: both units may be wrong together.

    Args:
        read: a calorimeter's events as they were read.
        prepared: what the preparation left of them.
        where: the file, named in errors.
    """
    if prepared.schema.response_width <= 1 or not read.response:
        return
    raw, left = (events.packed().max(1) for events in (read, prepared))
    if (raw > 0).mean() > MANY and (left > 0).mean() < 1 - MANY:
        raise ValueError(
            f"{where}: the thresholds leave nothing of {(left <= 0).mean():.0%} of the events; do showers and energies hold GeV"
            f" where MeV are declared? If so, {REMEDY}"
        )
