r"""One number for how well a sample reproduces the physics, cheap enough to choose checkpoints by.

$$\mathrm{score} = \frac{1}{N} \sum_k \Big[ \min(f_k, f'_k)\, W_1^{(k)} / \sigma_k + P\, |f_k - f'_k| \Big]$$

over observables $k$ with reference standard deviation $\sigma_k$; $f, f'$ are the fractions of reference and candidate
events for which the observable is defined, and an event that is defined in one sample only costs $P$ standard
deviations. Zero is perfect; a finite reference has a floor, see `floor`.

Where there is no geometry, whose observables hold the incident energy, a stand-in could mix up its conditions and keep all
distributions. There each term is the mean of that of all events and those in thirds of each condition that is a number, and in
each class of one that names classes; parts of fewer than `FEWEST` events, or without a positive sum of weights, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation.distances import defined_fraction, wasserstein1
from understudy.validation.observables import Observable, evaluate, observables_for

Weighted = tuple[Array, Array | None]
"""Values and weights."""
FEWEST = 200
"""Events of a part of the conditions that is scored by itself."""
MOST_CLASSES = 20
PENALTY = 5.0
"""Standard deviations that an event costs for which an observable is defined in one sample only."""


class PhysicsScore:
    """Scores candidates against one reference sample.

    Args:
        reference: events with a response.
        geometry: where its cells sit, or None for a response that is no calorimeter's.
        observables: what to compare; by default all that `observables_for` finds.
    """

    def __init__(
        self, reference: Events, geometry: Calorimeter | None = None, observables: Sequence[Observable] | None = None
    ) -> None:
        if not len(reference):
            raise ValueError(f"{reference.where}: a score needs reference events, and there are none")
        self.geometry = geometry
        self.observables = tuple(observables_for(reference.schema, geometry) if observables is None else observables)
        self._weights = reference.weights
        self._values = evaluate(reference, geometry, self.observables)
        self._cuts = {} if geometry is not None else _cuts(reference)
        parts = self._parts(reference)
        self._rows = [rows for rows in parts if rows.sum() >= FEWEST and _positive(self._weights, rows)]
        self._kept = [k for k, rows in enumerate(parts) if rows.sum() >= FEWEST and _positive(self._weights, rows)]
        every = [np.ones(len(reference), bool), *self._rows]
        self._scales = {name: [_scale(v[r], _cut(self._weights, r)) for r in every] for name, v in self._values.items()}

    def score(self, candidate: Events) -> dict[str, float]:
        """Distance of each observable in the reference's standard deviations, and `score`, their mean.

        Where the incident energy is known, `response_bias` is the relative difference of the mean response as well; it
        takes no part in the mean.

        Raises:
            ValueError: no events, no response, or other blocks than the reference's.
        """
        if not len(candidate):
            raise ValueError(f"{candidate.where}: there are no events to score")
        values = evaluate(candidate, self.geometry, self.observables)
        parts = self._parts(candidate)
        rows = [parts[k] for k in self._kept]
        terms = {name: self._terms(name, v, candidate.weights, rows) for name, v in values.items()}
        summary = {**terms, "score": float(np.mean(list(terms.values())))}
        if "response" in values:
            mine, theirs = self._mean("response"), _mean(values["response"], candidate.weights)
            summary["response_bias"] = theirs / mine - 1.0
        return summary

    def _parts(self, events: Events) -> list[Array]:
        """Which events lie in each part of the conditions, `(n,)` each."""
        found = []
        for name, (edges, classes) in self._cuts.items():
            values = np.asarray(events.conditions[name], float).reshape(len(events))
            index = np.searchsorted(edges, values) if classes is None else values
            found += [index == k for k in (range(len(edges) + 1) if classes is None else classes)]
        return found

    def _terms(self, name: str, values: Array, weights: Array | None, rows: Sequence[Array]) -> float:
        reference, scales = self._values[name], self._scales[name]
        found = [self._term((reference, self._weights), (values, weights), scales[0])]
        for mine, theirs, scale in zip(self._rows, rows, scales[1:], strict=True):
            if theirs.any() and _positive(weights, theirs):
                pair = (reference[mine], _cut(self._weights, mine)), (values[theirs], _cut(weights, theirs))
                found.append(self._term(*pair, scale))
        return float(np.mean(found))

    def _term(self, first: Weighted, second: Weighted, scale: float) -> float:
        mine, theirs = defined_fraction(*first), defined_fraction(*second)
        missing = PENALTY * abs(mine - theirs)
        if min(mine, theirs) <= 0:
            return missing
        distance = float(wasserstein1(first[0], second[0], first[1], second[1]))
        return min(mine, theirs) * distance / scale + missing

    def _mean(self, name: str) -> float:
        return _mean(self._values[name], self._weights)


def _cuts(events: Events) -> dict[str, tuple[Array, Array | None]]:
    """Terciles, or classes, of each given condition of one number, by name."""
    found: dict[str, tuple[Array, Array | None]] = {}
    for block in events.schema.given:
        if block.width != 1 or block.kind not in ("continuous", "categorical"):
            continue
        values = np.asarray(events.conditions[block.name], float).reshape(len(events))
        if block.kind == "categorical":
            found[block.name] = np.empty(0), np.unique(values)[:MOST_CLASSES]
        elif np.ptp(values) > 0:
            found[block.name] = np.quantile(values, [1 / 3, 2 / 3]), None
    return found


def _cut(weights: Array | None, rows: Array) -> Array | None:
    return None if weights is None else weights[rows]


def _positive(weights: Array | None, rows: Array) -> bool:
    return weights is None or bool(weights[rows].sum() > 0)


def _scale(values: Array, weights: Array | None = None) -> float:
    """Standard deviation of the defined values; of a constant its size, and 1 where that is zero or nothing is defined.

    Where signed weights leave no variance, it is that without weights.
    """
    known = ~np.isnan(values)
    defined, w = values[known], np.ones(int(known.sum())) if weights is None else weights[known]
    if not len(defined):
        return 1.0
    if not w.sum() > 0 or not w @ (defined - w @ defined / w.sum()) ** 2 > 0:
        w = np.ones(len(defined))
    mean = float(w @ defined / w.sum())
    size = max(abs(mean), 1e-300)
    spread = float(np.sqrt(w @ (defined - mean) ** 2 / w.sum()))
    return spread if spread > 1e-9 * size else (size if size > 1e-300 else 1.0)


def _mean(values: Array, weights: Array | None) -> float:
    defined = ~np.isnan(values)
    w = np.ones(len(values)) if weights is None else weights
    total = float(w[defined].sum())
    return float(values[defined] @ w[defined] / total) if total > 0 else float("nan")
