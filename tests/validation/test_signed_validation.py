"""Negative weights in every number of a validation: what comes out is what the pure signal would give."""

import numpy as np
import pytest

from sweighted import SCHEMA, contaminated, pure, signal
from understudy.events import Events
from understudy.validation.bootstrap import with_uncertainty
from understudy.validation.classifier import two_sample_test, weighted_auc
from understudy.validation.compare import compare
from understudy.validation.distances import ks, reference_edges, separation_power, wasserstein1
from understudy.validation.figures_histograms import histogram, overlay
from understudy.validation.judges import Inputs
from understudy.validation.moments import moments, tails
from understudy.validation.quantiles import monotone, weighted_quantiles
from understudy.validation.score import PhysicsScore
from understudy.validation.settings import ClassifierSettings, ValidationSettings
from understudy.validation.tails import quantiles

QUICK = ClassifierSettings(seeds=1, replicas=50, epochs=6, iterations=40, hidden=32)


@pytest.fixture(scope="module")
def mixed():
    return contaminated(20_000, np.random.default_rng(1))


@pytest.fixture(scope="module")
def truth():
    return pure(200_000, np.random.default_rng(2))["y"][:, 0].astype(float)


def answer(events, rng, shift=0.0):
    """What a stand-in gives at the conditions of `events`: it knows no weights."""
    made = signal(np.asarray(events["x"], float), rng) + np.array([shift, 0.0])
    return Events(SCHEMA, {"x": events["x"]}, {"y": made}, aux=dict(events.aux))


def test_histograms_and_their_errors(mixed, truth):
    y, edges = mixed["y"][:, 0], np.linspace(-3, 4, 15)
    h = histogram(y, edges, mixed.weights)
    expected, _ = np.histogram(truth, edges)
    pulls = (h.contents / h.defined - expected / len(truth)) / (h.error / h.defined)
    assert (pulls**2).sum() < 40  # 14 bins
    assert np.abs(pulls).max() < 4
    bare, _ = np.histogram(y, edges)
    assert np.abs(bare / len(y) - expected / len(truth)).max() > 0.1
    spread = [histogram(e["y"][:, 0], edges, e.weights).contents[10] for e in _samples(60)]
    assert np.std(spread) == pytest.approx(histogram(y[:2000], edges, mixed.weights[:2000]).error[10], rel=0.35)


def _samples(number, size=2000):
    return [contaminated(size, np.random.default_rng(100 + k)) for k in range(number)]


def test_a_cumulative_sum_that_falls_is_made_monotone_by_both_its_envelopes():
    assert monotone(np.array([0.2, 0.6, 0.4, 1.1, 1.0])) == pytest.approx([0.2, 0.5, 0.5, 1.05, 1.05])
    rising = np.array([0.1, 0.4, 0.4, 1.0])
    assert monotone(rising) == pytest.approx(rising)


def test_quantiles_of_signed_weights_are_those_of_the_signal_and_lean_to_neither_side(truth):
    levels = (0.01, 0.1, 0.5, 0.9)
    found = np.array([weighted_quantiles(e["y"][:, 0], levels, e.weights) for e in _samples(60)])
    error = found.std(0) / np.sqrt(len(found))
    expected = np.quantile(truth, levels)
    assert np.abs(found.mean(0) - expected)[1:] == pytest.approx(0, abs=float(4 * error[1:].max()))
    values, w = np.array([3.0, 1.0, 2.0]), np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 3.0], [-1.0, 0.5, 0.5]])
    got = weighted_quantiles(values, (0.5,), w)[:, 0]
    assert list(got[:2]) == [2.0, 2.0]
    assert np.isnan(got[2])
    with pytest.raises(ValueError, match="a sample without values has no quantiles"):
        weighted_quantiles(np.array([]), (0.5,))


def test_moments_and_tails(mixed, truth):
    y = mixed["y"][:, 0].astype(float)
    found = moments(y, mixed.weights)
    assert found["mean"] == pytest.approx(truth.mean(), abs=4 * found["mean_error"])
    assert found["width"] == pytest.approx(truth.std(), abs=4 * found["width_error"])
    far, ones = tails(y, mixed.weights)["99 %"], np.ones((20, len(y)))
    assert far["value"] == pytest.approx(np.quantile(truth, 0.99), abs=5 * far["error"] + 0.05)
    assert quantiles(y, mixed.weights, ones)[2][0] == pytest.approx(far["value"], abs=far["error"])


def test_distances_are_small_against_the_signal_and_large_without_weights(mixed, truth):
    y, few = mixed["y"][:, 0].astype(float), truth[:20_000]
    for distance, most, least in ((wasserstein1, 0.05, 0.5), (ks, 0.03, 0.3), (separation_power, 0.01, 0.1)):
        found = with_uncertainty(distance, few, y, np.random.default_rng(3), 40, None, mixed.weights)
        assert found.value < most
        assert 0 < found.error < most
        assert distance(few, y) > least


def test_the_bootstrap_error_of_a_weighted_mean_is_that_of_repeated_samples(mixed):
    part = mixed[:2000]
    y, w = part["y"][:, 0].astype(float), part.weights

    def mean_shift(x, y, wx, wy):
        return (wy @ y) / wy.sum(-1)

    error = with_uncertainty(mean_shift, np.zeros(2000), y, np.random.default_rng(4), 200, None, w).error
    spread = np.std([(e.weights @ e["y"][:, 0]) / e.weights.sum() for e in _samples(60)])
    assert error == pytest.approx(spread, rel=0.35)


def test_the_auc_of_signed_weights_is_that_of_the_signal(mixed, truth):
    y, other = mixed["y"][:, 0].astype(float), truth[:20_000] + 0.5
    expected = weighted_auc(truth[20_000:60_000], other)
    assert weighted_auc(y, other, mixed.weights) == pytest.approx(expected, abs=0.012)
    assert abs(weighted_auc(y, other) - expected) > 0.1


def test_judges_are_blind_to_the_background_and_see_a_wrong_signal(mixed):
    rng = np.random.default_rng(5)
    part, weights = mixed[:8000], (mixed.weights[:8000], mixed.weights[:8000])

    def judged(shift):
        made = answer(part, rng, shift)
        return two_sample_test(Inputs.of(part), Inputs.of(made), weights=weights, paired=True, settings=QUICK).auc

    right, wrong = judged(0.0), judged(0.6)
    for judge in ("low_level", "high_level", "combined", "neighbour"):
        assert right[judge].value == pytest.approx(0.5, abs=max(4 * right[judge].error, 0.03))
    clean = pure(8000, rng)
    free = two_sample_test(clean, answer(clean, rng, 0.6), paired=True, settings=QUICK).auc
    for judge in ("low_level", "high_level"):
        assert wrong[judge].value == pytest.approx(free[judge].value, abs=0.05)
        assert wrong[judge].value > 0.6


def test_a_comparison_gives_candidates_the_weights_of_their_conditions(mixed):
    part, settings = mixed[:4000], ValidationSettings(replicas=20, floor_repeats=4, classifier=QUICK)
    made = {name: answer(part, np.random.default_rng(6), shift) for name, shift in (("right", 0.0), ("wrong", 1.0))}
    found = compare(part, made, settings=settings).metrics["candidates"]
    entry, wrong = found["right"], found["wrong"]
    assert entry["observables"]["y_0"]["wasserstein1"]["value"] < 0.15
    assert entry["classifier"]["high_level"]["auc"] == pytest.approx(0.5, abs=0.06)
    assert wrong["observables"]["y_0"]["wasserstein1"]["value"] > 0.8
    assert wrong["classifier"]["high_level"]["auc"] > 0.65


def test_the_score_of_checkpoints_is_lower_for_the_signal_than_for_the_mixture(mixed):
    score = PhysicsScore(mixed)
    right = answer(mixed, np.random.default_rng(7))
    weighted = Events(SCHEMA, right.conditions, right.response, weights=mixed.weights, aux=right.aux)
    assert score.score(weighted)["score"] < 0.05
    same = Events(SCHEMA, mixed.conditions, mixed.response, aux=mixed.aux)
    assert score.score(same)["score"] > 0.3


def test_bins_are_laid_by_the_weights():
    values = np.concatenate([np.random.default_rng(8).standard_normal(5000), np.full(500, 50.0)])
    w = np.concatenate([np.ones(5000), np.tile([1.0, -1.0], 250)])
    assert reference_edges(values, tails=False)[-1] == 50
    assert reference_edges(values, tails=False, weights=w)[-1] < 5


def test_bins_with_negative_contents_alone_are_drawn_and_count_as_empty():
    values, w = np.array([0.1, 0.2, 1.5, 2.5, 2.6]), np.array([1.0, 1.0, -1.5, 1.0, 1.0])
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    h = histogram(values, edges, w)
    assert h.contents[1] == -1.5
    assert h.error[1] == 1.5
    drawn = overlay("y", "", ("reference", values, w), {"candidate": (values, w)})
    assert drawn.figure is not None
    assert 0 <= separation_power(values, values[:2], w, bins=edges) <= 1


def test_weights_that_leave_nothing_are_refused(mixed):
    y = mixed["y"][:100, 0]
    for distance in (wasserstein1, ks, separation_power):
        with pytest.raises(ValueError, match="the weights of x sum to"):
            distance(y, y, -np.ones(100))
    few = mixed[:100]
    with pytest.raises(ValueError, match="weights, with sums above zero"):
        two_sample_test(Events(SCHEMA, few.conditions, few.response, -np.ones(100), aux=few.aux), few)
    with pytest.raises(ValueError, match="the weights hold NaN or infinity"):
        Events(SCHEMA, mixed[:2].conditions, mixed[:2].response, [1.0, np.nan], aux=mixed[:2].aux)
