"""The Gaussian copula: mean and covariance of what it has seen, whatever the conditions."""

import re

import pytest
import torch

from understudy.models.copula import Copula
from understudy.transforms.covariance import shrunk_covariance

MIXING = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [-0.5, 0.2, 2.0]])
OFFSET = torch.tensor([1.0, -2.0, 0.0])


def correlated(n, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)) @ MIXING.T + OFFSET


def drawn(model, n=200_000):
    with torch.no_grad():
        return model.sample(torch.randn(n, model.noise_size, generator=torch.Generator().manual_seed(5)), torch.zeros(n, 1))


def test_samples_have_mean_and_covariance_of_the_training_sample():
    data = correlated(20_000)
    model = Copula(response_size=3)
    model.fit(data, torch.zeros(len(data), 1))
    sample = drawn(model)
    torch.testing.assert_close(sample.mean(0), data.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(sample.T.cov(), data.T.cov(), atol=0.06, rtol=0)
    torch.testing.assert_close(model.lower @ model.lower.T, data.T.cov(correction=0), atol=2e-3, rtol=0)


def test_normal_scores_are_taken_at_their_word():
    data = correlated(20_000)
    model = Copula(response_size=3, standard=True)
    model.fit(data, torch.zeros(len(data), 1))
    torch.testing.assert_close(model.lower @ model.lower.T, data.T.corrcoef(), atol=2e-3, rtol=0)
    assert bool((model.mean == 0).all())


def test_events_of_negative_weight_take_their_like_away():
    signal, background = correlated(20_000), 3 * correlated(5000, seed=1) + 4
    both = torch.cat([signal, background, 3 * correlated(5000, seed=2) + 4])
    weights = torch.cat([torch.ones(25_000), -torch.ones(5000)])
    model = Copula(response_size=3)
    model.fit(both, torch.zeros(len(both), 1), weights)
    torch.testing.assert_close(model.mean, OFFSET, atol=0.2, rtol=0)
    torch.testing.assert_close(model.lower @ model.lower.T, MIXING @ MIXING.T, atol=1.0, rtol=0)


def test_many_columns_are_drawn_in_blocks_without_a_difference():
    data = correlated(3000).repeat(1, 100) + torch.randn(3000, 300, generator=torch.Generator().manual_seed(3))
    model = Copula(response_size=300)
    model.fit(data, torch.zeros(len(data), 1))
    noise = torch.randn(7, 300, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(model.sample(noise, noise), noise @ model.lower.T + model.mean, atol=1e-5, rtol=1e-5)
    sigma, _ = shrunk_covariance((data - data.mean(0)) / data.std(0, correction=0))
    spread = data.std(0, correction=0).double()
    torch.testing.assert_close((model.lower @ model.lower.T).double(), spread[:, None] * sigma * spread, atol=1e-3, rtol=1e-3)


def test_fewer_events_than_columns_are_told_and_leave_a_covariance():
    data = torch.randn(20, 50, generator=torch.Generator().manual_seed(1))
    model = Copula(response_size=50)
    with pytest.warns(UserWarning, match=re.escape("copula: 20 events for 50 columns; their covariance was shrunk by 0.71")):
        model.fit(data, torch.zeros(20, 1))
    assert bool(drawn(model, 100).isfinite().all())


def test_a_column_that_never_varies_keeps_its_value():
    data = correlated(1000)
    data[:, 1] = 7.0
    model = Copula(response_size=3)
    model.fit(data, torch.zeros(1000, 1))
    assert abs(float(drawn(model, 1000)[:, 1].mean()) - 7.0) < 0.2


def test_values_that_are_not_finite_are_refused():
    data = correlated(1000)
    data[3, 1] = float("nan")
    with pytest.raises(ValueError, match="copula: no covariance can be found from these 1000 events"):
        Copula(response_size=3).fit(data, torch.zeros(1000, 1))
