import math

import pytest
import torch

from understudy.geometry import builtin
from understudy.models.base import Batch
from understudy.models.flow_matching import FlowMatching, optimal_pairs
from understudy.registry import factory
from understudy.training.players import learning_rate

SMALL = {"kind": "dense", "layers": 1, "width": 64, "embedding": 32}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def a_flow(features, size, **arguments):
    return FlowMatching(feature_size=features, response_size=size, rng=generator(), **{"velocity": SMALL} | arguments)


def taught(flow, x, c, weights=None, updates=500, size=256):
    g = generator(3)
    flow.fit(x, c, weights)
    (turn,) = flow.turns()
    rule = turn.optimiser
    optimiser = rule.build(turn.parameters)
    for step in range(updates):
        optimiser.param_groups[0]["lr"] = 3 * learning_rate(rule, step, updates)
        i = torch.randint(len(x), (size,), generator=g)
        optimiser.zero_grad()
        turn.loss(Batch(x[i], c[i], None if weights is None else weights[i]), g).backward()
        optimiser.step()
    return flow.eval()


def drawn(flow, c, seed=4):
    with torch.no_grad():
        return flow.sample(torch.randn(len(c), flow.noise_size, generator=generator(seed)), c)


def correlated(n=8000, seed=5):
    """Two numbers whose means, widths and correlation follow one condition."""
    g = generator(seed)
    c = 2 * torch.rand(n, 1, generator=g) - 1
    z = torch.randn(n, 2, generator=g)
    rho = 0.8 * c[:, 0]
    first = c[:, 0] + 0.5 * z[:, 0]
    second = -0.5 * c[:, 0] + (0.7 + 0.3 * c[:, 0]) * (rho * z[:, 0] + (1 - rho**2).sqrt() * z[:, 1])
    return torch.stack([first, second], 1), c


@pytest.mark.parametrize("path", ["straight", "circular"])
def test_means_widths_and_correlations_follow_the_condition(path):
    flow = taught(a_flow(1, 2, path=path), *correlated())
    for value in (-0.8, 0.0, 0.8):
        made = drawn(flow, torch.full((4000, 1), value))
        width = 0.7 + 0.3 * value
        assert made.mean(0).tolist() == pytest.approx([value, -0.5 * value], abs=0.12)
        assert made.std(0).tolist() == pytest.approx([0.5, width], rel=0.2)
        assert float(torch.corrcoef(made.T)[0, 1]) == pytest.approx(0.8 * value, abs=0.15)


def test_the_known_velocity_of_normal_data_is_found():
    mu, sigma = 0.5, 0.4
    c = torch.zeros(5000, 1)
    flow = taught(a_flow(1, 1, path="straight"), mu + sigma * torch.randn(5000, 1, generator=generator()), c)
    x = torch.linspace(-1, 1, 21)[:, None]
    for t in (0.2, 0.5, 0.8):
        x_t = t * mu + math.sqrt((1 - t) ** 2 + t**2 * sigma**2) * x
        known = mu + (t * sigma**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * sigma**2) * (x_t - t * mu)
        with torch.no_grad():
            found = flow.velocity(x_t, torch.full((1, 1), t), c[:21])
        assert float((found - known).abs().max()) < 0.25
        assert float((found - known).square().mean().sqrt()) < 0.12


def test_normal_data_are_left_as_they_are_in_a_single_step():
    g = generator(1)
    flow = taught(a_flow(2, 5, steps=1), torch.randn(6000, 5, generator=g), torch.randn(6000, 2, generator=g), updates=300)
    z = torch.randn(2000, 5, generator=g)
    with torch.no_grad():
        made = flow.sample(z, torch.randn(2000, 2, generator=g))
    assert float((made - z).square().mean().sqrt()) < 0.15


def test_the_straight_path_needs_steps_where_the_circle_needs_none():
    """The exact velocity of normal data on each path, in two steps of the midpoint rule."""
    from understudy.models.solvers import integrate

    x = torch.ones(1, 1)
    straight = integrate(lambda y, t: (2 * t - 1) * y / (t**2 + (1 - t) ** 2), x, 2, "midpoint")
    assert float(straight) == pytest.approx(0.98, abs=1e-6)


def test_signed_weights_move_what_is_learned():
    """A cloud at +1 of which a quarter is taken away again by weights of -1, and one at -1."""
    g = generator(6)
    n = 8000
    side = torch.where(torch.rand(n, generator=g) < 0.7, 1.0, -1.0)
    x = (side + 0.3 * torch.randn(n, generator=g))[:, None]
    negative = (side > 0) & (torch.rand(n, generator=g) < 0.25)
    weights = torch.where(negative, -1.0, 1.0)
    weights = weights / weights.mean()
    expected = float((weights * (x[:, 0] > 0)).mean())
    made = drawn(taught(a_flow(1, 1, steps=16), x, torch.zeros(n, 1), weights), torch.zeros(4000, 1))
    assert expected == pytest.approx(0.54, abs=0.03)
    assert float((made > 0).float().mean()) == pytest.approx(expected, abs=0.08)


def test_the_pairing_of_least_cost_against_all_permutations():
    from itertools import permutations

    g = generator(2)
    x0, x1, c = torch.randn(5, 2, generator=g), torch.randn(5, 2, generator=g), torch.randn(5, 1, generator=g)

    def cost(rows):
        i = torch.tensor(rows)
        return float((x0[i] - x1).square().sum() + 3.0 * (c[i] - c).square().sum())

    best = min(permutations(range(5)), key=cost)
    assert tuple(optimal_pairs(x0, x1, c, 3.0).tolist()) == best


def test_conditions_that_cost_much_keep_each_event_its_own_noise():
    g = generator(2)
    x0, x1, c = torch.randn(40, 2, generator=g), torch.randn(40, 2, generator=g), torch.randn(40, 1, generator=g)
    assert torch.equal(optimal_pairs(x0, x1, c, 1e6), torch.arange(40))
    assert not torch.equal(optimal_pairs(x0, x1, 0 * c, 1e6), torch.arange(40))


def test_optimal_transport_straightens_the_paths_of_a_split_cloud():
    g = generator(7)
    side = torch.where(torch.rand(4000, generator=g) < 0.5, 1.0, -1.0)
    x = (side + 0.1 * torch.randn(4000, generator=g))[:, None]
    c = torch.zeros(4000, 1)

    def away(pairing):
        made = drawn(taught(a_flow(1, 1, path="straight", steps=1, pairing=pairing), x, c, updates=200, size=64), c)
        return float((made.abs() - 1).abs().mean())

    assert away("optimal-transport") < 0.6 * away("independent")


def test_five_targets_of_three_conditions():
    """A table whose targets depend on the conditions and on each other, one of them skewed."""
    g = generator(8)
    c = torch.randn(6000, 3, generator=g)
    z = torch.randn(6000, 5, generator=g)
    mixed = z @ torch.tril(0.5 * torch.ones(5, 5)) + c @ torch.randn(3, 5, generator=g)
    mixed[:, 4] = mixed[:, 4] + 0.5 * (z[:, 4] ** 2 - 1)
    x = (mixed - mixed.mean(0)) / mixed.std(0)
    made = drawn(taught(a_flow(3, 5), x, c), c)
    residuals = [torch.cat([y, c], 1) for y in (x, made)]
    true, found = (torch.cov(r.T) for r in residuals)
    assert float((found - true).abs().max()) < 0.12


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_the_solver_and_the_steps_are_those_asked_for(solver):
    flow = a_flow(1, 2, solver=solver, steps=3)
    times = []
    flow.velocity.register_forward_pre_hook(lambda _, a: times.append(float(a[1])))
    drawn(flow, torch.zeros(2, 1))
    expected = [0, 1 / 3, 2 / 3] if solver == "euler" else [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1]
    assert times == pytest.approx(expected)


def test_weights_that_the_pairing_cannot_use():
    flow = a_flow(1, 2, pairing="optimal-transport")
    flow.fit(torch.zeros(3, 2), torch.zeros(3, 1), torch.ones(3))
    with pytest.raises(ValueError, match=r"different weights, but optimal-transport pairing .* set pairing to independent"):
        flow.fit(torch.zeros(3, 2), torch.zeros(3, 1), torch.tensor([1.0, 2.0, -1.0]))


def test_images_of_cells_are_moved_by_networks_that_know_the_geometry():
    for geometry, velocity in (
        (builtin("lhcb-ecal"), {"kind": "convolution", "channels": (2, 3)}),
        (builtin("lhcb-ecal"), {"kind": "attention", "width": 8, "blocks": 1}),
        (builtin("atlas-em-89"), {"kind": "attention", "width": 8, "blocks": 1}),
    ):
        n = geometry.n_cells
        flow = FlowMatching(feature_size=1, response_size=n, velocity=velocity, geometry=geometry, rng=generator())
        g = generator(1)
        loss = flow.loss(Batch(torch.randn(4, n, generator=g), torch.randn(4, 1, generator=g)), g)
        assert float(loss.detach()) == pytest.approx((math.pi / 2) ** 2, rel=0.2)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"velocity": "convolution"}, "a convolutional velocity needs to know where the cells of an image sit"),
        ({"velocity": "attention"}, "an attention velocity needs to know where the cells sit; name the geometry"),
        ({"velocity": "rectified"}, "no kind 'rectified' in velocities"),
        ({"velocity": {"kind": "attention", "width": 10}, "geometry": builtin("atlas-em-89")}, "4 attention heads cannot share"),
        ({"velocity": "attention", "geometry": builtin("lhcb-ecal")}, "moves the 900 cells .* the response has 89 numbers"),
        ({"velocity": "convolution", "geometry": builtin("lhcb-ecal")}, "moves the 900 cells .* the response has 89 numbers"),
        ({"velocity": "convolution", "geometry": builtin("atlas-em-89")}, "needs layers of one shape"),
    ],
)
def test_networks_that_do_not_fit_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        FlowMatching(feature_size=1, response_size=89, **arguments)


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("steps", 0, "greater than or equal to 1, found 0"),
        ("solver", "rk4", "solver: .*found 'rk4'"),
        ("path", "curved", "path: .*found 'curved'"),
        ("condition_cost", 0, "greater than 0, found 0"),
        ("velocitie", "dense", "unknown key 'velocitie' .did you mean 'velocity'"),
    ],
)
def test_wrong_words_of_a_recipe(key, value, match):
    with pytest.raises(ValueError, match=match):
        factory("models", {"kind": "flow-matching", key: value}, "model")


def test_a_lower_temperature_starts_from_narrower_noise():
    narrow, plain = (
        FlowMatching(feature_size=1, response_size=2, temperature=t, rng=torch.Generator().manual_seed(1)) for t in (0.5, 1.0)
    )
    noise, conditions = torch.randn(6, 2), torch.zeros(6, 1)
    torch.testing.assert_close(narrow.sample(noise, conditions), plain.sample(0.5 * noise, conditions))
