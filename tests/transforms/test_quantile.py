"""Normal scores by weighted quantiles."""

import numpy as np
import pytest
import torch
from scipy import stats

from sweighted import contaminated, pure
from understudy.transforms.quantile import Quantile, interpolated, knots_of, ramps


def test_columns_become_standard_normal():
    x = torch.from_numpy(np.random.default_rng(1).gamma(2.0, 3.0, (50_000, 2)).astype(np.float32)) ** 2
    z = Quantile().fit(x, {})(x, {}).numpy()
    assert np.abs(z.mean(0)).max() < 0.01
    assert np.abs(z.std(0) - 1).max() < 0.01
    assert stats.kstest(z[:5000, 0], "norm").pvalue > 0.01


def test_with_sweights_it_is_the_signal_that_becomes_normal():
    events, truth = contaminated(40_000, np.random.default_rng(2)), pure(40_000, np.random.default_rng(3))
    fitted = Quantile().fit(torch.tensor(events["y"]), {}, torch.tensor(events.weights))
    z = fitted(torch.tensor(truth["y"]), {}).numpy()
    bare = Quantile().fit(torch.tensor(events["y"]), {})(torch.tensor(truth["y"]), {}).numpy()
    assert np.abs(z.mean(0)).max() < 0.04
    assert np.abs(z.std(0) - 1).max() < 0.04
    assert np.abs(bare.mean(0)).max() > 0.3


def test_the_map_increases_however_the_weights_fall():
    rng = np.random.default_rng(4)
    x, y = knots_of(rng.standard_normal(500), rng.normal(0.3, 2.0, 500), 64)
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) > 0).all()


def test_ramps_are_linear_interpolation_and_go_on_beyond_the_knots():
    x, y = np.array([0.0, 1.0, 3.0]), np.array([-1.0, 2.0, 2.5])
    at = np.linspace(0, 3, 13)
    found = ramps(torch.tensor(at)[:, None], torch.tensor(x)[None], torch.tensor(y)[None])[:, 0].numpy()
    np.testing.assert_allclose(found, np.interp(at, x, y))
    back = interpolated(torch.tensor([[-1.5], [0.25], [2.5]]), torch.tensor([[-1.0, 0.0, 1.0]]), torch.tensor(x)[None])
    np.testing.assert_allclose(back[:, 0], [-0.5, 1.5, 6.0])
    beyond = ramps(torch.tensor([[-1.0], [5.0]]), torch.tensor(x)[None], torch.tensor(y)[None])
    np.testing.assert_allclose(beyond[:, 0], [-4.0, 3.0])


def test_an_atom_comes_back_as_itself_and_a_constant_too():
    rng = np.random.default_rng(5)
    x = torch.from_numpy(np.column_stack([np.where(rng.random(3000) < 0.3, 0.0, rng.random(3000)), np.full(3000, 7.0)])).float()
    fitted = Quantile().fit(x, {})
    torch.testing.assert_close(fitted.inverse(fitted(x, {}), {}), x, rtol=1e-5, atol=1e-5)
    assert (fitted(x, {})[:, 1] == 0).all()


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="quantile: the response holds NaN or infinity"):
        Quantile().fit(torch.tensor([[1.0], [np.nan]]), {})
