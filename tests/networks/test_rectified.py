"""The generator of rectified normals: its moments in closed form, its start, and its noise."""

import math

import torch
from scipy.stats import norm

from understudy.networks.rectified import Rectified


def a_network(**changes):
    words = {"inputs": 7, "outputs": 5, "noise": 4, "layers": 2, "width": 16, "rng": torch.Generator().manual_seed(1)}
    return Rectified(**words | changes)


def test_probability_of_an_empty_cell_and_mean_as_the_rectified_normal_has_them():
    network = a_network().eval()
    g = torch.Generator().manual_seed(2)
    n = 40000
    shared = torch.randn(1, 7, generator=g)
    own = torch.randn(n, 5, generator=g)
    with torch.no_grad():
        mean, spread = network.moments(shared[:, :4], shared[:, 4:])
        cells = network(torch.cat([shared[:, :4].expand(n, 4), own, shared[:, 4:].expand(n, 3)], 1))
    normal = torch.distributions.Normal(0.0, 1.0)
    ratio = (mean / spread)[0]
    empty = normal.cdf(-ratio)
    expected = mean[0] * normal.cdf(ratio) + spread[0] * normal.log_prob(ratio).exp()
    torch.testing.assert_close((cells == 0).double().mean(0), empty.double(), atol=0.015, rtol=0)
    torch.testing.assert_close(cells.double().mean(0), expected.double(), atol=0.02, rtol=0.02)


def test_it_starts_at_the_average_and_the_spread_of_the_training_split():
    network = a_network(spread=1.0)
    response = 3 + 0.5 * torch.randn(4000, 5, generator=torch.Generator().manual_seed(3))
    network.start(response)
    with torch.no_grad():
        network.last.weight.zero_()
        mean, spread = network.moments(torch.zeros(1, 4), torch.zeros(1, 3))
    torch.testing.assert_close(mean[0], response.mean(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(spread[0], response.std(0), atol=2e-3, rtol=0)


def test_every_cell_has_noise_of_its_own():
    network = a_network()
    assert network.own_noise == 5
    x = torch.ones(1, 12)
    other = x.clone()
    other[0, 4 + 2] += 1.0  # the third cell's own noise
    with torch.no_grad():
        network.last.bias[:5] = 10.0
        moved = (network(other) - network(x))[0] != 0
    assert moved.tolist() == [False, False, True, False, False]


def test_weights_depend_on_the_generator_alone():
    assert torch.equal(a_network().last.weight, a_network().last.weight)
    assert not torch.equal(a_network().last.weight, a_network(rng=torch.Generator().manual_seed(9)).last.weight)


def test_the_likelihood_is_that_of_a_censored_normal():
    network = a_network().eval()
    g = torch.Generator().manual_seed(4)
    latent, features = torch.randn(20, 4, generator=g), torch.randn(20, 3, generator=g)
    cells = torch.relu(torch.randn(20, 5, generator=g))
    with torch.no_grad():
        found = network.log_likelihood(cells, latent, features)
        mean, spread = (v.double().numpy() for v in network.moments(latent, features))
    expected = [
        sum(
            norm.logpdf(y, m, s) + 0.5 * math.log(2 * math.pi) if y > 0 else norm.logcdf(0, m, s)
            for y, m, s in zip(*rows, strict=True)
        )
        for rows in zip(cells.double().numpy(), mean, spread, strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), rtol=1e-4, atol=1e-4)
