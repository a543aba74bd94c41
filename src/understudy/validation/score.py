r"""One number for how well a sample reproduces the physics, cheap enough to choose checkpoints by.

$$\mathrm{score} = \frac{1}{N} \sum_k \Big[ \min(f_k, f'_k)\, W_1^{(k)} / \sigma_k + P\, |f_k - f'_k| \Big]$$

over observables $k$ with reference standard deviation $\sigma_k$; $f, f'$ are the fractions of reference and candidate
events for which the observable is defined, and an event that is defined in one sample only costs $P$ standard
deviations. Zero is perfect; a finite reference has a floor, see `floor`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation.distances import defined_fraction, wasserstein1
from understudy.validation.observables import Observable, evaluate, observables_for

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
        self._scales = {name: _scale(values, self._weights) for name, values in self._values.items()}

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
        terms = {name: self._term(name, v, candidate.weights) for name, v in values.items()}
        summary = {**terms, "score": float(np.mean(list(terms.values())))}
        if "response" in values:
            mine, theirs = self._mean("response"), _mean(values["response"], candidate.weights)
            summary["response_bias"] = theirs / mine - 1.0
        return summary

    def _term(self, name: str, values: Array, weights: Array | None) -> float:
        reference = self._values[name]
        mine, theirs = defined_fraction(reference, self._weights), defined_fraction(values, weights)
        missing = PENALTY * abs(mine - theirs)
        if min(mine, theirs) <= 0:
            return missing
        distance = float(wasserstein1(reference, values, self._weights, weights))
        return min(mine, theirs) * distance / self._scales[name] + missing

    def _mean(self, name: str) -> float:
        return _mean(self._values[name], self._weights)


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
