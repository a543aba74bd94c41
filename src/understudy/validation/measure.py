"""The distances of one observable between reference and candidate, with their errors and floors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from understudy.schema import Array
from understudy.validation.bootstrap import with_uncertainty
from understudy.validation.distances import Distance, defined_fraction, ks, reference_edges, separation_power, wasserstein1
from understudy.validation.metrics import DistanceMetrics, ObservableMetrics
from understudy.validation.moments import moments, tails
from understudy.validation.observables import Observable
from understudy.validation.settings import ValidationSettings

Three = tuple[Array, Array, Array]


def distances(
    observable: Observable,
    values: Three,
    weights: tuple[Array | None, Array | None, Array | None],
    paired: tuple[bool, bool],
    settings: ValidationSettings,
    generator: np.random.Generator,
) -> ObservableMetrics:
    """Wasserstein-1, separation power and Kolmogorov-Smirnov distance, each with error and floor; moments and tails.

    Args:
        observable: gives the unit.
        values: of reference `(n,)`, floor `(m,)` and candidate `(m,)`; NaN where not defined.
        weights: of the same three.
        paired: candidate, and floor, at the reference's conditions row by row.
        settings: numbers of replicas and of floors.
        generator: draws both.
    """
    reference, floor, candidate = values
    members = memberships(len(reference), len(floor), paired[1], settings.floor_repeats, generator)
    pooled = np.concatenate([reference, floor])
    own = np.concatenate([np.ones(len(v)) if w is None else w for v, w in zip(values[:2], weights[:2], strict=True)])
    edges = reference_edges(pooled, weights=own) if not np.isnan(pooled).all() else np.array([0.0, 1.0])
    kinds: dict[str, Distance] = {
        "wasserstein1": wasserstein1,
        "separation_power": partial(separation_power, bins=edges),
        "ks": ks,
    }
    found = {}
    for name, distance in kinds.items():
        value, error = with_uncertainty(
            distance, reference, candidate, generator, settings.replicas, weights[0], weights[2], paired[0]
        )
        floors = np.asarray(distance(pooled, pooled, own * members, own * ~members))
        defined = floors[~np.isnan(floors)]
        mean, spread = (float(defined.mean()), float(defined.std(ddof=1))) if len(defined) > 1 else (np.nan, np.nan)
        found[name] = DistanceMetrics(value=value, error=error, floor=mean, floor_error=spread)
    fractions = {
        "reference": defined_fraction(reference, weights[0]),
        "candidate": defined_fraction(candidate, weights[2]),
    }
    samples = dict(zip(("reference", "floor", "candidate"), zip(values, weights, strict=True), strict=True))
    return ObservableMetrics(
        unit=observable.unit,
        defined=fractions,
        moments={name: moments(*sample) for name, sample in samples.items()},
        tails={name: tails(*sample) for name, sample in samples.items()},
        **found,
    )


def memberships(n: int, m: int, paired: bool, repeats: int, generator: np.random.Generator) -> Array:
    """Random divisions `(repeats, n + m)` of two pooled reference samples: True is the first, of `n` events.

    The first division is the one given. A pair is never on one side: its two events change places or do not.
    """
    members = np.repeat([True, False], [n, m])[None, :].repeat(repeats, axis=0)
    for row in members[1:]:
        if paired:
            swapped = generator.random(n) < 0.5
            row[:n], row[n:] = ~swapped, swapped
        else:
            row[:] = generator.permutation(row)
    return members


def above_twice_floor(observables: Mapping[str, ObservableMetrics], significance: float = 3.0) -> list[dict[str, Any]]:
    """What is still wrong: observables whose Wasserstein-1 distance exceeds twice its floor beyond `significance` sigmas.

    Returns:
        `observable`, `over_floor` (distance over its floor) and `sigmas` (of the excess over twice the floor) of each, the
        largest distance over its floor first.
    """
    found = []
    for name, entry in observables.items():
        d = entry.wasserstein1
        if d.value is None or d.floor is None or not d.floor > 0:
            continue
        error = math.hypot(_or_zero(d.error), 2 * _or_zero(d.floor_error))
        sigmas = (d.value - 2 * d.floor) / error if error > 0 else math.inf
        if d.value > 2 * d.floor and sigmas > significance:
            found.append({"observable": name, "over_floor": d.value / d.floor, "sigmas": sigmas})
    return sorted(found, key=lambda f: -f["over_floor"])


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None or math.isnan(value) else value
