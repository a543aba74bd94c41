"""What is compared on all test events, also where other comparisons halve them: strong judges and far quantiles.

Ordinary judges and distances need a floor of exactly the candidate's sizes, for which a reference file is halved. Judges that
were trained elsewhere, and quantiles with errors of their own, need none of it, and there every event counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.seeds import generator
from understudy.validation.metrics import StrongMetrics
from understudy.validation.selection import Selection, same_conditions
from understudy.validation.settings import ValidationSettings
from understudy.validation.strong import JUDGES, Answers, StrongJudges
from understudy.validation.tails import compare_tails, observables_of, values_of


@dataclass(frozen=True, eq=False)
class Whole:
    """All events of a comparison.

    Args:
        reference: test events.
        candidates: by name.
        floor: a second, disjoint reference sample, or None.
        chosen: what the other comparisons make of these; where there is no floor its halves serve as one.
        geometry: where the response's cells sit, or None.
        settings: sizes and errors.
        seed: of everything random.
    """

    reference: Events
    candidates: Mapping[str, Events]
    floor: Events | None
    chosen: Selection
    geometry: Calorimeter | None
    settings: ValidationSettings
    seed: int

    def tails(self) -> dict[str, dict[str, Any]]:
        """Far quantiles by candidate (`tails.py`)."""
        observables = observables_of(self.reference, self.geometry)
        reference = values_of(self._cut(self.reference), self.geometry, observables)
        own = (self.chosen.reference, self.chosen.floor)
        floor = values_of(own[0], self.geometry, observables), values_of(own[1], self.geometry, observables)
        found = {}
        for name, events in self.candidates.items():
            paired = same_conditions(self._cut(self.reference), self._cut(events)), self.chosen.floor_paired
            candidate = values_of(self._cut(events), self.geometry, observables)
            rng = generator(self.seed, "validation", "tails", name)
            found[name] = compare_tails(observables, reference, candidate, floor, paired, self.settings.replicas, rng)
        return found

    def strong(self, train: Events, made: Mapping[str, Events], told: Callable[[], None] | None = None) -> Strong:
        """What judges say that are trained on the training events (`strong.py`).

        Args:
            train: what the candidates were trained on.
            made: by candidate, generated at the conditions of `train`, event by event.
            told: called after each of the tests, that of the floor first.

        Raises:
            ValueError: a candidate was not sampled at these conditions, or there are too few events.
        """
        if missing := [name for name in self.candidates if name not in made]:
            raise ValueError(f"candidate {missing[0]!r} was not sampled at the training conditions, which its strong judges need")
        rng = generator(self.seed, "validation", "strong judges")
        reference, floor = self._cut(self.reference), None if self.floor is None else self._cut(self.floor)
        judges = StrongJudges(train, reference, floor, self.geometry, self.settings.classifier, rng, told)
        return Strong(judges, {name: judges(name, made[name], self._cut(events)) for name, events in self.candidates.items()})

    def _cut(self, events: Events) -> Events:
        cut: Events = events[: self.settings.max_events]
        return cut


@dataclass(frozen=True, eq=False)
class Strong:
    """The strong judges' answers, by candidate."""

    judges: StrongJudges
    answers: Mapping[str, Answers] = field(default_factory=dict)

    def metrics(self) -> dict[str, StrongMetrics]:
        """AUCs beside the floor's, by candidate."""
        return {name: self.judges.metrics(answers) for name, answers in self.answers.items()}

    def inside(self, name: str, region: Array) -> dict[str, dict[str, float]]:
        """`auc` and `error` by judge among the test events of a region `(n,)` and the candidate's at the same conditions.

        Empty where the candidate is at other conditions than the test events.
        """
        answers, n = self.answers[name], len(self.judges.reference)
        if len(answers.labels) != 2 * n or len(region) < n:
            return {}
        rows = np.tile(region[:n], 2)
        found = {judge: answers.auc(judge, rows) for judge in JUDGES}
        return {judge: {"auc": e.value, "error": e.error} for judge, e in found.items()}
