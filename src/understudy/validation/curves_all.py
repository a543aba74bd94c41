"""Every curve of a sample, in bins that are those of the reference for all samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation.curve import Curve
from understudy.validation.curves import curves, energy_edges, scale_energy
from understudy.validation.curves_energy import energy_curves
from understudy.validation.curves_impact import ImpactAxis, impact_axes, impact_curves, slope_edges
from understudy.validation.curves_shower import shower_curves, threshold_edges
from understudy.validation.observable import Observable
from understudy.validation.observables_closure import closure_curves


@dataclass(frozen=True, eq=False)
class Bins:
    """Bins of a reference sample.

    Args:
        energy: edges [MeV].
        thresholds: edges of the thresholds on cells [MeV].
        impact: axes along which there are S-curves.
        slopes: edges of the slopes; None where they are not known.
    """

    energy: Array
    thresholds: Array
    impact: tuple[ImpactAxis, ...]
    slopes: Array | None

    @classmethod
    def of(cls, reference: Events, geometry: Calorimeter, energy_bins: int = 8) -> Self:
        """Bins over what the reference covers; ValueError where no event has an energy above zero."""
        return cls(
            energy_edges(reference, geometry, energy_bins),
            threshold_edges(reference, geometry),
            impact_axes(reference, geometry),
            slope_edges(reference),
        )


def every_curve(
    events: Events,
    geometry: Calorimeter,
    bins: Bins,
    generator: np.random.Generator,
    values: Mapping[str, Array],
    residuals: Sequence[Observable] = (),
    paired: bool = False,
) -> dict[str, Curve]:
    """All curves of a sample by name.

    Args:
        events: a sample.
        geometry: where its cells sit.
        bins: those of the reference.
        generator: draws the bootstrap replicas behind the errors of widths.
        values: observables `(n,)` of these events by name, residuals among them.
        residuals: observables of a regressor's closure, if the events carry predictions.
        paired: keep what each event contributes to means, for comparisons of samples at the same conditions row by row.
    """
    found = curves(events, geometry, bins.energy, generator, values, paired)
    energy, w = scale_energy(events, geometry), events.weights
    more: list[Curve] = []
    if "response" in values:
        more += energy_curves(energy, values["response"], bins.energy, generator, w, paired)
    more += shower_curves(events, geometry, bins.thresholds, paired)
    more += impact_curves(events, values, bins.impact, bins.slopes, len(geometry.layers) == 1, paired)
    more += closure_curves(energy, values, residuals, bins.energy, generator, w, paired)
    return found | {c.name: c for c in more}
