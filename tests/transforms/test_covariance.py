"""Covariances that many columns need few events for."""

import re

import numpy as np
import pytest
import torch

from understudy.transforms.covariance import factor, root, shrunk_covariance, standardised, times_lower
from understudy.transforms.whiten import Whiten


def columns(n, d=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g) @ torch.randn(d, d, generator=g)


def test_it_is_the_formula():
    x, w = columns(40), 0.5 + torch.rand(40, generator=torch.Generator().manual_seed(1))
    y, mean, scale = standardised(x, w)
    n = float(w.sum() ** 2 / w.square().sum())
    sample = np.cov(y.numpy().T, aweights=w.numpy(), ddof=0)
    expected = (n * sample + 5 * np.eye(5)) / (n + 5)
    found, shrinkage = shrunk_covariance(y, w)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-7)
    assert shrinkage == pytest.approx(5 / (n + 5))
    np.testing.assert_allclose(mean.numpy(), np.average(x.numpy(), axis=0, weights=w.numpy()), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.diag(np.cov((x / scale).numpy().T, aweights=w.numpy(), ddof=0)), 1, rtol=1e-5)


def test_the_root_gives_it_back_and_with_many_events_the_sample_speaks():
    y = standardised(columns(5000))[0]
    lower = root(y, None, "test")
    assert torch.equal(lower, lower.tril())
    torch.testing.assert_close(lower @ lower.T, shrunk_covariance(y)[0])
    torch.testing.assert_close(lower @ lower.T, y.T.cov(correction=0), atol=2e-3, rtol=0)


def test_fewer_events_than_columns_are_told():
    y = standardised(columns(10, 30))[0]
    with pytest.warns(UserWarning, match=re.escape("10 events for 30 columns; their covariance was shrunk by 0.75")):
        lower = root(y, None, "test")
    assert float(torch.linalg.eigvalsh(lower @ lower.T).min()) > 0.7


def test_signed_weights_with_directions_of_negative_variance_are_shrunk_until_there_are_none():
    y = standardised(columns(400, 6))[0]
    w = torch.ones(400)
    w[:150] = -0.9
    y[:150] *= 1.2
    covariance = shrunk_covariance(y, w)[0]
    assert float(torch.linalg.eigvalsh(covariance).min()) < 0
    lower = factor(covariance, "test", 400)
    assert float(torch.linalg.eigvalsh(lower @ lower.T).min()) > 0


def test_what_has_no_covariance_is_refused():
    with pytest.raises(ValueError, match="test: no covariance can be found from these 9 events"):
        factor(torch.full((3, 3), float("nan")).double(), "test", 9)


@pytest.mark.parametrize("d", [3, 64, 65, 128, 300, 301])
def test_the_product_in_blocks_is_the_product(d):
    g = torch.Generator().manual_seed(d)
    x, lower = torch.randn(4, d, generator=g), torch.randn(d, d, generator=g).tril()
    torch.testing.assert_close(times_lower(x, lower), x @ lower.T, rtol=1e-5, atol=1e-4)


def test_whitened_columns_have_the_identity_as_covariance():
    x = columns(5000, 6) + torch.randn(5000, 6, generator=torch.Generator().manual_seed(2)) + 3
    whiten = Whiten().fit(x, {})
    y = whiten(x, {})
    torch.testing.assert_close(y.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.T.cov(), torch.eye(6), atol=5e-2, rtol=0)
    torch.testing.assert_close(whiten.inverse(y, {}), x, atol=1e-4, rtol=0)
