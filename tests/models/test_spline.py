import math

import pytest
import torch
from zuko.transforms import MonotonicRQSTransform

from understudy.models.base import Batch
from understudy.models.rational_quadratic import Spline
from understudy.models.spline import SplineFlow


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def a_spline(n=2000, bins=8, bound=5.0, scale=1.0, dtype=torch.float64):
    g = generator()
    free = [scale * torch.randn(n, k, generator=g, dtype=dtype) for k in (bins, bins, bins - 1)]
    return Spline.from_free(*free, bound)


def twin(spline):
    """zuko's spline through the same knots."""
    other = MonotonicRQSTransform(spline.x.diff(dim=1), spline.y.diff(dim=1), spline.derivatives[:, 1:-1], bound=spline.bound)
    other.horizontal, other.vertical, other.derivatives = spline.x, spline.y, spline.derivatives
    return other


def test_forward_slope_and_inverse_against_zuko():
    spline = a_spline()
    x = 3 * torch.randn(2000, generator=generator(1), dtype=torch.float64)
    y, log_slope = spline.forward(x)
    expected, expected_slope = twin(spline).call_and_ladj(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(log_slope, expected_slope)
    torch.testing.assert_close(spline.inverse(x), twin(spline).inv(x))


def test_the_log_slope_against_autograd():
    spline = a_spline()
    x = (3 * torch.randn(2000, generator=generator(1), dtype=torch.float64)).requires_grad_()
    y, log_slope = spline.forward(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope, slope.log())


def test_round_trip_in_single_precision_over_bins_and_tails():
    spline = a_spline(dtype=torch.float32)
    x = torch.linspace(-7, 7, 2000)
    y, log_slope = spline.forward(x)
    error = (spline.inverse(y) - x).abs() * log_slope.exp().clamp(max=1)  # a flat spot cannot be inverted better than y is known
    assert float(error.max()) < 1e-5
    gentle = a_spline(dtype=torch.float32, scale=0.3)
    torch.testing.assert_close(gentle.inverse(gentle.forward(x)[0]), x, atol=1e-5, rtol=0)


def test_round_trip_of_steep_splines():
    spline = a_spline(scale=3.0)
    x = torch.linspace(-7, 7, 2000, dtype=torch.float64)
    torch.testing.assert_close(spline.inverse(spline.forward(x)[0]), x, atol=1e-9, rtol=0)


def test_values_on_the_knots_map_to_knots():
    spline = a_spline(n=1)
    for x, y in zip(spline.x[0], spline.y[0], strict=True):
        torch.testing.assert_close(spline.forward(x[None])[0], y[None])
        torch.testing.assert_close(spline.inverse(y[None]), x[None])


def test_zeros_give_the_identity():
    zeros = torch.zeros(50, 6)
    spline = Spline.from_free(zeros, zeros, zeros[:, 1:], 4.0)
    x = torch.linspace(-5, 5, 50)
    torch.testing.assert_close(spline.forward(x)[0], x)
    torch.testing.assert_close(spline.inverse(x), x)


def test_gradients_are_finite_everywhere():
    free = [torch.zeros(7, k, requires_grad=True) for k in (5, 5, 4)]
    x = torch.tensor([-1e6, -5.0, -4.999999, 0.0, 4.999999, 5.0, 1e6], requires_grad=True)
    y, log_slope = Spline.from_free(*free, 5.0).forward(x)
    (y.sum() + log_slope.sum()).backward()
    assert all(torch.isfinite(t.grad).all() for t in (x, *free))


def a_flow(**arguments):
    return SplineFlow(feature_size=2, response_size=1, rng=generator(), **arguments)


def test_the_density_integrates_to_one_and_matches_its_samples():
    flow = a_flow().double()
    c = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    x = torch.linspace(-80, 80, 200001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        density = flow.log_prob(x, c.expand(len(x), 2)).exp()
        drawn = flow.sample(torch.randn(40000, 1, generator=generator(2), dtype=torch.float64), c.expand(40000, 2))
    assert float(torch.trapezoid(density, x[:, 0])) == pytest.approx(1, abs=1e-5)
    mean = float(torch.trapezoid(density * x[:, 0], x[:, 0]))
    assert float(drawn.mean()) == pytest.approx(mean, abs=5 * float(drawn.std()) / 200)


def test_sample_inverts_whiten():
    flow = a_flow()
    c, z = torch.randn(500, 2, generator=generator(1)), torch.randn(500, 1, generator=generator(2))
    with torch.no_grad():
        torch.testing.assert_close(flow.whiten(flow.sample(z, c), c)[0], z, atol=1e-5, rtol=1e-5)


def trained(weights=None, n=10000, updates=400):
    g = generator(3)
    c = 2 * torch.rand(n, 2, generator=g) - 1
    sigma = 0.2 + 0.1 * c[:, 1] + 0.1 * c[:, 1] ** 2
    x = (c[:, 0] ** 2 + sigma * torch.randn(n, generator=g))[:, None]
    flow = a_flow()
    (turn,) = flow.turns()
    optimiser = turn.optimiser.build(turn.parameters)
    for step in range(updates):
        optimiser.param_groups[0]["lr"] = turn.optimiser.lr * (1 - step / updates)
        i = torch.randint(n, (256,), generator=g)
        optimiser.zero_grad()
        turn.loss(Batch(x[i], c[i], None if weights is None else weights(x, c)[i]), g).backward()
        optimiser.step()
    return flow


def test_it_learns_a_gaussian_whose_width_depends_on_the_conditions():
    flow = trained()
    z = torch.randn(5000, 1, generator=generator(4))
    for a, b in ((-0.7, -0.5), (0.0, 0.7), (0.6, 0.0)):
        with torch.no_grad():
            drawn = flow.sample(z, torch.tensor([[a, b]]).expand(5000, 2))
        assert float(drawn.mean()) == pytest.approx(a**2, abs=0.05)
        assert float(drawn.std()) == pytest.approx(0.2 + 0.1 * b + 0.1 * b**2, rel=0.2)


def test_weights_move_what_is_learned():
    def heavy_above(x, c):
        w = torch.where(x[:, 0] > c[:, 0] ** 2, 1.8, 0.2)
        return w / w.mean()

    flow = trained(heavy_above)
    with torch.no_grad():
        drawn = flow.sample(torch.randn(5000, 1, generator=generator(4)), torch.zeros(5000, 2))
    half_normal = 0.2 * math.sqrt(2 / math.pi)
    assert float(drawn.mean()) == pytest.approx(0.8 * half_normal, abs=0.04)


def test_many_numbers_are_refused():
    with pytest.raises(ValueError, match="one after the other, 64 at most, but the response has 89"):
        SplineFlow(feature_size=1, response_size=89)


def test_two_numbers_with_an_atom_are_drawn_with_their_dependence():
    g = generator(7)
    n = 6000
    c = torch.rand(n, 1, generator=g)
    first = 0.3 * torch.randn(n, generator=g)
    empty = torch.rand(n, generator=g) < 0.2 + 0.5 * c[:, 0]
    second = torch.where(empty, -1.0, torch.rand(n, generator=g) + first.abs())
    x = torch.stack([first, second], 1)
    flow = SplineFlow(feature_size=1, response_size=2, rng=generator(1))
    flow.fit(x, c)
    assert float(flow.spreads[0]) == 0  # a continuous number has no atom
    assert float(flow.spreads[1]) == pytest.approx(0.45, abs=0.02)
    (turn,) = flow.turns()
    optimiser = turn.optimiser.build(turn.parameters)
    for step in range(400):
        optimiser.param_groups[0]["lr"] = turn.optimiser.lr * (1 - step / 400)
        i = torch.randint(n, (512,), generator=g)
        optimiser.zero_grad()
        turn.loss(Batch(x[i], c[i]), g).backward()
        optimiser.step()
    with torch.no_grad():
        drawn = flow.sample(torch.randn(n, 2, generator=g), c)
    low = c[:, 0] < 0.3
    for rows in (low, ~low):
        made, real = (drawn[rows, 1] < -0.5).float().mean(), empty[rows].float().mean()
        assert float(made) == pytest.approx(float(real), abs=0.05)
    filled = drawn[:, 1] >= -0.5
    r = torch.corrcoef(torch.stack([drawn[filled, 0].abs(), drawn[filled, 1]]))[0, 1]
    expected = torch.corrcoef(torch.stack([first[~empty].abs(), second[~empty]]))[0, 1]
    assert float(r) == pytest.approx(float(expected), abs=0.08)
