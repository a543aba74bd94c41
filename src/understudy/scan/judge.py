"""How the runs of a scan are judged: all on the same held-out events, each number with the floor that it cannot beat.

The same choice of events as in a run's report (see `validation.selection`): where the reference is a file, its test split is
halved, and a sample made at the conditions of one half is compared with the other half, as the floor is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from understudy import seeds
from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.splits import Data
from understudy.validation.distances import Distance, defined_fraction, ks, reference_edges, separation_power, wasserstein1
from understudy.validation.measure import memberships
from understudy.validation.observables import Observable, evaluate, observables_for, shower_cells
from understudy.validation.score import PhysicsScore
from understudy.validation.selection import Selection, select
from understudy.validation.settings import ValidationSettings
from understudy.validation.structure import CellMoments, correlation_difference

DISTANCES = ("wasserstein1", "separation_power", "ks")


@dataclass(frozen=True, eq=False)
class Judged:
    """What was found about one sample.

    Args:
        numbers: physics score, distances by observable, and the difference of correlations; plain data.
        values: observables `(n,)` by name; NaN where not defined.
        moments: of the cells; None for a response that is no calorimeter's or has too many cells.
    """

    numbers: dict[str, Any]
    values: dict[str, Array]
    moments: CellMoments | None


class Judge:
    """Judges samples made at the conditions of the test split.

    Args:
        data: the events of the scan.
        settings: sizes and repeats.
        seed: of the choice of events and of the floor.
    """

    def __init__(self, data: Data, settings: ValidationSettings, seed: int) -> None:
        self.data, self.settings, self.seed = data, settings, seed
        chosen = self._selection(data.test)
        self.reference, self.floor, self.floor_paired = chosen.reference, chosen.floor, chosen.floor_paired
        self.observables: tuple[Observable, ...] = observables_for(self.reference.schema, self.geometry)
        self.values = evaluate(self.reference, self.geometry, self.observables)
        self.floor_values = evaluate(self.floor, self.geometry, self.observables)
        self.moments = self._moments(self.reference)
        self.scorer = PhysicsScore(self.reference, self.geometry, self.observables)

    @property
    def geometry(self) -> Calorimeter | None:
        """Where the cells sit."""
        return self.data.geometry

    def judge(self, made: Events) -> Judged:
        """Judge a sample at the conditions of the test split, row by row."""
        candidate = self._selection(made).candidates["candidate"]
        values, moments = evaluate(candidate, self.geometry, self.observables), self._moments(candidate)
        observables = {
            name: {
                **{d: _plain(float(np.asarray(f(self.values[name], v, self._weights, candidate.weights)))) for d, f in kinds},
                "defined": defined_fraction(v, candidate.weights),
            }
            for name, v in values.items()
            for kinds in [self._distances(name).items()]
        }
        score = {k: _plain(v) for k, v in self.scorer.score(candidate).items()}
        mse = None if moments is None or self.moments is None else correlation_difference(self.moments, moments)
        return Judged({"score": score, "observables": observables, "correlation_mse": mse}, values, moments)

    def floors(self) -> dict[str, Any]:
        """The same numbers between two reference samples: `score`, `observables` and `correlation_mse`."""
        moments = self._moments(self.floor)
        mse = None if moments is None or self.moments is None else correlation_difference(self.moments, moments)
        score = {k: _plain(v) for k, v in self.scorer.score(self.floor).items()}
        return {"score": score, "observables": {o.name: self._floor(o) for o in self.observables}, "correlation_mse": mse}

    def _floor(self, observable: Observable) -> dict[str, Any]:
        name = observable.name
        rng = seeds.generator(self.seed, "scan", "floor", name)
        first, second = self.values[name], self.floor_values[name]
        members = memberships(len(first), len(second), self.floor_paired, self.settings.floor_repeats, rng)
        pooled, own = np.concatenate([first, second]), np.concatenate([_ones(self.reference), _ones(self.floor)])
        found: dict[str, Any] = {"unit": observable.unit, "defined": defined_fraction(first, self._weights)}
        for kind, distance in self._distances(name).items():
            repeated = np.asarray(distance(pooled, pooled, own * members, own * ~members))
            found[kind] = None if np.isnan(repeated).all() else float(np.nanmean(repeated))
        return found

    def _distances(self, name: str) -> Mapping[str, Distance]:
        pooled = np.concatenate([self.values[name], self.floor_values[name]])
        own = np.concatenate([_ones(self.reference), _ones(self.floor)])
        edges = np.array([0.0, 1.0]) if np.isnan(pooled).all() else reference_edges(pooled, weights=own)
        return {"wasserstein1": wasserstein1, "separation_power": partial(separation_power, bins=edges), "ks": ks}

    def _selection(self, candidate: Events) -> Selection:
        rng = seeds.generator(self.seed, "validation", "selection")
        return select(self.data.test, {"candidate": candidate}, self.data.floor, self.settings.max_events, rng)

    def _moments(self, events: Events) -> CellMoments | None:
        if self.geometry is None or self.geometry.n_cells > self.settings.most_correlated:
            return None
        keep = slice(None) if events.mask is None else events.mask
        weights = None if events.weights is None else events.weights[keep]
        return CellMoments.of(shower_cells(events, self.geometry)[keep], weights)

    @property
    def _weights(self) -> Array | None:
        return self.reference.weights


def _ones(events: Events) -> Array:
    return np.ones(len(events)) if events.weights is None else np.asarray(events.weights, float)


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
