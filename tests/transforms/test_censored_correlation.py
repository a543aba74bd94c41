"""Correlations of Gaussian variables of which most are only known to lie below a bound."""

import numpy as np
import torch
from scipy.special import ndtri

from understudy.geometry import builtin
from understudy.transforms.censored_correlation import censored_correlation, drawn_together, pair_kinds


def sample(rho, part, n=40_000, seed=0):
    """Two normal columns of correlation `rho`, of which a part `part` is not empty; bound and empty cells."""
    z = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, rho], [rho, 1]], n)
    bound = np.full_like(z, -ndtri(part))
    return torch.tensor(z), torch.tensor(bound), torch.tensor(z <= bound)


ATOMS = torch.ones(2, dtype=torch.bool)
ONE_KIND = np.zeros((2, 2), int)


def test_without_empty_cells_it_is_the_plain_correlation():
    z, bound, empty = sample(-0.6, 0.5)
    found = censored_correlation(z, bound, torch.zeros_like(empty), ~ATOMS, None, ONE_KIND)
    plain = (z[:, 0] * z[:, 1]).mean()
    assert abs(float(found[0, 1] - plain)) < 1e-9


def test_the_correlation_of_rare_cells_is_found_where_counting_dilutes_it():
    z, bound, empty = sample(0.25, 0.05)
    found = float(censored_correlation(z, bound, empty, ATOMS, None, ONE_KIND)[0, 1])
    counted = float(np.corrcoef((~empty).T.numpy())[0, 1])
    assert counted < 0.13
    assert abs(found - 0.25) < 0.12  # one step from zero goes somewhat too far where cells are rare


def test_the_estimate_scatters_as_it_says():
    found, said = [], []
    for seed in range(40):
        z, bound, empty = sample(0.0, 0.1, 2000, seed)
        found.append(float(censored_correlation(z, bound, empty, ATOMS, None, ONE_KIND)[0, 1]))
        density, chance = np.exp(-0.5 * ndtri(0.1) ** 2) / np.sqrt(2 * np.pi), 0.9
        said.append(1 / np.sqrt(2000) / (0.1 - ndtri(0.1) * density + density**2 / chance))
    assert 0.7 < np.std(found) / said[0] < 1.3


def test_weights_count_and_negative_ones_take_away():
    z, bound, empty = sample(0.5, 0.3, 4000)
    other = sample(-0.5, 0.3, 4000, 1)
    doubled = [torch.cat([a, b, b]) for a, b in zip((z, bound, empty), other, strict=True)]
    w = torch.tensor([1.0, 1.0, -1.0]).repeat_interleave(4000)
    plain = float(censored_correlation(z, bound, empty, ATOMS, None, ONE_KIND)[0, 1])
    signed = float(censored_correlation(*doubled, ATOMS, w, ONE_KIND)[0, 1])
    # the information counts absolute weights, so that it stays positive: the slope is that of the signal alone
    assert np.isclose(signed * 3, plain, rtol=0.1)


def test_estimates_are_drawn_together_as_far_as_they_are_uncertain():
    rng = np.random.default_rng(3)
    d = 40
    upper = np.triu_indices(d, 1)
    truth, variance = np.eye(d), np.full((d, d), 0.04)
    truth[upper] = 0.2 + 0.05 * rng.standard_normal(len(upper[0]))
    truth = np.triu(truth) + np.triu(truth, 1).T
    noise = np.zeros((d, d))
    noise[upper] = 0.2 * rng.standard_normal(len(upper[0]))
    estimate = truth + noise + noise.T
    found = drawn_together(estimate, variance, np.zeros((d, d), int))
    assert np.abs(found - found.T).max() < 1e-12
    before, after = (np.std((m - truth)[upper]) for m in (estimate, found))
    assert after < 0.4 * before
    exact = drawn_together(estimate, np.full((d, d), 1e-12), np.zeros((d, d), int))
    np.testing.assert_allclose(exact[upper], estimate[upper], atol=1e-6)


def test_the_matrix_can_be_inverted_whatever_the_estimates():
    rng = np.random.default_rng(4)
    z = torch.tensor(rng.standard_normal((30, 60)))
    bound = torch.zeros_like(z)
    found = censored_correlation(z, bound, z <= bound, torch.ones(60, dtype=torch.bool), None, np.zeros((60, 60), int))
    assert float(torch.linalg.eigvalsh(found).min()) > 1e-3
    np.testing.assert_allclose(found.diagonal().numpy(), 1.0)


def test_kinds_of_pairs_are_distances_in_a_layer_and_pairs_of_layers():
    geometry = builtin("atlas-em-89")
    kinds = pair_kinds(geometry.n_cells, geometry)
    assert (kinds == kinds.T).all()
    strips = geometry.slices["strips"].start
    assert kinds[strips, strips + 2] == kinds[strips + 4, strips + 6]
    assert kinds[strips, strips + 2] != kinds[strips, strips + 1]
    assert kinds[0, strips] == kinds[1, strips + 7]
    assert kinds[0, strips] != kinds[0, geometry.slices["back"].start]
    assert (pair_kinds(5, geometry) == 0).all()
