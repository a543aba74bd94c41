"""The energy score: a slow twin, closed forms for normal distributions, signed weights, and what it teaches a network."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from understudy import geometry
from understudy.models.base import Batch, weighted_mean
from understudy.models.energy_score import energy_score, parts, windows
from understudy.registry import factory

NETWORK = {"kind": "dense", "layers": 2, "width": 32, "activation": "silu"}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def model(response_size=1, feature_size=1, **words):
    made = factory("models", {"kind": "energy-score", "network": NETWORK, **words})
    return made(response_size=response_size, feature_size=feature_size, rng=rng(3), geometry=words.pop("geometry", None))


@pytest.mark.parametrize(("m", "beta"), [(2, 1.0), (5, 0.6), (3, 1.7)])
def test_it_is_that_of_a_slow_twin(m, beta):
    x, y = torch.randn(4, m, 3, generator=rng()).numpy(), torch.randn(4, 3, generator=rng(1)).numpy()
    expected = []
    for samples, truth in zip(x, y, strict=True):
        far = sum(math.dist(s, truth) ** beta for s in samples) / m
        apart = sum(math.dist(a, b) ** beta for a, b in itertools.permutations(samples, 2)) / (m * (m - 1))
        expected.append(far - apart / 2)
    np.testing.assert_allclose(energy_score(torch.tensor(x), torch.tensor(y), beta).numpy(), expected, rtol=1e-5)


def check_mean(values, expected):
    values = values.double()
    assert abs(float(values.mean()) - expected) < 4 * float(values.std()) / len(values) ** 0.5


@pytest.mark.parametrize("m", [2, 6])
def test_it_is_unbiased_about_the_score_of_a_normal_distribution(m):
    mean, width, y, n = 0.7, 1.3, -0.4, 100_000
    z = (y - mean) / width
    crps = width * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    samples = mean + width * torch.randn(n, m, 1, generator=rng())
    check_mean(energy_score(samples, torch.full((n, 1), y)), crps)


@pytest.mark.parametrize(("d", "beta"), [(1, 0.5), (7, 1.0), (20, 1.6)])
def test_it_has_the_moments_of_lengths_in_many_dimensions(d, beta):
    samples, n = torch.randn(40_000, 2, d, generator=rng()), 40_000
    length = 2 ** (beta / 2) * math.gamma((d + beta) / 2) / math.gamma(d / 2)
    check_mean(energy_score(samples, torch.zeros(n, d), beta), length * (1 - 2 ** (beta / 2) / 2))


def normal_distance(shift, variance):
    """E|X| of a normal distribution."""
    s = math.sqrt(variance)
    return s * math.sqrt(2 / math.pi) * math.exp(-(shift**2) / (2 * variance)) + shift * math.erf(shift / math.sqrt(2 * variance))


def test_a_wrong_distribution_costs_half_of_the_energy_distance():
    n, shift, width = 200_000, 0.8, 1.5
    truth = torch.randn(n, 1, generator=rng())
    right = energy_score(torch.randn(n, 2, 1, generator=rng(1)), truth)
    wrong = energy_score(shift + width * torch.randn(n, 2, 1, generator=rng(2)), truth)
    distance = 2 * normal_distance(shift, 1 + width**2) - normal_distance(0, 2) - normal_distance(0, 2 * width**2)
    check_mean(wrong - right, distance / 2)


def signed(n, generator):
    """Two parts signal at 1 + c and one part background at -3, whose average is taken off by sideband events."""
    c = torch.rand(4 * n, 1, generator=generator)
    kind = torch.arange(4 * n) % 4
    y = torch.where((kind < 2)[:, None], 1 + c, torch.full_like(c, -3)) + 0.5 * torch.randn(4 * n, 1, generator=generator)
    return Batch(y, c, torch.where(kind < 3, 1.0, -1.0) * 2)


def test_signed_weights_leave_the_score_of_the_truth():
    batch = signed(50_000, rng())
    signal = (torch.arange(len(batch)) % 4) < 2
    samples = torch.randn(len(batch), 2, 1, generator=rng(1))
    scores = energy_score(samples, batch.response)
    difference = batch.weights * scores - 2 * signal * scores
    assert float(weighted_mean(scores, batch.weights)) == pytest.approx(float((2 * signal * scores).mean()), abs=0.05)
    check_mean(difference, 0.0)


def taught(made, batch, rounds=400, size=512):
    g = rng(5)
    (turn,) = made.turns()
    optimiser = torch.optim.Adam(turn.parameters, lr=3e-3)
    for _ in range(rounds):
        rows = torch.randint(len(batch), (size,), generator=g)
        some = Batch(batch.response[rows], batch.conditions[rows], None if batch.weights is None else batch.weights[rows])
        optimiser.zero_grad()
        turn.loss(some, g).backward()
        optimiser.step()
    return made.eval()


def drawn(made, c, n=4000):
    with torch.no_grad():
        return made.sample(torch.randn(n, made.noise_size, generator=rng(8)), torch.full((n, 1), c))


def test_it_teaches_mean_and_width_where_weights_have_both_signs():
    made = taught(model(samples=4), signed(5000, rng()))
    for c in (0.2, 0.8):
        found = drawn(made, c)
        assert float(found.mean()) == pytest.approx(1 + c, abs=0.12)
        assert float(found.std()) == pytest.approx(0.5, rel=0.25)


def test_it_teaches_a_correlation_that_depends_on_the_condition():
    c = torch.rand(8000, 1, generator=rng()) * 2 - 1
    a, b = torch.randn(2, 8000, 1, generator=rng(1))
    batch = Batch(torch.cat([a, 0.9 * c * a + (1 - (0.9 * c) ** 2).sqrt() * b], 1), c)
    made = taught(model(2, samples=3), batch)
    for c in (-0.8, 0.8):
        found = drawn(made, c)
        assert float(torch.corrcoef(found.T)[0, 1]) == pytest.approx(0.9 * c, abs=0.2)
        torch.testing.assert_close(found.std(0), torch.ones(2), atol=0.12, rtol=0)


def test_samples_that_coincide_leave_the_gradient_finite():
    x = torch.zeros(3, 2, 4, requires_grad=True)
    for beta in (0.3, 1.0, 1.9):
        (gradient,) = torch.autograd.grad(energy_score(x, torch.zeros(3, 4), beta).sum(), x)
        assert bool(gradient.isfinite().all())


def test_the_score_of_parts_is_their_mean_beside_that_of_the_whole():
    calorimeter = geometry.load("atlas-em-89")
    made = factory("models", {"kind": "energy-score", "network": NETWORK, "groups": {"layers": 0.5, "patches": 2.0}, "patch": 3})
    built = made(response_size=89, feature_size=1, rng=rng(), geometry=calorimeter)
    x, y = torch.randn(5, 2, 89, generator=rng()), torch.randn(5, 89, generator=rng(1))
    expected = energy_score(x, y) / 89**0.5
    for weight, kind in ((0.5, "layers"), (2.0, "patches")):
        columns = [row for index in parts(kind, 89, calorimeter, 3) for row in index]
        scores = [energy_score(x[:, :, row], y[:, row]) / len(row) ** 0.5 for row in columns]
        expected = expected + weight * torch.stack(scores).mean(0)
    torch.testing.assert_close(built.scores(x, y), expected)


def test_patches_cover_every_cell_of_their_layer_and_no_other():
    calorimeter, first = geometry.load("atlas-em-89"), 0
    for layer, index in zip(calorimeter.layers, parts("patches", 89, calorimeter, 4), strict=True):
        assert {*index.flatten().tolist()} == {*range(first, first + layer.n_cells)}
        assert index.shape[1] == math.prod(min(4, n) for n in layer.shape)
        first += layer.n_cells
    assert [w.tolist() for w in windows(5, 2)] == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert [w.tolist() for w in windows(3, 8)] == [[0, 1, 2]]


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="give 2 or more, not 1"):
        energy_score(torch.zeros(3, 1, 2), torch.zeros(3, 2))
    with pytest.raises(
        ValueError, match="energy score of layers needs a response of cells, but there is no geometry for 3 columns"
    ):
        parts("layers", 3, None, 2)
    with pytest.raises(ValueError, match=r"patches needs .* has 89 cells for 3 columns; choose 'columns'"):
        parts("patches", 3, geometry.load("atlas-em-89"), 2)
    for words, match in (
        ({"samples": 1}, "samples: .*greater than or equal to 2"),
        ({"beta": 2.0}, "beta: .*less than 2"),
        ({"groups": {"rows": 1.0}}, "groups"),
    ):
        with pytest.raises(ValueError, match=match):
            model(**words)
    with pytest.raises(ValueError, match="'residual' adds the noise to the response, but there are 7 numbers of noise and 1"):
        model(noise=7, residual=True)
