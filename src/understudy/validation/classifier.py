r"""Classifier two-sample test (Lopez-Paz and Oquab, arXiv:1610.06545): can anything tell candidate from reference?

A judge is trained on one part of both samples and asked about the rest; the area under its ROC curve,

$$\mathrm{AUC} = \frac{\sum_{ij} w_i v_j \left[ s(x_i) > s(y_j) \right] + \tfrac{1}{2} \left[ s(x_i) = s(y_j) \right]}
  {\sum_i w_i \sum_j v_j},$$

with candidate events $x$, reference events $y$ and signed weights, is 0.5 where it cannot and 1 where it always can.
Four judges look at different things:

- `low_level`: a network on the cells;
- `high_level`: gradient-boosted trees on the high-level observables;
- `combined`: gradient-boosted trees on the observables and on the out-of-fold logit of the network;
- `neighbour`: no training: how much closer is the nearest other candidate than the nearest other reference event, by shape?
  It sees what a trained judge may not, a sample that repeats showers.

The conditions are among the inputs of the trained ones. Events at the same conditions in both samples (paired) stay on
the same side of every split and are no neighbours of each other: else the partner would give the answer away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.signed import expected_weights, has_negative
from understudy.validation.bootstrap import Estimate, multiplicities
from understudy.validation.judges import Inputs, balanced, boosting_logits, network_logits
from understudy.validation.settings import ClassifierSettings, StrongSettings

__all__ = ["ClassifierSettings", "TwoSampleTest", "neighbour_scores", "split", "two_sample_test", "weighted_auc"]

JUDGES = ("low_level", "high_level", "combined", "neighbour")
SHARED_NEIGHBOURS = 2.0**0.5
"""Factor on the bootstrap error of the neighbour judge: its scores share neighbours, so that fewer are independent. The spread
between independent samples was 1.2 to 1.4 times the plain bootstrap error; mutual nearest neighbours alone give near 1.3."""

SMALLEST = 50
"""Events per sample below which nothing can be trained."""

Progress = Callable[[float, float], None]
"""Called with how much of how much is done."""


@dataclass(frozen=True)
class TwoSampleTest:
    """Areas under the curve by judge, each with one standard deviation.

    The value is the mean over seeds. The error is the spread of that mean over bootstrap replicas of the tested events (each
    replica seen by all seeds; a pair is drawn as one) and the standard error of the mean over seeds, which stands for the
    events that trained, added in quadrature. On 40 independent pairs of samples their spread is 0.8 to 1.3 times that.
    """

    auc: Mapping[str, Estimate]
    training_events: int
    """Events of both samples together that trained a judge."""


def two_sample_test(
    reference: Events | Inputs,
    candidate: Events | Inputs,
    geometry: Calorimeter | None = None,
    *,
    weights: tuple[Array | None, Array | None] = (None, None),
    paired: bool = False,
    settings: ClassifierSettings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TwoSampleTest:
    """Put two samples before all judges.

    Args:
        reference: `n` events, or their `Inputs` where they are used more than once.
        candidate: `m` events.
        geometry: where the response's cells sit; None for a response that is no calorimeter's.
        weights: of `Inputs`, `(n,)` and `(m,)`; Events bring their own. Judges learn with the expectation of negative ones
            (`learning_weights`); in the AUC they count with their sign.
        paired: event i of both samples belongs to the same conditions.
        settings: how hard the judges try.
        seed: of splits, networks, trees and replicas.
        progress: called after each split.

    Raises:
        ValueError: samples too small to train on, paired ones of different sizes, or weights that sum to zero or less.
    """
    settings = settings or ClassifierSettings()
    first, w = _prepared(reference, weights[0], geometry)
    second, v = _prepared(candidate, weights[1], geometry)
    n, m = len(first), len(second)
    check_samples(n, m, w, v, paired)
    pooled, weight = first.append(second), np.concatenate([w, v])
    labels = np.repeat([0, 1], [n, m])
    seeds = np.random.SeedSequence(seed).spawn(settings.seeds + 1)
    scores: dict[str, list[Array]] = {name: [] for name in JUDGES}
    training = 0
    for k, sequence in enumerate(seeds[1:]):
        generator = np.random.default_rng(sequence)
        fold = split(n, m, settings.train_fraction, generator, paired)
        training = int((fold < 2).sum())
        for name, score in trained_scores(pooled, labels, weight, fold, settings, int(generator.integers(2**31))).items():
            scores[name].append(score)
        if progress is not None:
            progress(k + 1, settings.seeds)
    scores["neighbour"].append(neighbour_scores(first, second, paired))
    resampled = resampled_weights(n, m, weight, settings.replicas, np.random.default_rng(seeds[0]), paired)
    found = {name: auc_estimate(s, labels, weight, resampled) for name, s in scores.items()}
    shared = found["neighbour"]
    return TwoSampleTest({**found, "neighbour": Estimate(shared.value, SHARED_NEIGHBOURS * shared.error)}, training)


def _prepared(events: Events | Inputs, weights: Array | None, geometry: Calorimeter | None) -> tuple[Inputs, Array]:
    if isinstance(events, Events):
        weights = events.weights
        events = Inputs.of(events, geometry)
    return events, np.ones(len(events)) if weights is None else np.asarray(weights, np.float64)


def check_samples(n: int, m: int, w: Array, v: Array, paired: bool) -> None:
    """ValueError unless a judge can be trained on samples of `n` and `m` events with weights `w` and `v`."""
    if min(n, m) < SMALLEST:
        raise ValueError(
            f"a classifier cannot be trained on {n} reference and {m} candidate events; give at least {SMALLEST} of each"
        )
    if paired and n != m:
        raise ValueError(f"paired samples must have equal sizes, not {n} and {m} events")
    if len(w) != n or len(v) != m or min(w.sum(), v.sum()) <= 0:
        raise ValueError(
            f"{n} and {m} events need as many weights, with sums above zero; found {len(w)} and {len(v)}, with sums"
            f" {w.sum():g} and {v.sum():g}"
        )


def split(n: int, m: int, train_fraction: float, generator: np.random.Generator, paired: bool) -> Array:
    """Fold of each pooled event `(n + m,)`: 0 and 1 train (two halves, for out-of-fold logits), 2 tests."""

    def folds(size: int) -> Array:
        train = round(train_fraction * size)
        fold = np.repeat([0, 1, 2], [train // 2, train - train // 2, size - train])
        return generator.permutation(fold)

    first = folds(n)
    return np.concatenate([first, first if paired else folds(m)])


def trained_scores(
    pooled: Inputs, labels: Array, weights: Array, fold: Array, settings: ClassifierSettings | StrongSettings, seed: int
) -> dict[str, Array]:
    """Scores `(n + m,)` of the trained judges for tested events; NaN for those that trained."""
    cells = np.concatenate([pooled.cells, pooled.conditions], axis=1)
    high = np.concatenate([pooled.observables, pooled.conditions], axis=1)
    train, test = fold < 2, fold == 2
    weights = learning_weights(high, labels, weights, fold, seed)

    def network(rows: Array, unseen: Array, k: int) -> Array:
        w = balanced(labels[rows], weights[rows])
        return network_logits(cells[rows], labels[rows], w, cells[unseen], seed + k, settings.hidden, settings.epochs)

    def boosting(features: Array) -> Array:
        w = balanced(labels[train], weights[train])
        return boosting_logits(features[train], labels[train], w, features[test], seed, settings.iterations)

    logit = np.empty(len(labels))
    logit[test] = network(train, test, 0)
    for k in (0, 1):
        logit[fold == k] = network(fold == 1 - k, fold == k, 1 + k)
    scores = {name: np.full(len(labels), np.nan) for name in JUDGES[:3]}
    scores["low_level"][test] = logit[test]
    scores["high_level"][test] = boosting(high)
    scores["combined"][test] = boosting(np.column_stack([high, logit]))
    return scores


def learning_weights(features: Array, labels: Array, weights: Array, fold: Array, seed: int) -> Array:
    """Weights for training `(n + m,)`: of a class with negative ones their expectation given the features (`signed.py`).

    Those of events that train (folds 0 and 1) alone, each from the other fold; tested events, whose signed weights measure
    the AUC, have no part in what a judge learns.
    """
    answer = weights.copy()
    for label in (0, 1):
        rows = np.flatnonzero((labels == label) & (fold < 2))
        if has_negative(weights[rows]):
            answer[rows] = expected_weights(features[rows], weights[rows], seed, fold[rows])
    return answer


def neighbour_scores(reference: Inputs, candidate: Inputs, paired: bool = False, block: int = 1024) -> Array:
    r"""Log ratio of the distances to the nearest other reference and candidate event, for all events pooled `(n + m,)`.

    The event itself, and its partner if paired, are left out. The score is $\log (d_R^2 + \epsilon) - \log (d_C^2 + \epsilon)$
    with $\epsilon$ the squared distance below which single precision does not tell two events apart.
    """
    n, m = len(reference), len(candidate)
    points = np.concatenate([reference.shape, candidate.shape])
    points -= points.mean(0)
    if not reference.calorimeter:
        scale = points.std(0)
        points /= np.where(scale > 0, scale, 1.0)
    norms = np.einsum("ij,ij->i", points, points)
    epsilon = 1e-6 * max(float(norms.mean()), float(np.finfo(np.float32).tiny))
    scores = np.empty(n + m)
    for start in range(0, n + m, block):
        rows = np.arange(start, min(start + block, n + m))
        squares = points[rows] @ (-2.0 * points).T
        squares += norms
        squares[np.arange(len(rows)), rows] = np.inf
        if paired:
            squares[np.arange(len(rows)), (rows + n) % (n + m)] = np.inf
        nearest = np.stack([squares[:, :n].min(1), squares[:, n:].min(1)]) + norms[rows]
        first, second = np.log(nearest.clip(0.0) + epsilon)
        scores[rows] = first - second
    return scores


def weighted_auc(reference: Array, candidate: Array, w: Array | None = None, v: Array | None = None) -> float | Array:
    """Area under the ROC curve of scores that are larger for the candidate.

    Args:
        reference: scores `(n,)`.
        candidate: scores `(m,)`.
        w: reference weights `(n,)` or `(replicas, n)`; may be negative.
        v: candidate weights `(m,)` or `(replicas, m)`.

    Returns:
        A float, or one value per replica; NaN where weights do not sum to more than zero.
    """
    w, v = (np.ones(len(s)) if x is None else np.asarray(x, np.float64) for s, x in ((reference, w), (candidate, v)))
    order = np.argsort(reference, kind="stable")
    ranked = reference[order]
    zero = np.zeros((*w.shape[:-1], 1))
    below = np.concatenate([zero, np.cumsum(w[..., order], axis=-1)], axis=-1)
    beaten = 0.5 * (
        below[..., np.searchsorted(ranked, candidate, "left")] + below[..., np.searchsorted(ranked, candidate, "right")]
    )
    total_w, total_v = w.sum(-1), v.sum(-1)
    valid = (total_w > 0) & (total_v > 0)
    auc = np.where(valid, (v * beaten).sum(-1) / np.where(valid, total_w * total_v, 1.0), np.nan)
    return float(auc) if auc.ndim == 0 else auc


def auc_estimate(scores: list[Array], labels: Array, weights: Array, resampled: Array) -> Estimate:
    """Mean AUC over seeds and its error; `resampled` are weights `(replicas, n + m)`."""
    values, replicas = [], []
    for score in scores:
        tested = ~np.isnan(score)
        old, new = tested & (labels == 0), tested & (labels == 1)
        values.append(float(weighted_auc(score[old], score[new], weights[old], weights[new])))
        replicas.append(np.asarray(weighted_auc(score[old], score[new], resampled[:, old], resampled[:, new])))
    statistical = float(np.nanstd(np.mean(replicas, axis=0), ddof=1))
    of_seeds = float(np.std(values, ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(float(np.mean(values)), float(np.hypot(statistical, of_seeds)))


def resampled_weights(n: int, m: int, weights: Array, replicas: int, generator: np.random.Generator, paired: bool) -> Array:
    """Weights of bootstrap replicas `(replicas, n + m)`."""
    first = multiplicities(n, replicas, generator)
    second = first if paired else multiplicities(m, replicas, generator)
    return np.concatenate([first, second], axis=1) * weights
