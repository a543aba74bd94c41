r"""Observables: numbers per event on which two samples are compared.

An observable is a pure function of events and geometry, with a name and a unit. Those of a calorimeter are the list of
the photon-shower paper (P. Klein, "WGANs for simulation of e.m. showers in ATLAS calorimeter", figs. 14-21), for
whatever layers the geometry has; any other response is described by its columns. NaN means "not defined for this event"
(the barycentre of an empty layer, any response of a particle that was not detected): such events are left out of the
distances, and how many there are is compared by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter, Layer
from understudy.schema import Array, Block, Schema
from understudy.validation import calorimeter as shower
from understudy.validation.observable import (
    Function,
    Observable,
    cells_of,
    energy_block,
    incident_energy,
    shower_block,
    shower_cells,
)
from understudy.validation.observables_direction import directed, radii
from understudy.validation.observables_image import pictured

__all__ = [
    "Function",
    "Observable",
    "cells_of",
    "energy_block",
    "evaluate",
    "incident_energy",
    "observables_for",
    "shower_block",
    "shower_cells",
]

MANY_COLUMNS = 64
"""A block with more columns than this, none of them named, is described by its sum, maximum and zeros."""


def evaluate(events: Events, geometry: Calorimeter | None, observables: Sequence[Observable] | None = None) -> dict[str, Array]:
    """Values `(n,)` of observables by name; by default all that `observables_for` finds."""
    chosen = observables_for(events.schema, geometry) if observables is None else observables
    return {o.name: o(events, geometry) for o in chosen}


def observables_for(schema: Schema, geometry: Calorimeter | None = None, threshold: float = 1.0) -> tuple[Observable, ...]:
    """The observables that these events have.

    Args:
        schema: what the events hold.
        geometry: where the response's cells sit; None for a response that is no calorimeter's.
        threshold: energy [MeV] above which a cell counts as hit.

    Raises:
        ValueError: the geometry does not fit the response, or nothing in the response can be compared.
    """
    cells = shower_block(schema, geometry) if geometry is not None else None
    found: list[Observable] = []
    if geometry is not None and cells is not None:
        found += _whole_shower(cells, schema, geometry)
        for layer in geometry.layers:
            alone = len(geometry.layers) == 1
            found += _layer(cells, layer, threshold, alone)
            found += directed(schema, layer, alone) + radii(layer, alone)
    for block in schema.response:
        if block != cells:
            found += _columns(block)
    if not found:
        raise ValueError(f"the response ({', '.join(b.name for b in schema.response) or 'nothing'}) has no column to compare")
    return tuple(found)


def _incident(events: Events) -> Array:
    energy = incident_energy(events)
    if energy is None:
        raise ValueError(f"{events.where}: the response over the incident energy needs that energy among the conditions")
    return energy


def _whole_shower(cells: Block, schema: Schema, geometry: Calorimeter) -> list[Observable]:
    unit = cells.unit or "MeV"

    def total(e: Events, g: Calorimeter | None) -> Array:
        return shower.energy(shower_cells(e, g))

    def depth(e: Events, g: Calorimeter | None) -> Array:
        return shower.barycentre(_layer_energies(e, g), np.arange(len(geometry.layers), dtype=float))

    def depth_width(e: Events, g: Calorimeter | None) -> Array:
        return shower.width(_layer_energies(e, g), np.arange(len(geometry.layers), dtype=float))

    found = [Observable("total_energy", unit, r"$E_\mathrm{tot}$", total)]
    if energy_block(schema) is not None:
        answer = Observable(
            "response", "", r"$E_\mathrm{tot} / E_\mathrm{inc}$", lambda e, g: shower.ratio(total(e, g), _incident(e))
        )
        found.append(answer)
    found += [
        Observable("max_cell", unit, "hottest cell", lambda e, g: shower_cells(e, g).max(1)),
        Observable("zero_fraction", "", "fraction of empty cells", lambda e, g: shower.zero_fraction(shower_cells(e, g))),
    ]
    if len(geometry.layers) > 1:
        found += [
            Observable("depth", "", "mean layer index", depth),
            Observable("depth_width", "", "width in layer index", depth_width),
        ]
    return found


def _layer_energies(events: Events, geometry: Calorimeter | None) -> Array:
    cells = shower_cells(events, geometry)
    return shower.layer_energies(cells, geometry.layer_of_cell)  # type: ignore[union-attr]


def _layer(cells: Block, layer: Layer, threshold: float, alone: bool) -> list[Observable]:
    """The observables of one layer; the energy of one that is alone is the total energy."""
    name, unit = layer.name, cells.unit or "MeV"

    def of(kernel: Callable[[Array], Array]) -> Function:
        return _on_layer(name, kernel)

    def fraction(e: Events, g: Calorimeter | None) -> Array:
        return shower.ratio(shower.energy(cells_of(e, g, name)), shower.energy(shower_cells(e, g)))

    where = f" in {name.replace('_', ' ')}"
    found = []
    if not alone:
        found += [
            Observable(f"energy_{name}", unit, f"$E${where}", of(shower.energy)),
            Observable(f"fraction_{name}", "", rf"$E / E_\mathrm{{tot}}${where}", fraction),
        ]
    found += [o for along in shower.directions(layer) for o in _along(along, name)]
    if shower.has_core(layer):
        core = of(lambda c: shower.core_fraction(c, layer))
        found.append(Observable(f"core_fraction_{name}", "", rf"$E_{{3 \times 3}} / E${where}", core))
    found += [
        Observable(f"max_fraction_{name}", "", f"hottest cell over $E${where}", of(shower.hottest_fraction)),
        Observable(f"hits_{name}", "", f"cells above {threshold:g} MeV{where}", of(lambda c: shower.active_cells(c, threshold))),
    ]
    return found


def _along(direction: shower.Direction, layer: str) -> list[Observable]:
    """Barycentre and width of a layer along one axis."""
    axis, where = direction.name, f" in {layer.replace('_', ' ')}"
    symbol = rf"\{axis}" if axis in ("eta", "phi", "alpha") else axis
    mean = _on_layer(layer, lambda c: shower.barycentre(c, direction.positions))
    width = _on_layer(layer, lambda c: shower.width(c, direction.positions))
    return [
        Observable(f"mean_{axis}_{layer}", direction.unit, rf"$\langle {symbol} \rangle${where}", mean),
        Observable(f"width_{axis}_{layer}", direction.unit, rf"$\sigma_{{{symbol}}}${where}", width),
    ]


def _on_layer(layer: str, kernel: Callable[[Array], Array]) -> Function:
    return lambda e, g: kernel(cells_of(e, g, layer))


def _columns(block: Block) -> list[Observable]:
    """One observable per column of a block of numbers, a few of an image; categories and jagged lists have none here."""
    if block.kind == "image":
        return pictured(block)
    if block.kind not in ("continuous", "periodic"):
        return []

    def flat(events: Events) -> Array:
        values: Array = events.response[block.name]
        return values.reshape(len(events), -1)

    if block.width > MANY_COLUMNS and not block.columns:
        return [
            Observable(f"sum_{block.name}", block.unit, f"sum of {block.name}", lambda e, g: shower.energy(flat(e))),
            Observable(f"max_{block.name}", block.unit, f"maximum of {block.name}", lambda e, g: flat(e).max(1)),
            Observable(f"zero_fraction_{block.name}", "", f"zeros in {block.name}", lambda e, g: shower.zero_fraction(flat(e))),
        ]
    found = []
    for i, index in enumerate(np.ndindex(block.shape)):
        parts = [str(k) for k in index]
        if block.columns:
            parts[-1] = block.columns[index[-1]]
        name = "_".join([block.name, *parts])
        found.append(Observable(name, block.unit, name.replace("_", " "), lambda e, g, i=i: flat(e)[:, i]))  # type: ignore[misc]
    return found
