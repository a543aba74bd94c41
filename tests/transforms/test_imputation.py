"""Empty cells drawn below their bounds, given the others."""

import numpy as np
import pytest
import torch
from scipy import stats

from understudy.transforms.imputation import Draws, below, precision_of, sweep


def sample(n, correlation, seed=0):
    """Six standard normal columns, the first two with a correlation."""
    z = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    z[:, 1] = correlation * z[:, 0] + (1 - correlation**2) ** 0.5 * z[:, 1]
    return z


def correlation_of(z):
    return float(z[:, :2].T.corrcoef()[0, 1])


def test_what_independent_draws_dilute_is_recovered():
    z = sample(4000, 0.8)
    bound = torch.full_like(z, 0.4)
    empty = z < bound
    draws = Draws.of(torch.where(empty, 0.0, z), 1)
    drawn = torch.where(empty, below(bound, draws(slice(None), 6, 0)), z)
    assert correlation_of(drawn) < 0.55
    for turn in range(1, 16):
        drawn = sweep(drawn, bound, empty, precision_of(drawn, None), draws, turn)
    assert correlation_of(drawn) == pytest.approx(0.8, abs=0.05)
    assert bool((drawn[empty] <= bound[empty]).all())
    assert torch.equal(drawn[~empty], z[~empty])
    assert stats.kstest(drawn.numpy().ravel(), "norm").statistic < 0.02
    assert float(drawn[:, 2:].T.corrcoef().fill_diagonal_(0).abs().max()) < 0.1


def test_a_sweep_is_that_of_the_slow_twin():
    """One cell after the other, its conditional distribution from the covariance of the others."""
    covariance = torch.tensor([[1.0, 0.7, 0.2], [0.7, 1.0, -0.1], [0.2, -0.1, 1.0]])
    z = torch.randn(40, 3, generator=torch.Generator().manual_seed(2))
    bound = torch.rand(40, 3, generator=torch.Generator().manual_seed(3)) - 0.5
    empty = z < bound
    draws = Draws.of(z, 4)
    found = sweep(z, bound, empty, torch.linalg.inv(covariance), draws, 1)
    uniform, sigma, expected = draws(slice(None), 3, 1).numpy(), covariance.double().numpy(), z.double().numpy().copy()
    for i in range(40):
        for c in range(3):
            if empty[i, c]:
                rest = [k for k in range(3) if k != c]
                pull = np.linalg.solve(sigma[np.ix_(rest, rest)], sigma[rest, c])
                mean, spread = pull @ expected[i, rest], (1 - pull @ sigma[rest, c]) ** 0.5
                chance = stats.norm.cdf((float(bound[i, c]) - mean) / spread)
                expected[i, c] = mean + spread * stats.norm.ppf(uniform[i, c] * chance)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


def test_an_event_has_its_own_random_numbers():
    events = torch.randn(600, 5, generator=torch.Generator().manual_seed(5))
    draws = Draws.of(events, 1)
    whole = draws(slice(None), 200, 0)
    assert torch.equal(Draws.of(events[7:8], 1)(slice(None), 200, 0), whole[7:8])
    assert torch.equal(draws(slice(100, 130), 200, 0), whole[100:130])
    assert not torch.equal(Draws.of(events, 2)(slice(None), 200, 0), whole)
    assert not torch.equal(Draws.of(events.flip(1), 1)(slice(None), 200, 0), whole)
    assert torch.equal(Draws.of(torch.tensor([[-0.0, 1.0]]), 1).keys, Draws.of(torch.tensor([[0.0, 1.0]]), 1).keys)


def test_equal_events_differ_by_their_order():
    twins = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [1.0, 2.0]])
    draws = Draws.of(twins, 1)(slice(None), 100, 0)
    assert len(draws.unique(dim=0)) == 4
    assert torch.equal(Draws.of(twins[:1], 1)(slice(None), 100, 0), draws[:1])


def test_random_numbers_are_even_and_independent():
    draws = Draws.of(torch.randn(600, 5, generator=torch.Generator().manual_seed(5)), 1)
    first, second = draws(slice(None), 200, 0), draws(slice(None), 200, 1)
    assert 0 < float(first.min()) < float(first.max()) < 1
    assert stats.kstest(first.numpy().ravel(), "uniform").pvalue > 1e-3
    bits = (first[:, :, None] * 2.0 ** torch.arange(1, 17)).floor() % 2
    assert float((bits.mean((0, 1)) - 0.5).abs().max()) < 0.01
    for a, b in ((first, second), (first[:, 1:], first[:, :-1]), (first[1:], first[:-1])):
        assert abs(np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1]) < 0.012


def test_numbers_far_below_the_mean_stay_finite_and_below():
    bound = torch.tensor([5.0, 0.0, -8.0, -30.0, -60.0])
    found = below(bound.repeat(1000, 1), torch.rand(1000, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    assert bool((found <= bound).all())
    assert bool(found.isfinite().all())
    assert float((found[:, 3] - bound[3]).mean()) == pytest.approx(-1 / 30, rel=0.1)
    assert stats.kstest(found[:, 0].numpy(), "norm").pvalue > 1e-3


def test_progress_is_told():
    z = sample(1100, 0.5)
    told = []
    sweep(z, z + 1, torch.ones_like(z, dtype=torch.bool), torch.eye(6), Draws.of(z, 0), 1, told.append)
    assert told == sorted(told)
    assert len(told) == 3
    assert told[-1] == 1.0
