r"""Event variety: many samples of one condition beside reference events at that condition.

A stand-in that has collapsed answers one condition with nearly the same event again and again. Averaged over all
conditions its distributions may still look right, because the conditions vary; at one condition the widths

$$R = \sigma_\mathrm{candidate} / \sigma_\mathrm{reference}$$

of the observables are too small (the event variety of the LHCb ECAL study, V. Chekalina et al.). A width is half of the
central 68.27 % interval, which a few events far out do not move. Energies are taken over the incident energy.

A reference that simulates is asked at exactly that condition. Of a file, the events at the nearest conditions stand in.
Their conditions are spread, so that the candidate is also asked once at each of them: it is these samples, `matched`, that
are compared then, and how much they are wider than those of the one condition tells what the spread alone does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial import KDTree

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation import calorimeter as shower
from understudy.validation.bootstrap import floor, multiplicities, with_uncertainty
from understudy.validation.curves import scale_energy
from understudy.validation.distances import ks
from understudy.validation.observables import (
    Observable,
    energy_block,
    evaluate,
    incident_energy,
    observables_for,
    shower_cells,
)
from understudy.validation.settings import ValidationSettings
from understudy.validation.wording import describe, in_energy_unit, is_momentum

WHOLE = ("response", "total_energy", "max_cell", "zero_fraction", "depth", "depth_width")
"""Observables of the whole shower that are looked at; of a layer, means and widths."""
LEADING_LAYERS = 2
MOST_COLUMNS = 12
"""Observables of a response that is no calorimeter's."""
FEWEST = 30
"""Events that must have an observable before its width is compared."""
MOST_SEARCHED = 20_000
"""Events among which typical conditions are looked for: the search goes with the square of their number."""
WINDOW = 0.05
"""Part of the events, in the order of their energies, among which a condition is chosen."""


@dataclass(frozen=True, eq=False)
class Variety:
    """Events at one condition.

    Args:
        name: the condition in words.
        conditions: the condition, arrays `(1, ...)` by block name.
        reference: reference events there, or at conditions near it.
        candidates: samples of the one condition by candidate.
        matched: where the reference's conditions are spread, samples at exactly these by candidate; else empty.
        note: where the reference events come from, and how far their conditions are spread.
        source: what the reference events are called, where they come from another reference than the report's.
    """

    name: str
    conditions: Mapping[str, Any]
    reference: Events
    candidates: Mapping[str, Events]
    matched: Mapping[str, Events] = field(default_factory=dict)
    note: str = ""
    source: str = ""

    def compared(self, candidate: str) -> Events | None:
        """The candidate's events that are at the conditions of the reference's, event by event or all at one."""
        return self.matched.get(candidate, self.candidates.get(candidate))


def condition_points(events: Events) -> Array:
    """Given conditions as points `(n, d)` of unit variance: logarithms of energies, slopes of a momentum.

    Raises:
        ValueError: no condition is made of numbers.
    """
    energy = energy_block(events.schema)
    columns = []
    for block in events.schema.given:
        if block.kind in ("jagged", "image"):
            continue
        values = np.asarray(events.conditions[block.name], np.float64).reshape(len(events), -1)
        if is_momentum(block) and (values[:, 2] > 0).all():
            size = [] if energy is not None else [np.log(np.linalg.norm(values, axis=1, keepdims=True))]
            columns += [values[:, :2] / values[:, 2:], *size]
        elif block == energy:
            columns.append(np.log(np.maximum(values, np.finfo(np.float32).tiny)))
        elif block.kind == "periodic" and block.period:
            angle = 2 * np.pi * values / block.period
            columns += [np.sin(angle), np.cos(angle)]
        else:
            columns.append(values)
    if not columns:
        raise ValueError(f"{events.where}: no given condition is made of numbers, so that none is near another")
    points = np.concatenate(columns, 1)
    spread = points.std(0)
    varied = spread > 1e-9 * np.abs(points).max(0)  # less is rounding
    return np.asarray(points[:, varied] / spread[varied])


def typical_rows(events: Events, geometry: Calorimeter | None, count: int) -> list[int]:
    """Rows of `count` events that stand for all: at equally spaced quantiles of the energy, where events are densest."""
    events = events[:MOST_SEARCHED]
    points = condition_points(events)
    if not points.shape[1]:
        return [0]
    known = geometry is not None or incident_energy(events) is not None
    order = np.argsort(scale_energy(events, geometry) if known else points[:, 0], kind="stable")
    k = min(len(events), max(2, len(events) // 50))
    tree = KDTree(points)
    found = []
    for i in range(min(count, len(events))):
        middle, half = (i + 0.5) / count * len(order), max(1, int(WINDOW * len(order)))
        rows = order[max(0, int(middle) - half) : int(middle) + half]
        distances = np.asarray(tree.query(points[rows], [k])[0])
        found.append(int(rows[int(np.argmin(distances[:, 0]))]))
    return found


def nearest_rows(events: Events, row: int, count: int) -> Array:
    """Rows of the `count` events nearest in the conditions to that of `row`, in order; the event itself is among them."""
    points = condition_points(events)
    _, index = KDTree(points).query(points[row], min(count, len(events)))
    return np.sort(np.atleast_1d(index))


def spread_of(events: Events) -> str:
    """How far the conditions of some events are spread, in words: mean and standard deviation of every column."""
    words = []
    for block in events.schema.given:
        if block.kind in ("jagged", "image") or block.width > 4:
            continue
        values = np.asarray(events.conditions[block.name], np.float64).reshape(len(events), -1)
        if block == energy_block(events.schema):
            words.append(f"energy {in_energy_unit(float(values.min()))} to {in_energy_unit(float(values.max()))}")
            continue
        name, unit = block.name.replace("_", " "), f" {block.unit}" if block.unit else ""
        if is_momentum(block) and (values[:, 2] > 0).all():
            name, unit, values = "slopes", "", values[:, :2] / values[:, 2:]
        pairs = ", ".join(f"{v.mean():.2g} ± {v.std():.2g}".replace("-", "\u2212") for v in values.T)
        words.append(f"{name} {pairs}{unit}")
    return "; ".join(words)


def name_of(events: Events, row: int) -> str:
    """A condition in words."""
    return ", ".join(describe(events, row)) or f"event {row}"


def chosen_observables(events: Events, geometry: Calorimeter | None) -> tuple[Observable, ...]:
    """The observables whose widths are compared: of the whole shower, and means and widths of the leading layers."""
    found = observables_for(events.schema, geometry)
    if geometry is None:
        return found[:MOST_COLUMNS]
    energies = shower.layer_energies(shower_cells(events, geometry), geometry.layer_of_cell).mean(0)
    leading = [geometry.layer_names[i] for i in np.sort(np.argsort(energies)[::-1][:LEADING_LAYERS])]
    starts = ("mean_", "width_")
    layered = {o.name for o in found if o.name.startswith(starts) and o.name.endswith(tuple(f"_{n}" for n in leading))}
    known = {o.name for o in found}
    whole = {n for n in WHOLE if not (n == "total_energy" and "response" in known)}
    return tuple(o for o in found if o.name in whole or o.name in layered)


def values_of(events: Events, geometry: Calorimeter | None, observables: Sequence[Observable]) -> dict[str, Array]:
    """Observables `(n,)` by name, those in MeV over the incident energy where it is known."""
    energy = incident_energy(events)
    found = evaluate(events, geometry, observables)
    return {o.name: found[o.name] / energy if o.unit == "MeV" and energy is not None else found[o.name] for o in observables}


def smallest_width(geometry: Calorimeter | None) -> float:
    """Widths below this are those of rounding: a millionth of the smallest layer's extent, in its own unit."""
    if geometry is None:
        return 0.0
    return 1e-6 * min(max(abs(e) for e in edges) for layer in geometry.layers for edges in layer.edges)


def unit_of(observable: Observable, events: Events) -> str:
    """The unit of what `values_of` gives."""
    return "" if observable.unit == "MeV" and incident_energy(events) is not None else observable.unit


def at_one_condition(
    variety: Variety, name: str, geometry: Calorimeter | None, settings: ValidationSettings, generator: np.random.Generator
) -> dict[str, Any] | None:
    """What one candidate does at one condition, for `metrics.json`; None where it was not asked there.

    Returns:
        `name`, `source`, `note`, `events`, `reference_events`, `exact` (the reference is at exactly that condition), and under
        `observables` means and widths with errors, `width_ratio`, `ks` with its floor and, where the reference is spread,
        `width_ratio_at_one_condition`.
    """
    events = variety.compared(name)
    if events is None:
        return None
    observables = chosen_observables(variety.reference, geometry)
    theirs, mine = (values_of(e, geometry, observables) for e in (variety.reference, events))
    alone = values_of(variety.candidates[name], geometry, observables) if name in variety.matched else None
    found = {}
    for o in observables:
        pair = (theirs[o.name], variety.reference.weights), (mine[o.name], events.weights)
        entry = _compared(pair, settings, generator, smallest_width(geometry))
        if alone is not None:
            one = (alone[o.name], variety.candidates[name].weights)
            entry["width_ratio_at_one_condition"] = _compared(
                (pair[0], one), settings, generator, smallest_width(geometry), False
            )["width_ratio"]
        found[o.name] = {"unit": unit_of(o, variety.reference), **entry}
    return {
        "name": variety.name,
        "source": variety.source,
        "note": variety.note,
        "exact": not variety.matched,
        "events": len(events),
        "reference_events": len(variety.reference),
        "observables": found,
    }


def _compared(
    pair: tuple[tuple[Array, Array | None], tuple[Array, Array | None]],
    settings: ValidationSettings,
    generator: np.random.Generator,
    smallest: float,
    with_ks: bool = True,
) -> dict[str, Any]:
    """Means, widths and their ratio of reference and candidate, and their Kolmogorov-Smirnov distance."""
    (reference, wr), (candidate, wc) = ((*_defined(v, w),) for v, w in pair)
    nothing = {"value": math.nan, "error": math.nan}
    if min(len(reference), len(candidate)) < FEWEST:
        empty = {"reference_mean": nothing, "reference_width": nothing, "mean": nothing, "width": nothing, "width_ratio": nothing}
        return empty | ({"ks": {**nothing, "floor": math.nan}} if with_ks else {})
    means, widths = zip(
        *(_replicated(v, w, settings.replicas, generator) for v, w in ((reference, wr), (candidate, wc))), strict=True
    )
    ratio = widths[1] / np.where(widths[0] > np.maximum(smallest, 1e-9 * np.abs(means[0])), widths[0], np.nan)
    entry = {"reference_mean": means[0], "reference_width": widths[0], "mean": means[1], "width": widths[1], "width_ratio": ratio}
    found: dict[str, Any] = {key: {"value": float(v[0]), "error": _spread(v[1:])} for key, v in entry.items()}
    if with_ks:
        distance = with_uncertainty(ks, reference, candidate, generator, settings.replicas, wr, wc)
        found["ks"] = {
            "value": distance.value,
            "error": distance.error,
            "floor": ks_floor(reference, wr, len(candidate), generator),
        }
    return found


def ks_floor(values: Array, weights: Array | None, size: int, generator: np.random.Generator, repeats: int = 20) -> float:
    r"""The distance that reference samples of these two sizes have: that of halves, times $\sqrt{(1/n + 1/m) / (4/n)}$.

    There is one reference sample only, and distances of equal distributions shrink with the square root of the events.
    """
    n = len(values)
    halves = floor(ks, values, (n // 2, n // 2), generator, repeats, weights).value
    return halves * math.sqrt((1 / n + 1 / size) / (2 / (n // 2)))


def _defined(values: Array, weights: Array | None) -> tuple[Array, Array | None]:
    keep = ~np.isnan(values)
    return values[keep], None if weights is None else weights[keep]


def _replicated(values: Array, weights: Array | None, replicas: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Mean and half of the central 68 % interval of a sample, and then those of bootstrap replicas, `(1 + replicas,)` each."""
    w = np.ones(len(values)) if weights is None else weights
    rows = np.concatenate([w[None, :], w * multiplicities(len(values), replicas, generator)])
    total = rows.sum(1)
    rows = rows / np.where(total > 0, total, np.nan)[:, None]
    order = np.argsort(values)
    cumulative = np.maximum.accumulate(np.cumsum(rows[:, order], axis=1), axis=1)
    tail = stats.norm.sf(1.0)
    low, high = (values[order][(cumulative >= q - 1e-12).argmax(1)] for q in (tail, 1.0 - tail))
    return np.asarray(rows @ values), 0.5 * (high - low)


def _spread(replicas: Array) -> float:
    defined = replicas[np.isfinite(replicas)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else math.nan
