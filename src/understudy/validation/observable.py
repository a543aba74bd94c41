"""What an observable is, and where the cells and the incident energy of an event are found."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.kinematics import TRUE_ENERGY, TRUE_ETA, TRUE_PT, true_energy
from understudy.schema import Array, Block, Schema

Function = Callable[[Events, Calorimeter | None], Array]
T = TypeVar("T")


@dataclass(frozen=True)
class Observable:
    """One number per event.

    Args:
        name: stable and readable, e.g. `mean_eta_strips`; the key in `metrics.json`.
        unit: unit in hepunits' system, empty for pure numbers.
        label: what an axis says, without the unit; may hold LaTeX between dollars.
        function: `(events, geometry) -> (n,)`; NaN where it is not defined.
    """

    name: str
    unit: str
    label: str
    function: Function = field(repr=False)

    def __call__(self, events: Events, geometry: Calorimeter | None = None) -> Array:
        """Values `(n,)` in float64; NaN where it is not defined or nothing was detected.

        Raises:
            ValueError: the events have no response yet, or the function does not answer with one number per event.
        """
        if not events.response:
            raise ValueError(f"{events.where}: {self.name!r} needs a response, and these events have not been simulated yet")
        values = np.array(self.function(events, geometry), dtype=np.float64)
        if values.shape != (len(events),):
            raise ValueError(f"observable {self.name!r} has shape {values.shape} where ({len(events)},) is expected")
        if events.mask is not None:
            values[~events.mask] = np.nan
        return values


def shower_block(schema: Schema, geometry: Calorimeter) -> Block:
    """The response block that holds the cells of `geometry`; ValueError if there is none or more than one."""
    fits = [b for b in schema.response if b.kind in ("continuous", "image") and b.width == geometry.n_cells]
    if len(fits) != 1:
        sizes = ", ".join(f"{b.name} ({b.width})" for b in schema.response) or "nothing"
        raise ValueError(
            f"geometry {geometry.name!r} has {geometry.n_cells} cells, which fits {len(fits)} blocks of the response ({sizes})"
            " where one is expected; name the geometry that the events were made with"
        )
    return fits[0]


def shower_cells(events: Events, geometry: Calorimeter | None) -> Array:
    """Cell energies `(n, n_cells)` [MeV] of the response that `geometry` describes."""
    if geometry is None:
        raise ValueError("a calorimeter's observables need its geometry, and none was given")
    if not events.response:
        raise ValueError(f"{events.where}: these events have no showers yet; simulate them first")
    cells: Array = events.response[shower_block(events.schema, geometry).name]
    return cells.reshape(len(events), -1)


def energy_block(schema: Schema) -> Block | None:
    """The incident energy: a given condition of one number in MeV with `energy` or `energies` in its name, or else the true
    energy (derived), which follows from a given `true_pt` and `true_eta`."""
    scalars = [b for b in schema.given if b.kind == "continuous" and b.width == 1 and b.unit == "MeV"]
    named = [b for b in scalars if "energ" in b.name.lower()]
    if not named and {TRUE_PT, TRUE_ETA} <= {b.name for b in schema.given}:
        return Block(TRUE_ENERGY, "MeV", derived=True, minimum=0.0)
    return min(named, key=lambda b: "incident" not in b.name.lower(), default=None)


def incident_energy(events: Events) -> Array | None:
    """Incident energy `(n,)` [MeV], or None where the conditions do not hold it."""
    block = energy_block(events.schema)
    if block is None:
        return None
    if block.derived:
        return true_energy(events.conditions)
    return np.asarray(events.conditions[block.name], np.float64).reshape(-1)


def shared(function: Callable[[Events, Calorimeter | None], T]) -> Callable[[Events, Calorimeter | None], T]:
    """`function`, with its answer for the latest events kept: what several observables are made of is computed once."""
    latest: list[tuple[weakref.ref[Events], Calorimeter | None, T]] = []

    def answer(events: Events, geometry: Calorimeter | None) -> T:
        if latest and latest[0][0]() is events and latest[0][1] is geometry:
            return latest[0][2]
        found = function(events, geometry)
        latest[:] = [(weakref.ref(events), geometry, found)]
        return found

    return answer


def cells_of(events: Events, geometry: Calorimeter | None, layer: str) -> Array:
    """Cell energies of one layer, `(n, n_cells)` [MeV]."""
    cells = shower_cells(events, geometry)
    return cells[:, geometry.slices[layer]]  # type: ignore[union-attr,index]
