"""Quantile functions of residuals of which some are only known to lie below a limit."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri

from understudy.transforms import residual_tables as rt
from understudy.transforms.residual_tables import BINS, FARTHEST, KNOTS, Residuals, Sharing, interpolated, place, solved

Z = np.linspace(-FARTHEST, FARTHEST, KNOTS)


def censored(n=20_000, seed=0, shape=lambda g: g):
    """Residuals of a known distribution that are empty below limits of their own."""
    rng = np.random.default_rng(seed)
    r, b = shape(rng.standard_normal(n)), rng.uniform(-1.0, 2.5, n)
    return r, b, r <= -b


def slow_chances(value, empty, weights):
    """The product-limit estimate from above, one residual after the other: P(r < r_k), and P(r <= r_k) before it."""
    order = sorted(range(len(value)), key=lambda i: (-value[i], empty[i]))
    chance, found = 1.0, []
    for place_, i in enumerate(order):
        if empty[i]:
            continue
        at_risk = sum(weights[j] for j in order[place_:])
        before = chance
        chance *= 1 - weights[i] / at_risk
        found.append((value[i], 0.5 * (before + chance)))
    return found[::-1]


def test_the_distribution_is_that_of_the_slow_twin():
    r, b, empty = censored(300)
    w = np.random.default_rng(1).uniform(0.2, 2.0, 300)
    residual, z = Residuals(r, b, empty, w)._distribution()
    expected = slow_chances(np.where(empty, -b, r), empty, w)
    np.testing.assert_allclose(residual, [v for v, _ in expected], rtol=1e-12)
    np.testing.assert_allclose(ndtr(z), [p for _, p in expected], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [lambda g: g, lambda g: np.sinh(g / 2) + 0.3, lambda g: np.exp(g / 2) - 1], ids=["g", "t", "e"])
def test_a_known_distribution_is_recovered_behind_its_limits(shape):
    r, b, empty = censored(shape=shape)
    assert 0.2 < empty.mean() < 0.4
    found = Residuals(r, b, empty, np.ones(len(r))).quantiles()
    middle = (Z > -0.9) & (Z < 2.6)
    np.testing.assert_allclose(found[middle], shape(Z[middle]), atol=0.12)
    kept = np.sort(r[~empty])
    assert np.interp(0.3, (np.arange(len(kept)) + 0.5) / len(kept), kept) > shape(ndtri(0.3)) + 0.06  # without the empty ones


def test_weights_repeat_residuals_and_negative_ones_take_them_away():
    r, b, empty = censored(4000)
    rng = np.random.default_rng(2)
    background = rng.uniform(-2, 4, 4000), np.full(4000, 2.5)
    all_r, all_b = np.concatenate([r, *[background[0]] * 2]), np.concatenate([b, *[background[1]] * 2])
    all_empty, w = all_r <= -all_b, np.repeat([1.0, 1.0, -1.0], 4000)
    plain = Residuals(r, b, empty, np.ones(4000)).quantiles()
    middle = (Z > -1) & (Z < 2)
    np.testing.assert_allclose(Residuals(all_r, all_b, all_empty, w).quantiles()[middle], plain[middle], atol=0.25)
    twice = Residuals(r, b, empty, 1.0 + (np.arange(4000) % 2)).quantiles()
    index = np.repeat(np.arange(4000), 1 + np.arange(4000) % 2)
    repeated = Residuals(r[index], b[index], empty[index], np.ones(6000)).quantiles()
    np.testing.assert_allclose(twice[middle], repeated[middle], atol=0.01)


def test_quantile_functions_rise_everywhere():
    found = Residuals(*censored(500), np.ones(500)).quantiles()
    assert (np.diff(found) > 0).all()


def test_bins_with_few_residuals_take_what_more_cells_say():
    r = 2 * np.random.default_rng(3).standard_normal(1000)
    cells = Residuals(r, np.full(1000, 20.0), np.zeros(1000, bool), np.ones(1000))
    alone = rt.tables(cells, np.full(1000, 10), True)
    np.testing.assert_allclose(alone[10][16:25], 2 * Z[16:25], atol=0.25)
    assert (alone == alone[10]).all()
    common = np.tile(3 * Z, (BINS, 1))
    found = rt.tables(cells, np.full(1000, 10), True, common)
    np.testing.assert_array_equal(found[10], alone[10])
    np.testing.assert_array_equal(np.delete(found, 10, 0), np.delete(common, 10, 0))
    few = rt.tables(cells.where(np.arange(rt.FEWEST - 1)), np.full(rt.FEWEST - 1, 10), True)
    np.testing.assert_array_equal(few, np.tile(Z, (BINS, 1)))


def slow_quantile(table, row, towards, z):
    """Between knots and tables, one number at a time."""
    knot = int(np.clip(np.floor((z + FARTHEST) / rt.STEP), 0, KNOTS - 2))
    along = (z - Z[knot]) / rt.STEP
    lower, upper = (t[knot] + along * (t[knot + 1] - t[knot]) for t in (table[row], table[row + 1]))
    return lower + towards * (upper - lower)


@pytest.mark.parametrize("shared", [True, False])
def test_tables_are_read_between_knots_and_bins_and_read_back(shared):
    rng = np.random.default_rng(4)
    n, d, rows = 7, 11, 2 * BINS
    table = np.cumsum(rng.uniform(0.05, 1.0, (1 if shared else n, rows, KNOTS)), axis=2) - 10
    row, towards, z = rng.integers(0, rows - 1, (n, d)), rng.uniform(0, 1, (n, d)), rng.uniform(-7, 7, (n, d))
    expected = [[slow_quantile(table[0 if shared else i], row[i, j], towards[i, j], z[i, j]) for j in range(d)] for i in range(n)]
    given = torch.tensor(table.reshape(-1) if shared else table.reshape(n, -1)), torch.tensor(row).double(), torch.tensor(towards)
    found = interpolated(*given, torch.tensor(z))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(solved(*given, found).numpy(), z, rtol=1e-9)


def test_bins_are_even_in_the_area_hyperbolic_sine():
    b = torch.tensor([-1e6, -6.0, -1.0, 0.0, 1e-4, 3.0, 40.0, 1e6], dtype=torch.float64)
    lower, towards = place(b)
    expected = np.clip((np.arcsinh(b.numpy()) - rt.LOW) / rt.WIDTH, 0, BINS - 1)
    np.testing.assert_allclose((lower + towards).numpy(), expected, rtol=1e-9, atol=1e-9)
    assert int(lower.max()) == BINS - 2


def test_bins_of_a_feature_without_events_come_last_and_centres_rise():
    first = np.repeat([0.0, 1.0], [950, 50])
    sharing = Sharing(first, np.zeros(2, int), np.zeros(2, bool), np.ones(2, bool))
    r = np.random.default_rng(5).standard_normal((1000, 2))
    told = []
    found, centres = sharing.tables(r, np.full((1000, 2), 20.0), np.zeros((1000, 2), bool), np.ones(1000), 6, told.append)
    assert (np.diff(centres) > 0).all()
    assert centres[0] < 0.2
    assert (found[-1] == found[-2]).all()
    assert told[-1] == 1.0
