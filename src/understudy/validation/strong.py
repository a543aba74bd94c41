r"""Strong judges: a classifier two-sample test with all that the stand-in itself has learned from.

The ordinary judges (`classifier.py`) learn from a part of the test events and are limited by their number. Here a judge learns
the training events against as many generated at the very same conditions, and is asked about the test events and those generated
at their conditions, which neither stand-in nor judge has met. Pairs at the same conditions say nothing about the class by
themselves; both partners stay in one half where a logit must be out of fold.

The floor is what the same procedure gives for the reference against itself: judges trained on one random half of the
training events against the other, asked about two disjoint samples of unseen reference events. Its expectation is 1/2
whatever a judge learns, since labels of a random division carry nothing; its error tells what chance does with the sizes at hand,
half of those of the candidate where the reference is a file.

A stand-in that gives its training events out again makes both classes equal and the judge blind: nearest neighbours
(`neighbours.py`) must be looked at as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation.bootstrap import Estimate
from understudy.validation.classifier import auc_estimate, check_samples, resampled_weights, trained_scores
from understudy.validation.judges import Inputs
from understudy.validation.metrics import Judged, StrongMetrics
from understudy.validation.selection import check_comparable, same_conditions, with_weights
from understudy.validation.settings import ClassifierSettings

JUDGES = ("low_level", "high_level", "combined")


@dataclass(frozen=True, eq=False)
class Answers:
    """What trained judges say of `n` reference and `m` other events that they have not met.

    Args:
        scores: by judge, one array `(n + m,)` for each time that the judges were trained; larger for the other events.
        labels: 0 for the reference, 1 for the others, `(n + m,)`.
        weights: of the events, `(n + m,)`.
        resampled: weights of bootstrap replicas, `(replicas, n + m)`.
        training_events: events of both classes that trained.
    """

    scores: Mapping[str, Sequence[Array]]
    labels: Array
    weights: Array
    resampled: Array
    training_events: int

    def auc(self, judge: str, rows: Array | None = None) -> Estimate:
        """Area under a judge's ROC curve among all events, or those of `rows` `(n + m,)` alone."""
        keep = np.ones(len(self.labels), bool) if rows is None else rows
        scores = [s[keep] for s in self.scores[judge]]
        return auc_estimate(scores, self.labels[keep], self.weights[keep], self.resampled[:, keep])


@dataclass
class StrongJudges:
    """The strong test of all candidates of one reference.

    Args:
        train: what the candidates were trained on.
        reference: test events.
        floor: a second, disjoint reference sample; the test events are halved if None.
        geometry: where the response's cells sit; None for a response that is no calorimeter's.
        settings: how hard the judges try.
        generator: seeds of networks, trees, halves and replicas; the same for all candidates.
    """

    train: Events
    reference: Events
    floor: Events | None
    geometry: Calorimeter | None
    settings: ClassifierSettings
    generator: np.random.Generator
    told: Callable[[], None] | None = None
    floor_answers: Answers = field(init=False)
    floor_rows: Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.train = self.train[: self.settings.strong.events]
        check_comparable(self.reference, self.train, "the training sample")
        self.known, self.unseen = self._inputs(self.train), self._inputs(self.reference)
        self.seed = int(self.generator.integers(2**31))
        order = self.generator.permutation(len(self.train))
        halves = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 : 2 * (len(order) // 2)])
        first, second = ((self.known[h], _weights(self.train[h])) for h in halves)
        if self.floor is not None:
            paired = same_conditions(self.reference, self.floor)
            tested = (self.unseen, _weights(self.reference)), (self._inputs(self.floor), _weights(self.floor))
        else:
            order = self.generator.permutation(len(self.reference))
            half = len(order) // 2
            rows, paired = (np.sort(order[:half]), np.sort(order[half : 2 * half])), False
            self.floor_rows = np.concatenate(rows)
            a, b = ((self.unseen[r], _weights(self.reference[r])) for r in rows)
            tested = a, b
        self.floor_answers = self._answers((first, second), tested, False, paired)

    def __call__(self, name: str, made: Events, candidate: Events) -> Answers:
        """Judge a candidate.

        Args:
            name: what errors call it.
            made: generated at the conditions of the training events, event by event.
            candidate: generated at the conditions of the test events, or at others.

        Raises:
            ValueError: `made` is not at the training conditions, or there are too few events.
        """
        made = with_weights(self.train, made[: len(self.train)])
        check_comparable(self.reference, made, f"candidate {name!r} at the training conditions")
        if not same_conditions(self.train, made):
            raise ValueError(
                f"candidate {name!r} was to be sampled at the conditions of the {len(self.train)} training events, one by one;"
                f" its {len(made)} events are at others, and judges would tell them apart by that"
            )
        trained = (self.known, _weights(self.train)), (self._inputs(made), _weights(made))
        tested = (self.unseen, _weights(self.reference)), (self._inputs(candidate), _weights(candidate))
        return self._answers(trained, tested, True, same_conditions(self.reference, candidate))

    def metrics(self, answers: Answers) -> StrongMetrics:
        """The numbers of a candidate beside the floor's."""
        found = {}
        for judge in JUDGES:
            value, floor = answers.auc(judge), self.floor_answers.auc(judge)
            found[judge] = Judged(auc=value.value, error=value.error, floor=floor.value, floor_error=floor.error)
        return StrongMetrics(
            **found,
            training_events=answers.training_events,
            tested_events=len(answers.labels),
            floor_training_events=self.floor_answers.training_events,
            floor_tested_events=len(self.floor_answers.labels),
        )

    def _inputs(self, events: Events) -> Inputs:
        return Inputs.of(events, self.geometry, sums=True)

    def _answers(self, trained: _Two, tested: _Two, paired_training: bool, paired_test: bool) -> Answers:
        (a, wa), (b, wb) = trained
        (x, wx), (y, wy) = tested
        check_samples(len(a), len(b), wa, wb, paired_training)
        check_samples(len(x), len(y), wx, wy, paired_test)
        pooled = a.append(b).append(x).append(y)
        labels = np.repeat([0, 1, 0, 1], [len(a), len(b), len(x), len(y)])
        weights, known = np.concatenate([wa, wb, wx, wy]), len(a) + len(b)
        replicas, *sequences = np.random.SeedSequence(self.seed).spawn(self.settings.strong.seeds + 1)
        scores: dict[str, list[Array]] = {judge: [] for judge in JUDGES}
        for sequence in sequences:
            rng = np.random.default_rng(sequence)
            first = rng.permutation(np.arange(len(a)) % 2)
            second = first if paired_training else rng.permutation(np.arange(len(b)) % 2)
            fold = np.concatenate([first, second, np.full(len(x) + len(y), 2)])
            found = trained_scores(pooled, labels, weights, fold, self.settings.strong, int(rng.integers(2**31)))
            for judge, score in found.items():
                scores[judge].append(score[known:])
        rng = np.random.default_rng(replicas)
        resampled = resampled_weights(len(x), len(y), weights[known:], self.settings.replicas, rng, paired_test)
        if self.told is not None:
            self.told()
        return Answers(scores, labels[known:], weights[known:], resampled, known)


_Sample = tuple[Inputs, Array]
_Two = tuple[_Sample, _Sample]


def _weights(events: Events) -> Array:
    return np.ones(len(events)) if events.weights is None else events.weights
