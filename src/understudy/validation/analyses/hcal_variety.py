r"""Event variety of single tracks: many answers to one question, against what may be compared with them.

A stand-in is asked many times at one (x, y, et). The published study, whose Geant4 could not be asked again, compares with
reference events within 0.01 rad of polar angle and 10 % of transverse energy; ours can be asked at the very same input, and both
comparisons are made. Numbers that follow a track (the centre of energy, the resolution) are only compared at the same input. The
floor is the distance of the reference to itself, asked once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from understudy import hcal_geometry as hcal
from understudy.events import Events
from understudy.registry import register
from understudy.schema import Array
from understudy.validation.analyses.base import Analysis, Finding, Samples
from understudy.validation.distances import wasserstein1
from understudy.validation.hcal_images import observables

FEWEST = 30
"""Neighbouring events that a comparison needs."""
FOLLOWING = ("resolution", "centre_row", "centre_column")
"""Numbers that depend on where exactly the track is."""


@register("analyses", "hcal-variety")
class HcalVariety(Analysis):
    """Samples of single inputs.

    Args:
        inputs: how many test events' conditions are asked, evenly spaced in transverse energy.
        events: samples of each.
        angle: reference events within this polar angle stand for the input [rad] ...
        et: ... if their transverse energy is also within this fraction.
    """

    def __init__(
        self, inputs: PositiveInt = 3, events: PositiveInt = 1000, angle: PositiveFloat = 0.01, et: PositiveFloat = 0.1
    ) -> None:
        self.inputs, self.events, self.angle, self.et = inputs, events, angle, et

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """One finding; ValueError if the events are not single tracks, or no stand-in can be asked."""
        if not {"position", "et"} <= set(samples.reference.conditions):
            raise ValueError("hcal-variety asks single tracks and needs the conditions 'position' and 'et'")
        pool = [e for e in (samples.reference, samples.floor, samples.train) if e is not None]
        order = np.argsort(samples.reference["et"], kind="stable")
        chosen = order[np.rint(np.linspace(0, 1, self.inputs + 2)[1:-1] * (len(order) - 1)).astype(int)]
        numbers: dict[str, dict[str, Any]] = {name: {} for name in samples.standins}
        rows = []
        for row in chosen:
            one = samples.reference[row : row + 1]
            label = "et {:.0f} MeV at ({:.0f}, {:.0f}) mm".format(float(one["et"][0]), *np.asarray(one["position"][0]))
            asked = {k: np.repeat(np.asarray(one.conditions[k]), self.events, 0) for k in ("position", "et")}
            near = self._near(pool, one)
            again: tuple[Events, ...] = ()
            if samples.simulator is not None:
                again = tuple(
                    samples.simulator.simulate(asked, samples.generator("hcal-variety", label, who))
                    for who in ("first", "second")
                )
            for name, standin in samples.standins.items():
                made = standin.simulate(asked, samples.generator("hcal-variety", label, name))
                numbers[name][label] = entry = _entry(made, near, again)
                rows += [{"candidate": name, "input": label, **_told(key, value)} for key, value in entry.items()]
        text = (
            f"{self.events} samples of the same input, against reference events within {self.angle:g} rad of polar angle and"
            f" {100 * self.et:g} % of transverse energy, and against as many reference simulations of that very input: mean and"
            " standard deviation, and the Wasserstein-1 distance of the samples, with the floor of two reference samples."
        )
        return [Finding("Variety at one track", text, numbers, rows=rows)]

    def _near(self, pool: Sequence[Events], one: Events) -> Events | None:
        """Reference events like `one`; None if there are fewer than `FEWEST`."""
        found = [events[alike(events, one, self.angle, self.et)] for events in pool]
        found = [f for f in found if len(f)]
        kept = [_bare(f) for f in found]
        if sum(map(len, kept)) < FEWEST:
            return None
        return Events.concatenate(kept)


def alike(events: Events, one: Events, angle: float, et: float) -> Array:
    """Rows of `events` within `angle` [rad] of polar angle and a fraction `et` of transverse energy of the one event."""

    def theta(e: Events) -> Array:
        return np.asarray(np.arctan2(np.hypot(*np.asarray(e["position"], float).T), hcal.Z_FACE))

    close = np.abs(theta(events) - theta(one)[0]) <= angle
    return np.flatnonzero(close & (np.abs(np.asarray(events["et"]) / float(one["et"][0]) - 1) <= et))


def _bare(events: Events) -> Events:
    """Without aux and weights, which samples of different origin do not share."""
    return Events(replace(events.schema, aux=()), events.conditions, events.response)


def _entry(made: Events, near: Events | None, again: tuple[Events, ...]) -> dict[str, Any]:
    """Each observable's mean, spread and distances."""
    found: dict[str, Any] = {}
    for o in observables(made):
        mine = o(made)
        entry = {"unit": o.unit, "mean": _mean(mine), "spread": _spread(mine)}
        if again:
            first, second = (o(e) for e in again)
            entry |= {
                "reference_mean": _mean(first),
                "reference_spread": _spread(first),
                "same_input": _distance(first, mine),
                "same_input_floor": _distance(first, second),
            }
        if near is not None and o.name not in FOLLOWING:
            entry |= {"neighbours": len(near), "near": _distance(o(near), mine)}
            if again:
                entry["near_floor"] = _distance(o(near), o(again[0]))
        found[o.name] = entry
    return found


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _spread(values: Array) -> float:
    return float(np.nanstd(values)) if np.isfinite(values).any() else float("nan")


def _distance(a: Array, b: Array) -> float:
    if not (np.isfinite(a).any() and np.isfinite(b).any()):
        return float("nan")
    return float(wasserstein1(a, b))


def _told(key: str, entry: Mapping[str, Any]) -> dict[str, str]:
    def pair(value: str, floor: str) -> str:
        if value not in entry:
            return "-"
        return f"{entry[value]:.3g}" + (f" (floor {entry[floor]:.2g})" if floor in entry else "")

    def spread(mean: str, width: str) -> str:
        return f"{entry[mean]:.4g} ± {entry[width]:.3g}" if mean in entry else "-"

    return {
        "quantity": f"{key} [{entry['unit']}]" if entry["unit"] else key,
        "candidate's": spread("mean", "spread"),
        "reference's": spread("reference_mean", "reference_spread"),
        "W1 at the same input": pair("same_input", "same_input_floor"),
        "W1 to neighbours": pair("near", "near_floor"),
    }
