import math

import pytest
import torch

from understudy.models.interpolants import coefficients, on_path
from understudy.models.solvers import SOLVERS, integrate

ORDERS = {"euler": 1, "midpoint": 2, "heun": 2}
every_solver = pytest.mark.parametrize("solver", sorted(SOLVERS))
every_path = pytest.mark.parametrize("path", ["straight", "circular"])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def growing(x, t):
    """The solution of dx/dt = x cos t from x(0) is x(0) exp(sin t)."""
    return x * math.cos(t)


@every_solver
def test_halving_the_step_divides_the_error_by_two_to_the_order(solver):
    start = torch.tensor([[0.5, -2.0]], dtype=torch.float64)
    exact = start * math.exp(math.sin(1))
    errors = [float((integrate(growing, start, steps, solver) - exact).abs().max()) for steps in (40, 80)]
    assert errors[0] / errors[1] == pytest.approx(2 ** ORDERS[solver], rel=0.1)


@every_solver
def test_a_constant_velocity_is_followed_exactly(solver):
    moved = integrate(lambda x, t: torch.full_like(x, 3.0), torch.zeros(2, 4), 1, solver)
    torch.testing.assert_close(moved, torch.full((2, 4), 3.0))


def test_the_second_order_solvers_by_hand():
    x = torch.tensor([2.0])
    v = growing(2.0, 0.0)
    assert float(integrate(growing, x, 1, "midpoint")) == pytest.approx(2 + growing(2 + 0.5 * v, 0.5))
    assert float(integrate(growing, x, 1, "heun")) == pytest.approx(2 + 0.5 * (v + growing(2 + v, 1.0)))


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="one step or more, not in 0"):
        integrate(growing, torch.zeros(1), 0, "euler")


@every_path
def test_a_path_leads_from_noise_to_data_with_the_slope_it_says(path):
    x0, x1 = torch.randn(2, 50, 3, generator=generator(), dtype=torch.float64)
    t = torch.rand(50, 1, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(on_path(path, x0, x1, torch.zeros_like(t))[0], x0)
    torch.testing.assert_close(on_path(path, x0, x1, torch.ones_like(t))[0], x1)
    above, below = (on_path(path, x0, x1, t + h)[0] for h in (1e-6, -1e-6))
    torch.testing.assert_close((above - below) / 2e-6, on_path(path, x0, x1, t)[1], atol=1e-8, rtol=1e-8)


def test_the_circle_keeps_a_variance_of_one():
    a, b, da, db = coefficients("circular", torch.linspace(0, 1, 11))
    torch.testing.assert_close(a**2 + b**2, torch.ones(11))
    torch.testing.assert_close(a * da + b * db, torch.zeros(11), atol=1e-6, rtol=0)


@every_path
def test_the_known_velocity_of_normal_data_takes_noise_to_them(path):
    """For x1 ~ N(mu, sigma^2) it is v = db mu + (a da + b db sigma^2) / (a^2 + b^2 sigma^2) (x - b mu)."""
    mu, sigma = 1.5, 0.4

    def v(x, t):
        a, b, da, db = coefficients(path, torch.tensor(t, dtype=torch.float64))
        return db * mu + (a * da + b * db * sigma**2) / (a**2 + b**2 * sigma**2) * (x - b * mu)

    z = torch.randn(1000, 1, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(integrate(v, z, 400, "heun"), mu + sigma * z, atol=1e-4, rtol=0)
