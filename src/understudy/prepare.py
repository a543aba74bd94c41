"""From a reference's events to what is learned and judged: crop, add noise, project, derive, select.

The same steps, in the same order, whoever made the events: conditions are chosen, a larger geometry is cropped cell by
cell, thresholds are applied, derived conditions are computed from what is left, and events outside the recipe's ranges
are left out. Electronic noise, where a recipe asks for it, is added before the thresholds, to the reference alone: a
stand-in has learned it and answers with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.kinematics import TRUE_ENERGY, true_energy
from understudy.noise import CellNoise
from understudy.propagation import Propagation
from understudy.schema import Array, Block, Schema
from understudy.transforms.base import Projection

LAYER_ENERGIES = "layer_energies"
"""Sum of the event's cells in each layer [MeV], `(n, layers)`."""


def _total_energy(events: Events) -> Array:
    """Sum of the event's cells [MeV], `(n,)`."""
    total: Array = events.packed().sum(1, dtype=np.float64)
    return total


def _layers_without_a_geometry(events: Events) -> Array:
    raise ValueError(f"{LAYER_ENERGIES} needs to know the layers of the response; name its geometry in the recipe")


DERIVED: dict[str, tuple[Block, Callable[[Events], Array]]] = {
    "total_energy": (Block("total_energy", "MeV", derived=True, minimum=0.0), _total_energy),
    LAYER_ENERGIES: (Block(LAYER_ENERGIES, "MeV", derived=True, minimum=0.0), _layers_without_a_geometry),
    TRUE_ENERGY: (Block(TRUE_ENERGY, "MeV", derived=True, minimum=0.0), lambda events: true_energy(events.conditions)),
}
"""Conditions that are computed, from the response or from other conditions, by name."""

WIDEST = 64
"""Numbers per event of a block beyond which it is an image, when it becomes a condition."""

FROM_CONDITIONS = (TRUE_ENERGY,)
"""Those that follow from what a user gives: they need not be drawn."""


@dataclass(frozen=True)
class Preparation:
    """The steps between a reference and the stand-in.

    Args:
        geometry: the stand-in's geometry, or None for responses that are no calorimeter's.
        conditions: the given conditions to keep, or None for all.
        projections: applied to the response in order.
        derived: names out of `DERIVED`.
        select: allowed range by condition.
        noise: electronic noise that is added before the projections, or None.
        invert: at the end the given conditions and the response change places: what the particle was is to be learned from
            what the detector answered. Derived conditions are left out; they are there to be selected on.
        propagation: replaces tracks by the sum of their images before anything else, or None.
    """

    geometry: Calorimeter | None = None
    conditions: Sequence[str] | None = None
    projections: Sequence[Projection] = ()
    derived: Sequence[str] = ()
    select: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    noise: CellNoise | None = None
    invert: bool = False
    propagation: Propagation | None = None

    def schema(self, schema: Schema) -> Schema:
        """The schema of prepared events, from the reference's own.

        Raises:
            KeyError: a condition to keep is unknown.
            ValueError: a derived condition is unknown, or a range is given for what is no condition.
        """
        schema = schema if self.propagation is None else self.propagation.schema(schema)
        kept = schema.conditions if self.conditions is None else tuple(schema.block(name) for name in self.conditions)
        made = Schema((*kept, *(derived(name, self.geometry)[0] for name in self.derived)), schema.response, schema.aux)
        names = [b.name for b in made.conditions]
        if unknown := [name for name in self.select if name not in names]:
            raise ValueError(f"cannot select on {unknown[0]!r}: the conditions are {', '.join(names)}")
        if self.geometry is None or len(schema.response) != 1:
            return inverted_schema(made) if self.invert else made
        made = replace(made, response=(replace(schema.response[0], shape=(self.geometry.n_cells,)),))
        return inverted_schema(made) if self.invert else made

    def __call__(self, events: Events, geometry: Calorimeter | None = None, sample: str = "reference") -> Events:
        """Prepare `events`, whose response has `geometry` (the stand-in's own if None).

        Args:
            events: the reference's events.
            geometry: where their cells sit.
            sample: which sample they are; another one gets other noise.

        Raises:
            ValueError: the response does not fit the geometry, a derived condition is unknown, noise leaves negative
                energies, or nothing is left.
        """
        if self.propagation is not None:
            events = self.propagation(events, sample)
        if self.conditions is not None:
            events = events.select_conditions(self.conditions)
        if self.geometry is not None:
            events = crop(events, geometry or self.geometry, self.geometry)
        events = self._project(events, sample)
        for name in self.derived:
            block, function = derived(name, self.geometry)
            events = events.with_condition(block, function(events))
        events = self._selected(events)
        return inverted(events) if self.invert else events

    def _project(self, events: Events, sample: str) -> Events:
        if not self.projections and self.noise is None:
            return events
        cells = events.packed()
        packed = torch.tensor(cells if self.noise is None else self.noise(cells, sample))
        given = {b.name: torch.tensor(np.asarray(events.conditions[b.name])) for b in events.schema.given if b.kind != "jagged"}
        with torch.no_grad():
            for projection in self.projections:
                packed = projection(packed, given)
        if self.noise is not None and any(b.minimum == 0 for b in events.schema.response) and bool((packed < 0).any()):
            raise ValueError(
                f"electronic noise leaves cells of {float(packed.min()):g} MeV after the projections, and an energy cannot be"
                " negative; add a threshold to every layer with noise, or the projection non-negative"
            )
        return events.with_response(packed.numpy())

    def _selected(self, events: Events) -> Events:
        keep = np.ones(len(events), bool)
        for name, (low, high) in self.select.items():
            values = events.conditions.get(name)
            if values is None:
                raise ValueError(f"cannot select on {name!r}: the conditions are {', '.join(events.conditions)}")
            keep &= ((values >= low) & (values <= high)).reshape(len(events), -1).all(1)
        if not keep.any():
            raise ValueError(
                f"{events.where}: none of the {len(events)} events lies inside {dict(self.select)}"
                if len(events)
                else f"{events.where} holds zero events; give a file or a simulation with events in it"
            )
        return events if keep.all() else events[keep]


def inverted_schema(schema: Schema) -> Schema:
    """`schema` with its given conditions and its response in each other's place; what is as wide as an image becomes one.

    Raises:
        ValueError: a condition that cannot be a response.
    """
    if odd := [b.name for b in schema.given if b.kind in ("categorical", "jagged")]:
        raise ValueError(f"the condition {odd[0]!r} is no number that could be learned; leave it out of the recipe's conditions")
    seen = tuple(replace(b, kind="image") if b.kind == "continuous" and b.width > WIDEST else b for b in schema.response)
    return Schema(seen, schema.given, schema.aux)


def inverted(events: Events) -> Events:
    """`events` with their given conditions and response exchanged; weights, mask and aux stay."""
    response = {b.name: events.conditions[b.name] for b in events.schema.given}
    return replace(events, schema=inverted_schema(events.schema), conditions=events.response, response=response)


def derived(name: str, geometry: Calorimeter | None = None) -> tuple[Block, Callable[[Events], Array]]:
    """A derived condition's block and function by name; `layer_energies` has one number for each layer of `geometry`."""
    if name not in DERIVED:
        raise ValueError(f"no derived condition {name!r}; there are {', '.join(DERIVED)}")
    block, function = DERIVED[name]
    if name != LAYER_ENERGIES or geometry is None:
        return block, function
    starts = [part.start for part in geometry.slices.values()]
    shaped = replace(block, shape=(len(starts),), columns=geometry.layer_names)
    return shaped, lambda events: np.asarray(np.add.reduceat(events.packed(), starts, axis=1, dtype=np.float64))


def crop(events: Events, parent: Calorimeter, child: Calorimeter) -> Events:
    """The cells of `child` out of a response whose geometry is `parent`."""
    if len(events.schema.response) != 1:
        raise ValueError(
            f"{events.where}: a calorimeter's response is one block, found {[b.name for b in events.schema.response]}"
        )
    block = events.schema.response[0]
    parent.check_cells(block.width, f"{events.where}: {block.name!r}")
    if parent == child:
        return events
    cells = events.packed()[:, child.crop_of(parent)]
    return events.with_response({block.name: cells}, [replace(block, shape=(child.n_cells,))])
