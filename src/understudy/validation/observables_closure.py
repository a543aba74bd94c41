r"""Closure of a regressor: its predictions of the conditions against the truth.

Events may carry, beside a given condition, an auxiliary block `predicted_<condition>` of the same columns: what a regressor
trained on the reference reads from the response. A stand-in whose showers say the same to it as those of the reference has
the same residuals, in bias and in width, predicted minus true:

- momenta over the true momentum, $\hat p_i / |p| - p_i / |p|$,
- other energies in MeV that are single numbers over the true value,
- everything else in its own unit (positions in mm).

Residuals are compared as observables and drawn against the energy. The judges and the physics score do not see them: these
work on events as they come from a simulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from understudy.events import Events
from understudy.schema import Array, Block, Schema
from understudy.validation import calorimeter as shower
from understudy.validation.curve import Curve
from understudy.validation.curves import binned_mean, binned_resolution, influence
from understudy.validation.observable import Observable

PREFIX = "predicted_"


def predicted(schema: Schema) -> tuple[Block, ...]:
    """The given conditions that have predictions among the auxiliary blocks.

    Raises:
        ValueError: a prediction has not the shape of its condition.
    """
    known = {b.name: b for b in schema.aux}
    found = [b for b in schema.given if b.kind == "continuous" and PREFIX + b.name in known]
    for block in found:
        other = known[PREFIX + block.name]
        if other.width != block.width or other.unit != block.unit:
            raise ValueError(
                f"{other.name!r} has {other.width} columns in {other.unit or 'no unit'} where the condition {block.name!r} has"
                f" {block.width} in {block.unit or 'no unit'}; predict the condition as it is"
            )
    return tuple(found)


def residuals(schemas: Sequence[Schema]) -> tuple[Observable, ...]:
    """Predicted minus true of every column of the conditions that have predictions in all of `schemas`; usually none."""
    blocks = [predicted(schema) for schema in schemas]
    common = {b.name for b in blocks[0]}.intersection(*({b.name for b in other} for other in blocks[1:])) if blocks else set()
    return tuple(o for b in blocks[0] if b.name in common for o in _residuals(b)) if common else ()


def _residuals(block: Block) -> list[Observable]:
    relative = block.unit == "MeV" and (block.name == "momentum" or block.width == 1)

    def of(events: Events, column: int) -> Array:
        true, made = (np.asarray(values, np.float64).reshape(len(events), -1) for values in _pair(events, block.name))
        difference = made[:, column] - true[:, column]
        return shower.ratio(difference, np.sqrt((true**2).sum(1))) if relative else difference

    found = []
    for column in range(block.width):
        part = block.columns[column] if block.columns and len(block.shape) == 1 else str(column)
        name = f"residual_{block.name}" + (f"_{part}" if block.width > 1 else "")
        what = part if block.width > 1 else block.name.replace("_", " ")
        label = f"predicted minus true {what}" + (", relative" if relative else "")
        unit = "" if relative else block.unit
        found.append(Observable(name, unit, label, lambda e, g, c=column: of(e, c)))  # type: ignore[misc]
    return found


def _pair(events: Events, name: str) -> tuple[Array, Array]:
    return events.conditions[name], events.aux[PREFIX + name]


def closure_curves(
    energy: Array,
    values: Mapping[str, Array],
    observables: Sequence[Observable],
    edges: Array,
    generator: np.random.Generator,
    weights: Array | None = None,
    paired: bool = False,
) -> list[Curve]:
    """Bias and widths (rms and 68 %) of residuals against the energy.

    Args:
        energy: `(n,)` [MeV].
        values: residuals `(n,)` by name.
        observables: what `residuals` gives.
        edges: energy bins of the reference [MeV].
        generator: draws the bootstrap replicas behind the errors of the widths.
        weights: `(n,)`.
        paired: keep what each event contributes to the biases.
    """
    found = []
    for o in observables:
        y, error = binned_mean(energy, values[o.name], edges, weights)
        each = influence(energy, values[o.name], edges, weights) if paired else None
        found.append(Curve(f"{o.name}_bias_vs_energy", edges, y, error, o.unit, f"mean, {o.label}", influence=each))
        for kind, short, word in (("rms", "rms", "rms"), ("central", "68", r"$\sigma_{68}$")):
            y, error = binned_resolution(energy, values[o.name], edges, generator, kind, weights, relative=False)
            found.append(Curve(f"{o.name}_{short}_vs_energy", edges, y, error, o.unit, f"{word}, {o.label}"))
    return found
