import itertools
import time
from functools import partial

import numpy as np
import pytest
from scipy import stats

from understudy.validation.bootstrap import floor, multiplicities, with_uncertainty
from understudy.validation.distances import defined_fraction, ks, reference_edges, separation_power, wasserstein1

N = 20_000
QUANTILES = (np.arange(N) + 0.5) / N
NORMAL = stats.norm.ppf(QUANTILES)
EXPONENTIAL = stats.expon.ppf(QUANTILES)
DISTANCES = {"wasserstein1": wasserstein1, "ks": ks, "separation_power": separation_power}


@pytest.fixture(params=sorted(DISTANCES))
def distance(request):
    return DISTANCES[request.param]


def test_wasserstein1_of_a_shift_is_the_shift():
    assert wasserstein1(NORMAL, NORMAL + 0.37) == pytest.approx(0.37, rel=1e-9)


def test_wasserstein1_of_widths_of_a_gaussian():
    # int |q_1(u) - q_2(u)| du = |s_1 - s_2| E|z| for equal means.
    assert wasserstein1(NORMAL, 1.5 * NORMAL) == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=1e-3)


def test_wasserstein1_of_scaled_exponentials_is_the_difference_of_means():
    assert wasserstein1(2.0 * EXPONENTIAL, 5.0 * EXPONENTIAL) == pytest.approx(3.0, rel=1e-3)


def test_ks_of_shifted_uniforms_is_the_shift():
    assert ks(QUANTILES, QUANTILES + 0.25) == pytest.approx(0.25, abs=1e-4)


def test_separation_power_of_equal_and_disjoint_samples():
    assert separation_power(NORMAL, NORMAL) == 0.0
    assert separation_power(NORMAL, NORMAL + 100) == pytest.approx(1.0)
    assert separation_power(np.zeros(5), np.ones(5)) == pytest.approx(1.0)


def test_separation_power_of_two_bins_by_hand():
    x, y = np.array([0.5, 0.5, 0.5, 1.5]), np.array([0.5, 1.5, 1.5, 1.5])
    assert separation_power(x, y, bins=np.array([0.0, 1.0, 2.0])) == pytest.approx(0.5 * (0.25 + 0.25))
    # Two of four in the overflow: p = (3/4, 1/4, 0), q = (1/4, 1/4, 1/2).
    y = np.array([0.5, 1.5, 7.0, 9.0])
    assert separation_power(x, y, bins=np.array([0.0, 1.0, 2.0])) == pytest.approx(0.5 * (0.25 + 0.5))


@pytest.mark.parametrize("seed", range(5))
def test_twins_in_scipy(seed):
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=71).round(1), generator.normal(0.3, 1.2, size=43).round(1)  # rounded: many ties
    wx, wy = generator.random(71), generator.random(43)
    assert wasserstein1(x, y) == pytest.approx(stats.wasserstein_distance(x, y))
    assert wasserstein1(x, y, wx, wy) == pytest.approx(stats.wasserstein_distance(x, y, wx, wy))
    assert ks(x, y) == pytest.approx(stats.ks_2samp(x, y).statistic)


def slow_separation(x, y, wx, wy, edges):
    wide = [-np.inf, *edges, np.inf]
    total = 0.0
    for low, high in itertools.pairwise(wide):
        last = high == edges[-1]
        p = sum(w for v, w in zip(x, wx, strict=True) if low <= v < high or (last and v == high)) / sum(wx)
        q = sum(w for v, w in zip(y, wy, strict=True) if low <= v < high or (last and v == high)) / sum(wy)
        first_of_overflow = low == edges[-1]
        if first_of_overflow:
            p -= sum(w for v, w in zip(x, wx, strict=True) if v == low) / sum(wx)
            q -= sum(w for v, w in zip(y, wy, strict=True) if v == low) / sum(wy)
        total += 0.5 * (p - q) ** 2 / (p + q) if p + q > 1e-15 else 0.0
    return total


def test_slow_twin_of_the_separation_power():
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=60).round(1), generator.normal(0.5, size=50).round(1)
    wx, wy = generator.random(60), generator.random(50)
    edges = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    assert separation_power(x, y, wx, wy, bins=edges) == pytest.approx(slow_separation(x, y, wx, wy, edges))


def test_integer_weights_are_repetitions(distance):
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=40), generator.normal(0.4, size=30)
    wx, wy = generator.integers(0, 4, 40), generator.integers(0, 4, 30)
    kwargs = {"bins": np.linspace(-2, 2, 9)} if distance is separation_power else {}
    assert distance(x, y, wx, wy, **kwargs) == pytest.approx(distance(np.repeat(x, wx), np.repeat(y, wy), **kwargs))


def test_replicas_of_weights_equal_one_call_each(distance):
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=40), generator.normal(0.4, size=30)
    wx, wy = generator.random((6, 40)), generator.random((6, 30))
    together = distance(x, y, wx, wy)
    assert together.shape == (6,)
    np.testing.assert_allclose(together, [distance(x, y, a, b) for a, b in zip(wx, wy, strict=True)])


def test_negative_weights_subtract_a_background():
    # Signal N(0, 1) plus a uniform background that sideband events with weight -1 take away again.
    generator = np.random.default_rng(4)
    signal, clean = generator.normal(size=20_000), generator.normal(size=20_000)
    background, sideband = generator.uniform(-5, 5, (2, 10_000))
    y = np.concatenate([signal, background, sideband])
    w = np.concatenate([np.ones(30_000), -np.ones(10_000)])
    contaminated = np.concatenate([signal, background])
    for distance in DISTANCES.values():
        assert distance(clean, y, None, w) < 0.2 * distance(clean, contaminated)
        assert distance(clean, y, None, w) >= 0
    assert separation_power(clean, y, None, w) <= 1


def test_negative_weights_cancel_an_event_exactly():
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0, 9.0, 9.0])
    weights = np.array([1, 1, 1, 1, -1.0])
    assert wasserstein1(x, y, None, weights) == pytest.approx(0, abs=1e-12)
    assert ks(x, y, None, weights) == pytest.approx(0, abs=1e-12)


def test_negative_bins_are_set_to_zero_by_hand():
    x, y, weights = np.array([0.5, 1.5]), np.array([0.5, 1.5]), np.array([2.0, -1.0])
    expected = 0.5 * (0.5**2 / 1.5 + 0.5**2 / 0.5)  # p = (1/2, 1/2), q = (1, 0)
    assert separation_power(x, y, None, weights, bins=np.array([0.0, 1.0, 2.0])) == pytest.approx(expected)


def test_undefined_values_are_left_out(distance):
    x, y = np.random.default_rng(5).normal(size=(2, 50))
    holes = np.concatenate([x, [np.nan] * 7])
    assert distance(holes, y, np.ones(57)) == pytest.approx(distance(x, y))
    assert np.isnan(distance(np.full(4, np.nan), y))
    assert np.isnan(distance(x, np.full(4, np.nan), None, np.ones((3, 4)))).all()
    assert defined_fraction(holes) == pytest.approx(50 / 57)
    assert defined_fraction(np.array([1.0, np.nan]), np.array([3.0, 1.0])) == pytest.approx(0.75)


def test_edges_are_robust_against_an_outlier():
    edges = reference_edges(np.append(NORMAL, 1e9), bins=20)
    assert len(edges) == 23
    assert edges[-2] < 4
    assert edges[-1] == 1e9
    np.testing.assert_allclose(edges[1:-1], reference_edges(np.append(NORMAL, 1e9), bins=20, tails=False))
    with_outlier = separation_power(NORMAL, np.append(NORMAL[: N // 2], [1e9] * (N // 2)))
    assert with_outlier > 0.3


def test_edges_of_a_constant_and_of_nothing():
    assert len(reference_edges(np.full(9, 21.0))) == 2
    assert separation_power(np.full(9, 21.0), np.array([21.0, 20.0])) == pytest.approx(0.5 * (0.5**2 / 1.5 + 0.5))
    with pytest.raises(ValueError, match="without any defined value"):
        reference_edges(np.array([np.nan]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, np.inf], [1.0]), "x holds an infinite value"),
        (([1.0, 2.0], [1.0], [1.0]), r"x has shape \(2,\) and weights"),
        (([1.0], [1.0, 2.0], None, [1.0, -1.0]), "the weights of y sum to 0; a distribution needs a positive sum"),
        (([1.0], [1.0], np.ones((2, 1)), np.ones((3, 1))), "x has 2 replicas of its weights and y 3"),
    ],
)
def test_bad_input(distance, arguments, message):
    with pytest.raises(ValueError, match=message):
        distance(*[None if a is None else np.asarray(a) for a in arguments])


def test_multiplicities_are_a_multinomial():
    drawn = multiplicities(50, 4000, np.random.default_rng(6))
    assert (drawn.sum(1) == 50).all()
    np.testing.assert_allclose(drawn.mean(0), 1.0, atol=0.08)
    assert drawn.var() == pytest.approx(1 - 1 / 50, rel=0.03)


def test_bootstrap_error_covers_the_spread_of_the_shift():
    """W1 of well separated samples is the difference of means, whose error is known."""
    generator = np.random.default_rng(7)
    x, y = generator.normal(0, 1, 1000), generator.normal(50, 2, 400)
    estimate = with_uncertainty(wasserstein1, x, y, generator, replicas=400)
    assert estimate.value == pytest.approx(y.mean() - x.mean())
    assert estimate.error == pytest.approx(np.sqrt(1 / 1000 + 4 / 400), rel=0.15)


def test_paired_replicas_know_that_conditions_are_shared():
    generator = np.random.default_rng(8)
    condition = generator.uniform(0, 100, 500)
    x, y = condition + generator.normal(size=500), condition + 5 + generator.normal(size=500)
    free = with_uncertainty(wasserstein1, x, y, generator, replicas=100)
    paired = with_uncertainty(wasserstein1, x, y, generator, replicas=100, paired=True)
    assert paired.value == free.value
    assert paired.error < 0.2 * free.error


def test_same_seed_same_error(distance):
    x, y = np.random.default_rng(9).normal(size=(2, 100))
    first, second = (with_uncertainty(distance, x, y, np.random.default_rng(1)) for _ in range(2))
    assert first == second


def test_undefined_distance_has_no_error():
    estimate = with_uncertainty(ks, np.ones(3), np.full(3, np.nan), np.random.default_rng(1))
    assert np.isnan(estimate.value)
    assert np.isnan(estimate.error)


def test_memory_is_bounded_by_blocks(monkeypatch):
    monkeypatch.setattr("understudy.validation.bootstrap.CHUNK", 1000)
    largest = []

    def watched(x, y, wx=None, wy=None):
        largest.append(np.size(wx) + np.size(wy))
        return wasserstein1(x, y, wx, wy)

    x, y = np.random.default_rng(9).normal(size=(2, 100))
    with_uncertainty(watched, x, y, np.random.default_rng(1), replicas=23)
    assert len(largest) == 1 + 5
    assert max(largest) <= 1000


def test_floor_is_the_distance_of_disjoint_samples():
    generator = np.random.default_rng(10)
    reference = generator.normal(size=6000)
    estimate = floor(wasserstein1, reference, (1000, 2000), generator, repeats=30)
    fresh = [wasserstein1(generator.normal(size=1000), generator.normal(size=2000)) for _ in range(30)]
    assert estimate.value == pytest.approx(np.mean(fresh), rel=0.25)
    whole = floor(ks, np.array([0.0, 1.0]), (1, 1), generator, repeats=3)
    assert whole == (1.0, 0.0)


def test_floor_needs_enough_events():
    with pytest.raises(ValueError, match="two disjoint samples of 3 and 3 events cannot be drawn from 5 reference events"):
        floor(ks, np.arange(5.0), (3, 3), np.random.default_rng(1))


def test_bootstrap_bad_input():
    with pytest.raises(ValueError, match="1 bootstrap replicas give no error"):
        with_uncertainty(ks, np.ones(3), np.ones(3), np.random.default_rng(1), replicas=1)
    with pytest.raises(ValueError, match="equal lengths, not 3 and 4"):
        with_uncertainty(ks, np.ones(3), np.ones(4), np.random.default_rng(1), paired=True)


def test_hundred_replicas_are_cheap():
    """Forty observables, three distances, 4,000 + 4,000 events must stay below 15 s: 0.125 s for each, measured in CPU time."""
    x, y = np.random.default_rng(11).normal(size=(2, 4000))
    generator = np.random.default_rng(1)
    start = time.process_time()
    for distance in (wasserstein1, ks, partial(separation_power, bins=reference_edges(x))):
        with_uncertainty(distance, x, y, generator, replicas=100)
    assert time.process_time() - start < 1.0
